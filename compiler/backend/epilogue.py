"""The body of a contraction, evaluated on vectors of finished sums: lanes run along n, rows along m.

What depends on the row alone is computed once a row as a scalar, what depends on the column alone once a vector. Short bodies are
written once a register; long ones once, in a loop over the tile in scratch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..ir.types import DType
from ..kernels import model
from ..kernels.model import Access, Accumulator, Apply, Constant, Extents, Index, Load
from . import vectors
from .elementwise import apply
from .text import Text, Value, i64, scalar_type
from .tile_plan import Column, Plan, Span, strides

Point = dict[str, Value]


@dataclass
class Frame:
    """What is fixed while a kernel is written: its plan, its text, its arguments.

    `batch` are the indices of the batch axes, `copied_from` is the first of the rows of a that are read from their copy.
    """

    plan: Plan
    text: Text
    buffers: dict[str, Value]
    rows: Value
    scratch: Value
    batch: Point = field(default_factory=dict)
    copied_from: Value | None = None

    def strides(self, access: Access) -> dict[str, int]:
        """Strides by axis name."""
        return strides(access.strides, self.plan.kernel.n)

    @property
    def scalar(self) -> str:
        """The LLVM type of a sum."""
        return scalar_type(self.plan.kernel.dtype)

    @property
    def sums(self) -> Value:
        """Scratch for the sums of a block of rows, between blocks of k or before a long body."""
        return self.text.at(self.scratch, "i8", self.plan.strip_bytes)

    @property
    def few(self) -> Value:
        """Scratch for the sums of few rows before a long body."""
        return self.text.at(self.scratch, "i8", self.plan.strip_bytes + self.plan.sums_bytes)

    @property
    def left_rows(self) -> Value:
        """Scratch for copied rows of a."""
        return self.text.at(self.few, "i8", self.plan.few_bytes)

    def copied_row(self, row: Value) -> Value:
        """Where the copy of a row of a begins, or of the tile whose first row it is."""
        assert self.copied_from is not None
        number = self.text.op("i64", f"sub {row}, {self.copied_from.name}")
        return self.text.at(self.left_rows, self.scalar, self.text.mul(number, self.plan.pitch))

    def load_sum(self, pointer: Value, lanes: int) -> Value:
        """A vector of sums from scratch."""
        return vectors.load(self.text, pointer, self.plan.kernel.dtype, lanes)

    def store_sum(self, value: Value, pointer: Value, lanes: int) -> None:
        """A vector of sums to scratch."""
        vectors.store(self.text, value, pointer, self.plan.kernel.dtype, lanes)

    def points(self, spans: Sequence[Span]) -> Value:
        """The product of extents."""
        total = i64(math.prod(s.factor for s in spans if not s.rows))
        for span in (s for s in spans if s.rows):
            total = self.text.mul(self.extent(span), int(total.name))
        return total

    def extent(self, span: Span) -> Value:
        """The steps of a loop."""
        return self.text.mul(self.rows, span.factor) if span.rows else i64(span.factor)

    def digits(self, index: Value, spans: Sequence[Span]) -> Point:
        """The indices of nested loops at a position in their row-major order."""
        point: Point = {}
        for span in reversed(spans[1:]):
            size = self.extent(span)
            if span.rows:
                size = self.text.call("i64", "llvm.smax.i64", size, i64(1))
            point[span.name] = self.text.op("i64", f"urem {index}, {size.name}")
            index = self.text.op("i64", f"udiv {index}, {size.name}")
        return point | ({spans[0].name: index} if spans else {})

    def panel(self, number: Value) -> Point:
        """The indices of n at the start of a panel."""
        n, width = self.plan.kernel.n, self.plan.width
        if not n.split:
            return {n.name: self.text.mul(number, width)}
        parts = n.split // width
        if parts == 1:
            return {n.name + "/": number}
        within = self.text.op("i64", f"urem {number}, {parts}")
        return {n.name + "/": self.text.op("i64", f"udiv {number}, {parts}"), n.name: self.text.mul(within, width)}

    def row(self, index: Value) -> Point:
        """The indices of batch and m at one row."""
        return self.batch | self.digits(index, self.plan.m)


@dataclass(frozen=True)
class Rows:
    """The rows of a tile: `run` when they follow each other along one axis, so that one point and constants say where all are."""

    points: tuple[Point, ...]
    run: bool

    def locate(self, row: int) -> tuple[int, int]:
        """The point that a row is counted from, and how many steps it is after it."""
        return (0, row) if self.run else (row, 0)


def rows_from(frame: Frame, first: Value, height: int) -> Rows:
    """The `height` rows from row `first` on."""
    if len(frame.plan.m) <= 1:
        return Rows((frame.row(first),), True)
    return Rows(tuple(frame.row(frame.text.add(first, i64(row))) for row in range(height)), False)


@dataclass
class Site:
    """A place where the body is written: a tile's rows and the panels of n that it covers."""

    frame: Frame
    rows: Rows
    panels: tuple[Point, ...]
    columns: tuple[Column, ...]
    pointers: dict[tuple[Access, int, int], Value] = field(default_factory=dict)
    known: dict[tuple[int, int, int], Value] = field(default_factory=dict)

    def pointer(self, access: Access, row: int, column: Column | None) -> Value:
        """The address of an element (the first of a vector); tiles share bases, so that rows differ by constants."""
        number, step = self.rows.locate(row)
        panel = column.panel if column else -1
        text, steps = self.frame.text, self.frame.strides(access)
        scalar = vectors.memory_type(access.dtype)
        if (access, number, panel) not in self.pointers:
            point = self.rows.points[number] | (self.panels[panel] if column else {})
            start = vectors.offset(text, access.offset, steps, point)
            self.pointers[access, number, panel] = hidden(text, text.at(self.frame.buffers[access.buffer], scalar, start))
        apart = step * self._row_stride(steps) + (column.offset * steps.get(self.frame.plan.kernel.n.name, 0) if column else 0)
        return text.at(self.pointers[access, number, panel], scalar, apart)

    def stores(self, row: int, number: int, accumulator: Value) -> None:
        """Evaluate the body on one vector of sums and make its stores."""
        frame, column = self.frame, self.columns[number]
        for store in frame.plan.kernel.stores:
            steps = frame.strides(store.access)
            along_n = self._along_n(steps)
            value = self._vector(store.value, row, number, accumulator) if along_n else self.value(store.value, row, number, accumulator)
            pointer = self.pointer(store.access, row, column if along_n else None)
            lanes = column.lanes if along_n else 1
            active = column.active if along_n else 1
            vectors.store(frame.text, value, pointer, store.access.dtype, lanes, active, steps.get(frame.plan.kernel.n.name, 0))

    def value(self, at: int, row: int, number: int, accumulator: Value) -> Value:
        """An instruction of the body: a vector if it depends on n, else a scalar."""
        on_row, on_column = self.frame.plan.varies[at]
        key = (at, row if on_row else -1, number if on_column else -1)
        if key not in self.known:
            self.known[key] = self._evaluate(at, row, number, accumulator)
        return self.known[key]

    def _vector(self, at: int, row: int, number: int, accumulator: Value) -> Value:
        value = self.value(at, row, number, accumulator)
        on_column = self.frame.plan.varies[at][1]
        return value if on_column else vectors.splat(self.frame.text, value, self.columns[number].lanes)

    def _evaluate(self, at: int, row: int, number: int, accumulator: Value) -> Value:
        plan, text = self.frame.plan, self.frame.text
        instruction = plan.kernel.body[at]
        match instruction:
            case Accumulator():
                return accumulator
            case Constant(value, dtype):
                return vectors.literal(value, dtype)
            case Load(access):
                return self._load(access, row, number)
            case Index(steps, start, dtype):
                return self._index(strides(steps, plan.kernel.n), start, dtype, row, number)
            case Extents(_, dtype):
                return _number(text, self.frame.rows, dtype)
            case Apply(op, args, dtype):
                on_column = plan.varies[at][1]
                read = self._vector if on_column else self.value
                values = [read(a, row, number, accumulator) for a in args]
                types = [dtype_of(plan.kernel.body[a]) for a in args]
                return apply(text, op, values, types, dtype, self.columns[number].lanes if on_column else 1)
        raise TypeError(f"{type(instruction).__name__} has no place in a contraction")

    def _load(self, access: Access, row: int, number: int) -> Value:
        plan, steps, column = self.frame.plan, self.frame.strides(access), self.columns[number]
        if not self._along_n(steps):
            return vectors.load(self.frame.text, self.pointer(access, row, None), access.dtype)
        pointer = self.pointer(access, row, column)
        return vectors.load(self.frame.text, pointer, access.dtype, column.lanes, column.active, steps.get(plan.kernel.n.name, 0))

    def _index(self, steps: dict[str, int], start: int, dtype: DType, row: int, number: int) -> Value:
        text, plan, column = self.frame.text, self.frame.plan, self.columns[number]
        origin, step = self.rows.locate(row)
        point = dict(self.rows.points[origin])
        along_n = self._along_n(steps)
        start += step * self._row_stride(steps)
        across = steps.get(plan.kernel.n.name, 0)
        if along_n:
            point |= self.panels[column.panel]
            start += column.offset * across
        value = _number(text, vectors.offset(text, start, steps, point), dtype)
        if not along_n or column.lanes == 1:
            return value
        whole = vectors.splat(text, value, column.lanes)
        ramp = ", ".join(f"{value.type} {lane * across}" for lane in range(column.lanes))
        return text.op(whole.type, f"add {whole}, <{ramp}>")

    def _along_n(self, steps: dict[str, int]) -> bool:
        name = self.frame.plan.kernel.n.name
        return bool(steps.get(name, 0) or steps.get(name + "/", 0))

    def _row_stride(self, steps: dict[str, int]) -> int:
        m = self.frame.plan.m
        return steps.get(m[-1].name, 0) if m else 0


