"""The map/reduce generator: one LLVM function for one nest.

    emit_nest   plans the loops (planning.py), writes them (loops.py), evaluates the body inside them (points.py), folds (reduction.py)

The function is `void @KERNEL(ptr %b0, ..., i64 %rows, i64 %lo, i64 %hi, ptr %scratch)`; `lo` and `hi` are units of `Emitted.grid`, ranges
may be empty. What is stored does not depend on how the grid is cut.
"""

from __future__ import annotations

from collections import ChainMap

from ..kernels.model import Access, Axis, Load, Nest, buffers, loads, stores
from . import vectors
from .loop_plan import Plan
from .loops import HI, LO, Carried, Loops
from .planning import make_plan
from .points import Place, Slot
from .reduction import Reduction
from .target import Target
from .text import Emitted, Text, Value, scalar_type


def emit_nest(kernel: Nest, target: Target) -> Emitted:
    """The LLVM function of a map/reduce kernel, one pointer argument for each of its buffers in the order of `model.buffers`."""
    plan = make_plan(kernel, target)
    names = buffers(kernel)
    text = Text(target)
    place = Place(plan, text, {}, _pointers(plan, names), ChainMap())
    place.pointers = {access: _start(text, pointer, access) for access, pointer in place.pointers.items()}
    loops = Loops(place)
    place.define_known()
    if plan.shared is None:
        with text.when(text.op("i1", f"icmp slt {LO}, {HI.name}")):
            _all_points(loops)
    else:
        _all_points(loops)
    lines = [_signature(kernel, names), *text.lines, "  ret void", "}"]
    return Emitted("\n".join(lines), names, plan.grid, plan.scratch, tuple(sorted(text.needs.items())))


def _signature(kernel: Nest, names: tuple[str, ...]) -> str:
    """A buffer that is both read and written may be met through two accesses, so it does not promise to be unaliased."""
    both = {a.buffer for a in loads(kernel)} & {a.buffer for a in stores(kernel)}
    pointers = [f"ptr {'' if name in both else 'noalias '}%b{n}, " for n, name in enumerate(names)]
    return f"define internal void @KERNEL({''.join(pointers)}i64 %rows, i64 %lo, i64 %hi, ptr %scratch) #0 {{\nentry:"


def _pointers(plan: Plan, names: tuple[str, ...]) -> dict[Access, Value]:
    """The base pointer of every access of the normal form, and of the scratch rows."""
    arguments = {name: Value("ptr", f"%b{n}") for n, name in enumerate(names)}
    found = {access: arguments[access.buffer] for access in (*loads(plan.nest), *stores(plan.nest))}
    rows = [access for walk in plan.walks for access in walk.saves.values()]
    return {**found, **{access: Value("ptr", "%scratch") for access in rows}}


def _start(text: Text, pointer: Value, access: Access) -> Value:
    return text.at(pointer, vectors.memory_type(access.dtype), access.offset)


def _all_points(loops: Loops) -> None:
    """Every point of `axes`: by transposed blocks, by vectors along one of them, or one by one."""
    plan, reduction = loops.plan, Reduction(loops)

    def points(carried: Carried) -> Carried:
        reduction.point()
        return carried

    def blocks(carried: Carried) -> Carried:
        _transposed(loops)
        return carried

    def lanes(carried: Carried) -> Carried:
        return loops.vectors(carried, points)

    loops.nest(plan.axes, [], blocks if plan.across else points if plan.by_rows or plan.vector is None else lanes)


def _transposed(loops: Loops) -> None:
    """Square blocks of the vector axis and the axis that loads run along."""
    plan = loops.plan
    axes = {axis.name: axis for axis in plan.nest.axes}
    across, along = axes[plan.across or ""], axes[plan.vector or ""]
    loops.blocks(across, plan.lanes, lambda rows: loops.blocks(along, plan.lanes, lambda active: _block(loops, across, rows, active)))


def _block(loops: Loops, across: Axis, rows: int, active: int) -> None:
    """Load vectors along the other axis, one a lane; transpose; then the body for each of their elements, lanes along the vector axis."""
    plan, place, text = loops.plan, loops.place, loops.text
    vector, lanes = plan.vector or "", plan.lanes
    slots = tuple(Slot(((across.name, t), (vector, 0)), None if active == lanes else active) for t in range(rows))
    with place.block(slots, lanes):
        for number in plan.strided_loads:
            load = plan.nest.body[number]
            assert isinstance(load, Load)
            dtype, stride = load.access.dtype, load.access.stride(vector)
            pointers = [text.at(place.pointers[load.access], vectors.memory_type(dtype), stride * lane) for lane in range(active)]
            columns = [vectors.load(text, pointer, dtype, lanes, rows) for pointer in pointers]
            columns += [vectors.zero(dtype, lanes)] * (lanes - active)
            for slot, row in zip(slots, vectors.transpose(text, columns, scalar_type(dtype)), strict=False):
                place.assign(number, slot, row)
        place.define_known()
        for store in plan.nest.stores:
            place.store(store)
