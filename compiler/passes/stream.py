"""Whole-set values by passes over batches: every reduction over the batch becomes an accumulator, what follows it is computed at the end.

Before:  %3 = sum(%2, axes=[0]) ; %5 = div(%3, rows) ; return rmse = sqrt(%5)
After:   a batch graph    %3 = sum(%2, axes=[0]) ; return sum:0 = add(accumulator sum:0, %3)
         a final graph    return rmse = sqrt(div(accumulator sum:0, rows))      with `rows` of the whole set

A reduction of something that itself needs a whole-set value (a variance around the mean) belongs to a later stage: another pass over the
rows, in which the earlier values are known numbers. Legal because sums, maxima and minima of parts combine to those of the whole; sums
are carried in f64, in the fixed order of the batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from ..ir.elementwise import Cast, Elementwise
from ..ir.graph import Graph, Node
from ..ir.ops import Contract, Extent, Reduce, Source
from ..ir.types import F64, TensorType, batched
from .cse import cse

COMBINE = {"sum": "add", "max": "max", "min": "min", "any": "or", "all": "and"}
NEUTRAL = {"sum": 0.0, "max": float("-inf"), "min": float("inf"), "any": False, "all": True}


@dataclass(frozen=True)
class Accumulator:
    """What is carried from batch to batch: its type and the value it starts from."""

    label: str
    kind: str
    type: TensorType

    @property
    def start(self) -> float | bool:
        """The neutral value of its reduction."""
        return NEUTRAL[self.kind]


@dataclass(frozen=True)
class Stage:
    """One pass over the rows: `batch` updates the accumulators (outputs named by their labels), `final` gives values from them.

    Outputs of `final` named `value:N` are known numbers for later stages; the others are results.
    """

    batch: Graph
    final: Graph
    accumulators: tuple[Accumulator, ...]


def is_batched(graph: Graph, number: int) -> bool:
    """True when a value has the batch axis."""
    return batched(graph.type(number).shape)


def reduces_batch(graph: Graph, node: Node) -> bool:
    """True for a reduction or contraction over the batch axis."""
    if is_batched(graph, node.id) or not any(is_batched(graph, i) for i in node.inputs):
        return False
    return isinstance(node.op, Contract) or (isinstance(node.op, Reduce) and node.op.kind in COMBINE)


def split_stream(graph: Graph, results: Mapping[str, int], owner: str = "", within: Set[int] = frozenset()) -> list[Stage]:
    """The passes that compute unbatched `results` over a whole set, in order; `owner` sets its accumulators apart from others'.

    What is `within` a batch stays so: its reductions over the batch (a normalisation's) are not carried on.
    """
    live = graph.ancestors(list(results.values()))
    level = _levels(graph, live, within)
    stages = []
    for number in range(1, max((level[r] for r in results.values()), default=0) + 1):
        frontier = [n for n in sorted(live - within) if reduces_batch(graph, graph[n]) and level[n] == number]
        stages.append(_stage(graph, live, level, number, frontier, results, owner))
    return stages


def passes_over(graph: Graph, value: int, within: Set[int]) -> int:
    """How many passes over the rows a value needs, when what is `within` a batch needs none."""
    return _levels(graph, graph.ancestors([value]), within)[value]


def _levels(graph: Graph, live: set[int], within: Set[int]) -> dict[int, int]:
    """How many passes each value needs."""
    level: dict[int, int] = {}
    for node in graph:
        if node.id in live:
            inner = max((level[i] for i in node.inputs), default=0)
            level[node.id] = inner + (node.id not in within and reduces_batch(graph, node))
    return level


def _stage(
    graph: Graph, live: set[int], level: dict[int, int], number: int, frontier: list[int], results: Mapping[str, int], owner: str
) -> Stage:
    batch, final = Graph(f"{graph.name}.pass{number}"), Graph(f"{graph.name}.result{number}")
    known = {n for n in live if not is_batched(graph, n) and level[n] < number and level[n] > 0}
    copied = _copy(graph, batch, graph.ancestors(frontier), known)
    accumulators, carried = [], {}
    for node in (graph[n] for n in frontier):
        accumulator = _accumulator(node, owner)
        accumulators.append(accumulator)
        carry(batch, copied[node.id], accumulator)
        total = final.add(Source("accumulator", accumulator.label, accumulator.type), (), node.where)
        carried[node.id] = total if accumulator.type == node.type else final.add(Cast(node.type.dtype), [total], node.where)
    wanted = {name: value for name, value in results.items() if level[value] == number}
    later = [n for n in sorted(live) if level[n] == number and not is_batched(graph, n)]
    ends = [*wanted.values(), *later]
    made = _copy(graph, final, graph.ancestors(ends) & {n for n in live if not is_batched(graph, n)}, known, carried)
    final.outputs = {name: made[value] for name, value in wanted.items()} | {f"value:{n}": made[n] for n in later}
    return Stage(batch, cse(final), tuple(accumulators))


def _accumulator(node: Node, owner: str) -> Accumulator:
    kind = node.op.kind if isinstance(node.op, Reduce) else "sum"
    type_ = node.type.with_dtype(F64) if kind == "sum" else node.type
    return Accumulator(f"{owner}{kind}:{node.id}", kind, type_)


def carry(graph: Graph, part: int, accumulator: Accumulator) -> None:
    """Add to a graph the update of an accumulator by a batch's part, as the output of the accumulator's key."""
    where = graph[part].where
    value = part if accumulator.type == graph.type(part) else graph.add(Cast(accumulator.type.dtype), [part], where)
    before = graph.add(Source("accumulator", accumulator.label, accumulator.type), (), where)
    graph.outputs[f"accumulator:{accumulator.label}"] = graph.add(Elementwise(COMBINE[accumulator.kind]), [before, value], where)


def part_of(accumulator: Accumulator) -> int:
    """The node of the split graph whose value a batch contributes."""
    return int(accumulator.label.rpartition(":")[2])


def _copy(graph: Graph, new: Graph, nodes: set[int], known: set[int], given: Mapping[int, int] | None = None) -> dict[int, int]:
    """Copy nodes into another graph; `known` values become sources, `given` ones are there already."""
    number = dict(given or {})
    whole = given is not None
    for node in graph:
        if node.id not in nodes or node.id in number:
            continue
        if node.id in known:
            number[node.id] = new.add(Source("fit", f"value:{node.id}", node.type), (), node.where)
        elif whole and isinstance(node.op, Extent):
            number[node.id] = new.add(Source("runtime", "rows", node.type), (), node.where)
        elif all(i in number for i in node.inputs):
            number[node.id] = new.add(node.op, [number[i] for i in node.inputs], node.where)
    return number
