"""Data frames of other libraries as columns by name: through their own mapping, the Arrow stream or the interchange protocol."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .arrow import arrow_columns, pyarrow
from .convert import as_array
from .data import Field
from .limits import LIMITS
from .table import Origin, Table, column_hint

WHERE = "the data frame: "


def frame_columns(data: Any) -> Mapping[str, Any] | None:
    """The columns of a data frame by name; None for what is no data frame (an array, a single column)."""
    if isinstance(data, Mapping):
        return data
    if isinstance(data, np.ndarray):
        return None if data.dtype.names is None else {name: data[name] for name in data.dtype.names}
    if hasattr(data, "collect") and not hasattr(data, "__array__"):
        raise DataError(f"{WHERE}its rows are still to be computed: give `.collect()` of it")
    if hasattr(data, "keys") and hasattr(data, "columns"):  # pandas: its own columns are arrays already, and nothing else is needed
        return _by_name(data)
    named = hasattr(data, "columns") or hasattr(data, "column_names")
    if named and hasattr(data, "__arrow_c_stream__") and importlib.util.find_spec("pyarrow") is not None:
        pa = pyarrow("the data frame", "reading it")
        return _arrow(pa, pa.table(data))
    columns = getattr(data, "columns", None)
    if isinstance(columns, Sequence) and all(isinstance(name, str) for name in columns):  # polars
        return {name: data[name] for name in columns}
    if hasattr(data, "__dataframe__") or (named and hasattr(data, "__arrow_c_stream__")):
        pa = pyarrow("the data frame", "reading it")
        return _arrow(pa, importlib.import_module("pyarrow.interchange").from_dataframe(data))
    return None


def _by_name(frame: Any) -> Mapping[str, Any]:
    names = [str(name) for name in frame.columns]
    repeated = next((name for n, name in enumerate(names) if name in names[:n]), None)
    if repeated is not None:
        raise DataError(f"{WHERE}the name `{repeated}` stands twice; give each column a name of its own")
    return {name: frame[column] for name, column in zip(names, frame.columns, strict=True)}


def _arrow(pa: Any, table: Any) -> Table:
    found = arrow_columns(pa, table, LIMITS, WHERE)
    return Table(found.arrays, Origin(unreadable=found.unreadable))


def with_joined(data: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]]) -> Mapping[str, Any]:
    """The data with columns joined under the names that the data block gives them, where it has no array of that name."""
    origin = data.origin if isinstance(data, Table) else Origin()
    absent = {name: wanted for name, wanted in columns.items() if name not in data and set(wanted) <= set(map(str, data))}
    if not absent:
        return data
    joined = {name: _stacked({c: data[c] for c in wanted}, origin) for name, wanted in absent.items()}
    return {**{str(name): data[name] for name in data}, **joined}


def require_rows(data: Any) -> None:
    """Raises DataError for what is no array of rows: the path of a file, rows by name, things that only give rows."""
    if isinstance(data, str | bytes | os.PathLike):
        raise DataError(f"{str(data)[:60]!r} is not data but a path or a text: read the file first, or use the command `ranvier`")
    if isinstance(data, list | tuple) and data and isinstance(data[0], Mapping):
        raise DataError("the data is a list of rows by name: give columns, a dictionary with a list for each name or a data frame")
    if not isinstance(data, Sequence) and not any(hasattr(data, name) for name in ("__array__", "__dlpack__", "__array_interface__")):
        mend = "convert it with `.toarray()`" if hasattr(data, "toarray") else "give arrays, a data frame, or a dictionary of arrays"
        raise DataError(f"the data is of type {type(data).__name__}: {mend}")


def require_joined(names: Sequence[str], data: Mapping[str, Any], columns: Mapping[str, tuple[str, ...]]) -> None:
    """Raises DataError for a column that the data block joins to one of `names`, where the data has neither."""
    for name in names:
        if name in data or name not in columns:
            continue
        known = dict.fromkeys(map(str, data))
        absent = [column for column in columns[name] if column not in known]
        if absent:
            origin = data.origin if isinstance(data, Table) else Origin()
            hint = column_hint(absent[0], known, origin)
            raise DataError(f"{origin.prefix}the data has no `{name}`, and no column `{absent[0]}` for it; {hint}")


def as_only_input(frame: Mapping[str, Any], field: Field, others: Sequence[str]) -> Mapping[str, Any]:
    """The frame with all its columns (but for `others`) as the only input, if it has as many as that wants and none of its name."""
    rest = {name: frame[name] for name in frame if name not in others}
    if field.name in frame or field.shape != (len(rest),):
        return frame
    return {**{name: frame[name] for name in frame if name in others}, field.name: _stacked(rest, Origin())}


def _stacked(columns: Mapping[str, Any], origin: Origin) -> Any:
    """[rows] of one column, [rows, columns] of several."""
    arrays = [as_array(column, name, origin) for name, column in columns.items()]
    return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)
