"""Views of memory: the elements of a value at other places, without touching them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .affine import Affine, NotAffine, Point
from .op import Array, Context, Op, ShapeError, Trait
from .types import Dim, Shape, Symbol, TensorType, batched, elements

if TYPE_CHECKING:
    from .build import Build
    from .graph import Node


@dataclass(frozen=True)
class View(Op):
    """Every element of the result is one of the operand's."""

    traits: ClassVar[Trait] = Trait.VIEW

    def through(self, point: Point, operand: Shape) -> Point:
        """The point of the operand (of that shape) that a point of the result shows. Raises NotAffine when there is no such formula."""
        raise NotAffine


@dataclass(frozen=True)
class Broadcast(View):
    """Operand axis i becomes result axis `axes[i]`; the other result axes repeat it."""

    shape: Shape
    axes: tuple[int, ...]
    name: ClassVar[str] = "broadcast"

    def infer(self, *types: TensorType) -> TensorType:
        """The shape, when the operand's axes fit into it."""
        ascending = list(self.axes) == sorted({a for a in self.axes if 0 <= a < len(self.shape)})
        if not ascending or tuple(self.shape[a] for a in self.axes) != types[0].shape:
            raise ShapeError(f"{types[0]} does not broadcast to {list(self.shape)}", (0,))
        return types[0].with_shape(self.shape)

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """numpy.broadcast_to after aligning axes."""
        shape = context.shape(self.shape)
        aligned = arrays[0].reshape([shape[a] if a in self.axes else 1 for a in range(len(shape))])
        return np.broadcast_to(aligned, shape)

    def through(self, point: Point, operand: Shape) -> Point:
        """Without the repeated axes."""
        return tuple(point[a] for a in self.axes)

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """The sum over the repeated axes."""
        return [build.sum(cotangent, [a for a in range(len(self.shape)) if a not in self.axes])]


@dataclass(frozen=True)
class Reshape(View):
    """The same elements in row-major order under another shape; the batch axis stays in front."""

    shape: Shape
    name: ClassVar[str] = "reshape"

    def infer(self, *types: TensorType) -> TensorType:
        """The shape, when the number of elements agrees."""
        if elements(types[0].shape) != elements(self.shape) or batched(types[0].shape) != batched(self.shape):
            raise ShapeError(f"{types[0]} cannot be reshaped to {list(self.shape)}", (0,))
        return types[0].with_shape(self.shape)

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """numpy.reshape."""
        return arrays[0].reshape(context.shape(self.shape))

    def through(self, point: Point, operand: Shape) -> Point:
        """Groups of axes that merge into one axis of the operand, and axes of one element, are affine."""
        pending = [(size, index) for size, index in zip(self.shape, point, strict=True) if size != 1]
        return tuple(Affine() if size == 1 else _merged(pending, size) for size in operand)

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """Reshape back."""
        return [build.reshape(cotangent, build.type(node.inputs[0]).shape)]


@dataclass(frozen=True)
class Transpose(View):
    """Result axis i is operand axis `order[i]`; the batch axis stays in front."""

    order: tuple[int, ...]
    name: ClassVar[str] = "transpose"

    def infer(self, *types: TensorType) -> TensorType:
        """The permuted shape."""
        if sorted(self.order) != list(range(types[0].rank)):
            raise ShapeError(f"{list(self.order)} is no order of the axes of {types[0]}", (0,))
        if batched(types[0].shape) and self.order[0] != 0:
            raise ShapeError("the batch axis stays in front", (0,))
        return types[0].with_shape(tuple(types[0].shape[a] for a in self.order))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """numpy.transpose."""
        return arrays[0].transpose(self.order)

    def through(self, point: Point, operand: Shape) -> Point:
        """The inverse order."""
        return tuple(point[self.order.index(a)] for a in range(len(point)))

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """The inverse order."""
        return [build.transpose(cotangent, tuple(self.order.index(a) for a in range(len(self.order))))]


@dataclass(frozen=True)
class Slice(View):
    """`start`, `stop` and a positive `step` for every axis; the batch axis is taken whole (0, -1, 1)."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    step: tuple[int, ...]
    name: ClassVar[str] = "slice"

    def infer(self, *types: TensorType) -> TensorType:
        """The lengths that remain."""
        if not types[0].rank == len(self.start) == len(self.stop) == len(self.step):
            raise ShapeError(f"a slice of {len(self.start)} axes does not fit {types[0]}", (0,))
        shape: list[int | Symbol] = []
        for size, start, stop, step in zip(types[0].shape, self.start, self.stop, self.step, strict=True):
            if isinstance(size, Symbol):
                if (start, stop, step) != (0, -1, 1):
                    raise ShapeError(f"the axis {size} of {types[0]} is taken whole", (0,))
                shape.append(size)
                continue
            if not (0 <= start < stop <= size and step >= 1):
                raise ShapeError(f"{start}:{stop}:{step} is outside an axis of {size} in {types[0]}", (0,))
            shape.append(-(-(stop - start) // step))
        return types[0].with_shape(tuple(shape))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """Basic slicing."""
        shape = arrays[0].shape
        stops = [n if stop < 0 else stop for n, stop in zip(shape, self.stop, strict=True)]
        return arrays[0][tuple(slice(*s) for s in zip(self.start, stops, self.step, strict=True))]

    def through(self, point: Point, operand: Shape) -> Point:
        """From the start on, in steps."""
        return tuple(p.times(step, start) for p, step, start in zip(point, self.step, self.start, strict=True))

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """The cotangent between zeros."""
        if any(s != 1 for s in self.step):
            raise ShapeError("no gradient through a slice with a step", (0,))
        shape = build.type(node.inputs[0]).shape
        for axis, size in enumerate(shape):
            if isinstance(size, int) and (self.start[axis], self.stop[axis]) != (0, size):
                cotangent = build.pad(cotangent, axis, self.start[axis], size - self.stop[axis])
        return [cotangent]


def _merged(pending: list[tuple[Dim, Affine]], size: Dim) -> Affine:
    """The index along an axis of `size` that the first of the `pending` axes make up together; they are taken from the list."""
    if isinstance(size, Symbol):
        if not pending or pending[0][0] != size:
            raise NotAffine
        return pending.pop(0)[1]
    merged, total = Affine(), 1
    while total != size:
        part, index = pending.pop(0) if pending else (size + 1, merged)
        if isinstance(part, Symbol) or total * part > size:
            raise NotAffine
        total *= part
        merged = merged.times(part) + index
    return merged
