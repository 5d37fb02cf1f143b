"""Values from anywhere to arrays of the element type a model wants; a value that does not survive the way is named by its row."""

from __future__ import annotations

import math
import sys
from numbers import Real
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from ..compiler.ir.types import DType
from .numerals import decimal_comma, is_number
from .table import Origin

Array = np.ndarray[Any, Any]

UNREADABLE = (TypeError, ValueError, RuntimeError, BufferError, OverflowError)


def as_array(value: Any, name: str, origin: Origin, *, missing: bool = False) -> Array:
    """An array of numbers or of text from an array, list, tensor, or column; an ndarray of either is given back as it is.

    None stands for a missing value, NaN among numbers and "" among text; so do masked numbers where values may be `missing`.
    Raises DataError for ragged lists, masked values, complex numbers, dates, records and mixtures of text and numbers.
    """
    if missing and _is_masked(value):
        return np.ma.filled(value.astype(np.float64), np.nan)
    if _is_masked(value) and np.ma.getmaskarray(value).any():
        position = first(np.ma.getmaskarray(value))
        raise DataError(f"{origin.place(name, position[0], position[1:])} is masked; fill the masked values in or leave their rows out")
    if _is_short_float(value):
        value = value.float()
    try:
        plain = hasattr(value, "__array__") or not hasattr(value, "__dlpack__")
        array = np.asarray(value) if plain else np.from_dlpack(value)
    except UNREADABLE as failure:
        raise DataError(f"{origin.prefix}`{name}` cannot be read as an array: {failure}") from failure
    if array.dtype == object and array.ndim == 0:
        mend = "convert it with `.toarray()`" if hasattr(value, "toarray") else "give an array, a list or a column with one row a sample"
        raise DataError(f"{origin.prefix}`{name}` is of type {type(value).__name__}, which is no array: {mend}")
    return array if array.dtype.kind in "biufU" else _unusual(array, name, origin)


def _is_short_float(value: Any) -> bool:
    """Whether a value is a tensor of the upper half of f32, which NumPy does not know, and that says how it becomes f32 itself."""
    return str(getattr(value, "dtype", "")).endswith("bfloat16") and callable(getattr(value, "float", None))


def _is_masked(value: Any) -> bool:
    """Whether a value is a masked array; NumPy loads what it needs for these only when somebody makes one, which takes a while."""
    return "numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray)


def _unusual(array: Array, name: str, origin: Origin) -> Array:
    """Text and numbers that come in other clothes: bytes, strings of varying width, Python objects."""
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{origin.prefix}`{name}` holds bytes that are not UTF-8 text") from None
    if array.dtype.kind == "T":  # NumPy 2.4 does not find the width itself
        return _from_objects(array.astype(object), name, origin)
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    if array.dtype.kind != "O":
        raise DataError(f"{origin.prefix}`{name}` has elements of type {array.dtype}; a model reads numbers, bools and text labels")
    return _from_objects(array, name, origin)


def _from_objects(array: Array, name: str, origin: Origin) -> Array:
    values = array.ravel().tolist()
    holes = [is_missing(value) for value in values]
    known = [value for value, hole in zip(values, holes, strict=True) if not hole]
    if known and all(isinstance(value, str) for value in known):
        return np.where(np.reshape(holes, array.shape), "", array).astype(np.str_)
    from decimal import Decimal

    for number, value in enumerate(values):
        if not holes[number] and not isinstance(value, Real | np.bool_ | Decimal):
            row, *index = np.unravel_index(number, array.shape) if array.ndim else (0,)
            place = origin.place(name, int(row), tuple(map(int, index)))
            raise DataError(f"{place} holds {str(value)[:60]!r}: values must be all numbers or all text")
    try:
        return np.where(np.reshape(holes, array.shape), np.nan, array).astype(np.float64)
    except UNREADABLE as failure:
        raise DataError(f"{origin.prefix}`{name}` cannot be read as numbers: {failure}") from failure


