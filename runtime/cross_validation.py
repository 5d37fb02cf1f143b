"""Cross-validation: one compiled model, trained anew on the rows outside each fold and judged by those in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .fold_runs import Scores, run_folds
from .folds import Fold, make_folds
from .gathering import labels_of
from .model import Model
from .splitting import Keys, keys_of, require_columns, split
from .streaming import Rows, row_count
from .table import Origin

HELD_OUT = 0.2
"""The share of rows that trials are judged by, without folds."""


@dataclass(frozen=True)
class Validation:
    """The scores of each fold, on the rows that it held out."""

    folds: tuple[Scores, ...]

    def mean(self, figure: str) -> float:
        """The mean of a figure over the folds."""
        return float(np.mean([scores[figure] for scores in self.folds]))

    def spread(self, figure: str) -> float:
        """The standard deviation of a figure over the folds (with folds - 1), 0 for a single one."""
        values = [scores[figure] for scores in self.folds]
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    @property
    def figures(self) -> list[str]:
        """Their names, the loss first."""
        return sorted(self.folds[0], key=lambda name: name != "loss") if self.folds else []


def cross_validate(model: Model, data: Rows, folds: int, keys: Keys | None = None) -> Validation:
    """The scores of a model on `folds` parts of checked rows, each after training on the others; the model itself is used up.

    Every fold begins with new parameters by the model's seed, and fits its statistics on its own training rows. A single class target is
    stratified; groups stay together; rows in order, or with times, are held out after those that are trained on. Raises DataError for too
    few rows.
    """
    return Validation(tuple(run_folds(model, data, folds_of(model, data, folds, keys), keys)))


def folds_of(model: Model, data: Rows, count: int, keys: Keys | None = None) -> list[Fold]:
    """The folds that suit a model's rows."""
    keys, rows = _complete(model, data, keys), row_count(data)
    ordered = keys.last or keys.times is not None
    folds = make_folds(rows, count, model.seed, labels=keys.labels, groups=keys.groups, ordered=ordered, gap=_gap(model))
    if keys.times is None:
        return folds
    order = np.argsort(keys.times, kind="stable")
    return [(np.sort(order[training]), np.sort(order[held_out])) for training, held_out in folds]


def held_out_part(model: Model, data: Rows, keys: Keys | None = None) -> Fold:
    """A single part to judge by, as the folds would be made."""
    keys = _complete(model, data, keys)
    training, held_out = split(row_count(data), HELD_OUT, model.seed, keys)
    return training[: len(training) - (_gap(model) if keys.last else 0)], held_out


def given_keys(model: Model, data: Mapping[str, Any], groups: Any) -> Keys:
    """What keeps rows together that a person gives: by `groups` [rows], else by the columns that the data block names. DataError."""
    require_columns(model.blueprint.data_settings, ("weight",), data, Origin())
    if groups is None:
        return keys_of(model, data, Origin())
    return Keys(groups=np.asarray(groups), last=model.in_order)


def require_key_each(keys: Keys, rows: int) -> None:
    """DataError unless every row has its group."""
    if keys.groups is not None and keys.groups.shape != (rows,):
        raise DataError(f"`groups` has shape {list(keys.groups.shape)}, and there are {rows} rows: give one entry a row")


def _complete(model: Model, data: Rows, keys: Keys | None) -> Keys:
    """The keys, with the one class of each sample to stratify by where the model has just one such target and nothing else is said."""
    keys = Keys(last=model.in_order) if keys is None else keys
    require_key_each(keys, row_count(data))
    found = [field for field in map(model.fields.__getitem__, model.targets) if field.classes and not field.shape]
    return replace(keys, labels=labels_of(model, found[0], data)) if keys.free and len(found) == len(model.targets) == 1 else keys


def _gap(model: Model) -> int:
    """How many windows before one held out share rows with it."""
    settings = model.blueprint.data_settings
    return -(-settings.window // settings.stride) - 1 if settings.window else 0
