"""How much classes count: a factor for the class of each row, times the weight that the row has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from ..compiler.frontend.data_block import BALANCED
from ..compiler.passes.weights import WEIGHT
from .data import Field

Array = np.ndarray[Any, Any]
ClassWeight = str | Sequence[float] | Mapping[Any, float]


def class_factors(wanted: ClassWeight, target: Field, labels: Array, names: Sequence[str] | None) -> Array:
    """The factor of every class 0, 1, …: as given, or `balanced`, so that all classes in `labels` weigh alike and the mean factor is 1.

    The heuristic is that of King and Zeng (2001): rows / (classes × rows of the class). A mapping may name classes by their labels or
    numbers; those it leaves out count 1. Raises DataError.
    """
    classes = target.classes or 2
    if isinstance(wanted, str):
        if wanted != BALANCED:
            raise DataError(f"`class_weight` is {BALANCED!r}, a number for each class, or a dictionary, not {wanted!r}")
        counts = np.bincount(labels.astype(np.int64), minlength=classes)
        return np.where(counts > 0, len(labels) / (max(int((counts > 0).sum()), 1) * np.maximum(counts, 1)), 1.0)
    given = dict(wanted) if isinstance(wanted, Mapping) else dict(enumerate(wanted))
    if not isinstance(wanted, Mapping) and len(given) != classes:
        raise DataError(f"`class_weight` has {len(given)} numbers, and `{target.name}` has {classes} classes")
    factors = np.ones(classes)
    for label, factor in given.items():
        factors[_number_of(label, classes, names or ())] = _positive(label, factor)
    return factors


def _number_of(label: Any, classes: int, names: Sequence[str]) -> int:
    if isinstance(label, str) and label in names:
        return list(names).index(label)
    if isinstance(label, int | np.integer) and 0 <= label < classes:
        return int(label)
    known = ", ".join(map(repr, names)) or f"0..{classes - 1}"
    raise DataError(f"`class_weight` names the class {label!r}; there are {known}")


def _positive(label: Any, factor: Any) -> float:
    if isinstance(factor, bool) or not isinstance(factor, int | float | np.number) or not 0 <= float(factor) < np.inf:
        raise DataError(f"`class_weight` of {label!r} is a number of at least 0, not {factor!r}")
    return float(factor)


def class_target(targets: Sequence[Field]) -> Field:
    """The one target whose classes can be weighted: one whole number a row. Raises DataError."""
    found = [field for field in targets if field.shape == () and (field.classes is not None or not field.dtype.is_float)]
    single = found or [field for field in targets if field.shape == ()]
    if len(single) != 1:
        raise DataError("classes are weighted in a model that has one target with a class for each row")
    return single[0]


def times_class(arrays: dict[str, Array], target: Field, factors: Array) -> dict[str, Array]:
    """The arrays with the weight of each row times the factor of its class."""
    return {**arrays, WEIGHT: np.ascontiguousarray(arrays[WEIGHT] * factors[arrays[target.name].astype(np.int64)], arrays[WEIGHT].dtype)}


def whole_labels(target: Field, labels: Array) -> Array:
    """Labels as numbers of classes; raises DataError for measurements."""
    if target.classes is None and not np.isin(labels, (0, 1)).all():
        raise DataError(f"`{target.name}` holds measurements, and classes are weighted: declare it as class[n], or give no `class_weight`")
    return labels.astype(np.int64)
