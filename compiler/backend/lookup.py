"""Lookups: rows copied out of a table by their numbers, or added into one, whole vectors at a time.

A number outside the table is moved to the nearest inside, so that no number can reach other memory. Reading is shared by points. Adding is
shared by columns: each thread owns some and meets all points in their order, so sums do not depend on the number of threads.
"""

from __future__ import annotations

import math

from ..ir.types import BATCH, I32, I64
from ..kernels.model import Access, Lookup, buffers
from . import elementwise, vectors
from .target import Target
from .text import Emitted, Grid, Text, Value, i64

UNROLLED = 16
"""Vectors of a row that are written without a loop."""


def emit_lookup(kernel: Lookup, target: Target) -> Emitted:
    """The LLVM function of a lookup; `lo` and `hi` are points, or vectors of columns when rows are added."""
    names, text = buffers(kernel), Text(target)
    text.begin("entry")
    writer = _Writer(kernel, text, {name: Value("ptr", f"%b{n}") for n, name in enumerate(names)})
    if kernel.add:
        writer.add_rows()
    else:
        writer.copy_rows()
    pointers = "".join(f"ptr noalias %b{n}, " for n in range(len(names)))
    head = f"define internal void @KERNEL({pointers}i64 %rows, i64 %lo, i64 %hi, ptr %scratch) #0 {{"
    body = "\n".join([head, *text.lines, "  ret void", "}"])
    return Emitted(body, names, _grid(kernel, writer.lanes), 0, tuple(sorted(text.needs.items())))


def _grid(kernel: Lookup, lanes: int) -> Grid:
    if kernel.add:
        return Grid(-(-kernel.features // lanes), False, 1)
    fixed = math.prod(a.extent for a in kernel.axes if isinstance(a.extent, int))
    return Grid(fixed, any(a.extent == BATCH for a in kernel.axes), 1)


class _Writer:
    """Writes the loops of one lookup."""

    def __init__(self, kernel: Lookup, text: Text, pointers: dict[str, Value]) -> None:
        self.kernel, self.text, self.dtype = kernel, text, kernel.rows.dtype
        self.lanes = text.target.lanes(self.dtype)
        self.index, self.table, self.rows = (self._start(pointers[a.buffer], a) for a in (kernel.index, kernel.table, kernel.rows))

    def _start(self, pointer: Value, access: Access) -> Value:
        return self.text.at(pointer, vectors.memory_type(access.dtype), access.offset)

    def copy_rows(self) -> None:
        """A row of the table for every point."""
        with self.text.loop(Value("i64", "%hi"), Value("i64", "%lo")) as loop:
            entry, row = self._point(loop.index)
            whole, rest = divmod(self.kernel.features, self.lanes)
            for first, count, active in ((0, whole, self.lanes), (whole, 1 if rest else 0, rest)):
                if count > UNROLLED:
                    with self.text.loop(first + count, first) as columns:
                        self._copy(entry, row, self.text.mul(columns.index, self.lanes), active)
                    continue
                for number in range(first, first + count):
                    self._copy(entry, row, i64(number * self.lanes), active)

    def _copy(self, entry: Value, row: Value, column: Value, active: int) -> None:
        source, target = (self._column(p, a, column) for p, a in ((entry, self.kernel.table), (row, self.kernel.rows)))
        value = self._load(source, self.kernel.table, active)
        self._store(value, target, self.kernel.rows, active)

    def add_rows(self) -> None:
        """The columns of this call: zeros, then every point added where its number says."""
        whole, rest = divmod(self.kernel.features, self.lanes)
        high = self.text.call("i64", "llvm.smin.i64", Value("i64", "%hi"), i64(whole))
        if whole:
            with self.text.loop(high, Value("i64", "%lo")) as loop:
                self._add(self.text.mul(loop.index, self.lanes), self.lanes)
        if rest:
            with self.text.when(self.text.op("i1", f"icmp sgt i64 %hi, {whole}")):
                self._add(i64(whole * self.lanes), rest)

    def _add(self, column: Value, active: int) -> None:
        text, kernel = self.text, self.kernel
        start = self._column(self.table, kernel.table, column)
        apart = kernel.table.stride(kernel.entry)
        with text.loop(kernel.entries) as entries:
            place = text.at(start, vectors.memory_type(self.dtype), text.mul(entries.index, apart))
            self._store(vectors.zero(self.dtype, self.lanes), place, kernel.table, active)
        total = text.mul(Value("i64", "%rows"), math.prod(a.extent for a in kernel.axes if isinstance(a.extent, int)))
        fixed = math.prod(a.extent for a in kernel.axes if isinstance(a.extent, int))
        with text.loop(total if any(a.extent == BATCH for a in kernel.axes) else i64(fixed)) as loop:
            entry, row = self._point(loop.index)
            target, source = self._column(entry, kernel.table, column), self._column(row, kernel.rows, column)
            before, more = self._load(target, kernel.table, active), self._load(source, kernel.rows, active)
            value = text.op(before.type, f"fadd {before}, {more.name}")
            self._store(value, target, kernel.table, active)

    def _point(self, number: Value) -> tuple[Value, Value]:
        """The addresses of a point's entry in the table and of its row."""
        text, kernel, point = self.text, self.kernel, dict[str, Value]()
        for axis in reversed(kernel.axes[1:]):
            assert isinstance(axis.extent, int), "the batch axis is the first"
            point[axis.name] = text.op("i64", f"urem {number}, {axis.extent}")
            number = text.op("i64", f"udiv {number}, {axis.extent}")
        point |= {kernel.axes[0].name: number} if kernel.axes else {}
        at = self._at(self.index, kernel.index, point)
        wide = elementwise.cast(text, vectors.load(text, at, kernel.index.dtype), kernel.index.dtype, I32, 1)
        entry = elementwise.cast(text, wide, I32, I64, 1)
        entry = text.call("i64", "llvm.smin.i64", text.call("i64", "llvm.smax.i64", entry, i64(0)), i64(kernel.entries - 1))
        place = text.at(self.table, vectors.memory_type(self.dtype), text.mul(entry, kernel.table.stride(kernel.entry)))
        return place, self._at(self.rows, kernel.rows, point)

    def _at(self, start: Value, access: Access, point: dict[str, Value]) -> Value:
        return self.text.at(start, vectors.memory_type(access.dtype), vectors.offset(self.text, 0, dict(access.strides), point))

    def _column(self, pointer: Value, access: Access, column: Value) -> Value:
        return self.text.at(pointer, vectors.memory_type(access.dtype), self.text.mul(column, access.stride(self.kernel.feature)))

    def _load(self, pointer: Value, access: Access, active: int) -> Value:
        return vectors.load(self.text, pointer, access.dtype, self.lanes, active, access.stride(self.kernel.feature))

    def _store(self, value: Value, pointer: Value, access: Access, active: int) -> None:
        vectors.store(self.text, value, pointer, access.dtype, self.lanes, active, access.stride(self.kernel.feature))
