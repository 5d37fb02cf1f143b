"""Cross-validation: one compiled model, trained anew on the rows outside each fold and judged by those in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiler.driver import Blueprint
from ..compiler.errors import DataError
from .fold_runs import Scores, run_folds
from .folds import Fold, make_folds, make_part
from .memory import Array
from .model import Model
from .training import is_in_order

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


def cross_validate(model: Model, data: Mapping[str, Array], folds: int, *, groups: Array | None = None) -> Validation:
    """The scores of a model on `folds` parts of checked rows, each after training on the others; the model itself is used up.

    Every fold begins with new parameters by the model's seed, and fits its statistics on its own training rows. A single class target is
    stratified; rows that go on from each other are held out in order. Raises DataError for too few rows.
    """
    return Validation(tuple(run_folds(model, data, folds_of(model, data, folds, groups))))


def folds_of(model: Model, data: Mapping[str, Array], count: int, groups: Array | None = None) -> list[Fold]:
    """The folds that suit a model's rows."""
    rows, ordered = len(next(iter(data.values()))), is_in_order(model)
    require_group_each(groups, rows)
    return make_folds(rows, count, model.seed, labels=_labels(model, data), groups=groups, ordered=ordered, gap=_gap(model))


def held_out_part(model: Model, data: Mapping[str, Array], groups: Array | None = None) -> Fold:
    """A single part to judge by, as the folds would be made."""
    rows, ordered = len(next(iter(data.values()))), is_in_order(model)
    require_group_each(groups, rows)
    return make_part(rows, HELD_OUT, model.seed, labels=_labels(model, data), groups=groups, ordered=ordered, gap=_gap(model))


def groups_given(blueprint: Blueprint, data: Any, groups: Any) -> Array | None:
    """The groups that a person gives, else the column that the data block names, where the data has it."""
    name = blueprint.data_settings.group
    if groups is None and name is not None and hasattr(data, "keys") and name in data.keys():  # noqa: SIM118  # a DataFrame has no `in` for names
        groups = data[name]
    return None if groups is None else np.asarray(groups)


def require_group_each(groups: Array | None, rows: int) -> None:
    """DataError unless every row has its group."""
    if groups is not None and groups.shape != (rows,):
        raise DataError(f"`groups` has shape {list(groups.shape)}, and there are {rows} rows: give one entry a row")


def _labels(model: Model, data: Mapping[str, Array]) -> Array | None:
    """The one class of each sample, where the model has just one such target."""
    found = [data[name] for name, field in model.fields.items() if name in model.targets and field.classes and not field.shape]
    return found[0] if len(found) == 1 and len(model.targets) == 1 else None


def _gap(model: Model) -> int:
    """How many windows before one held out share rows with it."""
    settings = model.blueprint.data_settings
    return -(-settings.window // settings.stride) - 1 if settings.window else 0
