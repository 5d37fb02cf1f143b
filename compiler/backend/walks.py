"""The walks over the folded axes of a nest: which folds wait for which, what a later walk finds saved, how folded points are counted."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from ..ir.types import DType
from ..kernels.model import Access, Apply, Fold, Nest, loads
from .loop_plan import Plan, Walk, closure, dtype_of, extent, is_static, weight
from .normal_form import Ragged

COSTLY = 10  # what is worth a store and a load rather than being computed again
LARGEST_ROW = 1 << 16  # elements of a scratch row: beyond, computing again is cheaper than memory


def with_walks(plan: Plan) -> Plan:
    """Lay out the walks, and the scratch rows that keep costly values of one for a later one."""
    rounds = _rounds(plan)
    saved: dict[int, Access] = {}
    walks, offset = [], 0
    for number, (folds, stores) in enumerate(rounds):
        wanted = _evaluated(plan, folds, stores, saved)
        later = frozenset[int]().union(*(_evaluated(plan, *other, saved) for other in rounds[number + 1 :]))
        saves = {}
        for i in sorted((wanted & later) - saved.keys()) if _may_save(plan) else ():
            if weight(plan.nest.body[i]) >= COSTLY and plan.varies(i):
                saves[i], offset = _scratch_row(plan, dtype_of(plan.nest.body[i]), offset)
        walks.append(Walk(folds, stores, wanted, saves, dict(saved)))
        saved |= saves
    return replace(plan, walks=tuple(walks), scratch=offset)


def counting_strides(nest: Nest) -> tuple[tuple[str, int], ...]:
    """Strides of the row-major number of a folded point: what argmax and argmin yield."""
    panels = {a.extent.name: a.extent for a in nest.over if isinstance(a.extent, Ragged)}
    strides, size = [], 1
    for position, axis in reversed(list(enumerate(nest.over))):
        if position and not is_static(axis):
            raise ValueError(f"points cannot be counted: the extent of the folded axis {axis.name} is not known and it is not the first")
        strides.append((axis.name, size))
        if axis.name in panels:
            size = size // panels[axis.name].panel * panels[axis.name].total
        else:
            size *= extent(axis)
    return tuple(sorted(strides))


def _rounds(plan: Plan) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Folds by how many others they wait for; each store of every folded point with the first walk that knows its value.

    What is stored over something that is read waits for the end.
    """
    body = plan.nest.body
    level = [0] * len(body)
    for number, instruction in enumerate(body):
        if isinstance(instruction, Apply):
            level[number] = max((level[a] for a in instruction.args), default=0)
        elif isinstance(instruction, Fold):
            level[number] = level[instruction.arg] + 1
    folds = [i for i in sorted(plan.needed) if isinstance(body[i], Fold)]
    stages = [tuple(f for f in folds if level[f] == stage) for stage in sorted({level[f] for f in folds})]
    read = {access.buffer for access in loads(plan.nest)}
    due = {
        n: len(stages) if store.access.buffer in read else level[store.value]
        for n, store in enumerate(plan.nest.stores)
        if plan.repeated(store)
    }
    walks = [*stages, ()] if len(stages) in due.values() else stages
    return [(stage, tuple(n for n, walk in due.items() if walk == number)) for number, stage in enumerate(walks)]


def _evaluated(plan: Plan, folds: tuple[int, ...], stores: tuple[int, ...], saved: dict[int, Access]) -> frozenset[int]:
    """What a walk evaluates: all that its folds and stores are computed from but the folds of earlier walks."""
    body = plan.nest.body
    roots = [i.arg for f in folds if isinstance(i := body[f], Fold)] + [plan.nest.stores[s].value for s in stores]
    return frozenset(i for i in closure(plan.nest, roots, saved) if not isinstance(body[i], Fold))


def _may_save(plan: Plan) -> bool:
    if plan.resident or not plan.by_rows or not all(isinstance(a.extent, int) for a in plan.nest.over):
        return False
    return prod(extent(a) for a in plan.nest.over) <= LARGEST_ROW


def _scratch_row(plan: Plan, dtype: DType, offset: int) -> tuple[Access, int]:
    """An access to a new scratch row, contiguous along the vector axis, and the bytes used after it."""
    axis = plan.vector_axis
    assert axis is not None
    strides, size = [(axis.name, 1)], -(-extent(axis) // plan.lanes) * plan.lanes
    for other in reversed(plan.over):
        strides.append((other.name, size))
        size *= extent(other)
    return Access("", dtype, tuple(sorted(strides)), offset // dtype.bytes), offset + -(-size * dtype.bytes // 64) * 64
