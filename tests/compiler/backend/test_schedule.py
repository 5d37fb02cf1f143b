"""Barriers stand where data crosses threads: one too few is a wrong answer once a day, one too many is time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranvier.compiler.backend import schedule
from ranvier.compiler.backend.schedule import BY_GRID, BY_ROWS, ROW_BLOCK, SERIAL, Step, plan
from ranvier.compiler.backend.target import preset
from ranvier.compiler.backend.text import Grid
from ranvier.compiler.ir.types import BATCH, F32
from ranvier.compiler.kernels.model import Access, Axis, Constant, Contract, Fold, Kernel, Load, Nest, Store, kernel_axes, loads, stores
from ranvier.compiler.kernels.program import Buffer, Launch, Program, Turn

CAPACITY = 9
BY_ONE_ROW = Grid(1, True, 1)


@pytest.fixture(autouse=True)
def everything_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sharing costs nothing, so that small kernels are shared too."""
    for name in ("SMALL", "BARRIER", "WAKING"):
        monkeypatch.setattr(schedule, name, 0)


def buffer(name: str, elements: int, offset: int = 0, space: str = "arena") -> Buffer:
    return Buffer(name, F32, elements, space, offset)


def mapping(source: Access, target: Access, *axes: Axis) -> Nest:
    return Nest(axes, (), (Load(source),), (Store(target, 0),))


def by_row(name: str, width: int, columns: int | None = None, offset: int = 0) -> Access:
    """Columns [offset, offset + columns) of rows of `width` elements."""
    return Access(name, F32, (("r", width), ("c", 1)) if columns != 1 else (("r", width),), offset)


def rows_map(source: Access, target: Access, columns: int) -> Nest:
    return mapping(source, target, Axis("r", BATCH), Axis("c", columns))


def fold_rows(source: str, target: str, width: int) -> Nest:
    """target[c] = sum over rows."""
    load = Load(by_row(source, width))
    return Nest((Axis("c", width),), (Axis("r", BATCH),), (load, Fold("sum", 0, F32)), (Store(Access(target, F32, (("c", 1),)), 1),))


def planned(kernels: list[Kernel], buffers: list[Buffer], grids: list[Grid], threads: int = 4, checks: int = 0) -> tuple[Step, ...]:
    launches = tuple(Launch(kernel, "") for kernel in kernels)
    program = Program("p", CAPACITY, {b.name: b for b in buffers}, {"arena": 1 << 20}, launches, checks, "fault" if checks else None)
    return plan(program, grids, threads)


def test_a_chain_by_rows_needs_no_barrier() -> None:
    chain = [rows_map(by_row("x", 8), by_row("y", 8), 8), rows_map(by_row("y", 8), by_row("z", 8), 8)]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 640)]
    assert planned(chain, buffers, [BY_ONE_ROW] * 2) == (Step(0, BY_ROWS, False), Step(1, BY_ROWS, False))


def test_a_sum_over_rows_waits_for_all_of_them() -> None:
    kernels = [rows_map(by_row("x", 8), by_row("y", 8), 8), fold_rows("y", "z", 8), rows_map(by_row("x", 8), by_row("y", 8), 8)]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 8, 640)]
    steps = planned(kernels, buffers, [BY_ONE_ROW, Grid(8, False, 1), BY_ONE_ROW])
    assert [s.mode for s in steps] == [BY_ROWS, BY_GRID, BY_ROWS]
    assert [s.barrier for s in steps] == [False, True, True], "and nobody overwrites what it still reads"


def test_another_stride_between_rows_crosses_threads() -> None:
    kernels = [rows_map(by_row("x", 8), by_row("y", 8), 8), rows_map(by_row("y", 4), by_row("z", 4), 4)]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 640)]
    assert planned(kernels, buffers, [BY_ONE_ROW] * 2)[1].barrier


def test_reading_the_neighbouring_row_crosses_threads() -> None:
    kernels = [rows_map(by_row("x", 8), by_row("y", 8), 8), rows_map(by_row("y", 8, offset=4), by_row("z", 8), 8)]
    buffers = [buffer("x", 72), buffer("y", 80, 320), buffer("z", 72, 640)]
    assert planned(kernels, buffers, [BY_ONE_ROW] * 2)[1].barrier


