"""One array in NumPy's `.npy` form: a short header, checked against the bytes that are really there, then the elements.

The form is NEP 1 (versions 1.0 to 3.0). The header is matched by a pattern and never evaluated; arrays of Python objects,
which are pickles, are refused by their dtype before anything of them is read.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from ..compiler.errors import DataError

Array = np.ndarray[Any, Any]

MAGIC = b"\x93NUMPY"
LENGTH_BYTES = {(1, 0): 2, (2, 0): 4, (3, 0): 4}
HEADER_LIMIT = 64 * 1024
PART = 2**20
RANK_LIMIT = 32
DIGITS_LIMIT = 18
NUMBERS = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
KINDS = {
    "O": "Python objects (a pickle, which is never loaded)",
    "c": "complex numbers",
    "V": "raw records",
    "M": "dates",
    "m": "time spans",
}
MEND = "save it as numbers, bool or text of fixed width (`array.astype(...)`)"

_KEY = r"""\s*(['"])(descr|fortran_order|shape)\1\s*:\s*"""
_VALUE = r"""(?:(['"])([<>|=]?[A-Za-z][\w\[\]]{0,15})\3|(True|False)|\(([\d\sL,]*)\))\s*(?:,|$)"""
_ITEM = re.compile(_KEY + _VALUE)


@dataclass(frozen=True)
class Header:
    """What an `.npy` header claims."""

    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Size of the elements, as a Python int that cannot wrap."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_array(stream: IO[bytes], size: int, where: str) -> Array:
    """The array of an `.npy` stream of `size` bytes: native-endian, C-contiguous, writable. `where` begins every message.

    Raises DataError when the header is wrong or claims another size than is there: before memory is asked for.
    """
    header, rest = read_header(stream, size, where)
    if header.bytes != rest:
        claim = f"its header claims {list(header.shape)} elements of {header.dtype.itemsize} bytes, but {rest} bytes follow"
        raise DataError(f"{where}: damaged: {claim}; make the file anew")
    raw = np.empty(rest, dtype=np.uint8)
    _fill(stream, raw, where)
    return array_of(raw, header, where)


def array_of(raw: Array, header: Header, where: str) -> Array:
    """The array that bytes hold, native-endian and C-contiguous; raises DataError for bytes that are no bool or no text."""
    _check_values(raw, header.dtype, where)
    array = raw.view(header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C")
    array = np.ascontiguousarray(array.astype(header.dtype.newbyteorder("="), copy=False)).reshape(header.shape)
    return _decoded(array, where) if header.dtype.kind == "S" else array


def read_header(stream: IO[bytes], size: int, where: str) -> tuple[Header, int]:
    """The header, and how many bytes follow it."""
    start = stream.read(8)
    if len(start) < 8 or not start.startswith(MAGIC):
        raise DataError(f"{where}: is not an array in NumPy's .npy form")
    width = LENGTH_BYTES.get((start[6], start[7]))
    if width is None:
        raise DataError(f"{where}: is in version {start[6]}.{start[7]} of the .npy form, which is not known; save it with numpy.save")
    length = int.from_bytes(stream.read(width), "little")
    if length > min(HEADER_LIMIT, size - 8 - width):
        raise DataError(f"{where}: damaged: its header claims {length} bytes; make the file anew")
    text = stream.read(length).decode("latin-1")
    return _parse(text, where), size - 8 - width - length


def _parse(text: str, where: str) -> Header:
    body = text.strip()
    items = _items(body[1:-1].rstrip()) if body.startswith("{") and body.endswith("}") else {}
    if items.keys() != {"descr", "fortran_order", "shape"}:
        if re.search(r"descr['\"]\s*:\s*\[", body):
            raise DataError(f"{where}: holds records with named fields, which cannot be read; save each field as an array of its own")
        raise DataError(f"{where}: damaged: its header is not that of an array; make the file anew")
    return Header(_dtype(items["descr"], where), items["fortran_order"] == "True", _shape(items["shape"], where))


def _items(body: str) -> dict[str, str]:
    """Entries of the header's dictionary; nothing when any part of it is not understood."""
    found, position = dict[str, str](), 0
    while position < len(body):
        item = _ITEM.match(body, position)
        if item is None or item[2] in found:
            return {}
        found[item[2]] = next(value for value in item.groups()[3:] if value is not None)
        position = item.end()
    return found


def _dtype(text: str, where: str) -> np.dtype[Any]:
    kind = text.lstrip("<>|=")
    width = kind[1:]
    if kind in NUMBERS or (kind[0] in "US" and width.isdecimal() and len(width) <= 8 and int(width) > 0):
        return np.dtype(text)
    raise DataError(f"{where}: holds {KINDS.get(kind[0], f'elements of type `{text}`')}, which cannot be read; {MEND}")


def _shape(text: str, where: str) -> tuple[int, ...]:
    dims = [part.strip().rstrip("L") for part in text.split(",") if part.strip()]
    if len(dims) > RANK_LIMIT or not all(d.isdecimal() and len(d) <= DIGITS_LIMIT for d in dims):
        raise DataError(f"{where}: damaged: its header claims a shape that no array has; make the file anew")
    shape = tuple(map(int, dims))
    if math.prod(d for d in shape if d) >= 2**62:  # an empty array may name any extents; NumPy multiplies them all the same
        raise DataError(f"{where}: damaged: its header claims the shape {list(shape)}; make the file anew")
    return shape


def _fill(stream: IO[bytes], raw: Array, where: str) -> None:
    view, done = raw.data, 0
    while done < len(raw):
        part = stream.read(min(PART, len(raw) - done))
        if not part:
            raise DataError(f"{where}: ends after {done} of {len(raw)} bytes of elements; the file is cut short")
        view[done : done + len(part)] = part
        done += len(part)


def _check_values(raw: Array, dtype: np.dtype[Any], where: str) -> None:
    """Bytes that are no bool and code points that are no character would break NumPy's own loops later."""
    if dtype.kind == "b" and raw.size and raw.max() > 1:
        raise DataError(f"{where}: damaged: a bool is neither 0 nor 1; make the file anew")
    if dtype.kind == "U":
        points = raw.view("=u4" if dtype.isnative else np.dtype("=u4").newbyteorder())
        if points.size and (points.max() > 0x10FFFF or ((points >= 0xD800) & (points <= 0xDFFF)).any()):
            raise DataError(f"{where}: damaged: its text holds code points that are no characters; make the file anew")


def _decoded(array: Array, where: str) -> Array:
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{where}: holds bytes that are not UTF-8 text; {MEND}") from None
