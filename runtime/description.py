"""What a data set holds, column by column: types, missing values, ranges, classes. Large sets are looked at in pieces."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .limits import LIMITS, Limits
from .reading import folder_parts, read_table
from .stored import open_stored
from .table import Origin, Table

Array = np.ndarray[Any, Any]

PIECE = 65536
"""Rows that are looked at together."""
MOST_VALUES = 10_000
"""Different values of a column that are counted; a column of more is no column of classes."""
KEPT = 1_000_000
"""Numbers of a column that quartiles are taken of; of more, every so many-th."""
CLASSES = 100
"""Most different whole numbers that look like classes."""
FEW = 20
"""Rows a class has at least, on average, in a column that looks like classes."""
COMPARED_BYTES = 2**28
"""Bytes of a table whose rows are compared with each other."""


@dataclass(frozen=True)
class Column:
    """A column or array: its element type (`text`, `u8`, `f64`), shape of a row, rows and how many of them lack a value.

    `values` are its different values with their rows, the most frequent first; None where there are more than anybody counts. Numbers
    have `low`, `high`, `mean`, `deviation` and `quartiles` (three; of columns of a single number), over all elements that are there.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    rows: int
    missing: int
    infinite: int
    values: tuple[tuple[str, int], ...] | None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    quartiles: tuple[float, ...] = ()
    whole: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it holds text."""
        return self.type == "text"

    @property
    def is_constant(self) -> bool:
        """Whether all rows have one value."""
        return self.values is not None and len(self.values) == 1 and not self.missing

    @property
    def is_identifier(self) -> bool:
        """Whether every row has a value of its own that measures nothing: text, or whole numbers without a gap."""
        all_different = self.rows > FEW and not self.missing and (self.values is None or len(self.values) == self.rows)
        if self.is_text or self.shape or not all_different:
            return self.is_text and all_different
        return self.whole and self.high is not None and self.low is not None and self.high - self.low == self.rows - 1

    @property
    def looks_like_classes(self) -> bool:
        """Whether its values could be classes: few of them, text or whole numbers from 0 or 1."""
        if self.values is None or self.shape or not 2 <= len(self.values) <= max(CLASSES, 2):
            return False
        enough = self.rows >= FEW * len(self.values) or len(self.values) <= math.isqrt(max(self.rows, 1)) or self.rows <= FEW
        return enough and (self.is_text or (self.whole and self.low in (0, 1) and self.high is not None and self.high < CLASSES))


@dataclass(frozen=True)
class Description:
    """A data set: its columns, which rows it keeps apart itself, columns that cannot be read (and why), rows that stand there again."""

    path: Path
    columns: tuple[Column, ...]
    rows: int
    parts: Mapping[str, int]
    unreadable: Mapping[str, str]
    repeated: int | None

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((column for column in self.columns if column.name == name), None)


def describe_data(path: Path, limits: Limits = LIMITS) -> Description:
    """Look at all rows of a file or folder that data is read from; of one that keeps parts, at those to train on. Raises DataError."""
    parts = folder_parts(path) if path.is_dir() else {}
    source = parts.get("train", path)
    stored = open_stored(source, limits)
    if stored is not None and stored.bytes > limits.resident:
        looks = {name: Look(name) for name in stored.arrays}
        step = max(1, min(PIECE, limits.resident // 8 // max(stored.bytes // max(stored.rows, 1), 1)))
        for begin in range(0, stored.rows, step):
            _look(looks, stored.table(np.arange(begin, min(begin + step, stored.rows))))
        return Description(path, tuple(look.column() for look in looks.values()), stored.rows, {}, {}, None)
    table = read_table(path, limits)
    looks = {name: Look(name) for name in table}
    for piece in _pieces(table):
        _look(looks, piece)
    own = {name: part.rows for name, part in (("test", table.test), ("validation", table.validation)) if part is not None}
    columns = tuple(look.column() for look in looks.values())
    return Description(path, columns, table.rows, own, table.origin.unreadable, _repeated(table))


def _pieces(table: Table) -> Iterator[Table]:
    for begin in range(0, max(table.rows, 1), PIECE):
        yield Table({name: array[begin : begin + PIECE] for name, array in table.items()}, Origin())


def _look(looks: Mapping[str, Look], piece: Table) -> None:
    for name, look in looks.items():
        look.add(piece[name])


def _repeated(table: Table) -> int | None:
    """How many rows are equal to one before them; None for a table too large to tell."""
    size = sum(array.nbytes for array in table.values())
    if not table.rows or not size or size > COMPARED_BYTES:
        return None
    bytes_ = [np.ascontiguousarray(array).reshape(table.rows, -1).view(np.uint8) for array in table.values() if array.size]
    joined = np.ascontiguousarray(np.concatenate(bytes_, axis=1))
    return table.rows - len(np.unique(joined.view(np.dtype((np.void, joined.shape[1])))))


@dataclass
class Look:
    """What has been seen of a column so far, piece by piece."""

    name: str
    type: str = ""
    shape: tuple[int, ...] = ()
    rows: int = 0
    missing: int = 0
    infinite: int = 0
    counts: Counter[Any] | None = field(default_factory=Counter)
    count: int = 0
    low: float = math.inf
    high: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    whole: bool = True
    kept: list[Array] = field(default_factory=list)
    stride: int = 1

    def add(self, array: Array) -> None:
        """Look at more rows."""
        self.type, self.shape = _type_of(array), array.shape[1:]
        self.rows += len(array)
        if array.dtype.kind == "U":
            known = array[array != ""]
            self.missing += array.size - known.size
            self._count(known)
            return
        values = array.reshape(-1)
        if array.dtype.kind == "f":
            self.infinite += int(np.isinf(values).sum())
            known = values[np.isfinite(values)]
            self.missing += int(np.isnan(array).reshape(len(array), -1).any(axis=1).sum()) if array.size else 0
        else:
            known = values
        self._measure(known)
        if array.ndim == 1:
            self._count(known)
            self.kept.append(known[:: self.stride].astype(np.float64))
            self._thin()

    def _measure(self, known: Array) -> None:
        """Extremes, and mean and squares about it, joined as Chan, Golub and LeVeque (1983) join those of two parts."""
        if not known.size:
            return
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))
        self.whole = self.whole and (known.dtype.kind != "f" or bool((known == np.floor(known)).all()))
        mean = float(known.mean(dtype=np.float64))
        squares = float(np.square(known - mean, dtype=np.float64).sum())
        total, apart = self.count + known.size, mean - self.mean
        self.squares += squares + apart * apart * self.count * known.size / total
        self.mean += apart * known.size / total
        self.count = total

    def _count(self, known: Array) -> None:
        if self.counts is None:
            return
        values, counts = np.unique(known, return_counts=True)
        if len(values) <= MOST_VALUES:
            self.counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        if len(values) > MOST_VALUES or len(self.counts) > MOST_VALUES:
            self.counts = None

    def _thin(self) -> None:
        """Keep every second number when there are too many."""
        if sum(map(len, self.kept)) > KEPT:
            self.kept, self.stride = [np.concatenate(self.kept)[::2]], 2 * self.stride

    def column(self) -> Column:
        """What it came to."""
        ordered = () if self.counts is None or self.shape else tuple(sorted(self.counts.items(), key=lambda item: (-item[1], item[0])))
        values = None if self.counts is None or self.shape else tuple((_spelled(value), count) for value, count in ordered)
        if self.type == "text" or not self.count:
            return Column(self.name, self.type, self.shape, self.rows, self.missing, self.infinite, values)
        kept = np.concatenate(self.kept) if self.kept else np.empty(0)
        quartiles = tuple(float(q) for q in np.quantile(kept, (0.25, 0.5, 0.75))) if kept.size else ()
        deviation = math.sqrt(self.squares / self.count)
        figures = (self.low, self.high, self.mean, deviation, quartiles, self.whole)
        return Column(self.name, self.type, self.shape, self.rows, self.missing, self.infinite, values, *figures)


def _type_of(array: Array) -> str:
    """The element type as `.nn` files write it."""
    kind, bits = array.dtype.kind, 8 * array.dtype.itemsize
    return {"U": "text", "b": "bool"}.get(kind, f"{'f' if kind == 'f' else kind}{bits}")


def _spelled(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