def test_parts_of_a_row_stay_with_its_thread() -> None:
    """A concatenation: two kernels write the halves of a row, a third reads all of it."""
    left = rows_map(by_row("x", 8), by_row("y", 8), 4)
    right = rows_map(by_row("x", 8, offset=4), by_row("y", 8, offset=4), 4)
    kernels = [left, right, rows_map(by_row("y", 8), by_row("z", 8), 8)]
    steps = planned(kernels, [buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 640)], [BY_ONE_ROW] * 3)
    assert not any(s.barrier for s in steps)


def test_buffers_that_take_turns_in_the_same_memory_are_told_apart_by_bytes() -> None:
    kernels = [rows_map(by_row("x", 8), by_row("y", 8), 8), rows_map(by_row("w", 8), by_row("z", 8), 8)]
    same = [buffer("x", 72), buffer("w", 72, 1280), buffer("y", 72, 320), buffer("z", 72, 320)]
    shifted = [*same[:3], buffer("z", 72, 320 + 64)]
    apart = [*same[:3], buffer("z", 72, 640)]
    assert not planned(kernels, same, [BY_ONE_ROW] * 2)[1].barrier, "row r of one lies where row r of the other lies"
    assert planned(kernels, shifted, [BY_ONE_ROW] * 2)[1].barrier, "row r of one lies where row r + 2 of the other lies"
    assert not planned(kernels, apart, [BY_ONE_ROW] * 2)[1].barrier


def test_spaces_do_not_meet() -> None:
    kernels = [rows_map(by_row("x", 8), by_row("y", 8), 8), fold_rows("z", "w", 8)]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 320, "inputs"), buffer("w", 8, 0, "scalars")]
    assert not planned(kernels, buffers, [BY_ONE_ROW, Grid(8, False, 1)])[1].barrier


def test_rows_that_are_not_outermost_are_not_ranges_of_units() -> None:
    inner = mapping(Access("x", F32, (("t", 72), ("r", 8))), Access("y", F32, (("t", 72), ("r", 8))), Axis("t", 3), Axis("r", BATCH))
    assert schedule.row_units(inner, Grid(3, True, 1)) is None
    assert schedule.row_units(inner, BY_ONE_ROW) == 1, "a grid that counts rows alone is cut by rows wherever they stand"
    outer = mapping(Access("x", F32, (("r", 8), ("t", 1))), Access("y", F32, (("r", 8), ("t", 1))), Axis("r", BATCH), Axis("t", 3))
    assert schedule.row_units(outer, Grid(3, True, 1)) == 3
    assert schedule.row_units(outer, Grid(3, True, 2)) is None
    assert schedule.row_units(outer, Grid(3, False, 1)) is None


def test_checks_are_serial_and_followed_by_a_barrier_of_their_own() -> None:
    check = fold_rows("x", "fault", 1)
    kernels = [check, check, rows_map(by_row("x", 8), by_row("y", 8), 8)]
    steps = planned(
        kernels, [buffer("x", 72), buffer("y", 72, 320), buffer("fault", 1, 640)], [Grid(1, False, 1)] * 2 + [BY_ONE_ROW], checks=2
    )
    assert [(s.mode, s.barrier) for s in steps] == [(SERIAL, False), (SERIAL, False), (BY_ROWS, False)]


def test_small_work_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "SMALL", 1 << 40)
    kernels = [fold_rows("x", "y", 8), fold_rows("x", "z", 8), rows_map(by_row("x", 8), by_row("w", 8), 8)]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 640), buffer("w", 72, 960)]
    steps = planned(kernels, buffers, [Grid(8, False, 1)] * 2 + [BY_ONE_ROW])
    assert [(s.mode, s.barrier) for s in steps] == [(SERIAL, False), (SERIAL, False), (BY_ROWS, False)]


def test_a_small_program_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "WAKING", 1 << 40)
    kernels = [rows_map(by_row("x", 8), by_row("y", 8), 8), fold_rows("y", "z", 8)]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 8, 640)]
    assert planned(kernels, buffers, [BY_ONE_ROW, Grid(8, False, 1)]) == (Step(0, SERIAL, False), Step(1, SERIAL, False))
    monkeypatch.setattr(schedule, "WAKING", 0)
    assert {s.mode for s in planned(kernels, buffers, [BY_ONE_ROW, Grid(8, False, 1)], threads=1)} == {SERIAL}


