"""In which order an epoch takes the rows: all of them at random where they are few, else window by window.

Rows of a large set are cut into chunks of neighbours, which are quick to read. The chunks are shuffled over the whole set; a window
takes as many of them as fit the memory set aside and shuffles all their rows again. An order depends on the number of rows, their size,
the batch, the seed and the epoch, never on where the rows are kept: a set in memory and one in a file are taken in the same order. Every
window but the last holds whole batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from .limits import MIB

Array = np.ndarray[Any, Any]

CHUNK_BYTES = MIB // 2
WINDOW_BYTES = 128 * MIB


KEPT_ROWS, KEPT = 4096, 256
"""Orders of so few rows are kept, so many of them: folds and trials of one seed take their rows in the same orders."""


@dataclass(frozen=True)
class Order:
    """An order of `rows`, in windows of `window` rows made of chunks of `chunk` rows; shuffled by the `key`, as they come without one."""

    rows: int
    chunk: int
    window: int
    key: tuple[int, ...] | None

    @property
    def windows(self) -> int:
        """Number of windows."""
        return -(-self.rows // self.window)

    def chunks(self, number: int) -> list[tuple[int, int]]:
        """The chunks of a window, from row to before row, in the order in which they lie in it."""
        per = self.window // self.chunk
        first, last = number * per, min((number + 1) * per, len(self._placed))
        return [(int(c) * self.chunk, min((int(c) + 1) * self.chunk, self.rows)) for c in self._placed[first:last]]

    @cached_property
    def _placed(self) -> Array:
        """The chunks of all windows, one after the other. One that is not full stays the last: all windows before hold whole batches."""
        count = -(-self.rows // self.chunk)
        if self.key is None or self.windows <= 1:
            return np.arange(count)
        full = self.rows // self.chunk
        shuffled = np.random.Generator(np.random.PCG64(self.key)).permutation(full)
        return np.concatenate([shuffled, np.arange(full, count)])

    def within(self, number: int) -> Array:
        """The order of the rows of a window among themselves, i64."""
        size = min(self.window, self.rows - number * self.window)
        if self.key is None:
            return np.arange(size, dtype=np.int64)
        key = self.key if self.windows <= 1 else (*self.key, number + 1)
        return _kept(key, size) if size <= KEPT_ROWS else _shuffled(key, size)

    def whole(self) -> Array:
        """The order of all rows, i64 [rows]."""
        if self.windows <= 1 or self.key is None:
            return np.arange(self.rows, dtype=np.int64) if self.key is None else self.within(0)
        parts = []
        for number in range(self.windows):
            rows = np.concatenate([np.arange(begin, end, dtype=np.int64) for begin, end in self.chunks(number)])
            parts.append(rows[self.within(number)])
        return np.concatenate(parts)


def _shuffled(key: tuple[int, ...], size: int) -> Array:
    """So many numbers at random, i64, not to be written to."""
    order = np.random.Generator(np.random.PCG64(key)).permutation(size).astype(np.int64, copy=False)
    order.setflags(write=False)
    return order


_kept = lru_cache(KEPT)(_shuffled)


def order_of(rows: int, row_bytes: int, batch: int, key: tuple[int, ...] | None) -> Order:
    """The order of so many rows of a size, taken in batches; `key` is seed and epoch, None for rows as they come."""
    chunk = max(1, CHUNK_BYTES // max(row_bytes, 1))
    # A window of whole batches and whole chunks is the shorter the more they have in common.
    chunk = chunk - chunk % batch if chunk >= batch else 1 << (chunk.bit_length() - 1)
    least = math.lcm(chunk, batch)
    window = max(1, WINDOW_BYTES // (max(row_bytes, 1) * least)) * least
    return Order(rows, chunk, window, key)