def dtype_of(instruction: model.Instruction) -> DType:
    """The element type of an instruction's value."""
    return instruction.access.dtype if isinstance(instruction, Load) else instruction.dtype


def _number(text: Text, value: Value, dtype: DType) -> Value:
    """An i64 as an element of `dtype`."""
    type_ = scalar_type(dtype)
    if dtype.is_float:
        return text.op(type_, f"sitofp {value} to {type_}")
    return value if type_ == "i64" else text.op(type_, f"trunc {value} to {type_}")


def hidden(text: Text, value: Value) -> Value:
    """The same value, whose history loop strength reduction cannot see: what is written here is already what should be selected,
    and looking for better takes longer than all the rest of code generation."""
    return text.op(value.type, f"freeze {value}")


def finish(frame: Frame, rows: Rows, panels: Sequence[Value], columns: Sequence[Column], sums: Sequence[Value]) -> None:
    """Evaluate the body on the finished sums of a tile (row by row) in registers."""
    places = tuple(frame.panel(p) for p in panels)
    write_rows(Site(frame, rows, places, tuple(columns)), sums)


def prefetch(frame: Frame, rows: Rows, panel: Value, columns: Sequence[Column], height: int) -> None:
    """Ask for what the body of a tile will load, before its products: large operands (a weight and its optimizer's states) then arrive
    while the multipliers are busy, instead of being waited for."""
    site = Site(frame, rows, (frame.panel(panel),), tuple(columns))
    for access in frame.plan.streamed:
        for row in range(height):
            for column in columns:
                frame.text.need("llvm.prefetch.p0", "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
                frame.text.do(f"call void @llvm.prefetch.p0({site.pointer(access, row, column)}, i32 0, i32 2, i32 1)")


def write_rows(site: Site, sums: Sequence[Value]) -> None:
    """Evaluate the body at every vector of a tile."""
    for at, value in enumerate(sums):
        row, number = divmod(at, len(site.columns))
        site.stores(row, number, value)


def write_from_scratch(frame: Frame, panel: Value, columns: Sequence[Column], first: Value, stop: Value, rest: Value) -> None:
    """Evaluate the body on sums that rest in scratch, rows of a panel's width one after the other."""
    text = frame.text
    place = frame.panel(panel)
    with text.loop(stop, first) as loop:
        row = text.op("i64", f"sub {loop.index}, {first.name}")
        here = hidden(text, text.at(rest, frame.scalar, text.mul(row, frame.plan.width)))
        site = Site(frame, Rows((frame.row(loop.index),), True), (place,), tuple(columns))
        write_rows(site, [frame.load_sum(text.at(here, frame.scalar, c.offset), c.lanes) for c in columns])
