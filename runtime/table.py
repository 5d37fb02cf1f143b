"""A table of rows: named arrays of one length, and where each value stands in the file it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .numerals import decimal_comma, is_number

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Origin:
    """Where rows come from: the file, the number that it gives its first row, and the columns joined under each name.

    `unreadable` are columns that the file has and no array can hold, each with the reason; `numbers` are those of the rows where some of
    the file's were left out, counted from 0.
    """

    file: str = ""
    first_row: int = 0
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    numbers: Array | None = field(default=None, compare=False)

    @property
    def prefix(self) -> str:
        """How a message about this origin begins."""
        return f"{self.file}: " if self.file else ""

    def place(self, name: str, row: int, index: tuple[int, ...] = ()) -> str:
        """One value as people find it: file, name, row and, inside the row, its column or index."""
        columns = self.columns.get(name, ())
        inside = f" column `{columns[index[0]]}`" if columns and len(index) == 1 and index[0] < len(columns) else _index(index)
        number = row if self.numbers is None else int(self.numbers[row])
        return f"{self.prefix}`{name}` row {number + self.first_row}{inside}"


def _index(index: tuple[int, ...]) -> str:
    if len(index) == 1:
        return f" column {index[0]}"
    return f" at {list(index)}" if index else ""


@dataclass(frozen=True, eq=False)
class Table(Mapping[str, Array]):
    """Arrays by name, all with the same number of rows; `test` and `validation` are rows that the source itself keeps apart."""

    arrays: Mapping[str, Array]
    origin: Origin = Origin()
    test: Table | None = None
    validation: Table | None = None

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


def column_hint(name: str, known: Iterable[str], origin: Origin) -> str:
    """What to say about a column that is not there: why it cannot be read, what was probably meant, else what there is."""
    if name in origin.unreadable:
        return f"the file has it, but {origin.unreadable[name]}"
    from ..compiler.diagnostics import did_you_mean

    return did_you_mean(name, known) or "it has " + (", ".join(f"`{n}`" for n in known) or "nothing")


def _listed(lengths: Mapping[str, int]) -> str:
    return ", ".join(f"`{name}` {rows}" for name, rows in lengths.items())


def select_columns(table: Table, columns: Mapping[str, Sequence[str]]) -> Table:
    """The table with, for each name, its columns joined to one array: [rows] of a single column, [rows, columns] of several.

    Names that are not in `columns` stay as they are. Raises DataError for unknown columns and for text among several.
    """
    joined = {name: _joined(table, name, tuple(wanted)) for name, wanted in columns.items()}
    origin = replace(table.origin, columns={name: tuple(wanted) for name, wanted in columns.items()})
    test, validation = (select_columns(part, columns) if part is not None else None for part in (table.test, table.validation))
    return Table({**table.arrays, **joined}, origin, test, validation)


def _joined(table: Table, name: str, columns: tuple[str, ...]) -> Array:
    if not columns:
        raise DataError(f"{table.origin.prefix}`{name}` is given no columns; name at least one")
    for column in columns:
        if column not in table:
            raise DataError(f"{table.origin.prefix}has no column `{column}` for `{name}`; {column_hint(column, table, table.origin)}")
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
        mend = f"columns that are joined must be numbers: {decimal_comma(str(values[row])) or 'mend the value or leave the column out'}"
        raise DataError(f"{table.origin.place(column, row)} holds the text {str(values[row])[:60]!r}; {mend}")
