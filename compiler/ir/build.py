"""Writing op graphs by hand or by rule: shapes aligned, scalars spread, element types promoted, provenance attached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .elementwise import ROWS, Cast, Elementwise, Select, StopGradient
from .graph import NOWHERE, Graph, Where
from .op import Op, ShapeError
from .ops import Concat, Constant, Contract, Extent, Position, Reduce
from .types import BOOL, F64, I32, U8, U32, DType, Shape, Symbol, TensorType
from .views import Broadcast, Reshape, Slice, Transpose
from .windows import Pad


@dataclass
class Build:
    """Adds nodes to a graph. An f64 scalar is *weak*: beside anything else it takes the other's float type (settings, step, extents)."""

    graph: Graph
    real: DType
    where: Where = field(default=NOWHERE)

    def type(self, value: int) -> TensorType:
        """The type of a value."""
        return self.graph.type(value)

    def add_op(self, op: Op, *inputs: int) -> int:
        """Add any operation."""
        return self.graph.add(op, inputs, self.where)

    # numbers

    def constant(self, value: float | int | bool, dtype: DType = F64) -> int:
        """A scalar."""
        return self.add_op(Constant(value, dtype))

    def constant_like(self, value: float | int, other: int) -> int:
        """A number in the shape and type of another value."""
        kind = self.type(other)
        number = float(value) if kind.dtype.is_float else value
        return self.broadcast(self.constant(number, kind.dtype), kind.shape, ())

    def zeros_like(self, other: int) -> int:
        """Zeros in the shape and type of another value."""
        return self.constant_like(0, other)

    def extent(self, dim: int | Symbol) -> int:
        """A dimension as an f64 scalar."""
        return self.add_op(Extent(dim)) if isinstance(dim, Symbol) else self.constant(float(dim))

    def scale(self, value: int, factor: float) -> int:
        """Times a number."""
        return self.mul(value, self.constant_like(factor, value))

    # elementwise

    def apply(self, row: str, *operands: int) -> int:
        """A row of the elementwise table on operands that are first promoted and broadcast to each other."""
        aligned = self.align(operands, self._promoted(row, operands))
        return self.add_op(Elementwise(row), *aligned)

    def _promoted(self, row: str, operands: Sequence[int]) -> DType:
        types = [self.type(o) for o in operands]
        domain = ROWS[row].domain
        if domain in ("u", "b"):
            return U32 if domain == "u" else BOOL
        dtype = promote(types, self.real)
        arithmetic = not ROWS[row].boolean
        if arithmetic and (dtype in (U8, BOOL) and domain != "biu"):
            dtype = self.real
        if dtype.kind not in domain or (row == "div" and not dtype.is_float):
            dtype = self.real
        return dtype

    def align(self, operands: Sequence[int], dtype: DType | None = None) -> list[int]:
        """Operands cast to one element type (when given) and broadcast to their common shape, NumPy's rules for trailing axes."""
        shape = common_shape([self.type(o).shape for o in operands])
        cast = [o if dtype is None else self.cast(o, dtype) for o in operands]
        return [self.broadcast_to(o, shape) for o in cast]

    def cast(self, value: int, dtype: DType) -> int:
        """Convert elements; nothing when they have the type already."""
        return value if self.type(value).dtype == dtype else self.add_op(Cast(dtype), value)

    def select(self, condition: int, a: int, b: int) -> int:
        """`condition ? a : b` with broadcasting."""
        types = [self.type(a), self.type(b)]
        dtype = promote(types, self.real)
        shape = common_shape([self.type(condition).shape, types[0].shape, types[1].shape])
        yes, no = (self.broadcast_to(self.cast(v, dtype), shape) for v in (a, b))
        return self.add_op(Select(), self.broadcast_to(condition, shape), yes, no)

    def stop_gradient(self, value: int) -> int:
        """The value, constant for autodiff."""
        return self.add_op(StopGradient(), value)

    def add(self, a: int, b: int) -> int:
        """a + b."""
        return self.apply("add", a, b)

    def sub(self, a: int, b: int) -> int:
        """a - b."""
        return self.apply("sub", a, b)

    def mul(self, a: int, b: int) -> int:
        """a * b."""
        return self.apply("mul", a, b)

    def div(self, a: int, b: int) -> int:
        """a / b."""
        return self.apply("div", a, b)

    def pow(self, a: int, b: int) -> int:
        """a to the power b."""
        return self.apply("pow", a, b)

    def neg(self, a: int) -> int:
        """-a."""
        return self.apply("neg", a)

    def exp(self, a: int) -> int:
        """e to the a."""
        return self.apply("exp", a)

    def log(self, a: int) -> int:
        """Natural logarithm."""
        return self.apply("log", a)

    def gt(self, a: int, b: int) -> int:
        """a > b."""
        return self.apply("gt", a, b)

    def lt(self, a: int, b: int) -> int:
        """a < b."""
        return self.apply("lt", a, b)

    def eq(self, a: int, b: int) -> int:
        """a == b."""
        return self.apply("eq", a, b)

    # views and shapes

    def broadcast(self, value: int, shape: Shape, axes: Sequence[int]) -> int:
        """Spread a value: operand axis i becomes result axis axes[i]."""
        if self.type(value).shape == tuple(shape):
            return value
        return self.add_op(Broadcast(tuple(shape), tuple(axes)), value)

    def broadcast_to(self, value: int, shape: Shape) -> int:
        """Spread a value by NumPy's rules: the batch axis meets the batch axis, the others align at the end, 1 repeats."""
        own = self.type(value).shape
        if own == tuple(shape):
            return value
        axes = aligned_axes(own, shape)
        ones = [n for n, a in enumerate(axes) if own[n] == 1 and shape[a] != 1]
        if ones:
            value = self.reshape(value, tuple(d for n, d in enumerate(own) if n not in ones))
            axes = [a for n, a in enumerate(axes) if n not in ones]
        return self.broadcast(value, shape, axes)

    def reshape(self, value: int, shape: Shape) -> int:
        """Another shape of the same elements."""
        return value if self.type(value).shape == tuple(shape) else self.add_op(Reshape(tuple(shape)), value)

    def transpose(self, value: int, order: Sequence[int]) -> int:
        """Permuted axes."""
        return value if tuple(order) == tuple(range(len(order))) else self.add_op(Transpose(tuple(order)), value)

    def slice_axis(self, value: int, axis: int, start: int, stop: int, step: int = 1) -> int:
        """A slice along one axis."""
        shape = self.type(value).shape
        starts, stops = [0] * len(shape), [-1 if isinstance(d, Symbol) else d for d in shape]
        steps = [1] * len(shape)
        starts[axis], stops[axis], steps[axis] = start, stop, step
        return self.add_op(Slice(tuple(starts), tuple(stops), tuple(steps)), value)

    def concat(self, values: Sequence[int], axis: int) -> int:
        """Joined along an axis."""
        return values[0] if len(values) == 1 else self.add_op(Concat(axis), *values)

    def pad(self, value: int, axis: int, before: int, after: int) -> int:
        """Zeros before and after along an axis."""
        parts = [*self._zeros(value, axis, before), value, *self._zeros(value, axis, after)]
        return self.concat(parts, axis)

    def frame(self, value: int, axis: int, before: int, after: int, number: float = 0.0) -> int:
        """A number before and after the elements of an axis; nothing where there is none to put."""
        if not before and not after:
            return value
        rank = self.type(value).rank
        sides = [tuple(count if n == axis else 0 for n in range(rank)) for count in (before, after)]
        return self.add_op(Pad(sides[0], sides[1], number), value)

    def _zeros(self, value: int, axis: int, count: int) -> list[int]:
        if not count:
            return []
        kind = self.type(value)
        shape = (*kind.shape[:axis], count, *kind.shape[axis + 1 :])
        return [self.broadcast(self.constant(0.0 if kind.dtype.is_float else 0, kind.dtype), shape, ())]

    def position(self, shape: Shape, axis: int) -> int:
        """The index along one axis, i32."""
        return self.add_op(Position(tuple(shape), tuple(int(a == axis) for a in range(len(shape)))))

    # sums

    def sum(self, value: int, axes: Sequence[int]) -> int:
        """The sum over axes."""
        return self.reduce("sum", value, axes)

    def reduce(self, kind: str, value: int, axes: Sequence[int]) -> int:
        """A reduction over axes; nothing when there are none."""
        return self.add_op(Reduce(kind, tuple(sorted(axes))), value) if axes else value

    def matmul(self, a: int, b: int) -> int:
        """`a @ b`: the last axis of a with the last but one (or only) of b; the leading axes of b, if any, are shared with a's."""
        left, right = self.type(a), self.type(b)
        if not left.rank or not right.rank:
            raise ShapeError("`@` needs values with axes", (0, 1))
        inner = max(0, right.rank - 2)
        if left.shape[-1] != right.shape[inner]:
            raise ShapeError(f"{left} @ {right}: the last axis of the left is {left.shape[-1]}, of the right {right.shape[inner]}", (0, 1))
        labels = list(range(left.rank))
        shared = labels[:inner]
        columns = [left.rank] if right.rank > 1 else []
        form = Contract(tuple(labels), (*shared, labels[-1], *columns), (*labels[:-1], *columns))
        return self.add_op(form, self.cast(a, self.real), self.cast(b, self.real))


