"""Loops over the axes of a nest: counted, over panels, over vectors with their remainders. Values that a loop carries go in and come out.

A body is a function from carried values to their next values, written at the place that the loop has entered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..ir.types import Symbol
from ..kernels.model import Axis
from . import vectors
from .loop_plan import Plan, is_static
from .normal_form import Ragged, factor
from .points import Place, Slot
from .text import Text, Value, i64

Carried = list[Value]
Body = Callable[[Carried], Carried]
LO, HI, ROWS = Value("i64", "%lo"), Value("i64", "%hi"), Value("i64", "%rows")


@dataclass
class Loops:
    """Writes loops at a place. `extents` holds the extents inside the panels that are being written."""

    place: Place
    extents: dict[str, int] = field(default_factory=dict)

    @property
    def plan(self) -> Plan:
        """The plan of the kernel."""
        return self.place.plan

    @property
    def text(self) -> Text:
        """The function being written."""
        return self.place.text

    def bounds(self, axis: Axis) -> tuple[Value | int, Value | int]:
        """First and last + 1 index of an axis here: this call's share of the shared axis, else all."""
        if isinstance(axis.extent, Ragged):
            return 0, self.extents[axis.name]
        if axis.name == self.plan.shared:
            return self.text.mul(LO, factor(axis.extent)), self.text.mul(HI, factor(axis.extent))
        return 0, self.text.mul(ROWS, factor(axis.extent)) if isinstance(axis.extent, Symbol) else axis.extent

    def size(self, axis: Axis) -> int:
        """The extent of an axis that is known here."""
        stop = self.bounds(axis)[1]
        assert isinstance(stop, int)
        return stop

    @contextmanager
    def at(self, axis: str, index: Value) -> Iterator[None]:
        """The place at one index of an axis."""
        with self.place.inside(axis, index, {stride: self.text.mul(index, stride) for stride in self._strides(axis)}):
            yield

    def count(self, axis: str, start: Value | int, stop: Value | int, step: int, carried: Carried, body: Body) -> Carried:
        """`for index in range(start, stop, step)`; a single turn known now is written without a loop. Addresses are counted along."""
        if isinstance(start, int) and isinstance(stop, int) and stop - start <= step:
            with self.at(axis, i64(start)):
                return body(carried)
        strides = [s for s in self._strides(axis) if s != 1]
        first = [self.text.mul(i64(start) if isinstance(start, int) else start, s) for s in strides]
        with self.text.loop(stop, start, step, [*carried, *first]) as loop:
            kept = loop.carried[: len(carried)]
            offsets = dict(zip(strides, loop.carried[len(carried) :], strict=True))
            with self.place.inside(axis, loop.index, {1: loop.index, **offsets}):
                after = body(kept)
            loop.close([*after, *(self.text.add(offsets[s], i64(s * step)) for s in strides)])
        return loop.results[: len(carried)]

    def nest(self, axes: Sequence[Axis], carried: Carried, body: Body) -> Carried:
        """Loops over several axes, outer to inner; in each, what is known is evaluated before going further in."""
        self.place.define_known()
        if not axes:
            return body(carried)
        axis, *rest = axes

        def inner(values: Carried) -> Carried:
            return self.nest(rest, values, body)

        inside = self._inside_panels(axis)
        lo, hi = self.bounds(axis)
        if inside is None:
            return self.count(axis.name, lo, hi, 1, carried, inner)
        return self._panels(axis.name, inside, lo, hi, carried, inner)

    def vectors(self, carried: Carried, body: Body) -> Carried:
        """A loop over the vector axis; `body` is written for blocks of one or more vectors, and for the remainder."""
        axis = self.plan.vector_axis
        assert axis is not None
        lo, hi = self.bounds(axis)
        if isinstance(lo, int) and isinstance(hi, int):
            return self._known_vectors(axis.name, hi, carried, body)
        first = i64(lo) if isinstance(lo, int) else lo
        assert isinstance(hi, Value)
        return self._run_time_vectors(axis.name, first, hi, factor(axis.extent), carried, body)

    def blocks(self, axis: Axis, step: int, body: Callable[[int], None]) -> None:
        """A loop over an axis of known extent in blocks of `step`; `body` is told how many points its block has."""

        def block(points: int) -> Body:
            def write(carried: Carried) -> Carried:
                body(points)
                return carried

            return write

        whole, rest = divmod(self.size(axis), step)
        if whole:
            self.count(axis.name, 0, whole * step, step, [], block(step))
        if rest:
            with self.at(axis.name, i64(whole * step)):
                body(rest)

    def row_slots(self, points: int) -> tuple[Slot, ...]:
        """Vectors that cover so many points of the vector axis."""
        lanes, name = self.plan.lanes, self.plan.vector or ""
        starts = range(0, points, lanes)
        return tuple(Slot(((name, s),), None if s + lanes <= points else points - s) for s in starts)

    def scalar_tail(self) -> bool:
        """True if a remainder known at run time only is written lane by lane, for want of cheap masks or because of strides."""
        target, axis = self.plan.target, self.plan.vector_axis
        if axis is None or is_static(axis):
            return False
        name = axis.name
        strides = [(a.stride(name), a.dtype.bits) for a in self.place.accesses() if a.stride(name)]
        narrowest = min((bits for _, bits in strides), default=32)
        maskable = target.masked or (target.vector_bits >= 256 and narrowest >= 32)
        return not maskable or any(stride != 1 for stride, _ in strides)

    def _strides(self, axis: str) -> list[int]:
        return list(dict.fromkeys(s for a in self.place.accesses() if (s := a.stride(axis))))

    def _inside_panels(self, axis: Axis) -> Axis | None:
        """The axis inside the panels that this one counts, where the last panel is shorter."""
        both = (*self.plan.nest.axes, *self.plan.nest.over)
        return next((a for a in both if isinstance(a.extent, Ragged) and a.extent.name == axis.name), None)

    def _panels(self, name: str, inside: Axis, lo: Value | int, hi: Value | int, carried: Carried, body: Body) -> Carried:
        """Whole panels in a loop, then the last one, each with its own known extent inside."""
        ragged = inside.extent
        assert isinstance(ragged, Ragged)

        def panel(points: int) -> Body:
            def write(values: Carried) -> Carried:
                self.extents[inside.name] = points
                return body(values)

            return write

        if isinstance(lo, int) and isinstance(hi, int):
            carried = self.count(name, 0, ragged.full, 1, carried, panel(ragged.panel))
            with self.at(name, i64(ragged.full)):
                return panel(ragged.last)(carried)
        assert not carried, "a shared axis carries nothing"
        assert isinstance(lo, Value)
        assert isinstance(hi, Value)
        stop = self.text.call("i64", "llvm.smin.i64", hi, i64(ragged.full))
        self.count(name, lo, stop, 1, [], panel(ragged.panel))
        some, to_last = self.text.op("i1", f"icmp slt {lo}, {hi.name}"), self.text.op("i1", f"icmp sgt {hi}, {ragged.full}")
        with self.text.when(self.text.op("i1", f"and {some}, {to_last.name}")), self.at(name, i64(ragged.full)):
            panel(ragged.last)([])
        return []

    def _in_block(self, slots: tuple[Slot, ...], lanes: int, body: Body) -> Body:
        def write(carried: Carried) -> Carried:
            with self.place.block(slots, lanes):
                return body(carried)

        return write

    def _known_vectors(self, name: str, points: int, carried: Carried, body: Body) -> Carried:
        turn = self.plan.unroll * self.plan.lanes
        looped = points // turn * turn if points // turn > 1 else 0
        if looped:
            whole = self._in_block(self.row_slots(turn), self.plan.lanes, body)
            carried = self.count(name, 0, looped, turn, carried, whole)
        if looped < points:
            with self.at(name, i64(looped)):
                carried = self._in_block(self.row_slots(points - looped), self.plan.lanes, body)(carried)
        return carried

    def _run_time_vectors(self, name: str, lo: Value, hi: Value, multiple: int, carried: Carried, body: Body) -> Carried:
        """Turns of several vectors, of one, and a remainder; what a `multiple` of rows cannot leave is not written."""
        text, lanes, turn = self.text, self.plan.lanes, self.plan.lanes * self.plan.unroll
        span, start = text.op("i64", f"sub {hi}, {lo.name}"), lo
        for step in dict.fromkeys((turn, lanes)):
            if step == lanes < turn and not multiple % turn:
                continue
            stop = hi if not multiple % step else text.add(lo, text.op("i64", f"and {span}, {-step}"))
            block = self._in_block(self.row_slots(step), lanes, body)
            carried, start = self.count(name, start, stop, step, carried, block), stop
        if not multiple % lanes:
            return carried
        if self.scalar_tail():
            return self.count(name, start, hi, 1, carried, self._in_block((Slot(((name, 0),)),), 1, body))

        def masked(values: Carried) -> Carried:
            mask = vectors.lane_mask(text, lanes, text.op("i64", f"sub {hi}, {self.place.indices[name].name}"))
            return self._in_block((Slot(((name, 0),), mask=mask),), lanes, body)(values)

        return self.count(name, start, hi, lanes, carried, masked)
