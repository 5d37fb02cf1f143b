"""Columns of a Parquet file as arrays, read by pyarrow from memory once its metadata says how much there will be."""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection
from pathlib import Path

from ..compiler.errors import DataError
from .arrow import Columns, arrow_columns, pyarrow
from .limits import LIMITS, Limits
from .regular_file import gibibytes, read_regular

CELL_BYTES = 8


def read_parquet(path: str | os.PathLike[str], limits: Limits = LIMITS, *, text: Collection[str] = ()) -> Columns:
    """The columns of a file (see `arrow_columns`). Raises DataError for a damaged file or one over the limits."""
    pa = pyarrow(str(path), "reading Parquet files")
    data = read_regular(Path(path), limits.size, DataError)
    try:
        file = importlib.import_module("pyarrow.parquet").ParquetFile(pa.BufferReader(data))
        found = file.metadata
        packed = sum(found.row_group(n).total_byte_size for n in range(found.num_row_groups))
        _check_size(path, found.num_rows, found.num_columns, packed, limits)
        return arrow_columns(pa, file.read(use_threads=False), limits, f"{path}: ", text)
    except (pa.lib.ArrowException, OSError, ValueError, OverflowError) as failure:
        detail = str(failure).splitlines()[0][:200] if str(failure) else type(failure).__name__
        raise DataError(f"{path}: damaged, or no Parquet file: {detail}") from failure


def _check_size(path: str | os.PathLike[str], rows: int, columns: int, packed: int, limits: Limits) -> None:
    if columns > limits.columns:
        raise DataError(f"{path}: has {columns} columns, the limit is {limits.columns}; keep the rows in an .npz file instead")
    needed = max(rows * columns * CELL_BYTES, packed)
    if needed > limits.size:
        raise DataError(f"{path}: {rows} rows of {columns} columns need {gibibytes(needed)}, the limit is {gibibytes(limits.size)}")
