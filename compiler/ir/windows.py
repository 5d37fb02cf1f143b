"""Windows over axes, as views: padding, sliding windows and their adjoint. Convolution is a contraction of windows, pooling a reduction.

Pad          a value in a frame of one number; free where the value is stored with such a frame around it
Window       every window of some axes side by side: a view that shows elements more than once
OverlapAdd   the adjoint of Window: windows are added up where they overlap (`passes/overlap.py` takes it apart)
Reverse      axes walked backwards
Skew         windows walked by where their elements came from: what is left of OverlapAdd when nothing simpler fits
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .affine import Point
from .op import Array, Context, Op, ShapeError, Trait
from .types import Shape, Symbol, TensorType
from .views import View

if TYPE_CHECKING:
    from .build import Build
    from .graph import Node


@dataclass(frozen=True)
class Sliding:
    """How windows slide along some axes: their size, the distance of neighbours (stride) and of a window's elements (dilation).

    The result of a `Window` counts windows where `axes` were; the elements of a window are axes right behind the last of them.
    """

    axes: tuple[int, ...]
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def inside(self) -> tuple[int, ...]:
        """The axes of the windows' elements in the result."""
        first = self.axes[-1] + 1
        return tuple(range(first, first + len(self.axes)))

    def reach(self, axis: int) -> int:
        """Elements from the first to the last of a window along the `axis`-th of the axes."""
        return self.dilation[axis] * (self.size[axis] - 1) + 1

    def windows(self, shape: Shape) -> Shape:
        """The shape of all windows of a value; raises ShapeError where none fits."""
        result = list(shape)
        for n, axis in enumerate(self.axes):
            length = shape[axis]
            if not isinstance(length, int) or length < self.reach(n):
                raise ShapeError(f"a window of {self.reach(n)} does not fit an axis of {length}", (0,))
            result[axis] = (length - self.reach(n)) // self.stride[n] + 1
        return (*result[: self.inside[0]], *self.size, *result[self.inside[0] :])

    def covered(self, windows: Shape) -> tuple[int, ...]:
        """Elements along each of the axes that windows of a shape cover."""
        counts = [d for a in self.axes if isinstance(d := windows[a], int)]
        return tuple(stride * (count - 1) + self.reach(n) for n, (stride, count) in enumerate(zip(self.stride, counts, strict=True)))

    def check(self, rank: int) -> None:
        """Raise ShapeError for what slides over no axis or in no direction."""
        steps = (*self.size, *self.stride, *self.dilation)
        lengths = {len(self.axes), len(self.size), len(self.stride), len(self.dilation)}
        if not self.axes or lengths != {len(self.axes)} or min(steps) < 1:
            raise ShapeError("windows slide along at least one axis, with sizes, strides and dilations of at least 1")
        if list(self.axes) != sorted(set(self.axes)) or not 0 <= self.axes[0] <= self.axes[-1] < rank:
            raise ShapeError(f"axes {list(self.axes)} are not in order, each once, of a value with {rank}", (0,))

    def attributes(self) -> Mapping[str, object]:
        """What the printer shows: strides and dilations only where they are not 1."""
        shown: dict[str, object] = {"axes": self.axes, "size": self.size}
        for name in ("stride", "dilation"):
            if set(getattr(self, name)) != {1}:
                shown[name] = getattr(self, name)
        return shown


@dataclass(frozen=True)
class Pad(View):
    """`value` before and after the elements of each axis; the batch axis is left as it is (0, 0)."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float
    name: ClassVar[str] = "pad"

    def infer(self, *types: TensorType) -> TensorType:
        """The longer axes."""
        if not types[0].rank == len(self.before) == len(self.after) or min((*self.before, *self.after), default=0) < 0:
            raise ShapeError(f"padding by {list(self.before)} and {list(self.after)} does not fit {types[0]}", (0,))
        shape: list[int | Symbol] = []
        for size, before, after in zip(types[0].shape, self.before, self.after, strict=True):
            if isinstance(size, Symbol):
                if before or after:
                    raise ShapeError(f"the axis {size} of {types[0]} is not padded", (0,))
                shape.append(size)
            else:
                shape.append(before + size + after)
        return types[0].with_shape(tuple(shape))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """numpy.pad."""
        return np.pad(arrays[0], list(zip(self.before, self.after, strict=True)), constant_values=self.value)

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """The cotangent inside the frame."""
        for axis, size in enumerate(build.type(node.inputs[0]).shape):
            if isinstance(size, int) and (self.before[axis] or self.after[axis]):
                cotangent = build.slice_axis(cotangent, axis, self.before[axis], self.before[axis] + size)
        return [cotangent]


@dataclass(frozen=True)
class Window(View):
    """All windows of some axes."""

    sliding: Sliding
    name: ClassVar[str] = "window"

    def infer(self, *types: TensorType) -> TensorType:
        """Windows where the axes were, then their elements."""
        self.sliding.check(types[0].rank)
        return types[0].with_shape(self.sliding.windows(types[0].shape))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """numpy's sliding windows, with strides and dilations."""
        s = self.sliding
        reach = tuple(s.reach(n) for n in range(len(s.axes)))
        every = np.lib.stride_tricks.sliding_window_view(arrays[0], reach, axis=s.axes)
        rank = arrays[0].ndim
        steps = [slice(None)] * rank + [slice(None, None, d) for d in s.dilation]
        for axis, stride in zip(s.axes, s.stride, strict=True):
            steps[axis] = slice(None, None, stride)
        order = [*range(s.inside[0]), *range(rank, rank + len(s.axes)), *range(s.inside[0], rank)]
        return np.asarray(every[tuple(steps)].transpose(order))

    def through(self, point: Point, operand: Shape) -> Point:
        """Window by window, element by element."""
        s = self.sliding
        found = [p for a, p in enumerate(point) if a not in s.inside]
        for n, (axis, inside) in enumerate(zip(s.axes, s.inside, strict=True)):
            found[axis] = point[axis].times(s.stride[n]) + point[inside].times(s.dilation[n])
        return tuple(found)

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """Windows added up where they overlap."""
        lengths = tuple(d for n, d in enumerate(build.type(node.inputs[0]).shape) if n in self.sliding.axes and isinstance(d, int))
        return [build.add_op(OverlapAdd(self.sliding, lengths, (0,) * len(lengths)), cotangent)]

    def attributes(self) -> Mapping[str, object]:
        """How they slide."""
        return self.sliding.attributes()


