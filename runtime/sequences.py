"""Sequences of varying length: rows padded to the room that the model has, and how long each is.

`frames` may be one array [rows, times, …], with the lengths beside it as `frames_length` (else all rows have all times), or a list with an
array for each row. What lies past a row's end is made zero, so it may hold anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .convert import as_array, cast
from .data import Field
from .table import Origin, Table

Array = np.ndarray[Any, Any]


def padded(fields: Sequence[Field], arrays: Any) -> Any:
    """The arrays with those of sequences padded and their lengths beside them; the same object when no field has a length.

    Raises DataError for lengths that are not from 1 to the room there is, or that the rows do not have.
    """
    if not any(f.length for f in fields) or not hasattr(arrays, "keys"):
        return arrays
    origin = arrays.origin if isinstance(arrays, Table) else Origin()
    known = {str(key): arrays[key] for key in arrays.keys()}  # noqa: SIM118  # a DataFrame iterates over its columns, too
    rooms = {f.name: f for f in fields if f.most is not None}
    for field in fields:
        if field.length is not None and field.name in known:
            rows, lengths = _even(field, known[field.name], known.get(field.length), origin)
            known[field.name], known[field.length] = _fitted(field, rooms[field.length], rows, lengths, origin), lengths
    return Table(known, origin, arrays.test) if isinstance(arrays, Table) else known


def longest(name: str, arrays: Any) -> int:
    """The most times that a row of a sequence has: its lengths if the data has them, else what there is."""
    origin = arrays.origin if isinstance(arrays, Table) else Origin()
    if name + "_length" in arrays:
        lengths = as_array(arrays[name + "_length"], name + "_length", origin)
        return int(lengths.max()) if lengths.size and lengths.dtype.kind in "iuf" else 0
    value = arrays[name]
    if _is_ragged(value):
        return max((len(row) for row in value), default=0)
    array = as_array(value, name, origin)
    return array.shape[1] if array.ndim > 1 else 1


def check_lengths(lengths: Array, field: Field, origin: Origin | None = None) -> None:
    """DataError names the first length that is not from 1 to the room there is."""
    wrong = np.flatnonzero((lengths < 1) | (lengths > (field.most or 0)))
    if not wrong.size:
        return
    row, most = int(wrong[0]), field.most or 0
    place, value = (origin or Origin()).place(field.name, row), int(lengths[row])
    if value < 1:
        raise DataError(f"{place} is {value}: a sequence has at least 1 time; leave out rows that have none")
    raise DataError(
        f"{place} is {value}, and the model has room for {most} times: cut the sequence, or make the model with room for {value}"
    )


def _is_ragged(value: Any) -> bool:
    """Whether rows come one by one: in a list of arrays or lists, or an array of objects."""
    rows = value if isinstance(value, list | tuple) else value.tolist() if isinstance(value, np.ndarray) and value.dtype == object else None
    return rows is not None and len({len(row) if hasattr(row, "__len__") and not isinstance(row, str) else -1 for row in rows}) > 1


def _even(field: Field, value: Any, lengths: Any, origin: Origin) -> tuple[Array, Array]:
    """Rows as one array [rows, times, …], and how many times each has."""
    if _is_ragged(value):
        parts = [as_array(row, field.name, origin) for row in value]
        single = next((n for n, part in enumerate(parts) if part.ndim == 0), None)
        if single is not None:
            raise DataError(f"{origin.place(field.name, single)} is a single value; a row is [times, {_spell(field.shape[1:])}]")
        times = np.array([len(part) for part in parts], dtype=np.int32)
        inside = field.shape[1:]
        wrong = next((n for n, part in enumerate(parts) if part.shape[1:] != inside and part.size), None)
        if wrong is not None:
            raise DataError(f"{origin.place(field.name, wrong)} has shape {list(parts[wrong].shape)}; a row is [times, {_spell(inside)}]")
        array = np.zeros((len(parts), int(times.max(initial=1)), *inside), dtype=np.result_type(*parts) if parts else np.float32)
        for row, part in enumerate(parts):
            array[row, : len(part)] = part.reshape(len(part), *inside)
        return array, times
    array = as_array(value, field.name, origin)
    if array.ndim < 2:
        raise DataError(
            f"{origin.prefix}`{field.name}` has shape {list(array.shape)}; a sequence is [rows, times, {_spell(field.shape[1:])}]"
        )
    if lengths is None:
        return array, np.full(len(array), array.shape[1], dtype=np.int32)
    return array, as_array(lengths, field.length or "", origin)


def _spell(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape)) or "…"


def _fitted(field: Field, room: Field, array: Array, lengths: Array, origin: Origin) -> Array:
    """The rows with as many times as there is room for, zero past each one's end."""
    lengths = cast(lengths, room.dtype, room.name, origin)
    if lengths.shape != (len(array),):
        raise DataError(f"{origin.prefix}`{room.name}` has shape {list(lengths.shape)}, and `{field.name}` has {len(array)} rows")
    check_lengths(lengths, room, origin)
    beyond = np.flatnonzero(lengths > array.shape[1])
    if beyond.size:
        row = int(beyond[0])
        raise DataError(f"{origin.place(room.name, row)} is {int(lengths[row])}, and `{field.name}` has {array.shape[1]} times")
    filler = array.flat[0] if array.size and array.dtype.kind == "U" else np.zeros((), array.dtype)  # a label that is known
    whole = np.full((len(array), field.shape[0], *array.shape[2:]), filler, dtype=array.dtype)
    some = min(field.shape[0], array.shape[1])
    inside = np.arange(some) < lengths[:, None]
    np.copyto(whole[:, :some], array[:, :some], where=inside.reshape(*inside.shape, *[1] * (array.ndim - 2)))
    return whole
