"""Values of a loop's body made for all times at once: every operation gets a time axis, right after the batch.

Before, at each time:  %2 = contract(%0, %1) : f32[batch, 8]          %0 a step, %1 the same at all times
After, outside:        %2 = contract(%0, %1) : f32[batch, T, 8]       %0 the whole sequence

Legal for operations whose value at a time depends on their operands at that time alone, which is all of them; those without a rule here
stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace

from ..ir.elementwise import Cast, Elementwise, Select, StopGradient
from ..ir.graph import Graph, Node
from ..ir.op import Op, Trait
from ..ir.ops import Concat, Constant, Contract, Position, Reduce, Source
from ..ir.scan import OUTER, over_time, time_axis
from ..ir.take import Take
from ..ir.types import TensorType
from ..ir.views import Broadcast, Reshape, Slice, Transpose

ALIKE = (Elementwise, Select, Cast, StopGradient, Concat)
"""Operations whose operands all need the time axis when one has it."""

LIFTED = (*ALIKE, Contract, Reduce, Broadcast, Reshape, Slice, Transpose, Constant, Position, Take)


def liftable(body: Graph, number: int, given: Set[int]) -> bool:
    """Whether a value can be made for all times from `given` ones."""
    return all(_has_rule(body, body[n]) for n in between(body, [number], given) - given)


def _has_rule(body: Graph, node: Node) -> bool:
    """A table is the same at all times."""
    if isinstance(node.op, Take):
        source = body[node.inputs[0]].op
        return isinstance(source, Source) and source.kind == OUTER
    return isinstance(node.op, LIFTED)


def between(body: Graph, roots: Iterable[int], given: Set[int]) -> set[int]:
    """The roots and what they are made from, not looking behind `given` values."""
    seen = set(roots)
    for number in range(max(seen, default=-1), -1, -1):
        if number in seen and number not in given:
            seen.update(body[number].inputs)
    return seen


@dataclass(frozen=True)
class Lifted:
    """A value of the graph around a loop; `timed` when it has the time axis, else it is the same at all times."""

    number: int
    timed: bool


@dataclass
class Lift:
    """Makes values of `body` in `graph`; `known` ones are there already."""

    graph: Graph
    body: Graph
    length: int
    known: dict[int, Lifted]

    def value(self, number: int) -> Lifted:
        """A value at all times."""
        for each in sorted(between(self.body, [number], self.known.keys()) - self.known.keys()):
            self.known[each] = self._made(self.body[each])
        return self.known[number]

    def sequence(self, number: int) -> int:
        """A value at all times, with the time axis even where it is the same at all."""
        return self._spread(self.value(number), self.body.type(number))

    def _made(self, node: Node) -> Lifted:
        operands = [self.known[i] for i in node.inputs]
        if not any(o.timed for o in operands):
            return Lifted(self.graph.add(node.op, [o.number for o in operands], node.where), False)
        kinds = [self.body.type(i) for i in node.inputs]
        op = self._along(node.op, node.type, kinds, [o.timed for o in operands])
        if isinstance(node.op, ALIKE):
            numbers = [self._spread(o, kind) for o, kind in zip(operands, kinds, strict=True)]
        else:
            numbers = [o.number for o in operands]
        return Lifted(self.graph.add(op, numbers, node.where), True)

    def _spread(self, value: Lifted, kind: TensorType) -> int:
        if value.timed:
            return value.number
        whole, time = over_time(kind, self.length).shape, time_axis(kind)
        return self.graph.add(Broadcast(whole, tuple(a for a in range(len(whole)) if a != time)), [value.number])

    def _along(self, op: Op, kind: TensorType, operands: Sequence[TensorType], timed: Sequence[bool]) -> Op:
        """The operation on values that have the time axis."""
        time = time_axis(operands[0]) if operands else 0
        match op:
            case Elementwise() | Select() | Cast() | StopGradient() | Take():
                return op
            case Concat():
                return Concat(moved(op.axis, time))
            case Contract():
                return with_time(op, kind, operands, timed)
            case Reduce():
                return Reduce(op.kind, tuple(moved(a, time) for a in op.axes))
            case Broadcast():
                own = time_axis(kind)
                axes = [moved(a, own) for a in op.axes]
                return Broadcast(over_time(kind, self.length).shape, (*axes[:time], own, *axes[time:]))
            case Reshape():
                return Reshape(over_time(kind, self.length).shape)
            case Transpose():
                order = [moved(a, time) for a in op.order]
                return Transpose((*order[:time], time, *order[time:]))
            case Slice():
                start, stop, step = ((*v[:time], own, *v[time:]) for v, own in ((op.start, 0), (op.stop, self.length), (op.step, 1)))
                return replace(op, start=start, stop=stop, step=step)
            case _:
                raise AssertionError(f"{op.name} has no rule for a time axis")


def moved(axis: int, time: int) -> int:
    """Where an axis stands once the time axis has come in at position `time`."""
    return axis + (axis >= time)


def with_time(op: Contract, kind: TensorType | None, operands: Sequence[TensorType], timed: Sequence[bool]) -> Contract:
    """A contraction at all times; summed over them when the result's `kind` is not given."""
    label = max((*op.left, *op.right, *op.out), default=-1) + 1

    def labelled(labels: tuple[int, ...], kind: TensorType) -> tuple[int, ...]:
        time = time_axis(kind)
        return (*labels[:time], label, *labels[time:])

    left, right = (labelled(each, k) if t else each for each, k, t in zip((op.left, op.right), operands, timed, strict=True))
    return Contract(left, right, op.out if kind is None else labelled(op.out, kind))


def is_plain(op: Op) -> bool:
    """True for what costs nothing: views, numbers, counters."""
    return op.has(Trait.VIEW | Trait.CONSTANT) or isinstance(op, Position)
