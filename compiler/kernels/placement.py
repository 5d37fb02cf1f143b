"""Where a value lives: a buffer with one stride an axis, or a panel-blocked parameter; and what views do to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..ir.affine import Affine
from ..ir.graph import Graph
from ..ir.ops import Concat
from ..ir.types import DType, Shape, Symbol, TensorType, batched, row_major
from ..ir.views import Reshape, View
from ..ir.windows import Pad, Weave

ALIASING_BYTES = 1024
LINE_BYTES = 64


Frame = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Placement:
    """`strides` elements between neighbours along each axis of `shape`, from element `offset` of `buffer`.

    With `panel` = P > 0 the last axis is blocked: index i is at (i mod P) + (i div P) * `panel_stride`, and the tail of the last panel
    is padding that stays zero.

    `frame` are the elements before and after each axis that are in the buffer too and hold the number `fill` (empty: none).
    """

    buffer: str
    dtype: DType
    shape: Shape
    strides: tuple[int, ...]
    offset: int = 0
    panel: int = 0
    panel_stride: int = 0
    frame: Frame = ()
    fill: float = 0.0


def dense(buffer: str, kind: TensorType) -> Placement:
    """Contiguous, the batch axis (if any) with a stride off powers of two that would crowd one set of the cache."""
    strides = row_major(kind.shape)
    if batched(kind.shape):
        strides = (sample_stride(strides[0], kind.dtype), *strides[1:])
    return Placement(buffer, kind.dtype, kind.shape, strides)


def framed(buffer: str, kind: TensorType, frame: Frame, fill: float) -> Placement:
    """As `dense` would place the value and its frame together."""
    shape = tuple(d if isinstance(d, Symbol) else before + d + after for d, (before, after) in zip(kind.shape, frame, strict=True))
    whole = dense(buffer, kind.with_shape(shape))
    offset = sum(stride * before for stride, (before, _) in zip(whole.strides, frame, strict=True))
    return replace(whole, shape=kind.shape, offset=offset, frame=frame, fill=fill)


def strips(place: Placement) -> list[Placement]:
    """The parts of the frame around a value, two an axis, overlapping at the corners."""
    before, after = (tuple(sides) for sides in zip(*place.frame, strict=True))
    whole = with_frame(place, Pad(before, after, place.fill))
    assert whole is not None
    found = []
    for axis, size in enumerate(whole.shape):
        for width, start in (before[axis], 0), (after[axis], None if isinstance(size, Symbol) else size - after[axis]):
            if width and start is not None:
                shape = (*whole.shape[:axis], width, *whole.shape[axis + 1 :])
                found.append(replace(whole, shape=shape, offset=whole.offset + whole.strides[axis] * start))
    return found


def sample_stride(size: int, dtype: DType) -> int:
    """Elements between samples of a size: that, plus a cache line where equal columns of neighbouring rows would alias."""
    aliases = size * dtype.bytes % ALIASING_BYTES == 0
    return size + LINE_BYTES // dtype.bytes if aliases else size


def blocked(buffer: str, kind: TensorType, panel: int) -> Placement:
    """A parameter in panels of `panel` columns: [columns / panel][rows][panel], the last panel padded."""
    rows = [d for d in kind.shape[:-1] if isinstance(d, int)]
    strides = tuple(s * panel for s in row_major(tuple(rows)))
    return Placement(buffer, kind.dtype, kind.shape, (*strides, 1), 0, panel, math.prod(rows) * panel)


def elements(placement: Placement, rows: int) -> int:
    """Elements that the buffer must hold for `rows` samples."""
    shape = [rows if isinstance(d, Symbol) else d for d in placement.shape]
    if placement.panel:
        return -(-shape[-1] // placement.panel) * placement.panel_stride
    after = [a for _, a in placement.frame] or [0] * len(shape)
    last = sum((size - 1 + more) * stride for size, more, stride in zip(shape, after, placement.strides, strict=True))
    return 1 + placement.offset + last


def pack(placement: Placement, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A logical array as the flat elements of the buffer (a parameter's: no batch axis)."""
    array = np.ascontiguousarray(array, dtype=placement.dtype.numpy)
    if not placement.panel:
        return array.reshape(-1)
    columns = array.shape[-1]
    panels = -(-columns // placement.panel)
    padded = np.zeros((array.size // columns, panels * placement.panel), dtype=array.dtype)
    padded[:, :columns] = array.reshape(-1, columns)
    return np.ascontiguousarray(padded.reshape(-1, panels, placement.panel).transpose(1, 0, 2)).reshape(-1)


def unpack(placement: Placement, flat: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The logical array of a buffer's flat elements."""
    shape = [d for d in placement.shape if isinstance(d, int)]
    if not placement.panel:
        return flat[: math.prod(shape)].reshape(shape).copy()
    columns = shape[-1]
    panels = -(-columns // placement.panel)
    blocks = flat.reshape(panels, -1, placement.panel).transpose(1, 0, 2).reshape(-1, panels * placement.panel)
    return blocks[:, :columns].reshape(shape).copy()


def view(graph: Graph, number: int, source: Placement) -> Placement | None:
    """The placement of a view of a placed value, or None when strides cannot express it."""
    op, shape = graph[number].op, graph.type(number).shape
    match op:
        case Pad():
            return with_frame(source, op)
        case Reshape():
            return None if source.panel else reshaped(source, shape)
        case View():
            return _walked(source, op, shape)
        case _:
            raise AssertionError(f"{op.name} is no view")


def _walked(source: Placement, op: View, shape: Shape) -> Placement | None:
    """Strides along the axes of a view; None when it would walk the blocked axis in another way than straight on."""
    own = tuple(Affine(((str(axis), 1),)) for axis in range(len(shape)))
    point = op.through(own, source.shape)
    if source.panel and (point[-1] != own[-1] or shape[-1] != source.shape[-1]):
        return None
    strides, offset = [0] * len(shape), source.offset
    for stride, index in zip(source.strides, point, strict=True):
        offset += stride * index.constant
        for name, factor in index.terms:
            strides[int(name)] += stride * factor
    return replace(source, shape=shape, strides=tuple(strides), offset=offset, frame=())


def with_frame(source: Placement, op: Pad) -> Placement | None:
    """A value together with the frame that it lies in, if it has one wide enough of that number."""
    sides = tuple(zip(op.before, op.after, strict=True))
    have = source.frame or ((0, 0),) * len(sides)
    if source.fill != op.value or any(b > before or a > after for (b, a), (before, after) in zip(sides, have, strict=True)):
        return None
    offset = source.offset - sum(s * before for s, before in zip(source.strides, op.before, strict=True))
    shape = tuple(d if isinstance(d, Symbol) else b + d + a for d, (b, a) in zip(source.shape, sides, strict=True))
    left = tuple((before - b, after - a) for (b, a), (before, after) in zip(sides, have, strict=True))
    return replace(source, shape=shape, offset=offset, frame=left)


def part_of(whole: Placement, op: Concat | Weave, number: int, shapes: Sequence[Shape]) -> Placement:
    """Where operand number `number` of a join lies in the result; `shapes` are those of all operands."""
    strides, offset = list(whole.strides), whole.offset
    if isinstance(op, Concat):
        before = sum(d for shape in shapes[:number] if isinstance(d := shape[op.axis], int))
        offset += strides[op.axis] * before
    else:
        for axis, stride, remainder in zip(op.axes, op.stride, op.remainders[number], strict=True):
            offset += strides[axis] * remainder
            strides[axis] *= stride
    return replace(whole, shape=shapes[number], strides=tuple(strides), offset=offset, frame=())


def reshaped(source: Placement, shape: Shape) -> Placement | None:
    """The same elements under another shape when groups of axes are contiguous, as NumPy does without copying; else None."""
    lead = int(batched(source.shape))
    old = [(d, s) for d, s in zip(source.shape[lead:], source.strides[lead:], strict=True) if isinstance(d, int) and d != 1]
    new = [d for d in shape[lead:] if isinstance(d, int)]
    strides, many = [0] * len(new), [axis for axis, size in enumerate(new) if size != 1]
    while many:
        group, merged = [many.pop(0)], [old.pop(0)]
        while (size := math.prod(new[axis] for axis in group)) != (have := math.prod(d for d, _ in merged)):
            if size < have:
                group.append(many.pop(0))
            else:
                merged.append(old.pop(0))
        if any(outer[1] != inner[0] * inner[1] for outer, inner in pairwise(merged)):
            return None
        step = merged[-1][1]
        for axis, count in zip(group, row_major(tuple(new[axis] for axis in group)), strict=True):
            strides[axis] = step * count
    return replace(source, shape=shape, strides=(*source.strides[:lead], *strides), frame=())
