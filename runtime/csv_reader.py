"""Columns of a CSV or TSV file as arrays: float64, int64 or text, parsed by pandas once the shape of the file is known to be sound."""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import os
import zlib
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .csv_shape import CsvShape, clean_text, csv_shape
from .limits import LIMITS, Limits
from .numerals import is_number
from .regular_file import gibibytes, read_regular

Array = np.ndarray[Any, Any]
CELL_BYTES = 8
GZIPPED = b"\x1f\x8b"
OTHERS = (";", "\t", ",")
INDEX = "Unnamed: 0"
"""What pandas calls a first column without a name."""
CHARACTER_BYTES = 4


def read_csv(
    path: str | os.PathLike[str], limits: Limits = LIMITS, *, separator: str = ",", text: Collection[str] = ()
) -> dict[str, Array]:
    """The columns of a file whose first row names them, each [rows]: int64 or float64 where all fields are numbers, else text.

    An empty field of a numeric column is NaN. Columns named in `text` stay text though they look like numbers. A header without the
    separator and with semicolons or tabs has these instead; a first column without a name is that of pandas's index. The file may be
    gzipped. Raises DataError, with the row and column, for a file that is no table or exceeds the limits.
    """
    pandas = _pandas(path)
    data = clean_text(_unpacked(Path(path), limits), str(path))
    separator = _separator(data, separator)
    shape = csv_shape(data, separator, limits, str(path))
    names = _names(data[: shape.header].decode("utf-8"), separator, str(path))
    _check_cells(shape, limits, path)
    if shape.rows == 1:
        return {name: np.empty(0) for name in names}
    try:
        return _columns(pandas, data[shape.header :], separator, names, set(text), limits, str(path))
    except (ValueError, OverflowError, pandas.errors.ParserError) as failure:
        raise DataError(f"{path}: cannot be read as a table: {failure}") from failure


def _pandas(path: str | os.PathLike[str]) -> ModuleType:
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise DataError(f"{path}: reading text tables needs pandas, which is not installed: pip install 'ranvier[csv]'") from None


def _unpacked(path: Path, limits: Limits) -> bytes:
    """The text of a file that may be gzipped, which is unpacked no further than the limits allow."""
    data = read_regular(path, limits.size, DataError)
    if not data.startswith(GZIPPED):
        return data
    most = min(limits.size, len(data) * limits.ratio)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            text = stream.read(most + 1)
    except (OSError, EOFError, zlib.error) as failure:
        raise DataError(f"{path}: damaged: {failure}; make the file anew") from failure
    if len(text) > most:
        raise DataError(f"{path}: unpacks to more than {gibibytes(most)}, too much for a file of its size; unpack it, or split it")
    return text


def _separator(data: bytes, usual: str) -> str:
    """What separates the columns, by the first line."""
    header = data[: data.index(b"\n")]
    return next((mark for mark in (usual, *OTHERS) if mark.encode() in header), usual)


def _names(header: str, separator: str, file: str) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader([header], delimiter=separator, strict=True), [])]
    except csv.Error as failure:
        raise DataError(f"{file}: row 1: the names of the columns cannot be read: {failure}") from failure
    if len(names) > 1 and not names[0] and INDEX not in names:  # what pandas writes before its rows
        names[0] = INDEX
    if all(map(is_number, names)):
        raise DataError(f"{file}: row 1: holds no names of columns; put a row of names above the numbers")
    if len(names) == 1 and "|" in names[0]:
        raise DataError(f"{file}: row 1: the columns are separated by '|'; save the file with commas, semicolons or tabs")
    for column, name in enumerate(names, 1):
        if not name or name in names[: column - 1]:
            fault = f"the name `{name}` stands twice" if name else "the column has no name"
            raise DataError(f"{file}: row 1 column {column}: {fault}; give each column a name of its own")
    return names


def _check_cells(shape: CsvShape, limits: Limits, path: str | os.PathLike[str]) -> None:
    needed = shape.rows * shape.columns * CELL_BYTES
    if needed > limits.size:
        table = f"{shape.rows} rows of {shape.columns} columns"
        raise DataError(
            f"{path}: {table} need {gibibytes(needed)}, the limit is {gibibytes(limits.size)}; split the file or raise the limit"
        )


def _columns(
    pandas: ModuleType, body: bytes, separator: str, names: list[str], text: set[str], limits: Limits, file: str
) -> dict[str, Array]:
    """Two readings: pandas finds out which columns are numbers, then the others are read again, letter by letter as they stand."""
    settings: dict[str, Any] = {
        "sep": separator,
        "header": None,
        "names": names,
        "index_col": False,
        "skip_blank_lines": False,
        "engine": "c",
    }
    numeric = [name for name in names if name not in text]
    found: dict[str, Array] = {}
    if numeric:
        frame = pandas.read_csv(io.BytesIO(body), usecols=numeric, low_memory=False, **_exact(pandas), **settings)
        found = {name: converted for name in numeric if (converted := _numbers(frame[name])) is not None}
    rest = [name for name in names if name not in found]
    if rest:
        frame = pandas.read_csv(io.BytesIO(body), usecols=rest, dtype=str, na_filter=False, **settings)
        found |= {name: _text(frame[name].to_numpy(dtype=object), name, limits, file) for name in rest}
    return {name: found[name] for name in names}


def _exact(pandas: ModuleType) -> dict[str, str]:
    """Before 3.1 pandas rounds some decimal texts to a neighbouring float unless told otherwise; now it is exact and deprecates this."""
    major, minor = pandas.__version__.split(".")[:2]
    return {} if (int(major), int(minor)) >= (3, 1) else {"float_precision": "round_trip"}


def _numbers(series: Any) -> Array | None:
    """A column that pandas read as numbers (or as true and false: 1 and 0, NaN where there is neither); nothing for any other."""
    name = str(series.dtype)
    if name in ("int64", "float64"):
        return np.ascontiguousarray(series.to_numpy())
    if name == "object" and (known := series.dropna()).size and all(type(value) is bool for value in known):
        return np.ascontiguousarray(series.to_numpy(dtype=np.float64))
    return series.to_numpy().astype(np.int64) if name == "bool" else None


def _text(values: Array, name: str, limits: Limits, file: str) -> Array:
    """Texts of one width; a single long one would widen all rows, so the size is known before it is asked for."""
    lengths = [len(value) for value in values]
    longest = max(lengths)
    if longest * len(values) * CHARACTER_BYTES > limits.size:
        row = lengths.index(longest) + 2
        raise DataError(
            f"{file}: row {row} column `{name}`: a text of {longest} characters is too long for {len(values)} rows; remove or shorten it"
        )
    return values.astype(np.str_)
