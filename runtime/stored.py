"""Arrays that stay in their files: rows are read in pieces into memory of our own, never mapped.

A mapped file that is cut short while it is read kills the process; a read that comes back short is an error with a name. What is read is
the file as it was opened: one that was changed since is refused.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..compiler.errors import DataError
from .limits import LIMITS, Limits
from .npy import HEADER_LIMIT, Header, array_of, read_header
from .npz import LOCAL, npz_members
from .regular_file import open_regular
from .table import Origin, Table

Array = np.ndarray[Any, Any]
UNLIMITED = 2**63


@dataclass(frozen=True)
class StoredArray:
    """An array in a file: where its elements begin, and what the file was like when it was opened."""

    stream: BinaryIO
    offset: int
    header: Header
    where: str
    fingerprint: tuple[int, int]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.header.shape[0]

    @property
    def bytes(self) -> int:
        """Size of all elements."""
        return self.header.bytes

    def read(self, begin: int, end: int) -> Array:
        """Rows [begin, end), native-endian. Raises DataError when the file was changed or cut short."""
        row = self.bytes // max(self.rows, 1)
        raw = np.empty((end - begin) * row, dtype=np.uint8)
        view, done = raw.data, 0
        while done < len(raw):
            part = os.preadv(self.stream.fileno(), [view[done:]], self.offset + begin * row + done)
            if part == 0:
                raise DataError(f"{self.where}: ends after row {begin + done // row}; the file was cut short while it was read")
            done += part
        if _fingerprint(self.stream) != self.fingerprint:
            raise DataError(f"{self.where}: was changed while it was read; begin anew when the file is complete")
        return array_of(raw, replace(self.header, shape=(end - begin, *self.header.shape[1:])), self.where)


@dataclass(frozen=True)
class Stored:
    """Arrays of one number of rows in files, by name."""

    arrays: Mapping[str, StoredArray]
    file: str

    @property
    def rows(self) -> int:
        """Number of rows."""
        return next(iter(self.arrays.values())).rows

    @property
    def bytes(self) -> int:
        """Size of all elements."""
        return sum(array.bytes for array in self.arrays.values())

    def table(self, rows: Array, names: Any = None) -> Table:
        """Some rows (ascending) of the arrays, or of those named."""
        begin, end = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
        read = {name: array.read(begin, end) for name, array in self.arrays.items() if names is None or name in names}
        if end - begin != len(rows):
            read = {name: array[rows - begin] for name, array in read.items()}
        return Table(read, Origin(self.file, numbers=rows))


def open_stored(path: Path, limits: Limits = LIMITS) -> Stored | None:
    """The arrays of an `.npy` file, a folder of them, or an `.npz` archive that is not packed; None for what cannot be read in pieces.

    Raises DataError for a damaged file.
    """
    if path.is_dir():
        files = sorted(e for e in path.iterdir() if e.suffix.lower() == ".npy" and not e.name.startswith("."))
        found = {file.stem: _open_npy(file) for file in files}
    elif path.suffix.lower() == ".npy":
        found = {path.stem: _open_npy(path)}
    elif path.suffix.lower() == ".npz":
        found = _open_npz(path, limits)
    else:
        return None
    if not found or any(array.header.fortran_order or not array.header.shape for array in found.values()):
        return None
    rows = {name: array.rows for name, array in found.items()}
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"`{name}` {count}" for name, count in rows.items())
        raise DataError(f"{path}: the arrays have different numbers of rows: {listed}; keep one set of rows in a file")
    return Stored(found, str(path))


def _fingerprint(stream: BinaryIO) -> tuple[int, int]:
    found = os.fstat(stream.fileno())
    return found.st_size, found.st_mtime_ns


def _open_npy(path: Path) -> StoredArray:
    stream, size = open_regular(path, UNLIMITED, DataError)
    return _array(stream, 0, size, str(path))


def _open_npz(path: Path, limits: Limits) -> dict[str, StoredArray]:
    """The arrays of an archive; nothing when one of them is packed."""
    stream, size = open_regular(path, UNLIMITED, DataError)
    members = npz_members(stream, size, replace(limits, size=UNLIMITED), path)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        stream.close()
        return {}
    return {m.filename.removesuffix(".npy"): _array(stream, _start(stream, m), m.file_size, f"{path}: `{m.filename}`") for m in members}


def _start(stream: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member that is not packed begin."""
    *_, name, extra = LOCAL.unpack(os.pread(stream.fileno(), LOCAL.size, member.header_offset))
    return member.header_offset + LOCAL.size + int(name) + int(extra)


def _array(stream: BinaryIO, start: int, size: int, where: str) -> StoredArray:
    """The array whose `.npy` form begins at a place of a file; its header is checked against the bytes that are there."""
    head = io.BytesIO(os.pread(stream.fileno(), min(size, HEADER_LIMIT + 16), start))
    header, rest = read_header(head, size, where)
    if header.bytes != rest:
        claim = f"its header claims {list(header.shape)} elements of {header.dtype.itemsize} bytes, but {rest} bytes follow"
        raise DataError(f"{where}: damaged: {claim}; make the file anew")
    return StoredArray(stream, start + size - rest, header, where, _fingerprint(stream))
