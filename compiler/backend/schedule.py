"""How the threads of a team share the kernels of a program, and where they must wait for each other.

    serial   thread 0 alone: work so small that sharing would cost more
    rows     thread t takes a range of the batch's rows, the same range in every such kernel
    grid     the kernel's units of work (panels, rows of a weight) are split evenly

A barrier stands before a kernel that touches what an earlier kernel since the last barrier wrote, or writes what it read, unless each
thread meets only its own work again: both serial, or both by rows with the same distance between rows, nothing of one row lying
within another. Conflicts are found on bytes of a space, for buffers of disjoint lifetimes share memory. The plan is right for any
number of threads; the number given only weighs costs.

Kernels between barriers that go by rows are run block of rows by block of rows (a stretch), so that what one leaves is still in the
cache when the next one reads it. Temporaries that are made and used up within a stretch have one block's rows, again and again: they
never leave the cache at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from ..deadline import check
from ..ir.elementwise import ROWS
from ..ir.types import BATCH
from ..kernels.model import Access, Apply, Axis, Contract, Fold, Kernel, Lookup, Nest, kernel_axes, loads, points, reached_axes, stores
from ..kernels.program import ARENA, Buffer, Program
from .canonical import regions_of
from .target import Target
from .text import Grid

SERIAL, BY_ROWS, BY_GRID = "serial", "rows", "grid"

ROW_BLOCK = 4
"""Ranges of rows begin at multiples of this, so that register tiles are rarely cut."""

SMALL = 32 << 10
"""Multiply-adds below which a kernel is not worth a barrier (about half a microsecond of one core)."""

BARRIER = 16 << 10
"""What a barrier costs, in multiply-adds."""

BLOCK_BYTES = 640 << 10
"""What the kernels of a stretch may touch for one block of rows: most of a second-level cache."""

SHARED_BYTES = 256 << 10
"""What a kernel of a stretch may touch beside its rows (a weight), since it does so again for every block."""

LEAST_POINTS = 16
"""Points of a row that a contraction of a stretch must have, so that a block of few rows still fills its register tiles."""

WAKING = 128 << 10
"""What it costs to hand a program to the team and to wait for it, in multiply-adds."""


@dataclass(frozen=True)
class Step:
    """Launch number `launch` of a program, run in `mode`, after a barrier if `barrier`.

    Neighbours with the same `stretch` (not 0) are run together on blocks of `block` rows. Of the `local` buffers (with the bytes between
    their rows) every block uses the rows of the first, which are in the cache still.
    """

    launch: int
    mode: str
    barrier: bool
    stretch: int = 0
    block: int = 0
    local: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Touch:
    """Bytes of its space that a kernel reads or writes in a buffer: [low, high) in all; of row r [first + r * stride, last + r * stride).

    `stride` is 0 when the place does not depend on the row. Of a buffer that moves by `turn` bytes with a loop's time, `first` and `last`
    are those of slot 0; what two kernels touch of different slots is apart.
    """

    buffer: str
    writes: bool
    low: int
    high: int
    stride: int
    first: int
    last: int
    turn: int = 0


class Pending:
    """What kernels have touched since the last barrier, by buffer, and in which mode.

    Touches by rows of the same stride are kept as one that covers them, which may find a conflict too many but never one too few.
    """

    def __init__(self, buffers: Mapping[str, Buffer]) -> None:
        self._overlapping = overlapping(buffers)
        self._touched: dict[str, dict[object, tuple[str, Touch]]] = {}

    def clear(self) -> None:
        """Forget everything: all threads have met."""
        self._touched.clear()

    def add(self, mode: str, touches: Sequence[Touch]) -> None:
        """Note what a kernel touches."""
        for touch in touches:
            known = self._touched.setdefault(touch.buffer, {})
            key = (touch.writes, touch.stride, touch.turn) if mode == BY_ROWS and touch.stride else (mode, touch)
            known[key] = (mode, _cover(touch, known[key][1]) if key in known else touch)

    def conflicts(self, mode: str, touches: Sequence[Touch]) -> bool:
        """Whether a kernel, run now, could meet what is noted in memory on another thread."""
        return any(
            conflict(mode, touch, *before)
            for touch in touches
            for buffer in self._overlapping[touch.buffer]
            for before in self._touched.get(buffer, {}).values()
        )


def overlapping(buffers: Mapping[str, Buffer]) -> dict[str, list[str]]:
    """For each buffer those that share bytes with it, itself among them."""
    found: dict[str, list[str]] = {name: [name] for name in buffers}
    active: list[Buffer] = []
    for buffer in sorted(buffers.values(), key=lambda b: (b.space, b.offset)):
        active = [a for a in active if a.space == buffer.space and a.offset + a.reach > buffer.offset]
        for other in active:
            found[other.name].append(buffer.name)
            found[buffer.name].append(other.name)
        active.append(buffer)
    return found


def _cover(a: Touch, b: Touch) -> Touch:
    """The least touch that holds both."""
    low, first = min(a.low, b.low), min(a.first, b.first)
    return Touch(a.buffer, a.writes, low, max(a.high, b.high), a.stride, first, max(a.last, b.last), a.turn)


def work(kernel: Kernel, capacity: int) -> int:
    """Estimated cost in vectorised multiply-adds: one for each element-wise operation, and for two bytes moved."""
    sizes = {BATCH.name: capacity}
    total = points(kernel_axes(kernel), sizes)
    outputs = total // max(1, points(_folded(kernel), sizes))
    operations = sum(_operations(i) for i in kernel.body)
    if isinstance(kernel, Contract):
        factor = points((kernel.n, *kernel.k), sizes) * kernel.b.dtype.bytes // 2  # the second one, which few rows hardly use again
        return total + factor + outputs * (operations + _moved(kernel))
    return total * (operations + _moved(kernel))


def _folded(kernel: Kernel) -> tuple[Axis, ...]:
    if isinstance(kernel, Lookup):
        return ()
    return kernel.k if isinstance(kernel, Contract) else kernel.over


def _operations(instruction: object) -> int:
    if isinstance(instruction, Apply):
        return ROWS[instruction.op].flops if instruction.op in ROWS else 1
    return 1 if isinstance(instruction, Fold) else 0


def _moved(kernel: Kernel) -> int:
    """Half the bytes that one point reads and writes beside the factors of a product."""
    accesses = [*loads(kernel), *stores(kernel)]
    return sum(a.dtype.bytes for a in accesses[2 if isinstance(kernel, Contract) else 0 :]) // 2


def partition(kernel: Contract, target: Target, capacity: int, threads: int, *, loop: bool = False) -> str:
    """How `emit_contract` is to cut a product.

    By columns where the second factor is what weighs: a thread then owns columns of a weight, and the same ones when it computes and
    applies their gradient, so that a weight and its optimizer state stay in one core's cache. Else by rows, as its neighbours are, while
    every thread gets a full register tile of them. In a `loop` rows are better than columns: what a row becomes depends on itself alone,
    and no thread waits for another.
    """
    if not loop and _columns_pay(kernel, target, capacity, threads):
        return "n"
    counted = _counted(kernel)
    if not counted:
        return "auto"
    rows = points(counted, {BATCH.name: capacity})
    if (capacity >= threads or not loop) and rows >= threads * (ROW_BLOCK if loop else target.tile[0]):
        return "batch" if counted is kernel.batch else "m"
    return "n"


def _columns_pay(kernel: Contract, target: Target, capacity: int, threads: int) -> bool:
    """True when panels of columns share out evenly and are more memory than all the rest of the product."""
    panels = -(-points((kernel.n,), {}) // target.panel(kernel.dtype))
    if threads == 1 or kernel.batch or (panels % threads and panels < 8 * threads):
        return False
    m, n, k = (points(axes, {BATCH.name: capacity}) for axes in (kernel.m, (kernel.n,), kernel.k))
    weight, rest = (m * n, m * k + k * n) if any(a.extent == BATCH for a in kernel.k) else (k * n, m * k + m * n)
    return weight > rest


def _counted(kernel: Kernel) -> tuple[Axis, ...]:
    """The loops that are cut when a kernel is shared by rows: those that hold the batch axis; nothing when none does."""
    if isinstance(kernel, Lookup):
        return kernel.axes if not kernel.add and any(a.extent == BATCH for a in kernel.axes) else ()
    candidates = (kernel.axes,) if isinstance(kernel, Nest) else (kernel.batch, kernel.m)
    return next((axes for axes in candidates if any(a.extent == BATCH for a in axes)), ())


def _row_axis(kernel: Kernel) -> Axis | None:
    """The batch axis among the loops that are cut by rows."""
    return next((a for a in _counted(kernel) if a.extent == BATCH), None)


def row_units(kernel: Kernel, grid: Grid) -> int | None:
    """Units of the kernel's grid in one row of the batch, if the units of a range of rows are a range of units; else None."""
    counted = [a for a in _counted(kernel) if a.extent != 1]
    if not grid.rows or not counted or grid.grain != 1:
        return None
    outermost = counted[0].extent == BATCH
    return grid.extent if outermost or grid.extent == 1 else None