@dataclass(frozen=True)
class OverlapAdd(Op):
    """The sum of all windows, each where `Window` would have read it; what no window covers is 0.

    The result holds `lengths` elements of the windowed axes from element `offset` on.
    """

    sliding: Sliding
    lengths: tuple[int, ...]
    offset: tuple[int, ...]
    name: ClassVar[str] = "overlap_add"

    def infer(self, *types: TensorType) -> TensorType:
        """The windows' axes gone, the others at their lengths."""
        s = self.sliding
        s.check(types[0].rank - len(s.axes))
        if tuple(types[0].shape[a] for a in s.inside) != s.size or min(self.lengths) < 1 or min(self.offset) < 0:
            raise ShapeError(f"{types[0]} are not windows of {list(s.size)}", (0,))
        shape = [d for n, d in enumerate(types[0].shape) if n not in s.inside]
        for axis, length in zip(s.axes, self.lengths, strict=True):
            shape[axis] = length
        return types[0].with_shape(tuple(shape))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """One sum a place of the window."""
        s, x = self.sliding, arrays[0]
        rest = [d for n, d in enumerate(x.shape) if n not in s.inside]
        wanted = [slice(None)] * len(rest)
        for n, (axis, reached) in enumerate(zip(s.axes, s.covered(x.shape), strict=True)):
            rest[axis] = max(reached, self.offset[n] + self.lengths[n])
            wanted[axis] = slice(self.offset[n], self.offset[n] + self.lengths[n])
        total = np.zeros(rest, x.dtype)
        for place in np.ndindex(*s.size):
            target = [slice(None)] * len(rest)
            for n, axis in enumerate(s.axes):
                first = place[n] * s.dilation[n]
                target[axis] = slice(first, first + (x.shape[axis] - 1) * s.stride[n] + 1, s.stride[n])
            source: list[int | slice] = [slice(None)] * x.ndim
            for axis, index in zip(s.inside, place, strict=True):
                source[axis] = index
            total[tuple(target)] += x[tuple(source)]
        return np.asarray(total[tuple(wanted)])

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """The windows of the cotangent, which is 0 outside the part that is held."""
        windows = build.type(node.inputs[0])
        reached = self.sliding.covered(windows.shape)
        if any(first >= end for first, end in zip(self.offset, reached, strict=True)):
            return [build.broadcast(build.constant(0.0, windows.dtype), windows.shape, ())]
        for n, axis in enumerate(self.sliding.axes):
            beyond = reached[n] - self.offset[n] - self.lengths[n]
            if beyond < 0:
                cotangent = build.slice_axis(cotangent, axis, 0, self.lengths[n] + beyond)
            cotangent = build.frame(cotangent, axis, self.offset[n], max(0, beyond))
        return [build.add_op(Window(self.sliding), cotangent)]

    def attributes(self) -> Mapping[str, object]:
        """How they slide, and the lengths."""
        offset = {"offset": self.offset} if any(self.offset) else {}
        return {**self.sliding.attributes(), "lengths": self.lengths, **offset}


