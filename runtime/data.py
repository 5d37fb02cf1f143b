"""Rows for a model: arrays matched to its inputs and targets, checked and converted; vocabularies learned; rows held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from ..compiler.ir.types import DType
from .convert import as_array, cast
from .labels import check_classes, label_indices, sorted_vocabulary
from .table import Origin, Table, column_hint

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Field:
    """An input or target: its name, element type, shape per sample, and for class indices the number of classes.

    `length` names the field that says how much of the first axis each sample has; that field's numbers are from 1 to `most`. Floats may be
    NaN where values can be `missing`.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    classes: int | None = None
    length: str | None = None
    most: int | None = None
    missing: bool = False

    @cached_property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype of its elements."""
        return self.dtype.numpy


def fit_arrays(fields: Sequence[Field], arrays: Any, *, vocabularies: Mapping[str, Sequence[str]] | None = None) -> dict[str, Array]:
    """An array [rows, *shape] for each field, C-contiguous, of the field's dtype, with every value checked.

    `arrays` maps names to arrays, lists, tensors or columns (a Table and a pandas DataFrame do, too); names that no field has are
    left out. An array that is right already is given back as it is. A trailing axis of 1 may be there or not. `vocabularies`
    turn text labels into indices. Raises DataError naming the first missing name, differing shape, or unusable value.
    """
    origin = arrays.origin if isinstance(arrays, Table) else Origin()
    known = vocabularies or {}
    fitted = {f.name: _fit(f, _find(f.name, arrays, origin), known.get(f.name), origin) for f in fields}
    rows = {name: len(array) for name, array in fitted.items()}
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"`{name}` {count}" for name, count in rows.items())
        raise DataError(f"{origin.prefix}the arrays have different numbers of rows: {listed}")
    return fitted


def _find(name: str, arrays: Any, origin: Origin) -> Any:
    if not hasattr(arrays, "keys"):
        raise DataError(f"the data is of type {type(arrays).__name__}; give a dictionary with an array for each name")
    names = [str(key) for key in arrays.keys()]  # noqa: SIM118  # a DataFrame iterates over its columns, too, but has no `in` for values
    if name not in names:
        raise DataError(f"{origin.prefix}the data has no `{name}`; {column_hint(name, names, origin)}")
    return arrays[name]


def _fit(field: Field, value: Any, vocabulary: Sequence[str] | None, origin: Origin) -> Array:
    array = _shaped(field, as_array(value, field.name, origin, missing=field.missing), origin)
    if array.dtype.kind == "U" and vocabulary is not None:
        array = label_indices(array, vocabulary, field.name, origin)
    elif array.dtype.kind == "U" and field.classes is not None and array.size:
        label = str(array.flat[0])[:60]
        raise DataError(
            f"{origin.prefix}`{field.name}` holds text labels ({label!r}), but its classes have no names: give class numbers from 0"
        )
    array = cast(array, field.dtype, field.name, origin, missing=field.missing)
    if field.classes is not None:
        check_classes(array, field.classes, field.name, origin)
    return np.require(array, requirements=["C", "A"])


def _shaped(field: Field, array: Array, origin: Origin) -> Array:
    """The array with the shape per sample of the field; only a trailing axis of 1 comes or goes."""
    if array.ndim == 0:
        raise DataError(
            f"{origin.prefix}`{field.name}` is a single value; give an array with one row a sample, shape {_shape_text(field.shape)}"
        )
    given = array.shape[1:]
    if given == field.shape:
        return array
    if given == (*field.shape, 1) or (*given, 1) == field.shape:
        return array.reshape(len(array), *field.shape)
    shapes = f"has shape {_shape_text(given)}, the model declares {_shape_text(field.shape)}"
    raise DataError(f"{origin.prefix}`{field.name}` {shapes}{_reshaped(field, array)}")


def _reshaped(field: Field, array: Array) -> str:
    """How an array probably gets the shape of the field."""
    given = array.shape[1:]
    if array.shape == field.shape:
        return "; a single row is a list of one: `[row]`"
    if np.prod(given, dtype=object) == np.prod(field.shape, dtype=object):
        return f"; the sizes agree: `.reshape({', '.join(map(str, (-1, *field.shape)))})` if the order is the same"
    if field.classes is not None and given == (*field.shape, field.classes):
        return "; classes are given by their numbers: `.argmax(axis=-1)`"
    return ""


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(["rows", *map(str, shape)]) + "]"


def learn_vocabulary(field: Field, arrays: Any, rows: Array | None = None) -> list[str]:
    """The names of the classes of a text field, sorted, from its values at `rows` (the training rows; all by default).

    Raises DataError when the field holds no text, an empty label, or more labels than it has classes.
    """
    origin = arrays.origin if isinstance(arrays, Table) else Origin()
    values = as_array(_find(field.name, arrays, origin), field.name, origin)
    if rows is not None:
        values, origin = values[rows], replace(origin, numbers=rows if origin.numbers is None else origin.numbers[rows])
    return sorted_vocabulary(values, field.name, field.classes, origin)


def learn_vocabularies(fields: Sequence[Field], arrays: Any, rows: Array | None = None) -> dict[str, list[str]]:
    """`learn_vocabulary` for every field with classes whose values are text."""
    origin = arrays.origin if isinstance(arrays, Table) else Origin()
    named = [f for f in fields if f.classes is not None and f.name in arrays]
    texts = [f for f in named if as_array(arrays[f.name], f.name, origin).dtype.kind == "U"]
    return {f.name: learn_vocabulary(f, arrays, rows) for f in texts}


def split_rows(rows: int, fraction: float, seed: int, labels: Any = None) -> tuple[Array, Array]:
    """Indices of the rows to train on and of the `fraction` of them held out, both ascending, by a seed alone.

    With `labels` [rows], each class gives its share (largest remainders first) and keeps at least one training row. Raises
    DataError when a part would be empty.
    """
    if not 0 < fraction < 1:
        raise DataError(f"the share of rows to hold out is {fraction}; it must lie between 0 and 1")
    generator = np.random.Generator(np.random.PCG64(seed))
    count = round(rows * fraction)
    held_out = generator.permutation(rows)[:count] if labels is None else _stratified(generator, rows, count, labels)
    if not 0 < len(held_out) < rows:
        raise DataError(f"holding out {fraction:.3g} of {rows} rows leaves one part empty; give more rows or another share")
    chosen = np.zeros(rows, dtype=np.bool_)
    chosen[held_out] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _stratified(generator: np.random.Generator, rows: int, count: int, labels: Any) -> Array:
    values = np.asarray(labels)
    if values.shape != (rows,):
        raise DataError(f"stratifying {rows} rows needs one label a row, but the labels have shape {list(values.shape)}")
    _, classes, sizes = np.unique(values, return_inverse=True, return_counts=True)
    quota = sizes * (count / max(rows, 1))
    shares = np.minimum(np.floor(quota).astype(np.int64), sizes - 1)
    for label in np.argsort(np.floor(quota) - quota, kind="stable"):
        shares[label] += shares.sum() < count and shares[label] + 1 < sizes[label]
    members = [generator.permutation(np.flatnonzero(classes == label))[:share] for label, share in enumerate(shares)]
    return np.concatenate([*members, np.empty(0, dtype=np.int64)])
