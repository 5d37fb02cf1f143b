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
from ..ir.ops import Broadcast, Reshape, Slice, Transpose
from ..ir.types import DType, Shape, Symbol, TensorType

ALIASING_BYTES = 1024
LINE_BYTES = 64


@dataclass(frozen=True)
class Placement:
    """`strides` elements between neighbours along each axis of `shape`, from element `offset` of `buffer`.

    With `panel` = P > 0 the last axis is blocked: index i is at (i mod P) + (i div P) * `panel_stride`, and the tail of the last panel
    is padding that stays zero.
    """

    buffer: str
    dtype: DType
    shape: Shape
    strides: tuple[int, ...]
    offset: int = 0
    panel: int = 0
    panel_stride: int = 0


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
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, placement.strides, strict=True))


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
    if source.panel:
        return None
    shape = node.type.shape
    match node.op:
        case Broadcast():
            strides = [0] * len(shape)
            for stride, axis in zip(source.strides, node.op.axes, strict=True):
                strides[axis] = stride
            return replace(source, shape=shape, strides=tuple(strides))
        case Transpose():
            return replace(source, shape=shape, strides=tuple(source.strides[a] for a in node.op.order))
        case Slice():
            offset = source.offset + sum(s * start for s, start in zip(source.strides, node.op.start, strict=True))
            strides = [s * step for s, step in zip(source.strides, node.op.step, strict=True)]
            return replace(source, shape=shape, strides=tuple(strides), offset=offset)
        case Reshape():
            return _reshape(source, shape)
        case _:
            return None


def _reshape(source: Placement, shape: Shape) -> Placement | None:
    """Strides under another shape when groups of axes are contiguous, as NumPy does without copying."""
    lead = 1 if source.shape and isinstance(source.shape[0], Symbol) else 0
    old = [(d, s) for d, s in zip(source.shape[lead:], source.strides[lead:], strict=True) if isinstance(d, int) and d != 1]
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
    return replace(source, shape=shape, strides=(*source.strides[:lead], *strides))
