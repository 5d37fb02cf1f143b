"""Rows as native code takes them, part by part: all of them at once from memory, or windows read ahead from files by a second thread.

While the model works on a window, the next one is read, checked and converted into the other of two sets of buffers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .limits import MIB
from .orders import Order, order_of
from .stored import Stored
from .table import Table

Array = np.ndarray[Any, Any]
Convert = Callable[[Table], dict[str, Array]]
PIECE_BYTES = 16 * MIB
MOST_TOGETHER = 16
"""Chunks of neighbours that are read at once."""


@dataclass(frozen=True)
class StreamedRows:
    """Rows of files, read when they are wanted: which ones (ascending), and what makes of some of them the arrays of a model."""

    stored: Stored
    index: Array
    convert: Convert

    def __len__(self) -> int:
        return len(self.index)

    def read(self, begin: int, end: int) -> dict[str, Array]:
        """The arrays of the model for the rows at positions [begin, end)."""
        return self.convert(self.stored.table(self.index[begin:end]))

    def at(self, positions: Array) -> StreamedRows:
        """Those at some positions, ascending."""
        return replace(self, index=self.index[positions])

    def then(self, change: Callable[[dict[str, Array]], dict[str, Array]]) -> StreamedRows:
        """The rows with their arrays changed when they are read."""
        convert = self.convert
        return replace(self, convert=lambda table: change(convert(table)))


Rows = dict[str, Array] | StreamedRows
"""Rows for a model: an array for each of its fields, or what reads them."""


@dataclass(frozen=True)
class Part:
    """Rows that lie in memory together: those at positions [start, stop) of an epoch, `order` saying where in the arrays each is."""

    arrays: dict[str, Array]
    order: Array
    start: int
    stop: int


def row_count(rows: Rows) -> int:
    """Number of rows."""
    return len(rows) if isinstance(rows, StreamedRows) else len(next(iter(rows.values())))


def rows_in_memory(rows: Rows) -> dict[str, Array]:
    """All rows at once."""
    return rows.read(0, len(rows)) if isinstance(rows, StreamedRows) else rows


def in_pieces(rows: Rows) -> Iterator[dict[str, Array]]:
    """All rows as they come, those of files some megabytes at a time."""
    if not isinstance(rows, StreamedRows):
        yield rows
        return
    size = max(1, PIECE_BYTES // max(1, row_bytes(rows.read(0, 1))))
    for begin in range(0, len(rows), size):
        yield rows.read(begin, min(begin + size, len(rows)))


def taken(rows: Rows, positions: Array) -> Rows:
    """The rows at some positions, ascending."""
    if isinstance(rows, StreamedRows):
        return rows.at(positions)
    if len(positions) == row_count(rows):
        return rows
    return {name: np.ascontiguousarray(array[positions]) for name, array in rows.items()}


def row_bytes(arrays: dict[str, Array]) -> int:
    """Bytes of a row over all arrays."""
    return sum(array.itemsize * math.prod(array.shape[1:]) for array in arrays.values())


def in_order(rows: Rows, batch: int, key: tuple[int, ...] | None, begin: int = 0) -> Iterator[Part]:
    """The rows part by part from position `begin` on, in the order of a key (see `order_of`), or as they come without one."""
    if isinstance(rows, StreamedRows):
        order = order_of(len(rows), row_bytes(rows.read(0, 1)), batch, key)
        yield from _windows(rows, order, begin)
        return
    count = row_count(rows)
    yield Part(rows, order_of(count, row_bytes(rows), batch, key).whole(), 0, count)


def _windows(rows: StreamedRows, order: Order, begin: int) -> Iterator[Part]:
    """The windows of an order, each read while the one before is worked on."""
    buffers: list[dict[str, Array]] = [{}, {}]
    first = begin // order.window
    with ThreadPoolExecutor(1, "rows") as reader:
        ahead: Future[Part] = reader.submit(_fill, rows, order, first, buffers[first % 2])
        try:
            for number in range(first, order.windows):
                part = ahead.result()
                if number + 1 < order.windows:
                    ahead = reader.submit(_fill, rows, order, number + 1, buffers[(number + 1) % 2])
                yield part
        finally:
            ahead.cancel()


def _fill(rows: StreamedRows, order: Order, number: int, buffer: dict[str, Array]) -> Part:
    """Read a window into a set of buffers, made when the first rows show what they look like."""
    start, size = number * order.window, min(order.window, order.rows - number * order.window)
    done = 0
    for begin, end in _runs(order.chunks(number)):
        arrays = rows.read(begin, end)
        for name, array in arrays.items():
            if name not in buffer:
                buffer[name] = np.empty((min(order.window, order.rows), *array.shape[1:]), dtype=array.dtype)
            buffer[name][done : done + end - begin] = array
        done += end - begin
    return Part({name: array[:size] for name, array in buffer.items()}, order.within(number), start, start + size)


def _runs(chunks: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Chunks, those that follow each other read as one up to a number of them: fewer reads."""
    begin, end, count = -1, -1, 0
    for low, high in chunks:
        if low == end and count < MOST_TOGETHER:
            end, count = high, count + 1
            continue
        if end > begin:
            yield begin, end
        begin, end, count = low, high, 1
    if end > begin:
        yield begin, end
