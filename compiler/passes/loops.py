"""Loops made cheap: work that need not be done time after time leaves them, and what nobody wants is not done.

    tidy    drops what no result needs, carried values and operands too; a stack of a step is the sequence itself
    hoist   products of steps with outer values, and what is made of them alone, are made before the loop for all times; what is the same
            at all times is made once
    sink    sums over all times of products (gradients of weights) become one product of stacked factors after the loop; so do products
            that only results need

Before:  at each time   %3 = contract(x_t, W) ; %4 = contract(h, U) ; next h = tanh(%3 + %4)
After:   before         %9 = contract(x, W) for all times             at each time   %4 = contract(h, U) ; next h = tanh(x'_t + %4)

Legal because operations are pure and the time axis is one like any other to a product. The order of the additions in a sum over all
times becomes the product's, which depends on no partition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from ..ir.elementwise import Elementwise
from ..ir.graph import Graph, Node, rewrite
from ..ir.loop_writer import LoopWriter
from ..ir.op import Trait
from ..ir.ops import Contract, Reduce, Source
from ..ir.scan import CARRY, FINAL, OUTER, STACK, STEP, Result, Scan, final, over_time, stack, time_axis
from ..ir.take import ScatterAdd, Take
from ..ir.views import Broadcast, Reshape, Slice, Transpose
from .fusion import base
from .lifting import Lift, Lifted, between, is_plain, liftable, moved, with_time

BodyPass = Callable[[Graph, int], Graph]
LINEAR = (Reshape, Transpose, Broadcast, Slice)
"""Views of a sum that are the sum of the views."""


def has_loops(graph: Graph) -> bool:
    """Whether there is any loop."""
    return any(node.op.has(Trait.LOOP) for node in graph)


# --- bodies and loops one by one -----------------------------------------------------------------------------------------------------


def in_bodies(graph: Graph, run: BodyPass) -> Graph:
    """The graph with a pass run on the body of every loop; it is told the times of the loop."""

    def again(loop: _Loop) -> Mapping[Result, int]:
        body = rewrite(loop.op.body, lambda new, node, operands: None)
        stacked = {r.number for r in loop.wanted if r.kind == STACK}
        body.outputs |= {f"{STACK}:{n}": n for n in stacked}
        body = run(body, loop.op.length)
        numbers = {n: body.outputs.pop(f"{STACK}:{n}") for n in stacked}
        op = Scan(body, loop.op.length, loop.op.reverse, loop.op.carries, loop.op.steps)
        return loop.results(op, loop.graph.add(op, loop.operands, loop.node.where), numbers)

    return _each_loop(graph, again)


def tidy(graph: Graph) -> Graph:
    """The graph whose loops hold nothing that no result needs; the very same graph when there are no loops."""
    return _each_loop(graph, _tidied)


def hoist(graph: Graph) -> Graph:
    """The graph with work that carries nothing moved before its loop."""
    return _each_loop(graph, _hoisted)


def sink(graph: Graph) -> Graph:
    """The graph with products that nothing carried depends on moved behind their loop."""
    return _each_loop(graph, _sunk)


@dataclass
class _Loop:
    """A loop of the old graph that is written again into `graph`, its operands being there; `wanted` are its live results."""

    graph: Graph
    node: Node
    op: Scan
    operands: tuple[int, ...]
    wanted: Sequence[Result]
    writer: LoopWriter = field(init=False)
    numbers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.writer = LoopWriter(self.graph, Graph(self.op.body.name))

    def given(self, source: Source) -> int:
        """The operand that a source of the body stands for."""
        return self.operands[self.op.operand(source)]

    def carried(self, carries: Iterable[int]) -> None:
        """Begin the new body with some of what the old one carries."""
        sources = self.op.body.sources()
        for number in carries:
            source = self.writer.carry(self.operands[number])
            if f"{CARRY}:{number}" in sources:
                self.numbers[sources[f"{CARRY}:{number}"]] = source

    def copy(self, numbers: Iterable[int]) -> None:
        """Write nodes of the old body into the new one, those that are not there yet."""
        for number in sorted(numbers):
            if number in self.numbers:
                continue
            node = self.op.body[number]
            if isinstance(node.op, Source):
                place = self.writer.step if node.op.kind == STEP else self.writer.outer
                self.numbers[number] = place(self.given(node.op))
            else:
                self.numbers[number] = self.writer.body.add(node.op, [self.numbers[i] for i in node.inputs], node.where)

    def write(self, carries: Sequence[int]) -> tuple[Scan, int]:
        """The new loop and its node, carrying on what the old one did under the numbers `carries`."""
        following = [self.numbers[self.op.following(c)] for c in carries]
        loop = self.writer.write(following, self.op.length, reverse=self.op.reverse, where=self.node.where)
        op = self.graph[loop].op
        assert isinstance(op, Scan)
        return op, loop

    def results(self, op: Scan, loop: int, numbers: Mapping[int, int], carries: Sequence[int] | None = None) -> dict[Result, int]:
        """The wanted results of the loop written again."""
        place = {c: n for n, c in enumerate(range(op.carries) if carries is None else carries)}
        found = {}
        for result in self.wanted:
            if result.kind == FINAL and result.number in place:
                found[result] = self.graph.add(final(op, place[result.number]), [loop], self.node.where)
            if result.kind == STACK and result.number in numbers:
                found[result] = self.graph.add(stack(op, numbers[result.number]), [loop], self.node.where)
        return found


def _each_loop(graph: Graph, again: Callable[[_Loop], Mapping[Result, int]]) -> Graph:
    """The graph with every loop written again: what each of its results is then."""
    if not has_loops(graph):
        return graph
    live = graph.live()
    wanted: dict[int, dict[Result, None]] = {}
    for node in graph:
        if isinstance(node.op, Result) and node.id in live:
            wanted.setdefault(node.inputs[0], {})[node.op] = None
    made: dict[int, Mapping[Result, int]] = {}

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        if isinstance(node.op, Scan):
            made[node.id] = again(_Loop(new, node, node.op, operands, list(wanted[node.id])))
            return next(iter(made[node.id].values()))  # nobody asks for the loop itself
        return made[node.inputs[0]][node.op] if isinstance(node.op, Result) else None

    return rewrite(graph, rule, keep=live)


# --- tidy ----------------------------------------------------------------------------------------------------------------------------


def _tidied(loop: _Loop) -> Mapping[Result, int]:
    op, body = loop.op, loop.op.body
    sources = body.sources()
    still = [n for n in range(op.carries) if op.following(n) == sources.get(f"{CARRY}:{n}")]
    for number in still:
        loop.numbers[sources[f"{CARRY}:{number}"]] = loop.writer.outer(loop.operands[number])
    carries, nodes = _needed(loop, set(still))
    found = {r: loop.operands[r.number] for r in loop.wanted if r.kind == FINAL and r.number in still}
    found |= {r: at_all_times for r in loop.wanted if (at_all_times := _given_already(loop, r, set(still))) is not None}
    if len(found) == len(loop.wanted):
        return found
    loop.carried(carries)
    loop.copy(nodes)
    written, number = loop.write(carries)
    return loop.results(written, number, loop.numbers, carries) | found


def _needed(loop: _Loop, still: set[int]) -> tuple[list[int], set[int]]:
    """The carried values and the nodes of the body that results need."""
    op, sources = loop.op, loop.op.body.sources()
    carries = {r.number for r in loop.wanted if r.kind == FINAL} - still
    stacked = [r.number for r in loop.wanted if r.kind == STACK]
    while True:
        nodes = op.body.ancestors([*stacked, *(op.following(c) for c in carries)])
        more = {n for n in range(op.carries) if sources.get(f"{CARRY}:{n}") in nodes} - still - carries
        if not more:
            return sorted(carries), nodes
        carries |= more


def _given_already(loop: _Loop, result: Result, still: set[int]) -> int | None:
    """The stack of a step, which is the sequence, or of what is the same at all times, which is that repeated; else None."""
    source = loop.op.body[result.number].op if result.kind == STACK else None
    if not isinstance(source, Source):
        return None
    if source.kind == STEP:
        return loop.given(source)
    if source.kind == OUTER or int(source.label) in still:
        whole, time = over_time(source.type, loop.op.length).shape, time_axis(source.type)
        axes = tuple(a for a in range(len(whole)) if a != time)
        return loop.graph.add(Broadcast(whole, axes), [loop.given(source)], loop.node.where)
    return None


# --- hoist ---------------------------------------------------------------------------------------------------------------------------


def _hoisted(loop: _Loop) -> Mapping[Result, int]:
    op, body = loop.op, loop.op.body
    kinds = {kind: [n for key, n in body.sources().items() if key.startswith(kind)] for kind in (CARRY, STEP, OUTER)}
    carrying, stepping = body.descendants(kinds[CARRY]), body.descendants(kinds[STEP])
    given = {*kinds[STEP], *kinds[OUTER]}
    known = {n: Lifted(loop.given(source), n in stepping) for n in given if isinstance(source := body[n].op, Source)}
    lift = Lift(loop.graph, body, op.length, known)
    left = [*body.outputs.values(), *(r.number for r in loop.wanted if r.kind == STACK)]
    needed = body.ancestors(left)
    loop.carried(range(op.carries))
    free = [n for n in sorted(needed - carrying - given) if liftable(body, n, given)]
    for number in (n for n in free if n not in stepping and not is_plain(body[n].op)):
        loop.numbers[number] = loop.writer.outer(lift.value(number).number)
    for number in _worth_hoisting(body, {n for n in free if n in stepping}, needed, left):
        loop.numbers[number] = loop.writer.step(lift.value(number).number)
    loop.copy(needed)
    written, number = loop.write(range(op.carries))
    return loop.results(written, number, loop.numbers)


def _worth_hoisting(body: Graph, free: Set[int], needed: Set[int], left: Iterable[int]) -> list[int]:
    """Of values that carry nothing, the last ones of those made by products, lookups or sums: what the rest of the body reads of them.

    `left` are values that leave the body.
    """
    heavy: set[int] = set()
    for number in sorted(free):
        if isinstance(body[number].op, Contract | Take | Reduce) or not heavy.isdisjoint(body[number].inputs):
            heavy.add(number)
    read = {i for n in needed - heavy for i in body[n].inputs}.union(left) & heavy
    return sorted({base(body, n) for n in read})


# --- sink ----------------------------------------------------------------------------------------------------------------------------


def _sunk(loop: _Loop) -> Mapping[Result, int]:
    op, body = loop.op, loop.op.body
    totals = {n: part for n in range(op.carries) if (part := _summed_part(loop, n)) is not None}
    carries = [n for n in range(op.carries) if n not in totals]
    kept = body.ancestors([op.following(c) for c in carries])
    late = {r.number for r in loop.wanted if r.kind == STACK and _is_late(body, r.number, kept)}
    stacked = {r.number for r in loop.wanted if r.kind == STACK} - late
    for part in totals.values():
        stacked |= _factors(body, part)
    given = kept | {n for n in range(len(body)) if body[n].op.has(Trait.SOURCE)}
    for number in late:
        stacked |= {n for n in between(body, [number], given) if n in given and not _is_source(body, n)}
    loop.carried(carries)
    roots = [*stacked, *(op.following(c) for c in carries)]
    loop.copy(body.ancestors(roots) - {n for key, n in body.sources().items() if key.startswith(CARRY)})
    written, number = loop.write(carries)
    lift = Lift(loop.graph, body, op.length, _stacks(loop, written, number, stacked))
    found = loop.results(written, number, {n: loop.numbers[n] for n in stacked}, carries)
    found |= {r: lift.sequence(r.number) for r in loop.wanted if r.kind == STACK and r.number in late}
    for result in loop.wanted:
        if result.kind == FINAL and result.number in totals:
            total = _total(loop, lift, totals[result.number])
            found[result] = loop.graph.add(Elementwise("add"), [loop.operands[result.number], total], loop.node.where)
    return found


def _is_source(body: Graph, number: int) -> bool:
    op = body[number].op
    return isinstance(op, Source) and op.kind != CARRY


def _stacks(loop: _Loop, op: Scan, number: int, stacked: Iterable[int]) -> dict[int, Lifted]:
    """What lies around the loop at all times: its operands, and what it stacks."""
    known = {n: Lifted(loop.graph.add(stack(op, loop.numbers[n]), [number], loop.node.where), True) for n in stacked}
    for node in loop.op.body:
        if isinstance(node.op, Source) and node.op.kind != CARRY:
            known[node.id] = Lifted(loop.given(node.op), node.op.kind == STEP)
    return known


def _is_late(body: Graph, number: int, kept: set[int]) -> bool:
    """Whether a stacked value is made by a product that nothing carried needs, and can be made for all times."""
    behind = between(body, [number], kept) - kept
    given = kept | {n for n in behind if body[n].op.has(Trait.SOURCE)}
    return any(isinstance(body[n].op, Contract) for n in behind) and liftable(body, number, given)


def _summed_part(loop: _Loop, carry: int) -> int | None:
    """What is added to a carried value at each time, when nothing else is done with it and its sum can be taken after the loop."""
    body, following = loop.op.body, loop.op.following(carry)
    source, node = body.sources().get(f"{CARRY}:{carry}"), body[following]
    if source is None or node.op != Elementwise("add") or node.inputs.count(source) != 1:
        return None
    uses = [n.id for n in body if source in n.inputs] + [n.id for n in body if following in n.inputs]
    ends = [n for n in range(loop.op.carries) if loop.op.following(n) in (following, source)]
    watched = any(r.kind == STACK and r.number in (following, source) for r in loop.wanted)
    if uses != [following] or ends != [carry] or watched:
        return None
    part = next(i for i in node.inputs if i != source)
    return part if _can_sum(body, part) else None


def _can_sum(body: Graph, number: int) -> bool:
    """Whether the sum of a value over all times can be taken as that of products or of stacked values."""
    node = body[number]
    stepping = body.descendants([n for key, n in body.sources().items() if not key.startswith(OUTER)])
    match node.op:
        case Contract() | ScatterAdd():
            return all(i in stepping for i in node.inputs)
        case Reduce(kind="sum"):
            return node.inputs[0] in stepping
        case Elementwise("add" | "sub" | "neg"):
            return all(_can_sum(body, i) for i in node.inputs)
        case _:
            return isinstance(node.op, LINEAR) and _can_sum(body, node.inputs[0])


def _factors(body: Graph, number: int) -> set[int]:
    """The values to be stacked for the sum of a value over all times."""
    pending, found = [number], set[int]()
    while pending:
        node = body[pending.pop()]
        if isinstance(node.op, Contract | Reduce | ScatterAdd):
            found |= {i for i in node.inputs if not _is_source(body, i)}
        else:
            pending += node.inputs
    return found


def _total(loop: _Loop, lift: Lift, number: int) -> int:
    """The sum of a value over all times."""
    node = lift.body[number]
    kinds = [lift.body.type(i) for i in node.inputs]
    if isinstance(node.op, Contract):
        op = with_time(node.op, None, kinds, (True, True))
        return loop.graph.add(op, [lift.sequence(i) for i in node.inputs], node.where)
    if isinstance(node.op, ScatterAdd):
        return loop.graph.add(node.op, [lift.sequence(i) for i in node.inputs], node.where)
    if isinstance(node.op, Reduce):
        time = time_axis(kinds[0])
        axes = tuple(sorted({time, *(moved(a, time) for a in node.op.axes)}))
        return loop.graph.add(Reduce("sum", axes), [lift.sequence(node.inputs[0])], node.where)
    return loop.graph.add(node.op, [_total(loop, lift, i) for i in node.inputs], node.where)