def promote(types: Sequence[TensorType], real: DType) -> DType:
    """The element type that mixed operands meet in: floats win, weak f64 scalars give way, then i32, u8, bool."""
    strong = [t.dtype for t in types if not (t.dtype == F64 and t.rank == 0)]
    if not strong:
        return F64
    if len(strong) < len(types) and not any(d.is_float for d in strong):
        return real
    for dtype in (F64, real):
        if dtype in strong:
            return dtype
    order = (U32, I32, U8, BOOL)
    return next((d for d in order if d in strong), strong[0])


def common_shape(shapes: Sequence[Shape]) -> Shape:
    """The shape that operands broadcast to; raises `ShapeError` when they do not."""
    batch = next((s[0] for s in shapes if s and isinstance(s[0], Symbol)), None)
    bodies = [s[1:] if s and isinstance(s[0], Symbol) else s for s in shapes]
    rank = max(len(b) for b in bodies)
    result: list[int | Symbol] = []
    for axis in range(rank):
        sizes = {b[axis - rank] for b in bodies if len(b) >= rank - axis}
        wide = sizes - {1}
        if len(wide) > 1:
            spelled = " and ".join(str(list(s)) for s in shapes)
            raise ShapeError(f"shapes {spelled} do not broadcast", tuple(range(len(shapes))))
        result.append(wide.pop() if wide else 1)
    return (batch, *result) if batch is not None else tuple(result)


def aligned_axes(own: Shape, shape: Shape) -> list[int]:
    """For each axis of `own` the axis of `shape` that it meets."""
    lead = 1 if own and isinstance(own[0], Symbol) else 0
    body = len(own) - lead
    return [0] * lead + list(range(len(shape) - body, len(shape)))