def plan(program: Program, grids: Sequence[Grid], threads: int) -> tuple[Step, ...]:
    """The steps of a program, one a launch in order; `grids` are the launches' grids, `threads` those that are expected.

    The checks (`Program.checks`) are serial, and a barrier is understood to follow them. When sharing would not pay, all steps are serial.
    """
    costs = [work(launch.kernel, program.capacity) * program.turns(launch) for launch in program.launches]
    alone = tuple(Step(n, SERIAL, False) for n in range(len(program.launches)))
    may_share = threads > 1 and sum(costs) * (threads - 1) // threads > WAKING
    may_block = _overflows(program)
    if not may_share and not may_block:
        return alone
    touches = [_touches(launch.kernel, program.buffers, program.capacity) for launch in program.launches]
    shared = _shared(program, grids, costs, touches, threads) if may_share else alone
    idle = {loop for loop in program.loops if not _loop_pays(loop, shared, program, costs, threads)}
    if idle and may_share:
        shared = _shared(program, grids, costs, touches, threads, idle)
    steps = shared if _pays(shared, program, costs, threads) else alone
    return _in_stretches(steps, program, grids, touches) if may_block else steps


def _overflows(program: Program) -> bool:
    """Whether all that is walked by rows is more than a stretch may touch at once; else no stretch gains from blocks of rows."""
    strides: dict[str, int] = {}
    for launch in program.launches:
        row = _row_axis(launch.kernel)
        if row is None:
            continue
        for access in (*loads(launch.kernel), *stores(launch.kernel)):
            strides[access.buffer] = max(strides.get(access.buffer, 0), abs(access.stride(row)) * access.dtype.bytes)
    return sum(strides.values()) * program.capacity > BLOCK_BYTES