@dataclass(frozen=True)
class Weave(Op):
    """Values that take turns along some axes: element p of an axis is element p // stride of the operand for the remainder p % stride.

    There is an operand for every combination of remainders that occur, the last axis changing fastest.
    """

    axes: tuple[int, ...]
    stride: tuple[int, ...]
    lengths: tuple[int, ...]
    name: ClassVar[str] = "weave"
    traits: ClassVar[Trait] = Trait.JOIN

    @property
    def remainders(self) -> list[tuple[int, ...]]:
        """The remainders of each operand."""
        return list(product(*(range(min(s, length)) for s, length in zip(self.stride, self.lengths, strict=True))))

    def counts(self, remainders: tuple[int, ...]) -> tuple[int, ...]:
        """Elements of an operand along the axes."""
        return tuple(-(-(length - r) // s) for r, s, length in zip(remainders, self.stride, self.lengths, strict=True))

    def infer(self, *types: TensorType) -> TensorType:
        """The axes at their lengths."""
        if len(types) != len(self.remainders):
            raise ShapeError(f"{len(self.remainders)} values are woven, not {len(types)}")
        shape = list(types[0].shape)
        for position, (kind, remainders) in enumerate(zip(types, self.remainders, strict=True)):
            for axis, count in zip(self.axes, self.counts(remainders), strict=True):
                shape[axis] = count
            if kind != types[0].with_shape(tuple(shape)):
                raise ShapeError(f"{kind} cannot be woven, {list(shape)} is wanted", (position,))
        for axis, length in zip(self.axes, self.lengths, strict=True):
            shape[axis] = length
        return types[0].with_shape(tuple(shape))

    def turns(self, remainders: tuple[int, ...], rank: int) -> tuple[slice, ...]:
        """Where an operand's elements lie in the result."""
        found = [slice(None)] * rank
        for axis, first, stride in zip(self.axes, remainders, self.stride, strict=True):
            found[axis] = slice(first, None, stride)
        return tuple(found)

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """Strided assignment."""
        shape = list(arrays[0].shape)
        for axis, length in zip(self.axes, self.lengths, strict=True):
            shape[axis] = length
        woven = np.empty(shape, arrays[0].dtype)
        for remainders, array in zip(self.remainders, arrays, strict=True):
            woven[self.turns(remainders, len(shape))] = array
        return woven

    def part(self, build: Build, value: int, remainders: tuple[int, ...]) -> int:
        """What of a value of the result's shape falls on an operand's elements: a view."""
        for axis, first, stride, length in zip(self.axes, remainders, self.stride, self.lengths, strict=True):
            if stride > 1:
                value = build.slice_axis(value, axis, first, length, stride)
        return value

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """Each operand's part."""
        return [self.part(build, cotangent, remainders) for remainders in self.remainders]


@dataclass(frozen=True)
class Reverse(View):
    """Some axes walked backwards."""

    axes: tuple[int, ...]
    name: ClassVar[str] = "reverse"

    def infer(self, *types: TensorType) -> TensorType:
        """The same shape."""
        if any(not 0 <= a < types[0].rank or isinstance(types[0].shape[a], Symbol) for a in self.axes):
            raise ShapeError(f"axes {list(self.axes)} of {types[0]} cannot be reversed", (0,))
        return types[0]

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """numpy.flip."""
        return np.flip(arrays[0], self.axes)

    def through(self, point: Point, operand: Shape) -> Point:
        """From the other end."""
        found = list(point)
        for axis in self.axes:
            size = operand[axis]
            assert isinstance(size, int)
            found[axis] = point[axis].times(-1, size - 1)
        return tuple(found)

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """Reversed again."""
        return [build.add_op(Reverse(self.axes), cotangent)]


@dataclass(frozen=True)
class Skew(View):
    """Windows by where their elements came from: `y[q, j] = x[q + dilation * (size - 1 - j), j]` along each pair of axes.

    Axis `axes[n]` of x counts windows, axis `inside[n]` their elements. A view; made by `passes/overlap.py` after differentiation.
    """

    axes: tuple[int, ...]
    inside: tuple[int, ...]
    dilation: tuple[int, ...]
    name: ClassVar[str] = "skew"

    def infer(self, *types: TensorType) -> TensorType:
        """Shorter where windows were counted."""
        shape = list(types[0].shape)
        for axis, inside, dilation in zip(self.axes, self.inside, self.dilation, strict=True):
            length, size = shape[axis], shape[inside]
            if not isinstance(length, int) or not isinstance(size, int) or length <= dilation * (size - 1):
                raise ShapeError(f"{types[0]} is too short to be skewed", (0,))
            shape[axis] = length - dilation * (size - 1)
        return types[0].with_shape(tuple(shape))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """Indexed point by point."""
        x = arrays[0]
        shape = list(x.shape)
        for axis, inside, dilation in zip(self.axes, self.inside, self.dilation, strict=True):
            shape[axis] -= dilation * (x.shape[inside] - 1)
        index = list(np.indices(shape, sparse=True))
        for axis, inside, dilation in zip(self.axes, self.inside, self.dilation, strict=True):
            index[axis] = index[axis] + dilation * (x.shape[inside] - 1 - index[inside])
        return np.asarray(x[tuple(index)])

    def through(self, point: Point, operand: Shape) -> Point:
        """Which window, and which element of it."""
        found = list(point)
        for axis, inside, dilation in zip(self.axes, self.inside, self.dilation, strict=True):
            size = operand[inside]
            assert isinstance(size, int)
            found[axis] = point[axis] + point[inside].times(-dilation, dilation * (size - 1))
        return tuple(found)
