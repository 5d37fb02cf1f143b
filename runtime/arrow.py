"""Columns of an Arrow table as arrays: NaN for numbers that are null, no text for text that is, lists of one length as rows."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .limits import Limits

Array = np.ndarray[Any, Any]
CHARACTER_BYTES = 4


@dataclass(frozen=True)
class Columns:
    """Arrays by name, and the columns that no array can hold, each with the reason."""

    arrays: Mapping[str, Array]
    unreadable: Mapping[str, str] = field(default_factory=dict)


class _Unreadable(Exception):
    """Why a column cannot be an array."""


def pyarrow(what: str, purpose: str) -> ModuleType:
    """The package pyarrow; raises DataError where it is not installed."""
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        raise DataError(f"{what}: {purpose} needs pyarrow, which is not installed: pip install 'ranvier[parquet]'") from None


def arrow_columns(pa: ModuleType, table: Any, limits: Limits, where: str, text: Collection[str] = ()) -> Columns:
    """The columns of a pyarrow Table; whole numbers named in `text` become text. Raises DataError for names that repeat."""
    names = [str(name) for name in table.column_names]
    repeated = next((name for n, name in enumerate(names) if name in names[:n]), None)
    if repeated is not None:
        raise DataError(f"{where}the name `{repeated}` stands twice; give each column a name of its own")
    arrays, unreadable = dict[str, Array](), dict[str, str]()
    for number, name in enumerate(names):
        column = table.column(number).combine_chunks()
        try:
            if name in text and pa.types.is_integer(column.type):
                column = column.cast(pa.string())
            arrays[name] = _array(pa, column, limits)
        except _Unreadable as reason:
            unreadable[name] = str(reason)
        except (pa.lib.ArrowException, ValueError, TypeError) as failure:
            unreadable[name] = f"it cannot be read: {str(failure)[:100]}"
    return Columns(arrays, unreadable)


def _array(pa: ModuleType, column: Any, limits: Limits) -> Array:
    kind, types = column.type, pa.types
    if isinstance(column, pa.ChunkedArray):  # what combining gives of some types
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], kind)
    if isinstance(column, pa.ExtensionArray):
        column, kind = column.storage, column.storage.type
    if types.is_dictionary(kind):
        return _decoded(pa, column, limits)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return _numbers(pa, column)
    if types.is_string(kind) or types.is_large_string(kind) or kind == getattr(pa, "string_view", lambda: None)():
        return _texts(pa, column, limits)
    if types.is_date(kind) or types.is_timestamp(kind):
        return _dates(column)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _lists(pa, column, limits)
    raise _Unreadable(f"elements of type {kind} are not read")


def _numbers(pa: ModuleType, column: Any) -> Array:
    if column.null_count or pa.types.is_decimal(column.type):
        column = (
            column.cast(pa.float64(), safe=False) if not pa.types.is_boolean(column.type) else column.cast(pa.int8()).cast(pa.float64())
        )
    found: Array = column.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(found)


def _decoded(pa: ModuleType, column: Any, limits: Limits) -> Array:
    """A column of a dictionary, which may name one long text in every row: its size is known before it is asked for."""
    column.validate(full=True)  # no index outside the dictionary
    values = _array(pa, column.dictionary, limits)
    if values.itemsize * len(column) > limits.size:
        raise _Unreadable(f"one of its values takes {values.itemsize} bytes, too long for {len(column)} rows")
    holes = column.is_null().to_numpy(zero_copy_only=False)
    text = values.dtype.kind == "U"
    values = values if text or not holes.any() else values.astype(np.float64)
    if not len(values):
        return np.full(len(column), "" if text else np.nan)
    found: Array = values[column.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    if holes.any():
        found[holes] = "" if text else np.nan
    return found


def _require_room(longest: int, rows: int, limits: Limits) -> None:
    if longest * rows * CHARACTER_BYTES > limits.size:
        raise _Unreadable(f"it holds a text of {longest} characters, too long for {rows} rows")


def _texts(pa: ModuleType, column: Any, limits: Limits) -> Array:
    values = ["" if value is None else value for value in column.to_pylist()]
    _require_room(max(map(len, values), default=0), len(values), limits)
    if any("\0" in value for value in values):
        raise _Unreadable("its texts hold the character NUL")
    return np.array(values, dtype=np.str_)


def _dates(column: Any) -> Array:
    """As ISO 8601 writes them: such texts are in the order of time."""
    found = column.to_numpy(zero_copy_only=False)
    return np.where(np.isnat(found), "", np.datetime_as_string(found))


def _lists(pa: ModuleType, column: Any, limits: Limits) -> Array:
    if column.null_count:
        raise _Unreadable("rows of it are missing")
    lengths = set(importlib.import_module("pyarrow.compute").list_value_length(column).unique().to_pylist())
    if len(lengths) != 1:
        raise _Unreadable("its lists differ in length")
    inner = _array(pa, column.flatten(), limits)
    return inner.reshape(len(column), lengths.pop(), *inner.shape[1:])