def _shared(
    program: Program,
    grids: Sequence[Grid],
    costs: Sequence[int],
    touches: Sequence[tuple[Touch, ...]],
    threads: int,
    alone: Set[int] = frozenset(),
) -> tuple[Step, ...]:
    """The steps as a team runs them, each in the mode it prefers among those that need no barrier; loops in `alone` by one thread."""
    steps: list[Step] = []
    pending = Pending(program.buffers)
    for n, launch in enumerate(program.launches):
        check("sharing out work")
        if n == program.checks:
            pending.clear()
        cost = costs[n] // program.turns(launch)
        rows = program.capacity if program.capacity < threads else 0
        modes = (SERIAL,) if n < program.checks or launch.loop in alone else _modes(launch.kernel, grids[n], cost, rows)
        free = [mode for mode in modes if not pending.conflicts(mode, touches[n])]
        mode = free[0] if free else modes[0]
        if not free:
            pending.clear()
        pending.add(mode, touches[n])
        steps.append(Step(n, mode, not free))
        if launch.loop and (n + 1 == len(program.launches) or program.launches[n + 1].loop != launch.loop):
            _come_back(steps, pending, touches, [s.launch for s in steps if program.launches[s.launch].loop == launch.loop])
    return tuple(steps)


def _come_back(steps: list[Step], pending: Pending, touches: Sequence[tuple[Touch, ...]], loop: Sequence[int]) -> None:
    """Mark the barriers that a loop needs since its first kernels follow its last ones of the turn before."""
    for n in loop:
        step = steps[n]
        if step.barrier or pending.conflicts(step.mode, touches[n]):
            pending.clear()
            steps[n] = replace(step, barrier=True)
        pending.add(step.mode, touches[n])


