"""Copies into scratch: a panel of b, contiguous along n, a step of k after the other, whatever its own strides are; rows of a, apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import vectors
from .elementwise import cast
from .epilogue import Frame
from .text import Text, Value, i64
from .tile import Level
from .tile_plan import TRANSPOSE, Column

Body = Callable[[Value, Value], Value]


def copy_strip(frame: Frame, levels: Sequence[Level], source: Value, columns: Sequence[Column]) -> None:
    """Copy the columns of b over all steps of `levels` to the start of scratch; lanes past n become zero."""
    by_lane = frame.plan.form == TRANSPOSE

    def point(here: Value, there: Value) -> Value:
        return _copy_point(frame, here, there, columns)

    def run(here: Value, there: Value) -> Value:
        return _copy_transposed(frame, levels[-1].count, here, there, columns)

    if by_lane:
        _spread(frame.text, levels[:-1], frame.scalar, source, frame.scratch, run)
    else:
        _spread(frame.text, levels, vectors.memory_type(frame.plan.kernel.b.dtype), source, frame.scratch, point)


def copy_strips(frame: Frame, levels: Sequence[Level], source: Value, count: Value, columns: Sequence[Column]) -> None:
    """Copy `count` neighbouring panels of b, each to a strip of its own: where a step of k is far from the next, one visit serves all."""
    text, plan = frame.text, frame.plan
    across = plan.width * plan.kernel.b.stride(plan.kernel.n)
    type_ = vectors.memory_type(plan.kernel.b.dtype)

    def step(here: Value, there: Value) -> Value:
        with text.loop(count, carried=[here, there]) as loop:
            panel, strip = loop.carried
            _copy_point(frame, panel, strip, columns)
            loop.close([text.at(panel, type_, across), text.at(strip, frame.scalar, plan.strip)])
        return text.at(there, frame.scalar, row_width(columns))

    _spread(text, levels, type_, source, frame.scratch, step)


def copy_row(frame: Frame, row: Value, start: Value, count: Value) -> None:
    """Copy a stretch of k of a row of a, contiguous along k, into scratch at a stride that does not alias."""
    text, access = frame.text, frame.plan.kernel.a
    lanes, target = text.target.lanes(access.dtype), frame.copied_row(row)
    first = vectors.offset(text, access.offset, frame.strides(access), frame.row(row))
    source = text.at(frame.buffers[access.buffer], frame.scalar, text.add(first, start))

    def copy(at: Value, width: int) -> None:
        value = vectors.load(text, text.at(source, frame.scalar, at), access.dtype, width)
        vectors.store(text, value, text.at(target, frame.scalar, at), access.dtype, width)

    whole = text.floor(count, lanes)
    if whole.name != "0":
        with text.loop(whole, step=lanes) as along:
            copy(along.index, lanes)
    if whole != count:
        with text.loop(count, whole) as along:
            copy(along.index, 1)


def copy_sliver(frame: Frame, levels: Sequence[Level], source: Value, target: Value, height: int) -> None:
    """Copy `height` rows of a, contiguous along m, over all steps of `levels`: the rows side by side, a step after the other."""
    text, dtype = frame.text, frame.plan.kernel.a.dtype

    def step(here: Value, there: Value) -> Value:
        for at, width in vectors.pieces(height):
            value = vectors.load(text, text.at(here, frame.scalar, at), dtype, width)
            vectors.store(text, value, text.at(there, frame.scalar, at), dtype, width)
        return text.at(there, frame.scalar, height)

    along_a = [Level(level.count, level.a, level.a) for level in levels]
    _spread(text, along_a, frame.scalar, source, target, step)


def _spread(text: Text, levels: Sequence[Level], scalar: str, source: Value, target: Value, body: Body) -> Value:
    """Run `body(source, target)`, which returns the next target, at every point of nested loops."""
    if not levels:
        return body(source, target)
    with text.loop(levels[0].count, carried=[source, target]) as loop:
        here, there = loop.carried
        after = _spread(text, levels[1:], scalar, here, there, body)
        loop.close([text.at(here, scalar, levels[0].b), after])
    return loop.results[1]


def _copy_point(frame: Frame, source: Value, target: Value, columns: Sequence[Column]) -> Value:
    """One step of k, all columns."""
    kernel, text = frame.plan.kernel, frame.text
    access, apart = kernel.b, kernel.b.stride(kernel.n)
    for column in columns:
        pointer = text.at(source, vectors.memory_type(access.dtype), column.offset * apart)
        value = vectors.load(text, pointer, access.dtype, column.lanes, column.active, apart)
        value = cast(text, value, access.dtype, kernel.dtype, column.lanes)
        frame.store_sum(value, text.at(target, frame.scalar, column.offset), column.lanes)
    return text.at(target, frame.scalar, row_width(columns))


def row_width(columns: Sequence[Column]) -> int:
    """Elements of one step of k in the copy."""
    return sum(column.lanes for column in columns)


def _copy_transposed(frame: Frame, count: Value, source: Value, target: Value, columns: Sequence[Column]) -> Value:
    """A contiguous run of k, `lanes` steps at a time; a rest known beforehand by partial loads, one known at run time step by step."""
    text, lanes, row = frame.text, frame.plan.lanes, row_width(columns)
    whole = text.op("i64", f"udiv {count}, {lanes}")
    with text.loop(whole, carried=[source, target]) as loop:
        here, there = loop.carried
        _copy_square(frame, here, there, columns, lanes)
        loop.close([text.at(here, frame.scalar, lanes), text.at(there, frame.scalar, lanes * row)])
    source, target = loop.results
    if count.name.isdigit():
        rest = int(count.name) % lanes
        if rest:
            _copy_square(frame, source, target, columns, rest)
        return text.at(target, frame.scalar, rest * row)
    left = text.op("i64", f"urem {count}, {lanes}")
    step = Level(left, i64(0), i64(1))
    return _spread(text, [step], frame.scalar, source, target, lambda here, there: _copy_point(frame, here, there, columns))


def _copy_square(frame: Frame, source: Value, target: Value, columns: Sequence[Column], steps: int) -> None:
    """Up to `lanes` steps of k of all columns."""
    text, plan = frame.text, frame.plan
    dtype, apart, row = plan.kernel.dtype, plan.kernel.b.stride(plan.kernel.n), row_width(columns)
    for column in columns:
        rows = [vectors.zero(dtype, plan.lanes)] * plan.lanes
        for lane in range(column.active):
            pointer = text.at(source, frame.scalar, (column.offset + lane) * apart)
            rows[lane] = vectors.load(text, pointer, dtype, plan.lanes, steps)
        for step, value in enumerate(vectors.transpose(text, rows, frame.scalar)[:steps]):
            if column.lanes < plan.lanes:
                value = vectors.shuffle(text, value, None, frame.scalar, range(column.lanes))
            vectors.store(text, value, text.at(target, frame.scalar, step * row + column.offset), dtype, column.lanes)
