"""Arrays from IDX files, the form of MNIST and its kin, plain or gzipped: a magic number, sizes, then the elements, all big-endian.

The form is LeCun's (yann.lecun.com/exdb/mnist). A header is believed only as far as bytes follow it: a plain file must hold exactly the
elements it claims, a gzipped one is unpacked up to that many and refused when there are fewer or more.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..compiler.errors import DataError
from .limits import LIMITS, Limits
from .regular_file import gibibytes, open_regular

Array = np.ndarray[Any, Any]

Stream = IO[bytes] | gzip.GzipFile
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
RANK_LIMIT = 8
PART = 2**20
NAME = re.compile(r"^(?P<part>[A-Za-z0-9_]+)-(?P<what>images|labels)-idx[1-8]-ubyte(\.gz)?$")
TRAINING, TEST = ("train",), ("t10k", "test")


def read_idx(path: str | os.PathLike[str], limits: Limits = LIMITS) -> Array:
    """The array of an IDX file, native-endian; raises DataError when it is damaged or over the limits."""
    stream, size = open_regular(Path(path), limits.size, DataError)
    with stream:
        packed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        if not packed:
            return _array(stream, size, limits, path)
        try:
            with gzip.GzipFile(fileobj=stream) as unpacked:
                return _array(unpacked, None, limits, path, packed=size)
        except (OSError, EOFError, zlib.error) as failure:
            raise DataError(f"{path}: damaged: {failure}; make the file anew") from failure


def _array(stream: Stream, size: int | None, limits: Limits, path: str | os.PathLike[str], packed: int = 0) -> Array:
    """The elements that the header claims, which must be all that follows. `size` is None where it shows only in unpacking."""
    dtype, shape = _header(stream, path)
    wanted = math.prod(shape) * dtype.itemsize
    most = limits.size if size is not None else min(limits.size, max(packed, 1) * limits.ratio)
    if wanted > most:
        claim = f"its header claims {list(shape)} elements, {gibibytes(wanted)}"
        raise DataError(f"{path}: {claim}, more than a file of its size may hold; make the file anew")
    if size is not None and size != 4 + 4 * len(shape) + wanted:
        claim = f"its header claims {list(shape)} elements of {dtype.itemsize} bytes, but {size - 4 - 4 * len(shape)} bytes follow"
        raise DataError(f"{path}: damaged: {claim}; make the file anew")
    return _elements(stream, wanted, path).view(dtype).astype(dtype.newbyteorder("=")).reshape(shape)


def _elements(stream: Stream, wanted: int, path: str | os.PathLike[str]) -> Array:
    """So many bytes, and no more; memory grows with what is there, not with what is claimed."""
    parts, done = bytearray(), 0
    while done < wanted:
        part = stream.read(min(PART, wanted - done))
        if not part:
            raise DataError(f"{path}: ends after {done} of {wanted} bytes of elements; the file is cut short")
        parts += part
        done += len(part)
    if stream.read(1):
        raise DataError(f"{path}: damaged: more bytes follow than the {wanted} that its header claims; make the file anew")
    return np.frombuffer(parts, dtype=np.uint8)


def _header(stream: Stream, path: str | os.PathLike[str]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Element type and shape."""
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= RANK_LIMIT:
        raise DataError(f"{path}: is not an IDX file: it does not begin with 0, 0, a known element type and 1 to {RANK_LIMIT} axes")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{path}: ends inside its header; the file is cut short")
    return np.dtype(TYPES[magic[2]]), tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))


def is_idx_member(name: str) -> bool:
    """Whether a file is named like a part of a folder in the manner of MNIST."""
    return NAME.match(name) is not None


def column_of(array: Array) -> str:
    """What an array of an IDX file is called: `labels` when it has one number a row, else `images`."""
    return "labels" if array.ndim == 1 else "images"


def read_folder(path: str | os.PathLike[str], limits: Limits = LIMITS) -> tuple[dict[str, Array], dict[str, Array] | None]:
    """The arrays `images` and `labels` of a folder in the manner of MNIST: those to train on, and those of the given test part.

    The files are called `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte.gz` and so on. Raises DataError.
    """
    files: dict[tuple[str, str], Path] = {}
    for file in sorted(Path(path).iterdir()):
        match = NAME.match(file.name)
        if match and (match["part"], match["what"]) not in files:
            files[match["part"], match["what"]] = file
    training, test = (_part(files, names, limits) for names in (TRAINING, TEST))
    if training is None and test is None:
        raise DataError(f"{path}: holds no train-images-idx3-ubyte and train-labels-idx1-ubyte (or t10k-…), plain or .gz")
    return training or {}, test


def _part(files: Mapping[tuple[str, str], Path], names: tuple[str, ...], limits: Limits) -> dict[str, Array] | None:
    """Images and labels of one part, as many of each; None when there are none."""
    found = {what: file for (part, what), file in files.items() if part in names}
    arrays = {what: read_idx(file, limits) for what, file in found.items()}
    rows = {len(array) for array in arrays.values()}
    if len(rows) > 1:
        listed = ", ".join(f"{found[what].name} has {len(array)} rows" for what, array in arrays.items())
        raise DataError(f"{found['images'].parent}: {listed}; they belong together row by row")
    return arrays or None