def _in_stretches(steps: Sequence[Step], program: Program, grids: Sequence[Grid], touches: Sequence[tuple[Touch, ...]]) -> tuple[Step, ...]:
    """The steps with the stretches among them marked that are worth blocks of rows."""
    marked = {step.launch: step for step in steps}
    users = _users(touches, program.buffers)
    for number, stretch in enumerate(_stretches(steps, program, grids, touches), 1):
        block = _block(stretch, touches, program.capacity)
        if block:
            local = tuple(_local(stretch, touches, users, program.buffers).items())
            marked |= {step.launch: replace(step, stretch=number, block=block, local=local) for step in stretch}
    return tuple(marked[step.launch] for step in steps)


def _users(touches: Sequence[tuple[Touch, ...]], buffers: Mapping[str, Buffer]) -> dict[str, set[int]]:
    """The launches that touch each buffer, also as one that moves with time."""
    found: dict[str, set[int]] = {}
    for launch, own in enumerate(touches):
        for touch in own:
            for name in {touch.buffer, buffers[touch.buffer].behind or touch.buffer}:
                found.setdefault(name, set()).add(launch)
    return found


def _local(
    stretch: Sequence[Step], touches: Sequence[tuple[Touch, ...]], users: Mapping[str, set[int]], buffers: Mapping[str, Buffer]
) -> dict[str, int]:
    """Temporaries that are made and used up within a stretch, with the bytes between their rows.

    What shares bytes with one must be another, with the same distance: their later blocks then follow each other as their first ones do.
    """
    launches = {step.launch for step in stretch}
    used = [touch for launch in launches for touch in touches[launch]]
    regions = regions_of({touch.buffer: buffers[touch.buffer] for touch in used})
    strides: dict[str, set[int]] = {}
    for touch in used:
        own = (
            buffers[touch.buffer].space == ARENA
            and users[touch.buffer] <= launches
            and _made(touch.buffer, touches[min(users[touch.buffer])])
        )
        strides.setdefault(regions[touch.buffer], set()).add(touch.stride if own else 0)
    return {
        name: min(strides[region]) for name, region in sorted(regions.items()) if len(strides[region]) == 1 and 0 not in strides[region]
    }


def _made(buffer: str, first: Sequence[Touch]) -> bool:
    """Whether the first launch that touches a buffer writes it without reading it."""
    return all(touch.writes for touch in first if touch.buffer == buffer)


def _stretches(steps: Sequence[Step], program: Program, grids: Sequence[Grid], touches: Sequence[tuple[Touch, ...]]) -> list[list[Step]]:
    """Runs of steps that may go block of rows by block of rows: without a barrier, in one mode, each row meeting only itself."""
    found: list[list[Step]] = [[]]
    pending = Pending(program.buffers)
    for step in steps:
        own = touches[step.launch]
        launch = program.launches[step.launch]
        able = step.launch >= program.checks and not launch.loop and _in_blocks(launch.kernel, grids[step.launch], own)
        if not able or not _follows(step, found[-1]) or pending.conflicts(BY_ROWS, own):
            found.append([])
            pending.clear()
        if able:
            found[-1].append(step)
            pending.add(BY_ROWS, own)
    return found


def _follows(step: Step, stretch: Sequence[Step]) -> bool:
    """Whether a thread goes on from a stretch to this step without waiting, with the same rows."""
    return not step.barrier and (not stretch or stretch[-1].mode == step.mode)


def _in_blocks(kernel: Kernel, grid: Grid, touches: Sequence[Touch]) -> bool:
    """Whether a kernel may be run on a block of rows after the other at little cost."""
    if row_units(kernel, grid) is None or sum(t.high - t.low for t in touches if not t.stride) > SHARED_BYTES:
        return False
    return not isinstance(kernel, Contract) or points(tuple(a for a in kernel.m if a.extent != BATCH), {}) >= LEAST_POINTS


