"""The operations that are not elementwise: sources and numbers, concatenation, reductions and contractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .op import Array, Context, Op, ShapeError, Trait
from .types import F64, I32, DType, Shape, Symbol, TensorType, batched, row_major

if TYPE_CHECKING:
    from .build import Build
    from .graph import Node


# --- sources and numbers -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source(Op):
    """A named value from outside the graph. `kind` is `input`, `parameter`, `state` or `runtime` (a scalar that the driver sets)."""

    kind: str
    label: str
    type: TensorType
    name: ClassVar[str] = "source"
    traits: ClassVar[Trait] = Trait.SOURCE

    @property
    def key(self) -> str:
        """`kind:label`: unique in a graph, and the name of the buffer."""
        return f"{self.kind}:{self.label}"

    def infer(self, *types: TensorType) -> TensorType:
        """As declared."""
        return self.type

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """The array bound to `kind:label`, or to the label alone."""
        array = context.sources[self.key] if self.key in context.sources else context.sources[self.label]
        return np.asarray(array, dtype=self.type.dtype.numpy).reshape(context.shape(self.type.shape))

    def attributes(self) -> dict[str, object]:
        """Kind and label."""
        return {"kind": self.kind, "label": self.label}


@dataclass(frozen=True)
class Constant(Op):
    """A scalar known at compile time."""

    value: float | int | bool
    dtype: DType
    name: ClassVar[str] = "constant"
    traits: ClassVar[Trait] = Trait.CONSTANT

    def infer(self, *types: TensorType) -> TensorType:
        """A scalar."""
        return TensorType(self.dtype)

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """The number."""
        return np.asarray(self.value, dtype=self.dtype.numpy)


@dataclass(frozen=True)
class Extent(Op):
    """The run-time extent of a symbol as an f64 scalar: the rows of this batch."""

    symbol: Symbol
    name: ClassVar[str] = "extent"

    def infer(self, *types: TensorType) -> TensorType:
        """A scalar."""
        return TensorType(F64)

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """The number."""
        return np.asarray(context.sizes[self.symbol.name], dtype=np.float64)


@dataclass(frozen=True)
class Position(Op):
    """The integer `sum(stride * index)` of each point of a shape: a counter along one axis, or the row-major number of the point."""

    shape: Shape
    strides: tuple[int, ...]
    dtype: DType = I32
    name: ClassVar[str] = "position"

    def infer(self, *types: TensorType) -> TensorType:
        """The shape."""
        if len(self.strides) != len(self.shape):
            raise ShapeError(f"{len(self.strides)} strides do not fit the shape {list(self.shape)}")
        return TensorType(self.dtype, self.shape)

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """An arithmetic grid."""
        shape = context.shape(self.shape)
        total = np.zeros(shape, dtype=np.int64)
        for axis, stride in enumerate(self.strides):
            line = np.arange(shape[axis], dtype=np.int64) * stride
            total = total + line.reshape([-1 if a == axis else 1 for a in range(len(shape))])
        return total.astype(self.dtype.numpy)


# --- joins ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Concat(Op):
    """Operands one after the other along an axis."""

    axis: int
    name: ClassVar[str] = "concat"
    traits: ClassVar[Trait] = Trait.JOIN

    def infer(self, *types: TensorType) -> TensorType:
        """The joined shape."""
        if not types:
            raise ShapeError("nothing to join")
        first, total = types[0], 0
        if not 0 <= self.axis < first.rank:
            raise ShapeError(f"{first} has no axis {self.axis}", (0,))
        for position, other in enumerate(types):
            same = other.dtype == first.dtype and other.rank == first.rank
            if not same or any(a != b for n, (a, b) in enumerate(zip(first.shape, other.shape, strict=True)) if n != self.axis):
                raise ShapeError(f"{first} and {other} cannot be joined along axis {self.axis}", (0, position))
            size = other.shape[self.axis]
            if isinstance(size, Symbol):
                raise ShapeError("the batch axis cannot be joined", (position,))
            total += size
        return first.with_shape((*first.shape[: self.axis], total, *first.shape[self.axis + 1 :]))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """numpy.concatenate."""
        return np.concatenate(arrays, axis=self.axis)

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """Each operand's slice."""
        parts, start = [], 0
        for operand in node.inputs:
            size = build.type(operand).shape[self.axis]
            assert isinstance(size, int)
            parts.append(build.slice_axis(cotangent, self.axis, start, start + size))
            start += size
        return parts


# --- reductions and contractions -----------------------------------------------------------------------------------------------------

REDUCTIONS = {"sum": np.sum, "max": np.max, "min": np.min, "any": np.any, "all": np.all}
ARGUMENTS = {"argmax": np.argmax, "argmin": np.argmin}