def is_missing(value: Any) -> bool:
    """None, NaN, and what pandas has in their place: such a value is not equal to itself, or does not say."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)


def holes_in(array: Array) -> Array:
    """Where values are missing: NaN among numbers, no text among texts."""
    if array.dtype.kind == "U":
        return np.asarray(array == "")
    return np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, dtype=np.bool_)


def incomplete(array: Array) -> Array:
    """[rows], true where a value of the row is missing."""
    return np.asarray(holes_in(array).reshape(len(array), math.prod(array.shape[1:])).any(axis=1))


def first(wrong: Array) -> tuple[int, ...]:
    """Indices of the first true element: the row, then the place in the row."""
    return tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))


def cast(array: Array, dtype: DType, name: str, origin: Origin, *, missing: bool = False) -> Array:
    """Numbers as `dtype`, native-endian; what is right already is given back as it is. NaN stays in floats where values may be `missing`.

    Raises DataError naming the first value that is NaN, infinite, beyond the range of `dtype`, or not whole where it has to be.
    """
    if array.dtype.kind == "U":
        raise _text_refused(array, dtype, name, origin)
    if array.dtype.kind == "f":
        _check_finite(array, name, origin, missing=missing and dtype.is_float)
    if array.dtype == dtype.numpy:
        return array
    if dtype.is_float:
        return _to_float(array, dtype, name, origin, missing=missing)
    return _to_whole(array, dtype, name, origin)


def _text_refused(array: Array, dtype: DType, name: str, origin: Origin) -> DataError:
    """The first text that is no number is the likely typing mistake; when all are numbers, the column was given as text."""
    for number, value in enumerate(array.ravel().tolist()):
        if not is_number(value):
            row, *index = (int(i) for i in np.unravel_index(number, array.shape))
            place = f"{origin.place(name, row, tuple(index))} holds the text {value[:60]!r}, where a number ({dtype}) is needed"
            return DataError(f"{place}: {decimal_comma(value) or 'mend the value, or declare a column of names as class[n]'}")
    return DataError(f"{origin.prefix}`{name}` holds text, where numbers ({dtype}) are needed; convert it with `.astype(float)`")


def _require(good: Array, array: Array, name: str, origin: Origin, mend: str) -> None:
    if good.all():
        return
    position = first(~good)
    raise DataError(f"{origin.place(name, position[0], position[1:])} is {array[position]}; {mend}")


def _check_finite(array: Array, name: str, origin: Origin, *, missing: bool) -> None:
    """No infinite value; no NaN, which is a missing value, unless the model takes those."""
    if np.isfinite(array).all():
        return
    if not missing and np.isnan(array).any():
        position = first(np.isnan(array))
        mend = "fill it in, leave such rows out (`missing = drop` in the data block), or let the model do it (`missing = keep`, `impute`)"
        raise DataError(f"{origin.place(name, position[0], position[1:])} is nan, a missing value: {mend}")
    _require(~np.isinf(array), array, name, origin, "remove the row or fill the value in")


def _to_float(array: Array, dtype: DType, name: str, origin: Origin, *, missing: bool) -> Array:
    with np.errstate(over="ignore"):
        result = array.astype(dtype.numpy)
    if array.dtype.kind == "f" and array.dtype.itemsize > dtype.bytes:
        held = ~np.isinf(result) if missing else np.isfinite(result)
        _require(held, array, name, origin, f"it exceeds what {dtype} holds: scale the data or remove the row")
    return result


def _bounds(dtype: DType) -> tuple[int, int]:
    """The least and the greatest whole number of a type that is not a float."""
    if dtype.kind == "b":
        return 0, 1
    return (-(2 ** (dtype.bits - 1)), 2 ** (dtype.bits - 1) - 1) if dtype.kind == "i" else (0, 2**dtype.bits - 1)


def _to_whole(array: Array, dtype: DType, name: str, origin: Origin) -> Array:
    low, high = _bounds(dtype)
    if array.dtype.kind == "f":
        _require(array == np.trunc(array), array, name, origin, f"{dtype} holds whole numbers: round the data, or declare `{name}` as f32")
    if array.size and not low <= int(array.min()) <= int(array.max()) <= high:
        inside = (array >= low) & ((array < float(high + 1)) if array.dtype.kind == "f" else (array <= high))
        _require(inside, array, name, origin, f"{dtype} holds {low} to {high}")
    return array.astype(dtype.numpy)