def _block(stretch: Sequence[Step], touches: Sequence[tuple[Touch, ...]], capacity: int) -> int:
    """Rows of a block, 0 where blocks would gain nothing."""
    if len(stretch) < 2:
        return 0
    row_bytes = sum({t.buffer: abs(t.stride) for step in stretch for t in touches[step.launch]}.values())
    rows = max(1, BLOCK_BYTES // max(row_bytes, 1))
    return rows if rows < capacity else 0


def _pays(steps: Sequence[Step], program: Program, costs: Sequence[int], threads: int) -> bool:
    """Whether what sharing saves exceeds what waiting costs."""
    shared = sum(cost for step, cost in zip(steps, costs, strict=True) if step.mode != SERIAL)
    waiting = WAKING + BARRIER * sum(step.barrier * program.turns(program.launches[step.launch]) for step in steps)
    return shared * (threads - 1) // threads > waiting


def _loop_pays(loop: int, steps: Sequence[Step], program: Program, costs: Sequence[int], threads: int) -> bool:
    """Whether sharing the kernels of a loop saves more than its barriers cost, at every time."""
    own = [step for step in steps if program.launches[step.launch].loop == loop]
    turns = program.loops[loop].turns
    shared = sum(costs[step.launch] for step in own if step.mode != SERIAL) // turns
    return shared * (threads - 1) // threads > BARRIER * sum(step.barrier for step in own)


def _modes(kernel: Kernel, grid: Grid, cost: int, few: int) -> tuple[str, ...]:
    """Ways to run a kernel, the preferred first. With so `few` rows (not 0) that not every thread gets one, parts of rows are shared."""
    small = cost < SMALL
    if few and grid.rows and few * grid.extent == 1:
        return (SERIAL,)
    if row_units(kernel, grid) is not None and not few:
        return (BY_ROWS, SERIAL) if small else (BY_ROWS,)
    return (SERIAL,) if small or (not grid.rows and grid.extent <= grid.grain) else (BY_GRID,)


def _touches(kernel: Kernel, buffers: Mapping[str, Buffer], capacity: int) -> tuple[Touch, ...]:
    """Everything that a kernel touches at full capacity."""
    axes = [a for a in reached_axes(kernel) if a.extent != 0]
    row = _row_axis(kernel)
    found = [_touch(a, False, axes, row, buffers[a.buffer], capacity) for a in loads(kernel)]
    found += [_touch(a, True, axes, row, buffers[a.buffer], capacity) for a in stores(kernel)]
    return tuple(dict.fromkeys(found))


def _touch(access: Access, writes: bool, axes: Sequence[Axis], row: Axis | None, buffer: Buffer, capacity: int) -> Touch:
    sizes = {BATCH.name: capacity}
    inside = [_reach(access, axis, sizes) for axis in axes if axis is not row]
    bytes_ = access.dtype.bytes
    first = buffer.offset + (access.offset + sum(low for low, _ in inside)) * bytes_
    last = buffer.offset + (access.offset + sum(high for _, high in inside) + 1) * bytes_
    turn = buffer.turn.bytes if buffer.turn else 0
    more = buffer.reach - buffer.bytes
    if row is None:
        return Touch(buffer.name, writes, first, last + more, 0, first, last, turn)
    low, high = _reach(access, row, sizes)
    stride = 0 if row.split else access.stride(row) * bytes_
    return Touch(buffer.name, writes, first + low * bytes_, last + high * bytes_ + more, stride, first, last, turn)


def _reach(access: Access, axis: Axis, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Least and greatest displacement along an axis, in elements."""
    steps = points((axis,), sizes)
    inside = min(axis.split, steps) if axis.split else steps
    ends = [access.stride(axis) * max(0, inside - 1)]
    if axis.split:
        ends.append(access.panel_stride(axis) * max(0, math.ceil(steps / axis.split) - 1))
    return sum(min(0, e) for e in ends), sum(max(0, e) for e in ends)


def conflict(mode: str, a: Touch, earlier_mode: str, b: Touch) -> bool:
    """Whether two touches in overlapping buffers, without a barrier between them, could meet in memory on different threads."""
    if not (a.writes or b.writes) or mode == earlier_mode == SERIAL or a.low >= b.high or b.low >= a.high:
        return False
    return not (mode == earlier_mode == BY_ROWS and _apart(a, b))


def _apart(a: Touch, b: Touch) -> bool:
    """Whether no row of one touches another row of the other."""
    stride = abs(a.stride)
    return a.stride == b.stride != 0 and a.turn == b.turn and a.last - b.first <= stride and b.last - a.first <= stride
