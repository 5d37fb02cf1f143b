"""Rows of any file or folder, piece by piece: read from the file as they are wanted where its form allows it, else cut from memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...compiler.errors import DataError
from ..images import decode_images, holds_images, image_files, image_shape
from ..limits import LIMITS, MIB, Limits
from ..reading import folder_parts, is_arrays, read_table
from ..regular_file import gibibytes
from ..stored import Stored, open_stored
from ..table import Table

Array = np.ndarray[Any, Any]
Read = Callable[[int, int, Collection[str] | None], Mapping[str, Array]]

PIECE_BYTES, PIECE_ROWS = 16 * MIB, 65536
LOOKED_BYTES = 2**34
"""Of more than this only every k-th piece is looked at."""
LARGEST_IMAGE = 64
"""Pixels of the longer side to which images of differing or large sizes are brought."""


@dataclass(frozen=True)
class Column:
    """The element type of a column and the shape of one row of it."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Size of one row."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=object))


@dataclass(frozen=True)
class Source:
    """Columns of `rows` rows, and what reads rows [begin, end) of some (None: all) of them.

    `parts` are rows kept apart, `test` and `validation`; `unreadable` columns that no array can hold, with the reasons; `sizes` how many
    images of each height, width and channels there are. `piecewise`: rows stay in the file until they are wanted.
    """

    path: Path
    rows: int
    columns: Mapping[str, Column]
    read: Read
    piecewise: bool = False
    parts: Mapping[str, Source] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[tuple[int, int, int], int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Size of all rows as arrays."""
        return self.rows * sum(column.row_bytes for column in self.columns.values())

    @property
    def stride(self) -> int:
        """One piece in this many is looked at."""
        return -(-self.bytes // LOOKED_BYTES) or 1


def pieces(source: Source, names: Collection[str] | None = None) -> Iterator[Mapping[str, Array]]:
    """The rows that are looked at, some at a time: of the columns named, or of all."""
    wanted = [column for name, column in source.columns.items() if names is None or name in names]
    size = int(min(PIECE_ROWS, max(1, PIECE_BYTES // max(1, sum(column.row_bytes for column in wanted)))))
    for begin in range(0, source.rows, size * source.stride):
        arrays = source.read(begin, min(source.rows, begin + size), names)
        yield {name: _narrow(array) for name, array in arrays.items()}


def _narrow(array: Array) -> Array:
    """A row of one element is that element, as for a model."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def open_source(path: Path, limits: Limits = LIMITS) -> Source:
    """The rows of a file or folder. Raises DataError, or ResourceError where what must be in memory does not fit."""
    if not os.path.lexists(path):
        raise DataError(f"{path}: there is no such file or folder")
    parts = folder_parts(path) if path.is_dir() else {}
    if "train" in parts:
        opened = {name: _open(part, limits) for name, part in parts.items()}
        return replace(opened.pop("train"), path=path, parts=opened)
    return _open(path, limits)


def _open(path: Path, limits: Limits) -> Source:
    if path.is_dir() and not is_arrays(path) and holds_images(path):
        return _of_images(path, limits)
    stored = None if _is_idx_folder(path) else open_stored(path, limits)
    return _of_stored(path, stored, limits) if stored else _of_table(path, read_table(path, limits))


def _is_idx_folder(path: Path) -> bool:
    return path.is_dir() and is_arrays(path) and not any(entry.suffix.lower() == ".npy" for entry in path.iterdir())


def _column(dtype: np.dtype[Any], shape: tuple[int, ...]) -> Column:
    return Column(dtype, () if shape == (1,) else shape)


def _of_stored(path: Path, stored: Stored, limits: Limits) -> Source:
    columns = {name: _column(array.header.dtype, array.header.shape[1:]) for name, array in stored.arrays.items()}
    row = sum(column.row_bytes for column in columns.values())
    if row > limits.size:
        raise DataError(f"{path}: one row takes {gibibytes(row)}, the limit is {gibibytes(limits.size)}; cut the arrays into more rows")

    def read(begin: int, end: int, names: Collection[str] | None) -> Mapping[str, Array]:
        return stored.table(np.arange(begin, end), names).arrays

    return Source(path, stored.rows, columns, read, piecewise=True)


def _of_table(path: Path, table: Table) -> Source:
    columns = {name: _column(array.dtype, array.shape[1:]) for name, array in table.items()}
    kept = {"test": table.test, "validation": table.validation}
    parts = {name: _of_table(path, part) for name, part in kept.items() if part is not None}

    def read(begin: int, end: int, names: Collection[str] | None) -> Mapping[str, Array]:
        return {name: array[begin:end] for name, array in table.items() if names is None or name in names}

    return Source(path, table.rows, columns, read, parts=parts, unreadable=table.origin.unreadable)


def _of_images(path: Path, limits: Limits) -> Source:
    """Images are decoded piece by piece, at the size that suits most of them."""
    files, classes = image_files(path)
    sizes = Counter(image_shape(file, limits) for file in files)
    shape, resize = common_shape(sizes)
    names = {"files": np.array([str(file.relative_to(path)) for file in files], dtype=np.str_)}
    names |= {"labels": np.array([file.parent.name for file in files], dtype=np.str_)} if classes else {}
    columns = {"images": Column(np.dtype(np.uint8), shape)} | {name: Column(array.dtype, ()) for name, array in names.items()}

    def read(begin: int, end: int, wanted: Collection[str] | None) -> Mapping[str, Array]:
        found = {name: array[begin:end] for name, array in names.items() if wanted is None or name in wanted}
        if wanted is not None and "images" not in wanted:
            return found
        return {"images": decode_images(files[begin:end], limits, shape, resize=resize), **found}

    return Source(path, len(files), columns, read, piecewise=True, sizes=sizes)


def common_shape(sizes: Mapping[tuple[int, int, int], int]) -> tuple[tuple[int, int, int], bool]:
    """Height, width and channels for images of these sizes, and whether any must be resized: small ones of one size stay as they are.

    Else the most frequent size, brought down to LARGEST_IMAGE; colour where any has colour.
    """
    areas = Counter[tuple[int, int]]()
    for size, count in sizes.items():
        areas[size[:2]] += count
    height, width = areas.most_common(1)[0][0]
    longer, channels = max(height, width), max(size[2] for size in sizes)
    if len(areas) == 1 and longer <= 2 * LARGEST_IMAGE:
        return (height, width, channels), False
    factor = min(1.0, LARGEST_IMAGE / longer)
    return (max(1, round(height * factor)), max(1, round(width * factor)), channels), True
