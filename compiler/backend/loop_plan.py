"""What is decided before a map/reduce nest is written: the vector axis, the order of loops, unrolling, what is kept and what recomputed.

    map      no folds: loops over `axes`, the vector axis innermost; where loads run along another axis, square blocks are transposed
    column   folds, vector axis among `axes`: each lane folds its own column
    row      folds, vector axis among `over`: lanes are folded into each other at the end of a row

Everything here depends on the kernel and the target alone, never on the number of threads.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from ..ir.types import F32, DType, Symbol
from ..kernels.model import (
    Access,
    Accumulator,
    Apply,
    Axis,
    Constant,
    Fold,
    Index,
    Instruction,
    Load,
    Nest,
    Store,
)
from .normal_form import Multiple, Ragged, divide, normalise, panel_axes
from .target import Target
from .text import Grid

ROWS_GUESS = 64
WEIGHTS = {
    "exp": 18, "expm1": 20, "log": 22, "log1p": 30, "tanh": 18, "erf": 40, "sigmoid": 24, "sin": 30, "cos": 30, "pow": 100,
    "random_bits": 60, "div": 4, "sqrt": 6, "rsqrt": 10, "mod": 20,
}  # fmt: skip
COSTLY = 10  # what is worth a store and a load rather than being computed again
LONGEST_BLOCK = 500  # weight of code written without a loop
PARALLEL = 16  # units of work that are enough to share out


@dataclass(frozen=True)
class Pass:
    """One walk over the folded axes: `folds` it makes (none in the last, which stores), what it evaluates, saves, and reads as saved."""

    folds: tuple[int, ...]
    stores: tuple[int, ...]
    wanted: frozenset[int]
    saves: Mapping[int, Access]
    saved: Mapping[int, Access]


@dataclass(frozen=True)
class Plan:
    """A normal nest and how it is written.

    `vector` is the axis that lanes run along (None for a kernel without axes), `across` the axis that transposed loads run along.
    `axes` and `over` are the loops outside the vector one. `unroll` counts vectors a turn. When `resident`, all points of `over` are
    written out and their values stay in registers. `grid` says what threads share out, by cutting the axis `shared`.
    """

    nest: Nest
    target: Target
    vector: str | None
    across: str | None
    lanes: int
    unroll: int
    resident: bool
    axes: tuple[Axis, ...]
    over: tuple[Axis, ...]
    grid: Grid
    shared: str | None
    passes: tuple[Pass, ...] = ()
    scratch: int = 0

    @functools.cached_property
    def depends(self) -> tuple[frozenset[str], ...]:
        """Axes that each instruction's value depends on."""
        return dependencies(self.nest)

    @functools.cached_property
    def folded(self) -> frozenset[str]:
        """Names of the folded axes."""
        return frozenset(a.name for a in self.nest.over)

    @functools.cached_property
    def by_rows(self) -> bool:
        """True if the lanes run along a folded axis."""
        return self.vector in self.folded

    @functools.cached_property
    def vector_axis(self) -> Axis | None:
        """The axis that lanes run along."""
        return next((a for a in (*self.nest.axes, *self.nest.over) if a.name == self.vector), None)

    @functools.cached_property
    def needed(self) -> frozenset[int]:
        """Instructions that a store depends on."""
        return closure(self.nest, (s.value for s in self.nest.stores), {})

    @functools.cached_property
    def widened(self) -> frozenset[int]:
        """Instructions that are the same for all lanes, but that something varying uses."""
        uses = [(i, instruction.args) for i, instruction in enumerate(self.nest.body) if isinstance(instruction, Apply)]
        users = {a for i, args in uses if self.varies(i) for a in args}
        users |= {i.arg for i in self.nest.body if isinstance(i, Fold)}
        users |= {s.value for s in self.nest.stores if self.vector and s.access.stride(self.vector)}
        return frozenset(a for a in users if not self.varies(a))

    def varies(self, instruction: int) -> bool:
        """True if lanes hold different values."""
        return self.vector in self.depends[instruction]

    def repeated(self, store: Store) -> bool:
        """True if a store is made at every point of the folded axes."""
        return bool((self.depends[store.value] | {name for name, _ in store.access.strides}) & self.folded)


