"""The safetensors form, checked before a library decodes it: the header's bounds, its JSON, and that tensors tile the file exactly.

The form is eight bytes with the length of the header, a JSON object from names to dtype, shape and offsets, then the elements.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiler.errors import CheckpointError

HEADER_LIMIT = 8 * 2**20
TENSOR_LIMIT = 100_000
RANK_LIMIT = 32
METADATA = "__metadata__"
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
FOREIGN = {
    b"PK\x03\x04": "a zip archive, as torch.save, Keras and numpy.savez write",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "packed by gzip",
    b"\x7fELF": "native code",
}
REMEDY = "copy the file anew from where it was saved, or save the model again"


@dataclass(frozen=True)
class Entry:
    """One tensor as the header describes it: bytes begin..end of the data."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def check_tensor_file(data: bytes, path: str) -> dict[str, str]:
    """The metadata of a safetensors file whose every part has been checked; CheckpointError with the reason for any other file."""
    _refuse_foreign(data, path)
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(HEADER_LIMIT, len(data) - 8):
        raise _damaged(path, f"its header claims {length} bytes, the file holds {len(data)} (and at most {HEADER_LIMIT} are read)")
    header = _parse(data[8 : 8 + length], path)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _damaged(path, "its metadata is not a table of texts")
    if len(header) > TENSOR_LIMIT:
        raise CheckpointError(f"{path}: holds {len(header)} tensors, the limit is {TENSOR_LIMIT}")
    _check_tiling([_entry(name, value, path) for name, value in header.items()], len(data) - 8 - length, path)
    return metadata


def _refuse_foreign(data: bytes, path: str) -> None:
    """A header begins with a brace at byte 8; where it does not, the first bytes tell what the file is instead."""
    kind = next((kind for magic, kind in FOREIGN.items() if data.startswith(magic)), None)
    if data[8:9] != b"{" and kind is not None:
        mend = "models are loaded from .safetensors files that Ranvier saved, and pickles never"
        raise CheckpointError(f"{path}: is {kind}, not a saved model; {mend}")


def _damaged(path: str, detail: str) -> CheckpointError:
    return CheckpointError(f"{path}: is damaged or no saved model: {detail}; {REMEDY}")


def strict_json(text: str | bytes) -> Any:
    """JSON without doubled keys; ValueError for these and for anything that is not JSON, however deep or long."""
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _parse(text: bytes, path: str) -> dict[str, Any]:
    try:
        header = strict_json(text.decode("utf-8"))
    except ValueError as failure:
        raise _damaged(path, f"its header cannot be read ({failure})") from failure
    if not isinstance(header, dict):
        raise _damaged(path, "its header is not a table")
    return header


def _entry(name: str, value: Any, path: str) -> Entry:
    """One entry of the header, every number an int in its range and the size what shape and dtype say."""
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(path, f"its header does not describe `{name}` as a tensor")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"{path}: `{name}` has elements of type {str(dtype)[:20]!r}; a saved model has {', '.join(DTYPES)}")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or len(shape) > RANK_LIMIT:
        raise _damaged(path, f"the shape or the place of `{name}` is not a list of whole numbers")
    size = math.prod(shape) * DTYPES[dtype].itemsize
    if offsets[1] - offsets[0] != size or math.prod(d for d in shape if d) >= 2**60:
        raise _damaged(path, f"`{name}` has shape {shape}, but {offsets[1] - offsets[0]} bytes")
    return Entry(name, dtype, tuple(shape), offsets[0], offsets[1])


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)


def _check_tiling(entries: list[Entry], size: int, path: str) -> None:
    """Tensors follow each other without overlap or gap from the first byte to the last: nothing else hides in the file."""
    position = 0
    for entry in sorted(entries, key=lambda e: (e.begin, e.end)):
        if entry.begin != position:
            raise _damaged(path, f"`{entry.name}` begins at byte {entry.begin} of the data, not at {position}")
        position = entry.end
    if position != size:
        raise _damaged(path, f"its tensors take {position} bytes, but {size} are there")


def require_shapes(found: Mapping[str, np.ndarray[Any, Any]], wanted: Mapping[str, tuple[int, ...]], what: str, path: str) -> None:
    """CheckpointError that lists at once every tensor that is missing, left over, or of another shape than the model's."""
    faults = [f"no `{name}`" for name in wanted if name not in found]
    faults += [f"`{name}` is not the model's" for name in found if name not in wanted]
    both = [name for name in wanted if name in found]
    faults += [f"`{n}` has shape {list(found[n].shape)}, not {list(wanted[n])}" for n in both if found[n].shape != tuple(wanted[n])]
    if faults:
        raise CheckpointError(f"{path}: its {what} do not fit the model: {'; '.join(faults)}; load it with the source it was saved with")
