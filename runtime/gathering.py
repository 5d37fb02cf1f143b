"""From what a person gives to `fit` to rows for the model: named, checked, weighted, a share of them held out to be watched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiler.errors import DataError
from ..compiler.passes.weights import WEIGHT
from .convert import as_array, incomplete
from .data import Field, fit_arrays
from .memory import Array
from .splitting import keys_of, require_columns, split, times_as_texts
from .streaming import Rows, StreamedRows, row_count, taken
from .table import Origin, Table
from .weights import ClassWeight, class_factors, class_target, times_class, whole_labels

if TYPE_CHECKING:
    from .model import Model


@dataclass(frozen=True)
class Weights:
    """What a person gives to `fit`: how much rows count, and how much classes do."""

    rows: Any = None
    classes: ClassWeight | None = None

    def __bool__(self) -> bool:
        return self.rows is not None or self.classes is not None

    def by_class(self, model: Model, arrays: Rows, held_out: Rows | None) -> tuple[Rows, Rows | None]:
        """Rows to train on and to watch with their weights times the factors of their classes, learned from the ones to train on."""
        wanted = model.blueprint.data_settings.class_weight if self.classes is None else self.classes
        if wanted is None:
            return arrays, held_out
        target = class_target([model.fields[name] for name in model.blueprint.inference.targets])
        labels = whole_labels(target, labels_of(model, target, arrays))
        factors = class_factors(wanted, target, labels, model.vocabularies.get(target.name))
        return _weighed(arrays, target, factors), None if held_out is None else _weighed(held_out, target, factors)


def labels_of(model: Model, target: Field, rows: Rows) -> Array:
    """The class of every row."""
    if not isinstance(rows, StreamedRows):
        return rows[target.name]
    wanted = model.blueprint.data_settings.columns.get(target.name, (target.name,))
    table = model.named(rows.stored.table(rows.index, wanted))
    return fit_arrays([target], table, vocabularies=model.vocabularies)[target.name]


def _weighed(rows: Rows, target: Field, factors: Array) -> Rows:
    """The rows with their weights times the factors of their classes."""
    if isinstance(rows, StreamedRows):
        return rows.then(lambda arrays: times_class(arrays, target, factors))
    return times_class(rows, target, factors)


def gathered(model: Model, data: Any, y: Any, validation: Any, weights: Weights) -> tuple[Rows, Rows | None]:
    """Rows to train on and to watch, from what a person gives to `Model.fit`."""
    settings = model.blueprint.data_settings
    if weights or settings.weight or settings.class_weight:
        model.weigh()
    share: Any = model.watched_share if validation is None else validation
    if isinstance(share, str | bytes):
        raise DataError(f"`validation` is a share of the rows or other rows, not {share!r}")
    return weights.by_class(model, *_apart(model, data, y, share, weights.rows))


def _apart(model: Model, data: Any, y: Any, share: Any, weights: Any) -> tuple[Rows, Rows | None]:
    """Rows to train on, and those to watch: a share of them, or other ones."""
    if isinstance(data, StreamedRows):
        return data, None if isinstance(share, Real) else _other_rows(model, share)
    named = model.named(data, y)
    if weights is None and WEIGHT not in named:
        require_columns(model.blueprint.data_settings, ("weight",), named, Origin())
    named, weights = complete(model, named, weights)
    model.learn_names(named)
    arrays = model.arrays(named, targets=True, weights=weights)
    if row_count(arrays) == 0:
        raise DataError("there are no rows to train on")
    if WEIGHT in arrays and not arrays[WEIGHT].any():
        raise DataError("the weights are 0 in all rows: none of them counts")
    if not isinstance(share, Real):
        return arrays, _other_rows(model, share)
    if not share:
        return arrays, None
    rest, part = split(row_count(arrays), float(share), model.seed, keys_of(model, named, Origin()))
    return taken(arrays, rest), taken(arrays, part)


def complete(model: Model, named: Mapping[str, Any], beside: Any = None) -> tuple[Mapping[str, Any], Any]:
    """The data, and what stands `beside` each row, without rows that lack a value the model reads, if the data block drops them."""
    if model.blueprint.data_settings.missing != "drop" or isinstance(named, Table):
        return named, beside
    read = {n: as_array(named[n], n, Origin(), missing=True) for n, f in model.fields.items() if f.length is None and n in named}
    holes = [incomplete(array) for array in read.values() if array.size and array.ndim]
    if len({len(each) for each in holes}) != 1 or not (wrong := np.any(holes, axis=0)).any():
        return named, beside
    kept = np.flatnonzero(~wrong)
    return {name: _at(value, kept) for name, value in named.items()}, None if beside is None else _at(beside, kept)


def _at(values: Any, rows: Array) -> Any:
    """Some rows of whatever holds rows."""
    if isinstance(values, list):
        return [values[row] for row in rows]
    return as_array(times_as_texts(values), "the data", Origin(), missing=True)[rows]


def _other_rows(model: Model, rows: Any) -> Rows:
    """Rows to watch that a person gives: by name, or inputs, targets and perhaps weights in a tuple."""
    if isinstance(rows, StreamedRows):
        return rows
    if not isinstance(rows, tuple):
        return model.arrays(rows, targets=True)
    data, y, weights, *_ = (*rows, None, None, None)
    return model.arrays(data, targets=True, y=y, weights=weights)
