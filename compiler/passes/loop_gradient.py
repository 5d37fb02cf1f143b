"""The gradient of a loop: a loop in the other direction over what the first one left behind.

Its body is the gradient of the body: it carries the cotangents of what the loop carries, and sums those of the outer values. What it
needs of the forward values is stacked by the forward loop where making it again would cost more than a load (a product, an
exponential), and computed again from that otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from ..ir.build import Build
from ..ir.graph import Graph, Node, rewrite
from ..ir.loop_writer import LoopWriter
from ..ir.op import Trait
from ..ir.ops import Source
from ..ir.scan import CARRY, FINAL, STEP, Result, Scan, final, stack

PullBack = Callable[[Build, Mapping[int, int], Sequence[int]], list[int | None]]

CHEAP_FLOPS = 4
"""Operations a point that are done again rather than loaded."""

COTANGENT = "cotangent"
"""The kind of the sources of a differentiated body that stand for what flows into it."""


def reverse_loop(build: Build, node: Node, cotangents: Mapping[Result, int], wanted: Set[int], pull: PullBack) -> list[int | None]:
    """Append the loop that gives the cotangents of the operands at the `wanted` positions, from those of the loop's results."""
    inner = _differentiated(build, node, cotangents, wanted, pull)
    return _Backward(build, node, inner, cotangents, _kept(inner)).run(wanted)


@dataclass(frozen=True)
class _Inner:
    """A copy of a body (its first `forward` nodes) with its gradient behind it; `flowing` are the cotangents by operand."""

    op: Scan
    graph: Graph
    forward: int
    flowing: Mapping[int, int]

    def operand(self, position: int, kind: str) -> bool:
        """Whether an operand is of a kind."""
        return self.op.key(position).startswith(kind)


def _differentiated(build: Build, node: Node, cotangents: Mapping[Result, int], wanted: Set[int], pull: PullBack) -> _Inner:
    """A body with the gradient for all it carries and for the `wanted` operands."""
    op = node.op
    assert isinstance(op, Scan)
    graph = rewrite(op.body, lambda new, node, operands: None)
    inside, forward = Build(graph, build.real, build.where), len(graph)
    carried = [n for n in range(op.carries) if graph.type(op.following(n)).dtype.is_float]
    ends = [(op.following(n), f"{CARRY} {n}") for n in carried]
    ends += [(result.number, f"stack {result.number}") for result in cotangents if result.kind != FINAL]
    seeds: dict[int, int] = {}
    for number, label in ends:
        seed = inside.add_op(Source(COTANGENT, label, graph.type(number)))
        seeds[number] = inside.add(seeds[number], seed) if number in seeds else seed
    sources = graph.sources()
    positions = [p for p in sorted(wanted | set(carried)) if op.key(p) in sources]
    found = pull(inside, seeds, [sources[op.key(p)] for p in positions])
    return _Inner(op, graph, forward, {p: value for p, value in zip(positions, found, strict=True) if value is not None})


def _kept(inner: _Inner) -> set[int]:
    """Forward values that the gradient reads and that are worth keeping: what takes a copy or more than a few operations to make again."""
    live = inner.graph.ancestors(list(inner.flowing.values()))
    read = {i for node in inner.graph if node.id >= inner.forward and node.id in live for i in node.inputs}
    read |= set(inner.flowing.values())
    varying = inner.graph.descendants([n.id for n in inner.graph if isinstance(n.op, Source) and n.op.kind in (CARRY, STEP)])
    flops, kept = [0] * inner.forward, set[int]()
    for number in range(inner.forward):
        node = inner.graph[number]
        if number not in varying or node.op.has(Trait.SOURCE):
            continue
        types = [inner.graph.type(i) for i in node.inputs]
        flops[number] = node.op.flops(node.type, *types) + sum(flops[i] for i in node.inputs)
        if number in read and (flops[number] > CHEAP_FLOPS or node.op.has(Trait.JOIN)):
            kept.add(number)
            flops[number] = 0
    return kept


@dataclass
class _Backward:
    """Writes the loop behind `node`."""

    build: Build
    node: Node
    inner: _Inner
    cotangents: Mapping[Result, int]
    kept: Set[int]
    writer: LoopWriter = field(init=False)
    numbers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.writer = LoopWriter(self.build.graph)

    def run(self, wanted: Set[int]) -> list[int | None]:
        """The loop, and the cotangents of all operands (None where nothing is wanted or flows)."""
        op, flowing = self.inner.op, self.inner.flowing
        carried = [n for n in range(op.carries) if self.inner.graph.type(op.following(n)).dtype.is_float]
        sources = self.inner.graph.sources()
        for number in carried:
            self.numbers[sources[f"{COTANGENT}:{CARRY} {number}"]] = self.writer.carry(self._first(number))
        sums = [p for p in sorted(wanted) if p >= op.carries + op.steps and p in flowing]
        totals = [self.writer.carry(self.build.zeros_like(self.node.inputs[p])) for p in sums]
        self._copy()
        inside = Build(self.writer.body, self.build.real, self.node.where)
        following = [self._carried_on(inside, n) for n in carried]
        following += [inside.add(total, self.numbers[flowing[p]]) for p, total in zip(sums, totals, strict=True)]
        loop = self.writer.write(following, op.length, reverse=not op.reverse, where=self.node.where)
        made = self.build.graph[loop].op
        assert isinstance(made, Scan)
        found: dict[int, Result] = {p: final(made, n) for n, p in enumerate([*carried, *sums])}
        found |= {p: stack(made, self.numbers[v]) for p, v in flowing.items() if self.inner.operand(p, STEP)}
        return [self.build.add_op(found[p], loop) if p in found and p in wanted else None for p in range(len(self.node.inputs))]

    def _first(self, carry: int) -> int:
        """The cotangent of what is carried last."""
        given = self.cotangents.get(final(self.inner.op, carry))
        return self.build.zeros_like(self.node.inputs[carry]) if given is None else given

    def _carried_on(self, inside: Build, carry: int) -> int:
        if carry in self.inner.flowing:
            return self.numbers[self.inner.flowing[carry]]
        kind = self.inner.graph.type(self.inner.op.following(carry))
        return inside.broadcast(inside.constant(0.0, kind.dtype), kind.shape, ())

    def _copy(self) -> None:
        """Everything that the cotangents need, forward values that are kept being read from their stacks."""
        live = set(self.inner.flowing.values())
        for node in reversed(list(self.inner.graph)):
            if node.id in live and node.id not in self.kept:
                live.update(node.inputs)
        for number in sorted(live - self.numbers.keys()):
            self.numbers[number] = self._made(self.inner.graph[number])

    def _made(self, node: Node) -> int:
        if isinstance(node.op, Source):
            return self._source(node, node.op)
        if node.id in self.kept:
            return self.writer.step(self._stacked(node.id))
        return self.writer.body.add(node.op, [self.numbers[i] for i in node.inputs], node.where)

    def _source(self, node: Node, source: Source) -> int:
        """What the forward body was given, or a cotangent of a stack."""
        if source.kind == COTANGENT:
            number = int(source.label.rpartition(" ")[2])
            return self.writer.step(self.cotangents[stack(self.inner.op, number)])
        if source.kind == CARRY:
            return self.writer.step(self._stacked(node.id))
        operand = self.node.inputs[self.inner.op.operand(source)]
        return self.writer.step(operand) if source.kind == STEP else self.writer.outer(operand)

    def _stacked(self, number: int) -> int:
        return self.build.add_op(stack(self.inner.op, number), self.node.id)
