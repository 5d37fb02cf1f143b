"""A table of rows: named arrays of one length, and where each value stands in the file it came from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.diagnostics import did_you_mean
from ..compiler.errors import DataError, ResourceError
from .csv_reader import is_number, read_csv
from .idx import column_of, read_folder, read_idx
from .limits import LIMITS, Limits
from .npz import read_npy, read_npz
from .text_reader import read_text

Array = np.ndarray[Any, Any]
IDX_NAME = re.compile(r"(\.idx|-idx[0-9]-[a-z]+)(\.gz)?$")


@dataclass(frozen=True)
class Origin:
    """Where rows come from: the file, the number that it gives its first row, and the columns joined under each name."""

    file: str = ""
    first_row: int = 0
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """How a message about this origin begins."""
        return f"{self.file}: " if self.file else ""

    def place(self, name: str, row: int, index: tuple[int, ...] = ()) -> str:
        """One value as people find it: file, name, row and, inside the row, its column or index."""
        columns = self.columns.get(name, ())
        inside = f" column `{columns[index[0]]}`" if columns and len(index) == 1 and index[0] < len(columns) else _index(index)
        return f"{self.prefix}`{name}` row {row + self.first_row}{inside}"


def _index(index: tuple[int, ...]) -> str:
    if len(index) == 1:
        return f" column {index[0]}"
    return f" at {list(index)}" if index else ""


@dataclass(frozen=True, eq=False)
class Table(Mapping[str, Array]):
    """Arrays by name, all with the same number of rows; `test` are rows that the source itself keeps for the test."""

    arrays: Mapping[str, Array]
    origin: Origin = Origin()
    test: Table | None = None

    def __post_init__(self) -> None:
        single = [name for name, array in self.arrays.items() if array.ndim == 0]
        if single:
            raise DataError(f"{self.origin.prefix}`{single[0]}` is a single value and has no rows; keep it out of the data")
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(
                f"{self.origin.prefix}the arrays have different numbers of rows: {_listed(lengths)}; keep one set of rows in a file"
            )

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.arrays.values()))) if self.arrays else 0


def in_windows(table: Table, window: int, stride: int) -> Table:
    """Every array as the `window` rows from each `stride`-th row on: [windows, window, …]. DataError when there are too few rows."""
    if table.rows < window:
        raise DataError(f"{table.origin.prefix}has {table.rows} rows, fewer than the window of {window}: make the window smaller")
    first = np.arange(0, table.rows - window + 1, stride)
    return Table({name: array[first[:, None] + np.arange(window)] for name, array in table.arrays.items()}, Origin(table.origin.file))


def take_rows(table: Table, begin: int, end: int) -> Table:
    """The rows of a table from `begin` to before `end`."""
    return Table({name: array[begin:end] for name, array in table.arrays.items()}, table.origin)


def _listed(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"`{name}` {rows}" for name, rows in lengths.items())


def _npz(path: Path, limits: Limits, _: Collection[str]) -> Table:
    return Table(read_npz(path, limits), Origin(str(path)))


def _npy(path: Path, limits: Limits, _: Collection[str]) -> Table:
    return Table(read_npy(path, limits), Origin(str(path)))


def _csv(path: Path, limits: Limits, text: Collection[str]) -> Table:
    return Table(read_csv(path, limits, text=text), Origin(str(path), first_row=2))


def _tsv(path: Path, limits: Limits, text: Collection[str]) -> Table:
    return Table(read_csv(path, limits, separator="\t", text=text), Origin(str(path), first_row=2))


def _idx(path: Path, limits: Limits, _: Collection[str]) -> Table:
    array = read_idx(path, limits)
    return Table({column_of(array): array}, Origin(str(path)))


def _folder(path: Path, limits: Limits, text: Collection[str]) -> Table:
    parts = {file.stem: file for file in sorted(path.iterdir()) if file.suffix in READERS and file.stem in ("train", "test")}
    if "train" in parts:
        whole, *rest = (READERS[file.suffix](file, limits, text) for _, file in sorted(parts.items(), reverse=True))
        return replace(whole, test=rest[0] if rest else None)
    training, test = read_folder(path, limits)
    origin = Origin(str(path))
    return Table(training or test or {}, origin, Table(test, origin) if test else None)


def _txt(path: Path, limits: Limits, _: Collection[str]) -> Table:
    return Table(read_text(path, limits), Origin(str(path)))


READERS: dict[str, Callable[[Path, Limits, Collection[str]], Table]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".csv": _csv,
    ".tsv": _tsv,
    ".txt": _txt,
}


def read_table(path: str | os.PathLike[str], limits: Limits = LIMITS, *, text: Collection[str] = ()) -> Table:
    """The table in a file, by the suffix of its name: .npz, .npy, .csv, .tsv or .txt; in an IDX file; or in a folder.

    A folder holds IDX files in the manner of MNIST, or a file `train` and perhaps a file `test`, each with one of those suffixes.

    Columns named in `text` stay text although they look like numbers: those whose labels have a vocabulary. Raises DataError
    for a damaged file or one over the limits, ResourceError when it does not fit the memory of this machine.
    """
    try:
        if Path(path).is_dir():
            return _folder(Path(path), limits, text)
        reader = READERS.get(Path(path).suffix.lower(), _idx if IDX_NAME.search(Path(path).name) else None)
        if reader is None:
            raise DataError(f"{path}: data is read from {', '.join(READERS)} and IDX files; convert it to one of them")
        return reader(Path(path), limits, text)
    except MemoryError:
        raise ResourceError(f"{path}: does not fit the memory of this machine; split the file") from None


def select_columns(table: Table, columns: Mapping[str, Sequence[str]]) -> Table:
    """The table with, for each name, its columns joined to one array: [rows] of a single column, [rows, columns] of several.

    Names that are not in `columns` stay as they are. Raises DataError for unknown columns and for text among several.
    """
    joined = {name: _joined(table, name, tuple(wanted)) for name, wanted in columns.items()}
    origin = Origin(table.origin.file, table.origin.first_row, {name: tuple(wanted) for name, wanted in columns.items()})
    test = select_columns(table.test, columns) if table.test is not None else None
    return Table({**table.arrays, **joined}, origin, test)


def _joined(table: Table, name: str, columns: tuple[str, ...]) -> Array:
    if not columns:
        raise DataError(f"{table.origin.prefix}`{name}` is given no columns; name at least one")
    for column in columns:
        if column not in table:
            hint = did_you_mean(column, table) or f"it has {', '.join(f'`{c}`' for c in table)}"
            raise DataError(f"{table.origin.prefix}has no column `{column}` for `{name}`; {hint}")
    if len(columns) == 1:
        return table[columns[0]]
    for column in columns:
        _require_numbers(table, column)
    return np.stack([table[column] for column in columns], axis=1)


def _require_numbers(table: Table, column: str) -> None:
    values = table[column]
    if values.ndim != 1:
        raise DataError(f"{table.origin.prefix}`{column}` has shape {list(values.shape)}; only plain columns can be joined")
    if values.dtype.kind == "U" and len(values):
        row = next((r for r, value in enumerate(values) if not is_number(str(value))), 0)
        mend = "columns that are joined must be numbers: mend the value or leave the column out"
        raise DataError(f"{table.origin.place(column, row)} holds the text {str(values[row])[:60]!r}; {mend}")
