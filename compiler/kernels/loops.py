"""Where the values of a loop lie: one slot a time, the slots of a value one after the other.

What is carried is read from one slot and written to the next, so kernels know nothing of time: their buffers move by a slot a turn.
Where only the last value is wanted two slots take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..ir.ops import Source
from ..ir.scan import CARRY, FINAL, STACK, Result, Scan, at_one_time, time_axis
from ..ir.types import TensorType
from .memory import aligned
from .placement import Placement, dense, elements
from .program import Buffer, Turn


@dataclass(frozen=True)
class Moving:
    """A buffer as it is at one time: slot `time + phase` (modulo `slots` if not 0) of another one, slots being `stride` elements apart."""

    place: Placement
    buffer: str
    elements: int
    stride: int
    phase: int
    slots: int
    turns: int

    def resolved(self, base: Buffer) -> Buffer:
        """The buffer, once it is known where the other one lies."""
        bytes_ = base.dtype.bytes
        last = self.slots - 1 if self.slots else self.phase + self.turns - 1
        turn = Turn(self.stride * bytes_, self.phase, self.slots, (last * self.stride + self.elements) * bytes_)
        return Buffer(self.place.buffer, base.dtype, self.elements, base.space, base.offset, turn, base.name)


@dataclass(frozen=True)
class Slots:
    """`count` places for a value, `cell` elements each, in a buffer of their own; `one` is the first."""

    one: Placement
    cell: int
    count: int

    @property
    def whole(self) -> Placement:
        """The buffer as one row of elements."""
        return Placement(self.one.buffer, self.one.dtype, (self.cell * self.count,), (1,))

    def at(self, slot: int) -> Placement:
        """One of the places."""
        return replace(self.one, offset=slot % self.count * self.cell)

    def sequence(self, first: int, length: int) -> Placement:
        """Neighbouring places as one value with a time axis."""
        time = time_axis(TensorType(self.one.dtype, self.one.shape))
        shape, strides = self.one.shape, self.one.strides
        shape, strides = (*shape[:time], length, *shape[time:]), (*strides[:time], self.cell, *strides[time:])
        return replace(self.one, shape=shape, strides=strides, offset=first * self.cell)

    def moving(self, name: str, phase: int, turns: int) -> Moving:
        """The place at one time."""
        wraps = self.count if turns + phase > self.count else 0
        return Moving(replace(self.one, buffer=name), self.one.buffer, self.cell, self.cell, phase, wraps, turns)


@dataclass(frozen=True)
class LoopPlan:
    """The places of all that a loop leaves behind. `carried` by carry, `stacked` by node of the body."""

    op: Scan
    name: str
    carried: Sequence[Slots]
    stacked: Mapping[int, Slots]

    @property
    def read(self) -> int:
        """The phase in which a carried value is read; it is written in the other."""
        return int(self.op.reverse)

    def first(self, carry: int) -> Placement:
        """Where the first value of what is carried is put."""
        return self.carried[carry].at(self.op.length if self.op.reverse else 0)

    def result(self, result: Result) -> Placement:
        """Where a result lies."""
        if result.kind == FINAL:
            return self.carried[result.number].at(0 if self.op.reverse else self.op.length)
        if result.number in self.stacked:
            return self.stacked[result.number].sequence(0, self.op.length)
        found = history(self.op, result.number)
        assert found is not None, "what is stacked has slots of its own, or is carried"
        carry, before = found
        return self.carried[carry].sequence(self.read if before else 1 - self.read, self.op.length)

    def buffers(self) -> list[Placement]:
        """All buffers."""
        return [slots.whole for slots in (*self.carried, *self.stacked.values())]


def history(op: Scan, number: int) -> tuple[int, bool] | None:
    """The carry whose value before (True) or after (False) a time a node of the body is; None for other nodes."""
    source = op.body[number].op
    if isinstance(source, Source) and source.kind == CARRY:
        return int(source.label), True
    return next(((carry, False) for carry in range(op.carries) if op.following(carry) == number), None)


def plan_loop(op: Scan, results: Sequence[Result], name: str, rows: int) -> LoopPlan:
    """The places for a loop of which the `results` are wanted, for a capacity of `rows`."""
    stacked = {r.number for r in results if r.kind == STACK}
    kept = {found[0] for n in stacked if (found := history(op, n)) is not None}
    carried = []
    for carry in range(op.carries):
        kind = op.body.type(op.following(carry))
        carried.append(_slots(f"{name}.carry{carry}", kind, op.length + 1 if carry in kept else 2, rows))
    own = {n: _slots(f"{name}.stack{n}", op.body.type(n), op.length, rows) for n in sorted(stacked) if history(op, n) is None}
    return LoopPlan(op, name, carried, own)


def sequence_slots(name: str, kind: TensorType, rows: int) -> Slots:
    """Places for a value with a time axis, one a time: a loop then reads neighbouring rows, not rows a whole sequence apart."""
    return _slots(name, at_one_time(kind), times_of(kind), rows)


def times_of(kind: TensorType) -> int:
    """The times of a sequence."""
    length = kind.shape[time_axis(kind)]
    assert isinstance(length, int)
    return length


def _slots(name: str, kind: TensorType, count: int, rows: int) -> Slots:
    one = dense(name, kind)
    size = aligned(elements(one, rows) * kind.dtype.bytes) // kind.dtype.bytes
    return Slots(one, size, count)


def step_of(sequence: Placement, name: str, length: int, rows: int) -> Moving:
    """A sequence as it is at one time."""
    time = time_axis(TensorType(sequence.dtype, sequence.shape))
    shape, strides = sequence.shape, sequence.strides
    one = replace(sequence, buffer=name, shape=shape[:time] + shape[time + 1 :], strides=strides[:time] + strides[time + 1 :], frame=())
    return Moving(one, sequence.buffer, elements(one, rows), strides[time], 0, 0, length)
