"""Opening a file that somebody else made: regular files only, under a size, read into memory and never mapped.

A pipe would hang, a device would never end, and a mapped file that shrinks while it is read kills the process.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from ..compiler.errors import RanvierError
from .limits import GIB


def open_regular(path: Path, limit: int, error: type[RanvierError]) -> tuple[BinaryIO, int]:
    """The file opened for reading, and its size in bytes. Raises `error` when it is missing, not a regular file or above `limit`."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for a writer before its kind can be asked.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise error(f"{path}: there is no such file") from None
    except (OSError, ValueError) as failure:
        raise error(f"{path}: cannot be opened: {reason(failure)}") from failure
    stream = os.fdopen(handle, "rb") if stat.S_ISREG(os.fstat(handle).st_mode) else None
    if stream is None:
        os.close(handle)
        raise error(f"{path}: is not a regular file (a folder, a pipe or a device); give the file itself")
    size = os.fstat(handle).st_size
    if size > limit:
        stream.close()
        raise error(f"{path}: holds {gibibytes(size)}, the limit is {gibibytes(limit)}; split the file or raise the limit of size")
    return stream, size


def read_regular(path: Path, limit: int, error: type[RanvierError]) -> bytes:
    """All bytes of a regular file; raises `error` also when it changes its length while it is read."""
    stream, size = open_regular(path, limit, error)
    try:
        with stream:
            data = stream.read(size + 1)
    except OSError as failure:
        raise error(f"{path}: cannot be read: {reason(failure)}") from failure
    if len(data) != size:
        raise error(f"{path}: changed its length while it was read; read it again when it is complete")
    return data


def gibibytes(size: int) -> str:
    """A size for people."""
    return f"{size / GIB:.3g} GiB"


def reason(failure: Exception) -> str:
    """What the system said, without the path that the message already names."""
    return getattr(failure, "strerror", None) or str(failure)