@dataclass(frozen=True)
class Reduce(Op):
    """`kind` is sum, max, min, any, all, argmax or argmin (the first index in row-major order, i32); the axes vanish."""

    kind: str
    axes: tuple[int, ...]
    traits: ClassVar[Trait] = Trait.REDUCTION

    @property
    def name(self) -> str:  # type: ignore[override]
        """The kind."""
        return self.kind

    def infer(self, *types: TensorType) -> TensorType:
        """The remaining axes."""
        if any(not 0 <= a < types[0].rank for a in self.axes):
            raise ShapeError(f"axes {list(self.axes)} are outside {types[0]}", (0,))
        if list(self.axes) != sorted(set(self.axes)):
            raise ShapeError(f"axes {list(self.axes)} are not in order, each once", (0,))
        shape = tuple(d for a, d in enumerate(types[0].shape) if a not in self.axes)
        return TensorType(I32 if self.kind in ARGUMENTS else types[0].dtype, shape)

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """NumPy's reduction of that name."""
        x = arrays[0]
        if self.kind in REDUCTIONS:
            empty = {"initial": -np.inf if self.kind == "max" else np.inf} if x.size == 0 and self.kind in ("max", "min") else {}
            return np.asarray(REDUCTIONS[self.kind](x, axis=self.axes, **empty)).astype(x.dtype)  # type: ignore[operator]
        kept = [a for a in range(x.ndim) if a not in self.axes]
        flat = x.transpose([*kept, *self.axes]).reshape([*(x.shape[a] for a in kept), -1])
        return np.asarray(ARGUMENTS[self.kind](flat, axis=-1)).astype(np.int32)

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """sum: repeated; max and min: to the first place that holds the result."""
        operand, shape = node.inputs[0], build.type(node.inputs[0]).shape
        kept = tuple(a for a in range(len(shape)) if a not in self.axes)
        spread = build.broadcast(cotangent, shape, kept)
        if self.kind == "sum":
            return [spread]
        if self.kind in ("max", "min"):
            first = build.add_op(Reduce(f"arg{self.kind}", self.axes), operand)
            counting = dict(zip(self.axes, row_major(tuple(shape[a] for a in self.axes)), strict=True))
            place = build.add_op(Position(shape, tuple(counting.get(a, 0) for a in range(len(shape)))))
            where = build.eq(place, build.broadcast(first, shape, kept))
            return [build.select(where, spread, build.zeros_like(spread))]
        return [None]

    def combines_samples(self, operand: Shape) -> bool:
        """True when the batch is among the axes that vanish."""
        return batched(operand) and 0 in self.axes

    def flops(self, result: TensorType, *types: TensorType) -> int:
        """One a folded element."""
        return math.prod(d for a, d in enumerate(types[0].shape) if a in self.axes and isinstance(d, int))

    def attributes(self) -> dict[str, object]:
        """The axes."""
        return {"axes": self.axes}


@dataclass(frozen=True)
class Contract(Op):
    """Sum of products over shared labels, as in einsum: `contract[ab,bc->ac]`. A label of one operand only must be in the result."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    out: tuple[int, ...]
    name: ClassVar[str] = "contract"
    traits: ClassVar[Trait] = Trait.CONTRACTION

    def sizes(self, *types: TensorType) -> dict[int, int | Symbol]:
        """The extent of every label; raises `ShapeError` when the operands disagree."""
        for position, (labels, operand) in enumerate(zip((self.left, self.right), types, strict=True)):
            if len(labels) != operand.rank or len(set(labels)) != len(labels):
                raise ShapeError(f"{operand} does not fit `{self.attributes()['form']}`, which names every axis once", (position,))
        sizes: dict[int, int | Symbol] = dict(zip(self.left, types[0].shape, strict=True))
        for label, size in zip(self.right, types[1].shape, strict=True):
            if sizes.setdefault(label, size) != size:
                raise ShapeError(f"{types[0]} and {types[1]} disagree: {sizes[label]} and {size}", (0, 1))
        return sizes

    def infer(self, *types: TensorType) -> TensorType:
        """The labels of the result."""
        if types[0].dtype != types[1].dtype or not types[0].dtype.is_float:
            raise ShapeError(f"element types {types[0].dtype} and {types[1].dtype} cannot be multiplied", (0, 1))
        sizes = self.sizes(*types)
        single = set(self.left) ^ set(self.right)
        if len(set(self.out)) != len(self.out) or not single <= set(self.out) <= set(sizes):
            raise ShapeError(f"the result of `{self.attributes()['form']}` needs each axis that one operand alone has, once", (0, 1))
        return types[0].with_shape(tuple(sizes[label] for label in self.out))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """numpy.einsum."""
        return np.asarray(np.einsum(arrays[0], list(self.left), arrays[1], list(self.right), list(self.out), optimize=True))

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """Contractions of the cotangent with the other operand."""
        a, b = node.inputs
        left = build.add_op(Contract(self.out, self.right, self.left), cotangent, b)
        right = build.add_op(Contract(self.left, self.out, self.right), a, cotangent)
        return left, right

    def flops(self, result: TensorType, *types: TensorType) -> int:
        """Two a term of the sum."""
        sizes = self.sizes(*types)
        return 2 * math.prod(s for label, s in sizes.items() if label not in self.out and isinstance(s, int))

    def attributes(self) -> dict[str, object]:
        """In einsum's letters."""
        letters = {label: chr(ord("a") + n) for n, label in enumerate(dict.fromkeys(self.left + self.right + self.out))}
        spell = ["".join(letters[label] for label in part) for part in (self.left, self.right, self.out)]
        return {"form": f"{spell[0]},{spell[1]}->{spell[2]}"}
