"""How much rows count: weights that are given for them or stand in a column, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiler.errors import DataError
from ..compiler.ir.types import DType
from .convert import as_array, cast, first
from .table import Origin

Array = np.ndarray[Any, Any]
NAME = "sample_weight"


def row_weights(weights: Any, rows: int, dtype: DType, name: str, origin: Origin) -> Array:
    """[rows] weights of at least 0; 1 each where none are given. Raises DataError."""
    if weights is None:
        return np.ones(rows, dtype=dtype.numpy)
    array = cast(as_array(weights, name, origin), dtype, name, origin)
    if array.shape != (rows,):
        raise DataError(f"{origin.prefix}`{name}` has shape {list(array.shape)}, and there are {rows} rows: give one weight each")
    if (array < 0).any():
        row = first(array < 0)
        raise DataError(f"{origin.place(name, row[0])} is {array[row]}: a weight is at least 0")
    return np.ascontiguousarray(array)
