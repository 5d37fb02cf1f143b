"""Overlapping windows are gathered instead of scattered: every `overlap_add` becomes sums over the windows that cover an element.

Before:  %2 = contract(%g, %w, form=abcf,deghf->abcdeg) ; %3 = overlap_add(%2, axes=[1, 2], size=[3, 3])
After:   %4 = window(pad(%g)) ; %5 = reverse(%w) ; %3 = contract(%4, %5)

An element p of the result is the sum over the places k of a window with `stride * o + dilation * k = p`. Elements with the same
remainder by the stride, a *phase*, are covered by the same places, so each phase is one dense sum over windows of what the result of
`overlap_add` is made of: a contraction of windows of its one factor with reversed places of the other (the data gradient of a
convolution), or a sum of elementwise work on such windows (that of pooling). The phases are woven together at the end. Legal because
windows beyond the edge read zeros, and what is done with them keeps zero; where that is not sure, the windows themselves are stored in a
frame of zeros and read askew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..ir.build import Build
from ..ir.elementwise import ROWS, Cast, Elementwise, Select
from ..ir.graph import Graph, Node, rewrite
from ..ir.op import Trait
from ..ir.ops import Constant, Contract, Position
from ..ir.types import Shape
from ..ir.views import Broadcast
from ..ir.windows import OverlapAdd, Reverse, Skew, Sliding, Weave, Window
from .simplify import simplify
from .weaves import sink_weaves


@cache
def keeps_zero(row: str) -> bool:
    """True for a row of the elementwise table with one operand that is 0 at 0."""
    if ROWS[row].arity != 1 or ROWS[row].boolean or "f" not in ROWS[row].domain:
        return False
    with np.errstate(all="ignore"):
        return bool(ROWS[row].reference(np.zeros(1))[0] == 0)


def gather_overlaps(graph: Graph) -> Graph:
    """Rewrite every `overlap_add` and simplify what that makes; the very same graph when there is none."""
    if not any(isinstance(node.op, OverlapAdd) for node in graph):
        return graph

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        if not isinstance(node.op, OverlapAdd):
            return None
        return _Gather(Build(new, node.type.dtype, node.where), node.op, operands[0]).run()

    return simplify(sink_weaves(rewrite(graph, rule)))


@dataclass(frozen=True)
class Phase:
    """One axis of a phase: the places `first`, `first + step`, … (`count` of them) cover its `period` elements.

    Its element q is covered by place number j of the window `start + dilation * (count - 1 - j) + q`.
    """

    period: int
    first: int
    step: int
    count: int
    start: int
    dilation: int


@dataclass(frozen=True)
class _Gather:
    """The work on one `overlap_add` of the value `source`."""

    build: Build
    op: OverlapAdd
    source: int

    @property
    def sliding(self) -> Sliding:
        """How the windows slide."""
        return self.op.sliding

    @property
    def shape(self) -> Shape:
        """The shape of the windows."""
        return self.build.type(self.source).shape

    def run(self) -> int:
        """All phases, woven together."""
        weave = Weave(self.sliding.axes, self.sliding.stride, self.op.lengths)
        parts = []
        for remainders in weave.remainders:
            counts = weave.counts(remainders)
            parts.append(self._sum([self._phase(n, r, count) for n, (r, count) in enumerate(zip(remainders, counts, strict=True))]))
        return parts[0] if len(parts) == 1 else self.build.add_op(weave, *parts)

    def _phase(self, n: int, remainder: int, period: int) -> Phase:
        """The places that cover the `period` elements of a remainder."""
        stride, dilation = self.sliding.stride[n], self.sliding.dilation[n]
        element = remainder + self.op.offset[n]
        places = [k for k in range(self.sliding.size[n]) if (dilation * k - element) % stride == 0]
        if not places:
            return Phase(period, 0, 1, 0, 0, 1)
        step = stride // math.gcd(stride, dilation)
        apart = dilation // math.gcd(stride, dilation)
        start = (element - dilation * places[-1]) // stride
        return Phase(period, places[0], step, len(places), start, apart)

    def _sum(self, phases: list[Phase]) -> int:
        """The elements of one phase."""
        build, kind = self.build, self.build.type(self.source)
        if any(not phase.count for phase in phases):
            shape = [d for n, d in enumerate(kind.shape) if n not in self.sliding.inside]
            for axis, phase in zip(self.sliding.axes, phases, strict=True):
                shape[axis] = phase.period
            return build.broadcast(build.constant(0.0, kind.dtype), tuple(shape), ())
        contraction = self._contracted(phases)
        if contraction is not None:
            return contraction
        moved = self._moved(self.source, phases) if self._keeps_zero(self.source) else None
        if moved is not None and _is_flat(phases):
            return moved
        return build.sum(self._skewed(phases) if moved is None else moved, self.sliding.inside)

    # windows of what the windows are made of

    def _windowed(self, value: int, phases: list[Phase], positions: list[int | None], inside: int) -> int:
        """Windows of a value along the axes `positions` (None: it has no such axis), zeros beyond its edges; elements at `inside`."""
        build = self.build
        axes, sizes, dilations = [], [], []
        for phase, axis in zip(phases, positions, strict=True):
            if axis is None:
                continue
            value = self._framed(value, axis, phase)
            axes.append(axis)
            sizes.append(phase.count)
            dilations.append(phase.dilation)
        assert not axes or inside == axes[-1] + 1
        return build.add_op(Window(Sliding(tuple(axes), tuple(sizes), (1,) * len(axes), tuple(dilations))), value) if axes else value

    def _framed(self, value: int, axis: int, phase: Phase) -> int:
        """Exactly the stretch of an axis that the windows of a phase read."""
        build, kind = self.build, self.build.type(value)
        length = kind.shape[axis]
        assert isinstance(length, int)
        first, last = phase.start, phase.start + phase.period - 1 + phase.dilation * (phase.count - 1)
        begin, end = max(0, first), min(length - 1, last)
        if begin > end:  # all of it is beyond the edge
            shape = (*kind.shape[:axis], last - first + 1, *kind.shape[axis + 1 :])
            return build.broadcast(build.constant(0.0 if kind.dtype.is_float else 0, kind.dtype), shape, ())
        if (begin, end) != (0, length - 1):
            value = build.slice_axis(value, axis, begin, end + 1)
        return build.frame(value, axis, begin - first, last - end)

    def _places(self, value: int, phases: list[Phase], positions: list[int | None]) -> int:
        """The places of a phase along the axes `positions`."""
        build = self.build
        for phase, axis in zip(phases, positions, strict=True):
            if axis is not None and (phase.count, phase.step) != (build.type(value).shape[axis], 1):
                stop = phase.first + phase.step * (phase.count - 1) + 1
                value = build.slice_axis(value, axis, phase.first, stop, phase.step)
        return value

    def _placed(self, value: int, phases: list[Phase], positions: list[int | None]) -> int:
        """The places of a phase in the order in which its windows are read: backwards."""
        value = self._places(value, phases, positions)
        backwards = tuple(a for p, a in zip(phases, positions, strict=True) if a is not None and p.count > 1)
        return self.build.add_op(Reverse(backwards), value) if backwards else value

    def _contracted(self, phases: list[Phase]) -> int | None:
        """A contraction of one factor that has the windows and one that has their places: contracted over the places too."""
        build, node = self.build, self.build.graph[self.source]
        if not isinstance(node.op, Contract):
            return None
        counts, places = ([node.op.out[a] for a in axes] for axes in (self.sliding.axes, self.sliding.inside))
        for one, labels, other, opposite in ((0, node.op.left, 1, node.op.right), (1, node.op.right, 0, node.op.left)):
            apart = set(counts) <= set(labels) and set(places) <= set(opposite)
            if not apart or set(counts) & set(opposite) or set(places) & set(labels):
                continue
            order = [labels.index(x) for x in counts]
            if order != list(range(order[0], order[0] + len(order))):
                continue
            windows = self._windowed(node.inputs[one], phases, list(order), order[-1] + 1)
            placed = self._placed(node.inputs[other], phases, [opposite.index(x) for x in places])
            ours = (*labels[: order[-1] + 1], *places, *labels[order[-1] + 1 :])
            out = tuple(x for x in node.op.out if x not in places)
            return build.add_op(Contract(ours, opposite, out), windows, placed)
        return None

    # elementwise work

    def _keeps_zero(self, number: int) -> bool:
        """True when a value is 0 wherever what is counted by windows is read beyond its edge."""
        node = self.build.graph[number]
        match node.op:
            case Broadcast():
                return set(self.sliding.axes) <= set(node.op.axes)
            case Elementwise("mul"):
                zeros = [self._keeps_zero(i) for i in node.inputs]
                return any(zeros) and all(zero or not self._is_counted(i) for zero, i in zip(zeros, node.inputs, strict=True))
            case Elementwise("add" | "sub" | "max" | "min"):
                return all(self._keeps_zero(i) for i in node.inputs)
            case Elementwise(row):
                return keeps_zero(row) and self._keeps_zero(node.inputs[0])
            case Cast():
                return self._keeps_zero(node.inputs[0])
            case Select():
                return all(self._is_zero(i) or self._keeps_zero(i) for i in node.inputs[1:])
            case _:
                return self._is_zero(number)

    def _is_counted(self, number: int) -> bool:
        """True when a value is made of what differs from window to window: where none shows an element, it may even be infinite."""
        node = self.build.graph[number]
        if node.op.has(Trait.ELEMENTWISE):
            return any(self._is_counted(i) for i in node.inputs)
        if isinstance(node.op, Window):
            return True
        return isinstance(node.op, Broadcast) and not set(self.sliding.axes).isdisjoint(node.op.axes)

    def _is_zero(self, number: int) -> bool:
        node = self.build.graph[number]
        while isinstance(node.op, Broadcast):
            node = self.build.graph[node.inputs[0]]
        return isinstance(node.op, Constant) and node.op.value == 0

    def _moved(self, number: int, phases: list[Phase]) -> int | None:
        """A value of all windows at the windows that cover the elements of a phase, by place; None when it cannot be had so."""
        build, node = self.build, self.build.graph[number]
        if node.type.shape != self.shape:
            return None
        match node.op:
            case Elementwise() | Select() | Cast():
                operands = [self._moved(i, phases) for i in node.inputs]
                known = [o for o in operands if o is not None]
                return build.add_op(node.op, *known) if len(known) == len(operands) else None
            case Broadcast():
                return self._moved_broadcast(node, phases)
            case Window(sliding) if sliding == self.sliding:
                return self._moved_windows(node.inputs[0], phases)
            case Position():
                return self._moved_position(node.op, phases)
            case _:
                return None

    def _spread(self, value: int, phases: list[Phase], axes: list[int]) -> int:
        """A value over all points of a phase; its axes are those of the windows' shape. Axes of one place are left out."""
        shape = list(self.shape)
        for phase, axis, inside in zip(phases, self.sliding.axes, self.sliding.inside, strict=True):
            shape[axis], shape[inside] = phase.period, phase.count
        if not _is_flat(phases):
            return self.build.broadcast(value, tuple(shape), axes)
        kept = [a for a in range(len(shape)) if a not in self.sliding.inside]
        own = [a for a in axes if a in kept]
        value = self.build.reshape(value, tuple(shape[a] for a in own))
        return self.build.broadcast(value, tuple(shape[a] for a in kept), [kept.index(a) for a in own])

    def _moved_broadcast(self, node: Node, phases: list[Phase]) -> int | None:
        assert isinstance(node.op, Broadcast)
        axes, value, sliding = list(node.op.axes), node.inputs[0], self.sliding
        counted = [axes.index(a) if a in axes else None for a in sliding.axes]
        placed = [axes.index(a) if a in axes else None for a in sliding.inside]
        if any(c is not None and p is not None for c, p in zip(counted, placed, strict=True)):
            return None
        value = self._placed(value, phases, placed)
        if not any(c is not None for c in counted):
            return self._spread(value, phases, axes)
        own = [c for c in counted if c is not None]
        if len(own) < len(counted) or any(p is not None for p in placed) or own != list(range(own[0], own[0] + len(own))):
            return None
        if _is_flat(phases):
            for phase, axis in zip(phases, own, strict=True):
                value = self._framed(value, axis, phase)
            return self._spread(value, phases, axes)
        windows = self._windowed(value, phases, counted, own[-1] + 1)
        return self._spread(windows, phases, [*axes[: own[-1] + 1], *sliding.inside, *axes[own[-1] + 1 :]])

    def _moved_windows(self, value: int, phases: list[Phase]) -> int:
        """The element itself, whatever window it is seen through."""
        build, sliding = self.build, self.sliding
        for n, (phase, axis) in enumerate(zip(phases, sliding.axes, strict=True)):
            stride = sliding.stride[n]
            first = self.op.offset[n] + (sliding.dilation[n] * phase.first - self.op.offset[n]) % stride
            stop = first + stride * (phase.period - 1) + 1
            whole = build.type(value).shape[axis]
            assert isinstance(whole, int)
            value = build.frame(value, axis, 0, max(0, stop - whole))
            if (first, stop, stride) != (0, whole, 1):
                value = build.slice_axis(value, axis, first, stop, stride)
        axes = [a for a in range(len(self.shape)) if a not in sliding.inside]
        return self._spread(value, phases, axes)

    def _moved_position(self, op: Position, phases: list[Phase]) -> int | None:
        """A counter along the places alone, or along axes that are not windowed."""
        if any(op.strides[a] for a in self.sliding.axes):
            return None
        axes = [a for a in range(len(op.shape)) if op.strides[a]]
        if _is_flat(phases) and set(axes) <= set(self.sliding.inside):
            place = sum(op.strides[a] * p.first for p, a in zip(phases, self.sliding.inside, strict=True))
            return self._spread(self.build.constant(place, op.dtype), phases, [])
        counter = Position(tuple(op.shape[a] for a in axes), tuple(op.strides[a] for a in axes), op.dtype)
        placed: list[int | None] = [axes.index(a) if a in axes else None for a in self.sliding.inside]
        return self._spread(self._placed(self.build.add_op(counter), phases, placed), phases, axes)

    def _skewed(self, phases: list[Phase]) -> int:
        """The windows themselves, in a frame of zeros, read askew."""
        sliding = self.sliding
        value = self._places(self.source, phases, list(sliding.inside))
        for phase, axis in zip(phases, sliding.axes, strict=True):
            value = self._framed(value, axis, phase)
        return self.build.add_op(Skew(sliding.axes, sliding.inside, tuple(p.dilation for p in phases)), value)


def _is_flat(phases: list[Phase]) -> bool:
    """True when every element is covered by one place alone."""
    return all(phase.count == 1 for phase in phases)
