"""Where a value lives: a buffer with one stride an axis, or a panel-blocked parameter; and what views do to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..ir.graph import Graph
from ..ir.op import Trait
from ..ir.ops import Broadcast, Concat, Reshape, Slice, Transpose
from ..ir.types import DType, Shape, Symbol, TensorType
from ..ir.windows import Pad, Reverse, Skew, Sliding, Weave, Window

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


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of contiguous elements, last axis innermost."""
    strides: list[int] = []
    step = 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= size
    return tuple(strides)


def dense(buffer: str, kind: TensorType) -> Placement:
    """Contiguous, the batch axis (if any) with a stride off powers of two that would crowd one set of the cache."""
    if kind.shape and isinstance(kind.shape[0], Symbol):
        body = tuple(d for d in kind.shape if isinstance(d, int))
        return Placement(buffer, kind.dtype, kind.shape, (sample_stride(body, kind.dtype), *row_major(body)))
    return Placement(buffer, kind.dtype, kind.shape, row_major([d for d in kind.shape if isinstance(d, int)]))


def framed(buffer: str, kind: TensorType, frame: Frame, fill: float) -> Placement:
    """As `dense` would place the value and its frame together."""
    shape = tuple(d if isinstance(d, Symbol) else before + d + after for d, (before, after) in zip(kind.shape, frame, strict=True))
    whole = dense(buffer, kind.with_shape(shape))
    offset = sum(stride * before for stride, (before, _) in zip(whole.strides, frame, strict=True))
    return replace(whole, shape=kind.shape, offset=offset, frame=frame, fill=fill)


def strips(place: Placement) -> list[Placement]:
    """The parts of the frame around a value, two an axis, overlapping at the corners."""
    found = []
    for axis, sides in enumerate(place.frame):
        for side, width in enumerate(sides):
            if width:
                start, shape = place.offset, list(place.shape)
                for n, (stride, (before, after)) in enumerate(zip(place.strides, place.frame, strict=True)):
                    size = shape[n]
                    if isinstance(size, int):
                        shape[n] = before + size + after
                        start -= stride * before
                size = place.shape[axis]
                assert isinstance(size, int)
                start += place.strides[axis] * (sides[0] + size) * side
                shape[axis] = width
                found.append(replace(place, shape=tuple(shape), offset=start, frame=()))
    return found


def sample_stride(body: Sequence[int], dtype: DType) -> int:
    """Elements between samples: their size, plus a cache line where equal columns of neighbouring rows would alias."""
    size = math.prod(body)
    aliases = size * dtype.bytes % ALIASING_BYTES == 0
    return size + LINE_BYTES // dtype.bytes if aliases else size


def blocked(buffer: str, kind: TensorType, panel: int) -> Placement:
    """A parameter in panels of `panel` columns: [columns / panel][rows][panel], the last panel padded."""
    *rows, _ = (d for d in kind.shape if isinstance(d, int))
    depth = math.prod(rows)
    strides = tuple(s * panel for s in row_major(rows))
    return Placement(buffer, kind.dtype, kind.shape, (*strides, 1), 0, panel, depth * panel)


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
    node = graph[number]
    assert node.op.has(Trait.VIEW)
    if isinstance(node.op, Pad):
        return with_frame(source, node.op)
    shape, inside = node.type.shape, replace(source, shape=node.type.shape, frame=())
    if source.panel and not (isinstance(node.op, Slice | Reverse) and shape[-1] == source.shape[-1]):
        return None
    match node.op:
        case Broadcast():
            strides = [0] * len(shape)
            for stride, axis in zip(source.strides, node.op.axes, strict=True):
                strides[axis] = stride
            return replace(inside, strides=tuple(strides))
        case Transpose():
            return replace(inside, strides=tuple(source.strides[a] for a in node.op.order))
        case Slice():
            offset = source.offset + sum(s * start for s, start in zip(source.strides, node.op.start, strict=True))
            strides = [s * step for s, step in zip(source.strides, node.op.step, strict=True)]
            return replace(inside, strides=tuple(strides), offset=offset)
        case Reverse() if not (source.panel and len(shape) - 1 in node.op.axes):
            return _backwards(inside, node.op.axes)
        case Window():
            return replace(inside, strides=_sliding(source.strides, node.op.sliding))
        case Skew():
            return _askew(inside, source.shape, node.op)
        case Reshape():
            return _reshape(inside, source.shape, shape)
        case _:
            return None


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


def _backwards(source: Placement, axes: Sequence[int]) -> Placement:
    offset = source.offset
    for axis in axes:
        size = source.shape[axis]
        assert isinstance(size, int)
        offset += source.strides[axis] * (size - 1)
    return replace(source, strides=tuple(-s if a in axes else s for a, s in enumerate(source.strides)), offset=offset)


def _sliding(strides: Sequence[int], sliding: Sliding) -> tuple[int, ...]:
    """Strides of windows: from window to window, and from element to element inside."""
    counting, inside = list(strides), []
    for axis, stride, dilation in zip(sliding.axes, sliding.stride, sliding.dilation, strict=True):
        inside.append(strides[axis] * dilation)
        counting[axis] = strides[axis] * stride
    first = sliding.inside[0]
    return (*counting[:first], *inside, *counting[first:])


def _askew(source: Placement, old: Shape, op: Skew) -> Placement:
    strides, offset = list(source.strides), source.offset
    for axis, inside, dilation in zip(op.axes, op.inside, op.dilation, strict=True):
        size = old[inside]
        assert isinstance(size, int)
        offset += source.strides[axis] * dilation * (size - 1)
        strides[inside] -= source.strides[axis] * dilation
    return replace(source, strides=tuple(strides), offset=offset)


def reshaped(source: Placement, shape: Shape) -> Placement | None:
    """The same elements under another shape, None when strides cannot express it."""
    return _reshape(replace(source, shape=shape, frame=()), source.shape, shape)


def _reshape(source: Placement, before: Shape, shape: Shape) -> Placement | None:
    """Strides under another shape when groups of axes are contiguous, as NumPy does without copying."""
    lead = 1 if before and isinstance(before[0], Symbol) else 0
    old = [(d, s) for d, s in zip(before[lead:], source.strides[lead:], strict=True) if isinstance(d, int) and d != 1]
    new = [d for d in shape[lead:] if isinstance(d, int)]
    strides: list[int] = []
    position = 0
    for size in new:
        if size == 1:
            strides.append(0)
            continue
        strides.append(-size)
    flat = [n for n, s in enumerate(strides) if s]
    while flat:
        group_new, group_old = [flat.pop(0)], [old[position]]
        position += 1
        a, b = new[group_new[0]], group_old[0][0]
        while a != b:
            if a < b:
                group_new.append(flat.pop(0))
                a *= new[group_new[-1]]
            else:
                group_old.append(old[position])
                position += 1
                b *= group_old[-1][0]
        if any(outer[1] != inner[0] * inner[1] for outer, inner in pairwise(group_old)):
            return None
        step = group_old[-1][1]
        for n in reversed(group_new):
            strides[n] = step
            step *= new[n]
    return replace(source, strides=(*source.strides[:lead], *strides))
