"""One panel of n for some rows: where b is read, blocks of k, register tiles, and the body at the end.

Sums rest in scratch, a row after the other, between blocks of k and before a long body, which is then written once for all rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from . import vectors
from .epilogue import Frame, Point, Rows, Site, finish, hidden, prefetch, rows_from, write_from_scratch
from .strip import copy_row, copy_sliver, copy_strip, copy_strips, row_width
from .text import Text, Value, i64
from .tile import Level, Source, Stretch, accumulate, dot, zeros
from .tile_plan import APART, CHOOSE, COPY_TILES, DIRECT, DOT, SLIVERS, Column, Plan, Span, balanced, strides

SPARED = 4
"""Rows of the shorter tile that keeps the multipliers busy."""


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
        for number, height in enumerate(plan.heights):
            end = whole_steps(text, start, rows.stop, height)
            if not number:
                end = _sparing(frame, start, end, rows.stop)
            with text.loop(end, start, height) as loop:
                each(rows_from(frame, loop.index, height), loop.index, height)
            start = hidden(text, end)
        return
    for height, count in balanced(rows.count, plan.heights[0]):
        end = text.add(start, i64(height * count))
        with _tile_by_tile(text, start, end, height, count) as first:
            each(rows_from(frame, first, height), first, height)
        start = end


def _sparing(frame: Frame, start: Value, end: Value, stop: Value) -> Value:
    """Where the tallest tiles end: one sooner when two or three rows would be left, and two tiles of four rows do instead.

    Two rows alone hold too few sums to hide the latency of multiply-add: they take as long as four.
    """
    text, most = frame.text, frame.plan.heights[0]
    if most % SPARED != 2 or SPARED not in frame.plan.heights:
        return end
    left = text.op("i64", f"sub {stop}, {end.name}")
    few = text.op("i1", f"icmp eq {text.op('i64', f'and {left}, -2')}, 2")
    some = text.op("i1", f"icmp sgt {end}, {start.name}")
    sooner = text.op("i64", f"sub {end}, {most}")
    return text.op("i64", f"select i1 {text.op('i1', f'and {few}, {some.name}').name}, {sooner}, {end}")


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
    k = Stretch(_levels(frame, plan.k, {}), i64(0), source)
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


@dataclass(frozen=True)
class Panels:
    """Panels of n from `start` to `stop`; one alone when there is no `stop`."""

    start: Value
    stop: Value | None = None


def whole_panels(frame: Frame, panels: Panels, columns: Sequence[Column], rows: Range) -> None:
    """Some panels of n by a block of rows: all of k at once, or block after block of k, where sums of all these panels rest in between."""
    plan, text = frame.plan, frame.text
    if plan.blocked < 0:
        with _each_panel(frame, panels) as (panel, sums):
            if plan.form == DOT:
                _dot(frame, panel, columns, rows)
            else:
                k = _source(frame, panel, columns, rows, _levels(frame, plan.k, {}), {})
                _sweep(frame, Sweep(panel, columns, rows, k, sums))
            if plan.long_body:
                write_from_scratch(frame, panel, columns, rows.start, rows.stop, sums)
        return
    blocks = Blocks(frame)
    with text.loop(text.call("i64", "llvm.smax.i64", blocks.total, i64(1))) as loop:
        start, counts = blocks.place(loop.index)
        levels = _levels(frame, plan.k[blocks.first :], counts)
        fresh = text.op("i1", f"icmp eq {loop.index}, 0")
        last = text.op("i1", f"icmp sge {text.add(loop.index, i64(1))}, {blocks.total.name}")
        if plan.pack:
            _copy_left(frame, rows, levels, start)
        together = bool(plan.strip) and panels.stop is not None
        if together:
            _copy_together(frame, panels, columns, levels, start)
        with _each_panel(frame, panels) as (panel, sums):
            strip = _strip(frame, panels, panel) if together else None
            k = _source(frame, panel, columns, rows, levels, start, strip)
            _sweep(frame, Sweep(panel, columns, rows, k, sums, fresh, last))
            if plan.long_body:
                with text.when(last):
                    write_from_scratch(frame, panel, columns, rows.start, rows.stop, sums)


@contextlib.contextmanager
def _each_panel(frame: Frame, panels: Panels) -> Iterator[tuple[Value, Value]]:
    """The number of each panel and where its sums rest."""
    if panels.stop is None:
        yield panels.start, frame.sums
        return
    with frame.text.loop(panels.stop, panels.start) as loop:
        number = frame.text.op("i64", f"sub {loop.index}, {panels.start.name}") if frame.plan.group > 1 else i64(0)
        rest = frame.text.mul(number, frame.plan.m_block * frame.plan.width)
        yield loop.index, frame.text.at(frame.sums, frame.scalar, rest)


def _copy_together(frame: Frame, panels: Panels, columns: Sequence[Column], levels: Sequence[Level], start: Point) -> None:
    """Copy the panels of a group for one block of k."""
    assert panels.stop is not None
    count = frame.text.op("i64", f"sub {panels.stop}, {panels.start.name}")
    copy_strips(frame, levels, _b_address(frame, panels.start, start), count, columns)


def _strip(frame: Frame, panels: Panels, panel: Value) -> Value:
    """Where the copy of a panel of the group lies."""
    number = frame.text.op("i64", f"sub {panel}, {panels.start.name}")
    return frame.text.at(frame.scratch, frame.scalar, frame.text.mul(number, frame.plan.strip))


def copy_whole(frame: Frame, rows: Range) -> None:
    """Copy rows of a over all of k, where they are to be copied and k is not cut."""
    if frame.plan.pack and frame.plan.blocked < 0:
        _copy_left(frame, rows, _levels(frame, frame.plan.k, {}), {})


def _copy_left(frame: Frame, rows: Range, levels: Sequence[Level], start: Point) -> None:
    """Copy a block of k of rows of a; from here on they are read there."""
    plan, text, access = frame.plan, frame.text, frame.plan.kernel.a
    frame.copied_from = None
    before = vectors.offset(text, 0, frame.strides(access), start)
    if plan.pack == APART:
        frame.copied_from = rows.start
        with text.loop(rows.stop, rows.start) as loop:
            copy_row(frame, loop.index, before, levels[0].count)
        return

    def each(place: Rows, first: Value, height: int) -> None:
        source = text.at(Site(frame, place, (), ()).pointer(access, 0, None), frame.scalar, before)
        frame.copied_from = rows.start
        copy_sliver(frame, levels, source, frame.copied_row(first), height)

    tiles(frame, rows, each)


@dataclass(frozen=True)
class Sweep:
    """One pass of the register tile over the rows of a block; `sums` is where they rest.

    When k is cut, `fresh` says that sums begin at zero, `last` that they are finished.
    """

    panel: Value
    columns: Sequence[Column]
    rows: Range
    k: Stretch
    sums: Value
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
    start, width = _rest(frame, sweep.sums, sweep.rows, first), frame.plan.width
    return [frame.text.at(start, frame.scalar, r * width + c.offset) for r in range(height) for c in sweep.columns]


def _rest(frame: Frame, sums: Value, rows: Range, row: Value) -> Value:
    """Where the sums of a row rest in scratch."""
    number = frame.text.op("i64", f"sub {row}, {rows.start.name}")
    return frame.text.at(sums, frame.scalar, frame.text.mul(number, frame.plan.width))


def _leave(frame: Frame, sums: Sequence[Value], rests: Sequence[Value], lanes: Sequence[int]) -> None:
    """Store sums to scratch."""
    for value, pointer, width in zip(sums, rests, lanes, strict=True):
        frame.store_sum(value, pointer, width)


class Blocks:
    """How k is cut: blocks of at most `plan.block` steps of the cut loop.

    When that loop is as long as there are rows, and there are few, a block is several whole turns of it (`plan.joined`).
    """

    def __init__(self, frame: Frame) -> None:
        """Count the blocks."""
        plan, text = frame.plan, frame.text
        self.frame, self.first = frame, plan.blocked - plan.joined
        self.cut = plan.k[self.first : plan.blocked + 1]
        extents = [frame.extent(span) for span in self.cut]
        self.steps = [i64(plan.block)] * len(self.cut)
        if plan.joined:
            rows = text.call("i64", "llvm.smax.i64", extents[1], i64(1))
            turns = text.op("i64", f"udiv i64 {plan.block}, {rows.name}")
            self.steps[0] = text.call("i64", "llvm.smax.i64", turns, i64(1))
        self.pieces = [self._pieces(size, step) for size, step in zip(extents, self.steps, strict=True)]
        self.total = frame.points(plan.k[: self.first])
        for pieces in self.pieces:
            self.total = text.op("i64", f"mul {self.total}, {pieces.name}")

    def _pieces(self, size: Value, step: Value) -> Value:
        text = self.frame.text
        more = text.op("i64", f"sub {step}, 1")
        pieces = text.op("i64", f"udiv {text.add(size, more)}, {step.name}")
        return text.call("i64", "llvm.smax.i64", pieces, i64(1))

    def place(self, number: Value) -> tuple[Point, dict[str, Value]]:
        """The first point of a block, and its steps along the loops that are cut (none when there are no rows)."""
        frame, text = self.frame, self.frame.text
        outer = frame.plan.k[: self.first]
        point: Point = {}
        counts: dict[str, Value] = {}
        for span, step, pieces in reversed(list(zip(self.cut, self.steps, self.pieces, strict=True))):
            piece = text.op("i64", f"urem {number}, {pieces.name}")
            number = text.op("i64", f"udiv {number}, {pieces.name}")
            start = text.op("i64", f"mul {piece}, {step.name}")
            left = text.op("i64", f"sub {frame.extent(span)}, {start.name}")
            counts[span.name] = text.call("i64", "llvm.smin.i64", left, step)
            point[span.name] = start
        if any(s.rows for s in outer):
            some = text.op("i1", f"icmp sgt {frame.rows}, 0")
            inner = self.cut[-1].name
            counts[inner] = text.op("i64", f"select {some}, {counts[inner]}, i64 0")
        return frame.digits(number, outer) | point, counts


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


def _source(
    frame: Frame, panel: Value, columns: Sequence[Column], rows: Range, levels: list[Level], start: Point, strip: Value | None = None
) -> Stretch:
    """A part of k of a panel: a and b read where they lie or from their copies, that of b at `strip` or made here."""
    plan, text = frame.plan, frame.text
    copied = frame.copied_from is not None
    left = i64(0) if copied else vectors.offset(text, 0, frame.strides(plan.kernel.a), start)
    direct = _b_address(frame, panel, start)
    steps = _dense(frame, levels, 1) if copied and plan.pack == SLIVERS else [level.a for level in levels]
    if plan.form == DIRECT:
        there = [Level(level.count, a, level.b) for level, a in zip(levels, steps, strict=True)]
        return Stretch(there, left, Source((direct,), _padded(plan)))
    width = row_width(columns)
    if strip or plan.form != CHOOSE:
        if not strip:
            copy_strip(frame, levels, direct, columns)
        source = Source((strip or frame.scratch,), True)
        if copied and plan.pack == SLIVERS:
            return Stretch([Level(_count(frame, levels), i64(1), i64(width))], left, source)
        packed = [Level(d.count, a, b) for d, a, b in zip(levels, steps, _dense(frame, levels, width), strict=True)]
        return Stretch(packed, left, source)
    many = _many(frame, rows)
    with text.when(many):
        copy_strip(frame, levels, direct, columns)
    chosen = text.op("ptr", f"select {many}, ptr {frame.scratch.name}, ptr {direct.name}")
    across = [text.op("i64", f"select {many}, {p}, {d.b}") for p, d in zip(_dense(frame, levels, width), levels, strict=True)]
    mixed = [Level(d.count, a, b) for d, a, b in zip(levels, steps, across, strict=True)]
    return Stretch(mixed, left, Source((chosen,), _padded(plan)))


def _dense(frame: Frame, levels: Sequence[Level], width: int) -> list[Value]:
    """How far one step of each loop is in a copy that has `width` elements for each innermost step."""
    apart = i64(width)
    found: list[Value] = []
    for level in reversed(levels):
        found.insert(0, apart)
        apart = frame.text.mul(level.count, apart) if level is not levels[0] else apart
    return found


def _count(frame: Frame, levels: Sequence[Level]) -> Value:
    """The steps of all loops together."""
    total = i64(1)
    for level in levels:
        total = frame.text.mul(level.count, total)
    return total


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


def _levels(frame: Frame, spans: Sequence[Span], counts: dict[str, Value]) -> list[Level]:
    """The loops over k as a and b themselves lie; `counts` are steps that take the place of an extent."""
    a, b = (strides(access.strides, frame.plan.kernel.n) for access in (frame.plan.kernel.a, frame.plan.kernel.b))
    steps = [counts.get(span.name) or frame.extent(span) for span in spans]
    return [Level(c, i64(a.get(s.name, 0)), i64(b.get(s.name, 0))) for c, s in zip(steps, spans, strict=True)]


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
        sums = dot(frame, place, height, count, _levels(frame, outer, {}), b, inner.factor)
        rest = text.at(_rest(frame, frame.sums, rows, first), frame.scalar, column)
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
