"""Views, broadcasts and what they do under arithmetic and sums: rules for `simplify`.

    reshape, slice, broadcast that keeps the type; transpose in order; concat of one  ->  the operand
    reshape(reshape(x)), and so with transpose, slice, broadcast                      ->  one of them
    any view of a spread scalar                                                       ->  the scalar, spread over the view's shape
    reshape(broadcast(x)) where every group of merged axes is repeated or is not      ->  broadcast(reshape(x))
    reshape(position) where every group of merged axes counts through                 ->  position
    f(broadcast(x), broadcast(y), spread scalars)                                     ->  broadcast(f(x, y, spread scalars))
    sum(broadcast(x)) over repeated axes                                              ->  x * extent
    pad(pad(x)) with one number, slice(overlap_add(x))                                ->  one of them
    reductions over axes of one element                                               ->  reshape (the place of it: 0)

Legal because the same elements meet at every point. Only the sum changes float results: one product instead of many additions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..ir.elementwise import Cast
from ..ir.op import Op
from ..ir.ops import ARGUMENTS, Constant, Extent, Position, Reduce
from ..ir.types import F64, I32, Dim, Shape, Symbol
from ..ir.views import Broadcast, Reshape, Slice, Transpose
from ..ir.windows import OverlapAdd, Pad
from .local import Maker

Operands = tuple[int, ...]


# --- views of views ------------------------------------------------------------------------------------------------------------------


def nothing(m: Maker, op: Reshape | Slice | Broadcast | Pad, operands: Operands) -> int | None:
    """The operand, when the view has its type: then it shows every element in its place."""
    own = m.graph.type(operands[0])
    return operands[0] if op.infer(own) == own else None


def in_order(m: Maker, op: Transpose, operands: Operands) -> int | None:
    """The operand of a transpose that moves nothing."""
    return operands[0] if op.order == tuple(range(len(op.order))) else None


def alone(m: Maker, op: Op, operands: Operands) -> int | None:
    """The operand of a concat of one."""
    return operands[0] if len(operands) == 1 else None


def reshape_twice(m: Maker, op: Reshape, operands: Operands) -> int | None:
    """The outer shape at once; of a scalar it is a broadcast, which needs no memory."""
    inner = m.graph[operands[0]]
    if not inner.type.shape:
        return m.spread(inner.id, op.shape)
    return m.make(op, inner.inputs[0]) if isinstance(inner.op, Reshape) else None


def transpose_twice(m: Maker, op: Transpose, operands: Operands) -> int | None:
    """The composed order."""
    inner = m.graph[operands[0]]
    return m.make(Transpose(tuple(inner.op.order[a] for a in op.order)), inner.inputs[0]) if isinstance(inner.op, Transpose) else None


def broadcast_twice(m: Maker, op: Broadcast, operands: Operands) -> int | None:
    """The composed axes."""
    inner = m.graph[operands[0]]
    return m.spread(inner.inputs[0], op.shape, [op.axes[a] for a in inner.op.axes]) if isinstance(inner.op, Broadcast) else None


def frame_twice(m: Maker, op: Pad, operands: Operands) -> int | None:
    """Frames of one number as one."""
    inner = m.graph[operands[0]]
    if not isinstance(inner.op, Pad) or inner.op.value != op.value:
        return None
    before, after = (tuple(map(sum, zip(*sides, strict=True))) for sides in ((op.before, inner.op.before), (op.after, inner.op.after)))
    return m.make(Pad(before, after, op.value), inner.inputs[0])


def part_of_overlap(m: Maker, op: Slice, operands: Operands) -> int | None:
    """A stretch of windows added up: only that stretch is computed."""
    inner = m.graph[operands[0]]
    if not isinstance(inner.op, OverlapAdd) or set(op.step) != {1}:
        return None
    axes, shape = inner.op.sliding.axes, inner.type.shape
    whole = all((op.start[n], op.stop[n]) in ((0, size), (0, -1)) for n, size in enumerate(shape) if n not in axes)
    if not whole:
        return None
    offset = tuple(first + op.start[a] for first, a in zip(inner.op.offset, axes, strict=True))
    lengths = tuple(op.stop[a] - op.start[a] for a in axes)
    return m.make(OverlapAdd(inner.op.sliding, lengths, offset), *inner.inputs)


def slice_twice(m: Maker, op: Slice, operands: Operands) -> int | None:
    """The composed starts and steps; an axis taken whole (stop -1) stays whole."""
    inner = m.graph[operands[0]]
    if not isinstance(inner.op, Slice):
        return None
    first = inner.op
    start = tuple(s + t * k for s, t, k in zip(first.start, op.start, first.step, strict=True))
    stop = tuple(-1 if t < 0 else s + (t - 1) * k + 1 for s, t, k in zip(first.start, op.stop, first.step, strict=True))
    step = tuple(k * j for k, j in zip(first.step, op.step, strict=True))
    return m.make(Slice(start, stop, step), inner.inputs[0])


# --- views of broadcasts and of positions --------------------------------------------------------------------------------------------


def spread_scalar(m: Maker, op: Op, operands: Operands) -> int | None:
    """Any view of one number everywhere; a frame only of the same number."""
    inner = m.graph[operands[0]]
    if isinstance(op, Pad) and m.known(operands[0]) != op.value:
        return None
    return m.spread(inner.inputs[0], op.infer(inner.type).shape) if isinstance(inner.op, Broadcast) and not inner.op.axes else None


def reshape_inside(m: Maker, op: Reshape, operands: Operands) -> int | None:
    """The reshape of what is repeated, or of a counter."""
    inner = m.graph[operands[0]]
    if isinstance(inner.op, Broadcast):
        small = respread(inner.op, op.shape)
        return m.spread(m.make(Reshape(small[0]), inner.inputs[0]), op.shape, small[1]) if small else None
    if isinstance(inner.op, Position):
        strides = restride(inner.op, op.shape)
        return m.make(Position(op.shape, strides, inner.op.dtype)) if strides is not None else None
    return None


def respread(op: Broadcast, shape: Shape) -> tuple[Shape, tuple[int, ...]] | None:
    """The shape of the operand, and its axes, that a broadcast over another shape of as many elements needs; None when there is none."""
    axes: list[int] = []
    for old, new in groups(op.shape, shape):
        wide = {a in op.axes for a in old if op.shape[a] != 1}
        if len(wide) > 1:
            return None
        axes += new if True in wide else ()
    return tuple(shape[a] for a in axes), tuple(axes)


def restride(op: Position, shape: Shape) -> tuple[int, ...] | None:
    """The strides of the same counter over another shape of as many elements; None when it does not count through."""
    strides = [0] * len(shape)
    for old, new in groups(op.shape, shape):
        wide = [a for a in old if op.shape[a] != 1]
        expected = stride = op.strides[wide[-1]] if wide else 0
        for axis in reversed(wide):
            if op.strides[axis] != expected:
                return None
            expected *= _extent(op.shape[axis])
        for axis in reversed(new):
            strides[axis] = stride
            stride *= _extent(shape[axis])
    return tuple(strides)


def groups(old: Shape, new: Shape) -> Iterator[tuple[list[int], list[int]]]:
    """The axes of two shapes of as many elements, in the smallest runs that hold the same elements; the batch axis is alone."""
    a = b = 0
    if old and isinstance(old[0], Symbol):
        yield [0], [0]
        a = b = 1
    while a < len(old) or b < len(new):
        starts, left, right = (a, b), 1, 1
        while (a, b) == starts or left != right:
            if a < len(old) and (left <= right or b == len(new)):
                left, a = left * _extent(old[a]), a + 1
            else:
                right, b = right * _extent(new[b]), b + 1
        yield list(range(starts[0], a)), list(range(starts[1], b))


def _extent(dim: Dim) -> int:
    return dim if isinstance(dim, int) else 1


# --- arithmetic on broadcasts --------------------------------------------------------------------------------------------------------


def lifted(m: Maker, op: Op, operands: Operands) -> int | None:
    """The broadcast of an elementwise operation on the small operands, when all are repeated in the same way or are spread scalars."""
    nodes = [m.graph[o] for o in operands]
    forms = [n.op for n in nodes if isinstance(n.op, Broadcast)]
    if len(forms) < len(nodes):
        return None
    ways = {f.axes for f in forms if f.axes}
    if len(ways) > 1:
        return None
    axes = ways.pop() if ways else ()
    shape = tuple(forms[0].shape[a] for a in axes)
    small = [n.inputs[0] if f.axes == axes else m.spread(n.inputs[0], shape) for n, f in zip(nodes, forms, strict=True)]
    return m.spread(m.make(op, *small), forms[0].shape, axes)


def sum_of_repeated(m: Maker, op: Reduce, operands: Operands) -> int | None:
    """The sum over what is not repeated, times the extents of what is."""
    inner = m.graph[operands[0]]
    if op.kind != "sum" or not inner.type.dtype.is_float or not isinstance(inner.op, Broadcast):
        return None
    own = inner.op.axes
    repeated = [a for a in op.axes if a not in own]
    if not repeated:
        return None
    total = m.make(Reduce("sum", tuple(n for n, a in enumerate(own) if a in op.axes)), inner.inputs[0])
    times = m.spread(_count(m, [inner.type.shape[a] for a in repeated], total), m.graph.type(total).shape)
    kept = [a for a in range(inner.type.rank) if a not in op.axes]
    shape = tuple(inner.type.shape[a] for a in kept)
    return m.spread(m.apply("mul", total, times), shape, [kept.index(a) for a in own if a in kept])


def _count(m: Maker, dims: Sequence[Dim], like: int) -> int:
    """The product of extents as a scalar, in the element type of a value."""
    count = m.scalar(float(math.prod(d for d in dims if isinstance(d, int))), F64)
    for dim in dims:
        if isinstance(dim, Symbol):
            count = m.apply("mul", m.make(Extent(dim)), count)
    return m.make(Cast(m.graph.type(like).dtype), count)


def reduce_one(m: Maker, op: Reduce, operands: Operands) -> int | None:
    """A reduction over axes of one element each."""
    own = m.graph.type(operands[0])
    if any(own.shape[a] != 1 for a in op.axes):
        return None
    result = op.infer(own)
    if op.kind in ARGUMENTS:
        return m.spread(m.make(Constant(0, I32)), result.shape)
    return m.make(Reshape(result.shape), operands[0])