def dtype_of(instruction: Instruction) -> DType:
    """The element type of a value."""
    return instruction.access.dtype if isinstance(instruction, Load) else instruction.dtype


def dependencies(nest: Nest) -> tuple[frozenset[str], ...]:
    """Axes that each instruction's value depends on; a fold belongs to a point of all `axes`."""
    point = frozenset(a.name for a in nest.axes)
    found: list[frozenset[str]] = []
    for instruction in nest.body:
        if isinstance(instruction, Load):
            found.append(frozenset(name for name, _ in instruction.access.strides))
        elif isinstance(instruction, Index):
            found.append(frozenset(name for name, _ in instruction.strides))
        elif isinstance(instruction, Apply):
            found.append(frozenset().union(*(found[a] for a in instruction.args)))
        elif isinstance(instruction, Accumulator):
            raise ValueError("a nest has no accumulator")
        else:
            found.append(point if isinstance(instruction, Fold) else frozenset())
    return tuple(found)


def closure(nest: Nest, roots: Iterable[int], known: Mapping[int, Access]) -> frozenset[int]:
    """The roots and everything that they need, not going beyond what is known."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        number = waiting.pop()
        if number in found:
            continue
        found.add(number)
        instruction = nest.body[number]
        if number not in known and isinstance(instruction, Apply):
            waiting += instruction.args
        elif isinstance(instruction, Fold):
            waiting.append(instruction.arg)
    return frozenset(found)


def weight(instruction: Instruction) -> int:
    """About how many machine instructions an evaluation takes."""
    if isinstance(instruction, Apply):
        return WEIGHTS.get(instruction.op, 1)
    return 0 if isinstance(instruction, Constant) else 1


def make_plan(kernel: Nest, target: Target) -> Plan:
    """Decide everything about a kernel."""
    nest = normalise(kernel)
    counting = panel_axes(nest)
    candidates = [a.name for a in (*nest.axes, *nest.over) if a.name not in counting] or [None]
    plans = [_candidate(nest, target, name) for name in candidates]
    best = min(plans, key=_cost)
    best = replace(best, unroll=_unrolling(best))
    best = _shared_out(best)
    best = replace(best, resident=_is_resident(best))
    return _with_passes(best)


def extent(axis: Axis) -> int:
    """The extent of an axis, guessed where it is known at run time only."""
    if isinstance(axis.extent, int):
        return axis.extent
    if isinstance(axis.extent, Ragged):
        return axis.extent.panel
    return ROWS_GUESS * (axis.extent.factor if isinstance(axis.extent, Multiple) else 1)


def is_static(axis: Axis) -> bool:
    """True if the extent is known when the code is written (panel by panel for a ragged axis)."""
    return not isinstance(axis.extent, Symbol) or isinstance(axis.extent, Ragged)


def _candidate(nest: Nest, target: Target, name: str | None) -> Plan:
    """The plan with a given vector axis, not yet unrolled or shared out."""
    plan = Plan(nest, target, name, None, 1, 1, False, _without(nest.axes, name), _without(nest.over, name), Grid(1, False, 1), None)
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
    if axis is None or plan.nest.over or plan.lanes < 4 or not is_static(axis):
        return None
    strided = list(strided_loads(plan))
    contiguous = [a for a in _without(plan.nest.axes, plan.vector) if all(plan.nest.body[i].access.stride(a) == 1 for i in strided)]  # type: ignore[union-attr]
    body = sum(weight(plan.nest.body[i]) for i in plan.needed)
    usable = [a for a in contiguous if is_static(a) and a.name not in panel_axes(plan.nest) and extent(a) >= plan.lanes // 2]
    return usable[-1].name if strided and usable and body * plan.lanes <= LONGEST_BLOCK else None


def strided_loads(plan: Plan) -> list[int]:
    """Loads whose lanes are not neighbours."""
    return [i for i in sorted(plan.needed) if isinstance(a := plan.nest.body[i], Load) and _stride(plan, a.access) not in (0, 1)]


def _stride(plan: Plan, access: Access) -> int:
    return access.stride(plan.vector) if plan.vector else 0


def _points(plan: Plan, names: Iterable[str]) -> float:
    """Vectors (or scalars) over which a value of these axes is evaluated."""
    wanted = set(names)
    found = prod(extent(a) for a in (*plan.nest.axes, *plan.nest.over) if a.name in wanted and a.name != plan.vector)
    axis = plan.vector_axis
    return found * -(-extent(axis) // plan.lanes) if axis is not None and axis.name in wanted else found


def _cost(plan: Plan) -> float:
    """Instructions of the whole kernel, roughly: what the choice of the vector axis is made by."""
    total = 0.0
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


def _access_cost(plan: Plan, access: Access, transposed: bool) -> float:
    if _stride(plan, access) in (0, 1):
        return 1
    return plan.lanes.bit_length() + 1 if transposed else 8 * plan.lanes


def _unrolling(plan: Plan) -> int:
    """Vectors a turn: more for short bodies, no more than the axis has."""
    body = sum(weight(plan.nest.body[i]) for i in plan.needed if plan.varies(i))
    unroll = 4 if body <= 10 else 2 if body <= 40 else 1
    axis = plan.vector_axis
    while axis is not None and is_static(axis) and unroll > 1 and unroll * plan.lanes > extent(axis):
        unroll //= 2
    return unroll


def _shared_out(plan: Plan) -> Plan:
    """Choose the axis that threads cut, and put it outermost."""
    axis = plan.vector_axis
    outer = _without(plan.axes, plan.across)
    rows = next((a for a in plan.nest.axes if not is_static(a)), None)
    if rows is not None:
        first = tuple(a for a in outer if a is rows)
        return replace(plan, axes=first + _without(outer, rows.name), grid=Grid(1, True, 1), shared=rows.name)
    fixed = [a for a in outer if not isinstance(a.extent, Ragged)]
    best = next((a for a in fixed if extent(a) >= PARALLEL), max(fixed, key=extent, default=None))
    if axis is not None and not plan.by_rows and isinstance(axis.extent, int) and (best is None or extent(best) < PARALLEL):
        best_units = extent(best) if best else 1
        unroll, panel = _panel(plan, axis.extent)
        if -(-axis.extent // panel) > best_units:
            return _cut_vector_axis(plan, axis, panel, unroll)
    if best is None:
        return replace(plan, axes=outer)
    return replace(plan, axes=(best, *_without(outer, best.name)), grid=Grid(extent(best), False, 1), shared=best.name)


def _panel(plan: Plan, points: int) -> tuple[int, int]:
    """Unrolling and panel of a vector axis that threads cut: small panels where each holds the work of a whole fold."""
    unroll = plan.unroll
    while plan.nest.over and unroll > 1 and points < 4 * unroll * plan.lanes:
        unroll //= 2
    return unroll, unroll * plan.lanes


def _cut_vector_axis(plan: Plan, axis: Axis, panel: int, unroll: int) -> Plan:
    nest = divide(plan.nest, axis, panel)
    panels = next(a for a in nest.axes if a.name == f"{axis.name}/")
    others = _without(nest.axes, panels.name, axis.name, plan.across)
    cut = replace(plan, nest=nest, unroll=unroll, axes=(panels, *others))
    return replace(cut, grid=Grid(extent(panels), False, 1), shared=panels.name)


def _is_resident(plan: Plan) -> bool:
    """True if the folded points are few enough to be written out, their values staying in registers."""
    folded = plan.nest.over
    if not folded or not all(isinstance(a.extent, int) for a in folded):
        return False
    vectors = int(_points(plan, plan.folded)) * (1 if plan.by_rows else plan.unroll)
    inside = sum(weight(plan.nest.body[i]) for i in plan.needed if plan.depends[i] & plan.folded)
    most = plan.target.registers // 4 if plan.by_rows else plan.target.registers
    return vectors <= most and vectors * inside <= LONGEST_BLOCK


def stages(plan: Plan) -> list[tuple[int, ...]]:
    """Folds that the stores need, by how many folds they wait for."""
    level = [0] * len(plan.nest.body)
    for number, instruction in enumerate(plan.nest.body):
        if isinstance(instruction, Apply):
            level[number] = max((level[a] for a in instruction.args), default=0)
        elif isinstance(instruction, Fold):
            level[number] = level[instruction.arg] + 1
    folds = [i for i in sorted(plan.needed) if isinstance(plan.nest.body[i], Fold)]
    return [tuple(f for f in folds if level[f] == s) for s in sorted({level[f] for f in folds})]


def _with_passes(plan: Plan) -> Plan:
    """Lay out the walks over the folded axes, and the scratch rows that save costly values from one for a later one."""
    body = plan.nest.body
    last = tuple(n for n, store in enumerate(plan.nest.stores) if plan.repeated(store) and plan.nest.over)
    rounds = [(folds, ()) for folds in stages(plan)] + ([((), last)] if last else [])
    roots = [[body[f].arg for f in folds] + [plan.nest.stores[s].value for s in kept] for folds, kept in rounds]  # type: ignore[union-attr]
    saved: dict[int, Access] = {}
    passes, offset = [], 0
    for number, (folds, kept) in enumerate(rounds):
        wanted = _stop_at_folds(plan, roots[number], saved)
        later = frozenset[int]().union(*(_stop_at_folds(plan, r, saved) for r in roots[number + 1 :]))
        saves = {}
        for i in sorted(wanted & later - saved.keys()) if _may_save(plan) else ():
            if weight(body[i]) >= COSTLY and plan.varies(i):
                saves[i], offset = _scratch_row(plan, dtype_of(body[i]), offset)
        passes.append(Pass(folds, kept, wanted, saves, dict(saved)))
        saved |= saves
    return replace(plan, passes=tuple(passes), scratch=offset)


def _stop_at_folds(plan: Plan, roots: Iterable[int], saved: Mapping[int, Access]) -> frozenset[int]:
    """What one walk evaluates: folds of earlier walks are known."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        number = waiting.pop()
        instruction = plan.nest.body[number]
        if number not in found and not isinstance(instruction, Fold):
            found.add(number)
            if number not in saved and isinstance(instruction, Apply):
                waiting += instruction.args
    return frozenset(found)


