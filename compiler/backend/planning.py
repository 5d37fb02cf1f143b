"""Decides how a map/reduce nest is written. Everything depends on the kernel and the target alone, never on the number of threads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from ..ir.types import F32
from ..kernels.model import Access, Axis, Fold, Load, Nest
from .loop_plan import Plan, dtype_of, extent, is_static, weight
from .normal_form import Ragged, divide, normalise, panel_axes
from .target import Target
from .text import Grid
from .walks import with_walks

LONGEST_BLOCK = 500  # weight of code written without a loop
PARALLEL = 16  # units of work that are enough to share out
TURNS = "turns/"  # the axis that counts turns of a vector axis that threads share
ONE_UNIT = Grid(1, False, 1)
STRIDED = 8  # cost of a lane that is loaded or stored by itself, code size included


def make_plan(kernel: Nest, target: Target) -> Plan:
    """Decide everything about a kernel."""
    nest = normalise(kernel)
    counting = panel_axes(nest)
    names = [a.name for a in (*nest.axes, *nest.over) if a.name not in counting]
    best = min((_candidate(nest, target, name) for name in names or (None,)), key=_cost)
    best = _shared_out(replace(best, unroll=_unrolling(best)))
    return with_walks(replace(best, resident=_is_resident(best)))


def _candidate(nest: Nest, target: Target, name: str | None) -> Plan:
    """The plan with a given vector axis, not yet unrolled or shared out."""
    plan = Plan(nest, target, name, None, 1, 1, False, _without(nest.axes, name), _without(nest.over, name), ONE_UNIT, None)
    plan = replace(plan, lanes=_lanes(plan))
    return replace(plan, across=_across(plan))


def _without(axes: tuple[Axis, ...], *names: str | None) -> tuple[Axis, ...]:
    return tuple(a for a in axes if a.name not in names)


def _lanes(plan: Plan) -> int:
    """Lanes of the widest type that varies, and no more than the axis has points."""
    axis = plan.vector_axis
    if axis is None:
        return 1
    widths = [dtype_of(plan.nest.body[i]) for i in plan.needed if plan.varies(i)]
    lanes = plan.target.lanes(max((F32, *widths), key=lambda t: t.bits))
    points = extent(axis) if is_static(axis) else lanes
    while lanes // 2 >= points:
        lanes //= 2
    return lanes


def _across(plan: Plan) -> str | None:
    """The axis that loads run along where it is another than the vector one, for blocks to be transposed: in cheap maps only."""
    axis = plan.vector_axis
    if axis is None or plan.nest.over or plan.lanes < 4 or not is_static(axis) or not plan.strided_loads:
        return None
    if plan.lanes * sum(weight(plan.nest.body[i]) for i in plan.needed) > LONGEST_BLOCK:
        return None
    accesses = [i.access for n in plan.strided_loads if isinstance(i := plan.nest.body[n], Load)]
    long = [a for a in _without(plan.nest.axes, plan.vector, *panel_axes(plan.nest)) if is_static(a) and extent(a) >= plan.lanes // 2]
    return next((a.name for a in reversed(long) if all(access.stride(a) == 1 for access in accesses)), None)


def _points(plan: Plan, names: Iterable[str]) -> int:
    """Vectors (or scalars) over which a value of these axes is evaluated."""
    wanted = set(names)
    found = prod(extent(a) for a in (*plan.nest.axes, *plan.nest.over) if a.name in wanted and a.name != plan.vector)
    axis = plan.vector_axis
    return found * -(-extent(axis) // plan.lanes) if axis is not None and axis.name in wanted else found


def _cost(plan: Plan) -> int:
    """Instructions of the whole kernel, roughly: what the choice of the vector axis is made by."""
    total = 0
    for number in plan.needed:
        instruction = plan.nest.body[number]
        count = _points(plan, plan.depends[number])
        if isinstance(instruction, Load):
            total += count * _access_cost(plan, instruction.access, plan.across is not None)
        elif isinstance(instruction, Fold):
            total += _points(plan, plan.depends[instruction.arg])
            total += count * 4 * plan.lanes.bit_length() * plan.by_rows
        else:
            total += count * weight(instruction)
    for store in plan.nest.stores:
        names = {name for name, _ in store.access.strides} | plan.depends[store.value]
        total += _points(plan, names) * _access_cost(plan, store.access, False)
    return total


def _access_cost(plan: Plan, access: Access, transposed: bool) -> int:
    if plan.lane_stride(access) in (0, 1):
        return 1
    return plan.lanes.bit_length() + 1 if transposed else STRIDED * plan.lanes


def _unrolling(plan: Plan) -> int:
    """Vectors a turn: more for short bodies, no more than the axis has."""
    body = sum(weight(plan.nest.body[i]) for i in plan.needed if plan.varies(i))
    unroll = 4 if body <= 10 else 2 if body <= 40 else 1
    axis = plan.vector_axis
    while axis is not None and is_static(axis) and unroll > 1 and unroll * plan.lanes > extent(axis):
        unroll //= 2
    return unroll


def _shared_out(plan: Plan) -> Plan:
    """Choose the axis that threads cut, and put it outermost: the rows, else the first of enough points, else the longest."""
    outer = _without(plan.axes, plan.across)
    rows = next((a for a in plan.nest.axes if not is_static(a)), None)
    if rows is not None:
        first = tuple(a for a in outer if a is rows)
        return replace(plan, axes=first + _without(outer, rows.name), grid=Grid(1, True, 1), shared=rows.name)
    fixed = [a for a in outer if not isinstance(a.extent, Ragged)]
    best = next((a for a in fixed if extent(a) >= PARALLEL), max(fixed, key=extent, default=None))
    cut = _cut_vector_axis(plan)
    if cut is not None and (best is None or extent(best) < min(PARALLEL, cut.grid.extent)):
        return cut
    if best is None:
        return replace(plan, axes=outer)
    return replace(plan, axes=(best, *_without(outer, best.name)), grid=Grid(extent(best), False, 1), shared=best.name)


def _cut_vector_axis(plan: Plan) -> Plan | None:
    """The vector axis in panels of one turn, for threads to share; turns are smaller where each holds the work of a whole fold."""
    axis = plan.vector_axis
    if axis is None or plan.by_rows or not isinstance(axis.extent, int):
        return None
    unroll = plan.unroll
    while plan.nest.over and unroll > 1 and axis.extent < 4 * unroll * plan.lanes:
        unroll //= 2
    nest = divide(plan.nest, axis, unroll * plan.lanes, TURNS)
    panels = next(a for a in nest.axes if a.name == TURNS)
    axes = (panels, *_without(nest.axes, panels.name, axis.name, plan.across))
    return replace(plan, nest=nest, unroll=unroll, axes=axes, grid=Grid(extent(panels), False, 1), shared=panels.name)


def _is_resident(plan: Plan) -> bool:
    """True if the folded points are few enough to be written out, their values staying in registers."""
    folded = plan.nest.over
    if not folded or not all(isinstance(a.extent, int) for a in folded):
        return False
    vectors = _points(plan, plan.folded) * (1 if plan.by_rows else plan.unroll)
    inside = sum(weight(plan.nest.body[i]) for i in plan.needed if plan.depends[i] & plan.folded)
    most = plan.target.registers // 4 if plan.by_rows else plan.target.registers
    return vectors <= most and vectors * inside <= LONGEST_BLOCK