def test_rows_that_outgrow_the_cache_go_through_a_chain_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = [rows_map(by_row("x", 8), by_row("y", 8), 8), rows_map(by_row("y", 8), by_row("z", 8), 8)]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 640)]
    row_bytes = 3 * 8 * 4
    monkeypatch.setattr(schedule, "BLOCK_BYTES", 4 * row_bytes)
    for threads, mode in ((1, SERIAL), (4, BY_ROWS)):
        steps = planned(chain, buffers, [BY_ONE_ROW] * 2, threads)
        assert [(s.mode, s.barrier, s.block) for s in steps] == [(mode, False, 4)] * 2
        assert steps[0].stretch == steps[1].stretch != 0
    monkeypatch.setattr(schedule, "BLOCK_BYTES", CAPACITY * row_bytes)
    assert not any(s.stretch or s.block for s in planned(chain, buffers, [BY_ONE_ROW] * 2)), "all rows fit at once"


def test_a_stretch_ends_where_threads_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "BLOCK_BYTES", 128)
    chains = [[rows_map(by_row("x", 8), by_row("y", 8), 8), rows_map(by_row("y", 8), by_row(end, 8), 8)] for end in ("z", "v")]
    kernels = [*chains[0], fold_rows("z", "w", 8), *chains[1]]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 640), buffer("w", 8, 960), buffer("v", 72, 1280)]
    steps = planned(kernels, buffers, [BY_ONE_ROW] * 2 + [Grid(8, False, 1)] + [BY_ONE_ROW] * 2)
    assert [s.barrier for s in steps] == [False, False, True, False, False]
    before, after = steps[0].stretch, steps[-1].stretch
    assert [s.stretch for s in steps] == [before, before, 0, after, after]
    assert len({before, 0, after}) == 3


def test_only_what_dies_within_a_stretch_is_local_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "BLOCK_BYTES", 128)
    chain = [rows_map(by_row(a, 8), by_row(b, 8), 8) for a, b in itertools.pairwise("xyzo")]
    plain = [buffer("x", 72, space="in"), buffer("y", 72, 320), buffer("z", 72, 640), buffer("o", 72, space="out")]
    grids = [BY_ONE_ROW] * 3

    def local(kernels: list[Kernel], buffers: list[Buffer]) -> set[tuple[tuple[str, int], ...]]:
        steps = planned(kernels, buffers, grids[: len(kernels)] + [Grid(8, False, 1)] * (len(kernels) - 3))
        assert all(step.stretch for step in steps[:3])
        return {step.local for step in steps[:3]}

    assert local(chain, plain) == {(("y", 32), ("z", 32))}
    assert local([*chain, fold_rows("y", "s", 8)], [*plain, buffer("s", 8, 960)]) == {(("z", 32),)}, "y is read later"
    assert local(chain, [*plain[:1], buffer("y", 72, space="other"), *plain[2:]]) == {(("z", 32),)}, "y is no temporary"
    assert local(chain, [buffer("x", 72), *plain[1:]]) == {(("y", 32), ("z", 32))}, "x is not made here"
    slots = replace(buffer("t", 72, 320), turn=Turn(32, 0, 0, 288), behind="y")
    assert local([*chain, fold_rows("t", "s", 8)], [*plain, slots, buffer("s", 8, 960)]) == {(("z", 32),)}, "a loop reads y later"
    beside = [*chain, fold_rows("o", "s", 8)]
    assert local(beside, [*plain[:3], buffer("o", 72, 320), buffer("s", 8, 960)]) == {(("z", 32),)}, "o, read later, lies where y did"


