"""One panel of n for some rows: where b is read, blocks of k, register tiles, and the body at the end.

Sums rest in scratch, a row after the other, between blocks of k and before a long body, which is then written once for all rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import vectors
from .epilogue import Frame, Point, Rows, finish, hidden, prefetch, rows_from, write_from_scratch
from .strip import copy_strip, row_width
from .text import Text, Value, i64
from .tile import Level, Source, Stretch, accumulate, dot, zeros
from .tile_plan import CHOOSE, COPY_TILES, DIRECT, DOT, Column, Plan, Span, balanced, strides


@dataclass(frozen=True)
class Range:
    """Rows, or points of batch, from `start` to `stop`; `count` when their number is known beforehand (then `start` is 0)."""

    start: Value
    stop: Value
    count: int | None = None


def whole_steps(text: Text, start: Value, stop: Value, step: int) -> Value:
    """The largest `start + i * step` that is at most `stop` (which may lie before `start`)."""
    if step == 1:
        return stop
    if start.name.isdigit() and stop.name.isdigit():
        return i64(int(start.name) + (int(stop.name) - int(start.name)) // step * step)
    count = text.op("i64", f"sdiv {text.op('i64', f'sub {stop}, {start.name}')}, {step}")
    return text.add(start, text.mul(count, step))


def tiles(frame: Frame, rows: Range, each: Callable[[Rows, Value, int], None]) -> None:
    """Run `each` on tiles that cover the rows: where the tile is, its first row, its height."""
    plan, text, start = frame.plan, frame.text, rows.start
    if plan.line:
        _line_tiles(frame, rows, each)
        return
    if rows.count is None:
        for height in plan.heights:
            end = whole_steps(text, start, rows.stop, height)
            with text.loop(end, start, height) as loop:
                each(rows_from(frame, loop.index, height), loop.index, height)
            start = hidden(text, end)
        return
    for height, count in balanced(rows.count, plan.heights[0]):
        end = text.add(start, i64(height * count))
        with _tile_by_tile(text, start, end, height, count) as first:
            each(rows_from(frame, first, height), first, height)
        start = end


def _line_tiles(frame: Frame, rows: Range, each: Callable[[Rows, Value, int], None]) -> None:
    """Tiles within lines of the innermost axis of m, so that rows of a tile differ by constants."""
    plan, text = frame.plan, frame.text
    first, last = (text.op("i64", f"udiv {edge}, {plan.line}") for edge in (rows.start, rows.stop))
    with text.loop(last, first) as line:
        place, begin = _line_place(frame, line.index)
        row = text.mul(line.index, plan.line)
        at = 0
        for height, count in balanced(plan.line, plan.heights[0]):
            with _tile_by_tile(text, i64(at), i64(at + height * count), height, count) as here:
                each(Rows((place | {plan.m[-1].name: text.add(begin, here)},), True), text.add(row, here), height)
            at += height * count


@contextlib.contextmanager
def _tile_by_tile(text: Text, start: Value, end: Value, height: int, count: int) -> Iterator[Value]:
    """The first row of each of `count` tiles from `start` to `end`: a loop, unless there is one only."""
    if count == 1:
        yield start
        return
    with text.loop(end, start, height) as loop:
        yield loop.index


def _line_place(frame: Frame, line: Value) -> tuple[Point, Value]:
    """The indices of a line along the outer axes of m, and where it begins along the innermost."""
    plan, text = frame.plan, frame.text
    *outer, inner = plan.m
    parts = inner.factor // plan.line
    if parts == 1:
        return frame.batch | frame.digits(line, outer), i64(0)
    begin = text.mul(text.op("i64", f"urem {line}, {parts}"), plan.line)
    return frame.batch | frame.digits(text.op("i64", f"udiv {line}, {parts}"), outer), begin


def few_rows(frame: Frame, panel: Value, columns: Sequence[Column], first: Value, height: int) -> None:
    """Few rows of one panel or several side by side, so that many streams of b are under way."""
    plan, text = frame.plan, frame.text
    numbers = [text.add(panel, i64(p)) for p in range(columns[-1].panel + 1)]
    source = Source(tuple(_b_address(frame, number, {}) for number in numbers), _padded(plan))
    k = Stretch(_levels(frame, plan.k), i64(0), source)
    place = rows_from(frame, first, height)
    sums = accumulate(frame, place, height, columns, k, zeros(frame, height, columns))
    if not plan.long_body:
        finish(frame, place, numbers, columns, sums)
        return
    rests = [text.at(few_rest(frame, number), frame.scalar, row * plan.width) for row in range(height) for number in numbers]
    for at, value in enumerate(sums):
        row, column = at // len(columns), columns[at % len(columns)]
        there = text.at(rests[row * len(numbers) + column.panel], frame.scalar, column.offset)
        frame.store_sum(value, there, column.lanes)


def few_rest(frame: Frame, panel: Value) -> Value:
    """Where the sums of few rows rest before a long body: panel by panel."""
    return frame.text.at(frame.few, frame.scalar, frame.text.mul(panel, frame.plan.few_most * frame.plan.width))


def whole_panel(frame: Frame, panel: Value, columns: Sequence[Column], rows: Range) -> None:
    """One panel of n by a block of rows: all of k at once, or in blocks."""
    plan, text = frame.plan, frame.text
    if plan.form == DOT:
        _dot(frame, panel, columns, rows)
    elif plan.blocked < 0:
        k = _source(frame, panel, columns, rows, _levels(frame, plan.k), {})
        _sweep(frame, Sweep(panel, columns, rows, k))
    else:
        pieces, total = _count_blocks(frame)
        with text.loop(text.call("i64", "llvm.smax.i64", total, i64(1))) as loop:
            start, count = _block_place(frame, loop.index, pieces)
            k = _source(frame, panel, columns, rows, _levels(frame, plan.k[plan.blocked :], count), start)
            fresh = text.op("i1", f"icmp eq {loop.index}, 0")
            last = text.op("i1", f"icmp sge {text.add(loop.index, i64(1))}, {total.name}")
            _sweep(frame, Sweep(panel, columns, rows, k, fresh, last))
    if plan.long_body:
        write_from_scratch(frame, panel, columns, rows.start, rows.stop, frame.sums)


@dataclass(frozen=True)
class Sweep:
    """One pass of the register tile over the rows of a block.

    When k is cut, `fresh` says that sums begin at zero, `last` that they are finished.
    """

    panel: Value
    columns: Sequence[Column]
    rows: Range
    k: Stretch
    fresh: Value | None = None
    last: Value | None = None


def _sweep(frame: Frame, sweep: Sweep) -> None:
    """Tiles of rows: begin or resume the sums, add to them, leave them in scratch or write the body."""
    plan, text, columns = frame.plan, frame.text, sweep.columns

    def each(place: Rows, first: Value, height: int) -> None:
        lanes = [c.lanes for c in columns] * height
        rests = _rests(frame, sweep, first, height) if sweep.fresh or plan.long_body else []
        sums = zeros(frame, height, columns)
        if sweep.fresh:
            sums = _resume(frame, sweep.fresh, sums, rests, lanes)
        prefetch(frame, place, sweep.panel, columns, height)
        sums = accumulate(frame, place, height, columns, sweep.k, sums)
        if plan.long_body:
            _leave(frame, sums, rests, lanes)
        elif sweep.last is None:
            finish(frame, place, [sweep.panel], columns, sums)
        else:
            with text.when(sweep.last):
                finish(frame, place, [sweep.panel], columns, sums)
            with text.when(text.op("i1", f"xor {sweep.last}, true")):
                _leave(frame, sums, rests, lanes)

    tiles(frame, sweep.rows, each)


def _rests(frame: Frame, sweep: Sweep, first: Value, height: int) -> list[Value]:
    """Where the sums of a tile rest in scratch."""
    start, width = _rest(frame, sweep.rows, first), frame.plan.width
    return [frame.text.at(start, frame.scalar, r * width + c.offset) for r in range(height) for c in sweep.columns]


def _rest(frame: Frame, rows: Range, row: Value) -> Value:
    """Where the sums of a row rest in scratch."""
    number = frame.text.op("i64", f"sub {row}, {rows.start.name}")
    return frame.text.at(frame.sums, frame.scalar, frame.text.mul(number, frame.plan.width))


def _leave(frame: Frame, sums: Sequence[Value], rests: Sequence[Value], lanes: Sequence[int]) -> None:
    """Store sums to scratch."""
    for value, pointer, width in zip(sums, rests, lanes, strict=True):
        frame.store_sum(value, pointer, width)


def _count_blocks(frame: Frame) -> tuple[Value, Value]:
    """How many blocks the cut loop of k has, and how many there are in all."""
    plan, text = frame.plan, frame.text
    size = frame.extent(plan.k[plan.blocked])
    pieces = text.op("i64", f"udiv {text.add(size, i64(plan.block - 1))}, {plan.block}")
    pieces = text.call("i64", "llvm.smax.i64", pieces, i64(1))
    return pieces, text.op("i64", f"mul {frame.points(plan.k[: plan.blocked])}, {pieces.name}")


def _block_place(frame: Frame, number: Value, pieces: Value) -> tuple[Point, Value]:
    """The first point of a block of k and its steps along the cut loop (none when there are no rows)."""
    plan, text = frame.plan, frame.text
    outer, cut = plan.k[: plan.blocked], plan.k[plan.blocked]
    piece = text.op("i64", f"urem {number}, {pieces.name}")
    start = text.mul(piece, plan.block)
    left = text.op("i64", f"sub {frame.extent(cut)}, {start.name}")
    count = text.call("i64", "llvm.smin.i64", left, i64(plan.block))
    if any(s.rows for s in outer):
        some = text.op("i1", f"icmp sgt {frame.rows}, 0")
        count = text.op("i64", f"select {some}, {count}, i64 0")
    point = frame.digits(text.op("i64", f"udiv {number}, {pieces.name}"), outer)
    return point | {cut.name: start}, count


def _resume(frame: Frame, fresh: Value, zero: Sequence[Value], rests: Sequence[Value], lanes: Sequence[int]) -> list[Value]:
    """Zeros if `fresh`, else the sums that rest in scratch."""
    text, name = frame.text, frame.text.fresh("resume")
    before = text.block
    text.branch_if(fresh, f"{name}.start", f"{name}.more")
    text.begin(f"{name}.more")
    loaded = [frame.load_sum(pointer, width) for pointer, width in zip(rests, lanes, strict=True)]
    text.branch(f"{name}.start")
    text.begin(f"{name}.start")
    starts = zip(zero, loaded, strict=True)
    return [text.op(v.type, f"phi {v.type} [ {z.name}, %{before} ], [ {v.name}, %{name}.more ]") for z, v in starts]


def _source(frame: Frame, panel: Value, columns: Sequence[Column], rows: Range, levels: list[Level], start: Point) -> Stretch:
    """A part of k of a panel, b read where it lies or from its copy in scratch, made here."""
    plan, text = frame.plan, frame.text
    left = vectors.offset(text, 0, frame.strides(plan.kernel.a), start)
    direct = _b_address(frame, panel, start)
    if plan.form == DIRECT:
        return Stretch(levels, left, Source((direct,), _padded(plan)))
    packed: list[Level] = []
    apart = i64(row_width(columns))
    for level in reversed(levels):
        packed.insert(0, Level(level.count, level.a, apart))
        apart = text.mul(level.count, int(apart.name)) if level is not levels[0] else apart
    if plan.form != CHOOSE:
        copy_strip(frame, levels, direct, columns)
        return Stretch(packed, left, Source((frame.scratch,), True))
    many = _many(frame, rows)
    with text.when(many):
        copy_strip(frame, levels, direct, columns)
    chosen = text.op("ptr", f"select {many}, ptr {frame.scratch.name}, ptr {direct.name}")
    steps = [text.op("i64", f"select {many}, {p.b}, {d.b}") for p, d in zip(packed, levels, strict=True)]
    mixed = [Level(d.count, d.a, s) for d, s in zip(levels, steps, strict=True)]
    return Stretch(mixed, left, Source((chosen,), _padded(plan)))


def _many(frame: Frame, rows: Range) -> Value:
    """Whether there are enough rows for a copy of the panel to pay."""
    count = frame.text.op("i64", f"sub {rows.stop}, {rows.start.name}")
    return frame.text.op("i1", f"icmp sge {count}, {COPY_TILES * frame.plan.heights[0]}")


def _b_address(frame: Frame, panel: Value, k: Point) -> Value:
    """The address of b at the first column of a panel and a point of k."""
    access = frame.plan.kernel.b
    start = vectors.offset(frame.text, access.offset, frame.strides(access), frame.batch | frame.panel(panel) | k)
    pointer = frame.text.at(frame.buffers[access.buffer], vectors.memory_type(access.dtype), start)
    return hidden(frame.text, pointer)


def _levels(frame: Frame, spans: Sequence[Span], first: Value | None = None) -> list[Level]:
    """The loops over k as b itself lies; `first` replaces the extent of the first."""
    a, b = (strides(access.strides, frame.plan.kernel.n) for access in (frame.plan.kernel.a, frame.plan.kernel.b))
    counts = [first if first and not number else frame.extent(span) for number, span in enumerate(spans)]
    return [Level(c, a.get(s.name, 0), i64(b.get(s.name, 0))) for c, s in zip(counts, spans, strict=True)]


def _padded(plan: Plan) -> bool:
    """Whether full vectors of b may be read in the last panel: blocked layouts hold whole panels."""
    return plan.kernel.n.name + "/" in dict(plan.kernel.b.strides)


def _dot(frame: Frame, panel: Value, columns: Sequence[Column], rows: Range) -> None:
    """One panel in dot form: groups of columns, their sums left in scratch as scalars for the body."""
    plan, text = frame.plan, frame.text
    width, apart = sum(c.active for c in columns), plan.kernel.b.stride(plan.kernel.n)
    start = _b_address(frame, panel, {})
    *outer, inner = plan.k

    def group(place: Rows, first: Value, height: int, column: Value, count: int) -> None:
        here = text.at(start, frame.scalar, text.mul(column, apart))
        b = [text.at(here, frame.scalar, number * apart) for number in range(count)]
        sums = dot(frame, place, height, count, _levels(frame, outer), b, inner.factor)
        rest = text.at(_rest(frame, rows, first), frame.scalar, column)
        for at, value in enumerate(sums):
            frame.store_sum(value, text.at(rest, frame.scalar, at // count * plan.width + at % count), 1)

    def each(place: Rows, first: Value, height: int) -> None:
        whole = width // plan.dot_columns * plan.dot_columns
        if whole:
            with text.loop(whole, step=plan.dot_columns) as loop:
                group(place, first, height, loop.index, plan.dot_columns)
        if width > whole:
            group(place, first, height, i64(whole), width - whole)

    tiles(frame, rows, each)