LARGEST_ROW = 1 << 16  # elements of a scratch row: beyond, computing again is cheaper than memory


def _may_save(plan: Plan) -> bool:
    if plan.resident or not plan.by_rows or not all(isinstance(a.extent, int) for a in plan.nest.over):
        return False
    return prod(extent(a) for a in plan.nest.over) <= LARGEST_ROW


def _scratch_row(plan: Plan, dtype: DType, offset: int) -> tuple[Access, int]:
    """An access to a new scratch row, with its vector axis contiguous, and the bytes used after it."""
    axis = plan.vector_axis
    assert axis is not None
    strides, size = [(axis.name, 1)], -(-extent(axis) // plan.lanes) * plan.lanes
    for other in reversed(plan.over):
        strides.append((other.name, size))
        size *= extent(other)
    return Access("", dtype, tuple(sorted(strides)), offset // dtype.bytes), offset + -(-size * dtype.bytes // 64) * 64


def counting_strides(nest: Nest) -> tuple[tuple[str, int], ...]:
    """Strides of the row-major number of a folded point: what argmax and argmin yield."""
    strides, size = [], 1
    for axis in reversed(nest.over):
        strides.append((axis.name, size))
        if isinstance(axis.extent, Ragged):
            ragged, inner = axis.extent, size
            size = inner * ragged.panel
        elif any(isinstance(a.extent, Ragged) and a.extent.name == axis.name for a in nest.over):
            owner = next(a.extent for a in nest.over if isinstance(a.extent, Ragged) and a.extent.name == axis.name)
            size = size // owner.panel * owner.total
        else:
            size *= extent(axis) if is_static(axis) else 1
    return tuple(sorted(strides))