def test_no_barrier_stands_within_a_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last kernel waits for the sum, which no kernel of the stretch before it meets."""
    monkeypatch.setattr(schedule, "BLOCK_BYTES", 128)
    chain = [rows_map(by_row("x", 8), by_row("y", 8), 8), rows_map(by_row("y", 8), by_row("z", 8), 8)]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 640), buffer("w", 8, 960)]
    steps = planned([fold_rows("z", "w", 8), *chain], buffers, [Grid(8, False, 1)] + [BY_ONE_ROW] * 2)
    assert [(s.barrier, s.stretch) for s in steps] == [(False, 0), (False, 0), (True, 0)]


def test_small_serial_work_is_planned_without_a_look_at_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(schedule, "_touches")
    chain = [rows_map(by_row("x", 8), by_row("y", 8), 8), rows_map(by_row("y", 8), by_row("z", 8), 8)]
    buffers = [buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 640)]
    assert planned(chain, buffers, [BY_ONE_ROW] * 2, threads=1) == (Step(0, SERIAL, False), Step(1, SERIAL, False))


def product(rows: tuple[Axis, ...], batch: tuple[Axis, ...] = (), columns: int = 64) -> Contract:
    a, b = Access("a", F32, (("r", 32), ("k", 1))), Access("b", F32, (("k", columns), ("n", 1)))
    out = Store(Access("o", F32, (("r", columns), ("n", 1))), 0)
    return Contract(batch, rows, Axis("n", columns), (Axis("k", 32),), a, b, (Constant(0.0, F32),), (out,), F32)


def test_products_are_cut_by_rows_while_there_are_enough() -> None:
    goal = preset("x86-64-v3")  # register tiles of 6 rows
    rows, pixels = (Axis("r", BATCH),), (Axis("r", BATCH), Axis("y", 14), Axis("x", 14))
    assert schedule.partition(product(rows), goal, 64, 2) == "m"
    assert schedule.partition(product(rows), goal, 8, 2) == "n"
    assert schedule.partition(product(pixels), goal, 8, 2) == "m"
    assert schedule.partition(product(pixels), goal, 1, 2) == "m"  # the pixels of a single image are enough
    assert schedule.partition(product(pixels), goal, 1, 2, loop=True) == "n"
    assert schedule.partition(product((Axis("q", 10),), (Axis("r", BATCH), Axis("h", 4))), goal, 8, 2) == "batch"
    assert schedule.partition(product((Axis("q", 100),)), goal, 8, 2) == "auto"


def test_a_heavy_weight_is_cut_by_columns_forward_and_in_its_gradient() -> None:
    """Else every step moves half of the weight and its optimizer state from one core's cache to the other's."""
    goal, batch, inputs = preset("x86-64-v3"), Axis("r", BATCH), Axis("q", 512)
    x, w, y = Access("x", F32, (("r", 512), ("q", 1))), Access("w", F32, (("q", 64), ("n", 1))), Access("y", F32, (("r", 64), ("n", 1)))
    forward = Contract((), (batch,), Axis("n", 64), (inputs,), x, w, (Constant(0.0, F32),), (Store(y, 0),), F32)
    gradient = Contract((), (inputs,), Axis("n", 64), (batch,), x, y, (Constant(0.0, F32),), (Store(w, 0),), F32)
    for capacity, cut in ((32, "n"), (4096, "m")):
        assert schedule.partition(forward, goal, capacity, 2) == cut
    assert schedule.partition(gradient, goal, 32, 2) == "n"
    assert schedule.partition(gradient, goal, 4096, 2) == "auto"


def test_work_counts_products_and_bytes() -> None:
    assert schedule.work(product((Axis("r", BATCH),)), 10) == 10 * 64 * 32 + 64 * 32 * 2 + 10 * 64 * 2
    assert schedule.work(rows_map(by_row("x", 8), by_row("y", 8), 8), 10) == 80 * 4


def test_parts_of_a_row_are_shared_where_there_is_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMALL", "BARRIER", "WAKING"):
        monkeypatch.setattr(schedule, name, 0)
    launches = tuple(Launch(rows_map(by_row(a, 8), by_row(b, 8), 8), "") for a, b in (("x", "y"), ("y", "z"), ("z", "x")))
    buffers = {b.name: b for b in (buffer("x", 72), buffer("y", 72, 320), buffer("z", 72, 640))}
    steps = plan(Program("p", 1, buffers, {"arena": 1 << 20}, launches, 0, None), [Grid(8, True, 1), Grid(8, True, 1), BY_ONE_ROW], 2)
    assert steps == (Step(0, BY_GRID, False), Step(1, BY_GRID, True), Step(2, SERIAL, True))


# --- any plan, against a list of all elements that every thread touches -------------------------------------------------------------


def elements(kernel: Kernel, access: Access, place: Buffer, fixed: dict[str, range], rows: int) -> set[tuple[str, int]]:
    """The first byte of every element that an access reaches, with some axes restricted."""
    axes = kernel_axes(kernel)
    ranges = [fixed.get(a.name, range(rows if a.extent == BATCH else int(a.extent))) for a in axes]  # type: ignore[arg-type]
    return {
        (place.space, place.offset + 4 * (access.offset + sum(access.stride(a) * i for a, i in zip(axes, point, strict=True))))
        for point in itertools.product(*ranges)
    }


def share(total: int, thread: int, threads: int) -> range:
    return range(total * thread // threads, total * (thread + 1) // threads)


def part(kernel: Kernel, mode: str, thread: int, threads: int, rows: int) -> dict[str, range] | None:
    """The axes as one thread walks them; None when it does nothing. The test's kernels are cut along their first axis."""
    axis = kernel_axes(kernel)[0]
    if mode == SERIAL:
        return {} if thread == 0 else None
    if mode == BY_ROWS:
        blocks = share(-(-rows // ROW_BLOCK), thread, threads)
        return {axis.name: range(min(rows, blocks.start * ROW_BLOCK), min(rows, blocks.stop * ROW_BLOCK))}
    return {axis.name: share(rows if axis.extent == BATCH else int(axis.extent), thread, threads)}  # type: ignore[arg-type]


def races(program: Program, steps: tuple[Step, ...], threads: int, rows: int) -> Iterator[tuple[int, int]]:
    """Pairs of launches that meet in memory on different threads without a barrier between them."""
    since: list[tuple[int, list[tuple[set[tuple[str, int]], set[tuple[str, int]]]]]] = []
    for step in steps:
        kernel = program.launches[step.launch].kernel
        if step.barrier:
            since.clear()
        mine = []
        for thread in range(threads):
            fixed = part(kernel, step.mode, thread, threads, rows)
            sets = [
                set().union(*(elements(kernel, a, program.buffers[a.buffer], fixed, rows) for a in each)) if fixed is not None else set()
                for each in (loads(kernel), stores(kernel))
            ]
            mine.append((sets[0], sets[1]))
        for earlier, theirs in since:
            for s, t in itertools.permutations(range(threads), 2):
                if mine[s][1] & (theirs[t][0] | theirs[t][1]) or mine[s][0] & theirs[t][1]:
                    yield earlier, step.launch
        since.append((step.launch, mine))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Maps by rows, maps along a fixed axis and sums over rows, between buffers that overlap at random."""
    names = ["u", "v", "w", "x"]
    buffers = {n: buffer(n, 200, 64 * draw(st.integers(0, 14)), draw(st.sampled_from(["arena", "other"]))) for n in names}
    kernels = [draw(kernels_between(names)) for _ in range(draw(st.integers(2, 5)))]
    capacity = draw(st.sampled_from([CAPACITY, 3, 1]))
    return Program("p", capacity, buffers, {"arena": 4096, "other": 4096}, tuple(Launch(k, "") for k in kernels))


@st.composite
def kernels_between(draw: st.DrawFn, names: list[str]) -> Nest:
    source, target = draw(st.permutations(names))[:2]
    kind = draw(st.sampled_from(["rows", "fixed", "fold"]))
    width, columns = draw(st.sampled_from([4, 8])), draw(st.integers(1, 4))
    offsets = [draw(st.integers(0, 8)) for _ in range(2)]
    if kind == "rows":
        return rows_map(by_row(source, width, columns, offsets[0]), by_row(target, width, columns, offsets[1]), columns)
    if kind == "fixed":
        reads, writes = (Access(n, F32, (("q", 4), ("c", 1)), o) for n, o in zip((source, target), offsets, strict=True))
        return mapping(reads, writes, Axis("q", 5), Axis("c", columns))
    return fold_rows(source, target, width)


@settings(max_examples=300, deadline=None)
@given(programs(), st.integers(1, 4), st.integers(0, CAPACITY), st.integers(2, 4))
def test_no_plan_has_a_race(program: Program, threads: int, rows: int, expected: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SMALL", "BARRIER", "WAKING"):
            patch.setattr(schedule, name, 0)
        grids = [BY_ONE_ROW if k.kernel.axes[0].extent == BATCH else Grid(int(k.kernel.axes[0].extent), False, 1) for k in program.launches]  # type: ignore[union-attr, arg-type]
        steps = plan(program, grids, expected)
    assert list(races(program, steps, threads, min(rows, program.capacity))) == []
