"""Sums of joins whose parts meet zeros: one join.

Before:  add(concat(a, zeros), concat(zeros, b))        the gradient of what was split
After:   concat(a, b)

Legal since x + 0 is x (but for the sign of a zero). The parts of one join must lie within zeros of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..ir.elementwise import Elementwise
from ..ir.ops import Concat
from .local import Maker


@dataclass(frozen=True)
class _Part:
    """Elements start to stop of a join."""

    start: int
    stop: int
    value: int


def overlaid(m: Maker, op: Elementwise, operands: tuple[int, ...]) -> int | None:
    """The join of two joins' parts that are not zero, where no two of them overlap."""
    if op.row != "add":
        return None
    joins = [m.graph[o] for o in operands]
    axes = {j.op.axis for j in joins if isinstance(j.op, Concat)}
    if len(axes) != 1 or not all(isinstance(j.op, Concat) for j in joins):
        return None
    axis = axes.pop()
    parts = sorted((p for j in joins for p in _parts(m, j.inputs, axis)), key=lambda p: p.start)
    if any(a.stop > b.start for a, b in pairwise(parts)):
        return None
    whole = m.graph.type(operands[0])
    total = whole.shape[axis]
    assert isinstance(total, int)
    found, position = list[int](), 0
    for part in (*parts, _Part(total, total, -1)):
        if part.start > position:
            shape = (*whole.shape[:axis], part.start - position, *whole.shape[axis + 1 :])
            found.append(m.spread(m.scalar(0.0 if whole.dtype.is_float else 0, whole.dtype), shape))
        found += [part.value] if part.value >= 0 else []
        position = part.stop
    return m.make(Concat(axis), *found)


def _parts(m: Maker, operands: tuple[int, ...], axis: int) -> list[_Part]:
    """The parts of a join that are not zero."""
    found, position = list[_Part](), 0
    for operand in operands:
        size = m.graph.type(operand).shape[axis]
        assert isinstance(size, int)
        if m.known(operand) != 0:
            found.append(_Part(position, position + size, operand))
        position += size
    return found
