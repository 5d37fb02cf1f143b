"""The register tile of a contraction: rows by vectors of accumulators kept in registers through all loops of k.

A step of k loads the vectors of b once and one scalar of a a row. Addresses are a base and an offset that are incremented; nothing is
multiplied inside. The dot form turns this by 90 degrees: vectors run along k in both operands and are summed at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from . import vectors
from .elementwise import cast
from .epilogue import Frame, Rows, Site, hidden
from .text import Text, Value, i64
from .tile_plan import SLIVERS, Column


@dataclass(frozen=True)
class Level:
    """One loop over k: its steps, and the elements that one step is apart in a (for each row of a tile where a is copied) and in b."""

    count: Value
    a: Value
    b: Value


@dataclass(frozen=True)
class Source:
    """Where b is read for a tile: an address a panel, and whether full vectors may be read past the last column."""

    panels: tuple[Value, ...]
    padded: bool


@dataclass(frozen=True)
class Stretch:
    """A part of k: its loops, the offset in a where it starts, where b is read."""

    levels: Sequence[Level]
    start: Value
    b: Source


Step = Callable[[Value, Sequence[Value], Sequence[Value]], list[Value]]


def walk(text: Text, levels: Sequence[Level], scalar: str, a: Value, b: Sequence[Value], sums: Sequence[Value], step: Step) -> list[Value]:
    """Run `step(offset in a, addresses in b, sums)` at every point of nested loops; returns the sums."""
    if not levels:
        return step(a, b, sums)
    level, inner = levels[0], levels[1:]
    state, begun = [a, *b, *sums], i64(0)
    for turns, end in _turns(text, level, innermost=not inner):
        with text.loop(end, begun, turns, state) as loop:
            here, there, after = loop.carried[0], loop.carried[1 : 1 + len(b)], loop.carried[1 + len(b) :]
            for turn in range(turns):
                beside = [text.at(p, scalar, text.mul(level.b, turn)) for p in there]
                after = walk(text, inner, scalar, text.add(here, text.mul(level.a, turn)), beside, after, step)
            beyond = [text.at(p, scalar, text.mul(level.b, turns)) for p in there]
            loop.close([text.add(here, text.mul(level.a, turns)), *beyond, *after])
        state, begun = loop.results, end
    return state[1 + len(b) :]


def _turns(text: Text, level: Level, *, innermost: bool) -> list[tuple[int, Value]]:
    """How many steps a turn of a loop has written out, and up to which step; several such loops may follow each other.

    Counting takes some of what a processor can start at once, all the more where two threads share a core.
    """
    count, fixed, most = level.count, level.a.name.isdigit() and level.b.name.isdigit(), text.target.unrolled
    if not innermost or not fixed or most == 1:
        return [(1, count)]
    if not count.name.isdigit():
        return [(most, text.floor(count, most)), (1, count)]
    return [(math.gcd(most, int(count.name)), count)]


def accumulate(frame: Frame, rows: Rows, height: int, columns: Sequence[Column], k: Stretch, sums: Sequence[Value]) -> list[Value]:
    """Add a part of k to the sums of a tile of `height` rows; the sums are row by row."""
    text, kernel = frame.text, frame.plan.kernel
    left = Left(frame, rows, height)
    levels = [replace(level, a=text.mul(level.a, left.side_by_side)) for level in k.levels]

    def step(a: Value, panels: Sequence[Value], sums: Sequence[Value]) -> list[Value]:
        right = [_right(frame, text.at(panels[c.panel], frame.scalar, c.offset), c, k.b.padded) for c in columns]
        after: list[Value] = []
        for row, address in enumerate(left.addresses(a)):
            value = cast(text, vectors.load(text, address, kernel.a.dtype), kernel.a.dtype, kernel.dtype, 1)
            whole = {lanes: vectors.splat(text, value, lanes) for lanes in dict.fromkeys(c.lanes for c in columns)}
            for number, column in enumerate(columns):
                total = sums[row * len(columns) + number]
                after.append(vectors.multiply_add(text, whole[column.lanes], right[number], total, kernel.dtype, column.lanes))
        return after

    return walk(text, levels, frame.scalar, k.start, k.b.panels, sums, step)


class Left:
    """The rows of a in a tile: their bases, computed once, before the loops of k."""

    def __init__(self, frame: Frame, rows: Rows, height: int) -> None:
        """Write the base addresses."""
        self.frame, self.rows, self.height = frame, rows, height
        access, m = frame.plan.kernel.a, frame.plan.m
        self.apart = access.stride(m[-1].name) if m else 0
        self.side_by_side = 1
        if frame.copied_from is not None:
            slivers = frame.plan.pack == SLIVERS
            self.apart, self.side_by_side = (1, height) if slivers else (frame.plan.pitch, 1)
            self.bases = [hidden(frame.text, frame.copied_row(rows.points[0][m[-1].name]))]
            return
        site = Site(frame, rows, (), ())
        self.bases = [site.pointer(access, number, None) for number in range(1 if rows.run else height)]

    def addresses(self, offset: Value) -> list[Value]:
        """The address of each row's element `offset` elements along k."""
        text = self.frame.text
        scalar = vectors.memory_type(self.frame.plan.kernel.a.dtype)
        here = [text.at(base, scalar, offset) for base in self.bases]
        return [text.at(here[0], scalar, row * self.apart) for row in range(self.height)] if self.rows.run else here


def zeros(frame: Frame, height: int, columns: Sequence[Column]) -> list[Value]:
    """The sums of a tile before the first step of k."""
    return [vectors.zero(frame.plan.kernel.dtype, c.lanes) for c in columns] * height


def dot(frame: Frame, rows: Rows, height: int, columns: int, levels: Sequence[Level], first: Sequence[Value], run: int) -> list[Value]:
    """Sums of `height` rows and `columns` columns, vectors along the last loop of k, which has `run` steps; returns scalars.

    `first` are the addresses of the columns in b.
    """
    plan, text = frame.plan, frame.text
    dtype, lanes = plan.kernel.dtype, text.target.lanes(plan.kernel.dtype)
    left = Left(frame, rows, height)

    def fold(active: int) -> Step:
        def step(a: Value, right: Sequence[Value], sums: Sequence[Value]) -> list[Value]:
            values = [vectors.load(text, p, dtype, lanes, active) for p in right]
            after: list[Value] = []
            for row, address in enumerate(left.addresses(a)):
                across = vectors.load(text, address, dtype, lanes, active)
                for number, value in enumerate(values):
                    after.append(vectors.multiply_add(text, across, value, sums[row * columns + number], dtype, lanes))
            return after

        return step

    def inmost(a: Value, right: Sequence[Value], sums: Sequence[Value]) -> list[Value]:
        full, rest = divmod(run, lanes)
        inner = [Level(i64(full), i64(lanes), i64(lanes))]
        sums = walk(text, inner, frame.scalar, a, right, sums, fold(lanes))
        if not rest:
            return list(sums)
        beyond = [text.at(p, frame.scalar, full * lanes) for p in right]
        return fold(rest)(text.add(a, i64(full * lanes)), beyond, sums)

    start = [vectors.zero(dtype, lanes)] * (height * columns)
    sums = walk(text, levels, frame.scalar, i64(0), first, start, inmost)
    return [vectors.lane_sum(text, s, frame.scalar, lanes) for s in sums]


def _right(frame: Frame, pointer: Value, column: Column, padded: bool) -> Value:
    """One vector of b."""
    return vectors.load(frame.text, pointer, frame.plan.kernel.dtype, column.lanes, column.lanes if padded else column.active)
