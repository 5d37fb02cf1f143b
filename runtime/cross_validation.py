"""Cross-validation: one compiled model, trained anew on the rows outside each fold and judged by those in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .folds import Fold, make_folds
from .memory import Array
from .model import Model
from .training import is_in_order

Scores = dict[str, float]


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
    rows = len(next(iter(data.values())))
    return make_folds(rows, count, model.seed, labels=_labels(model, data), groups=groups, ordered=is_in_order(model))


def _labels(model: Model, data: Mapping[str, Array]) -> Array | None:
    """The one class of each sample, where the model has just one such target."""
    found = [data[name] for name, field in model.fields.items() if name in model.targets and field.classes and not field.shape]
    return found[0] if len(found) == 1 and len(model.targets) == 1 else None


def run_folds(model: Model, data: Mapping[str, Array], folds: Sequence[Fold]) -> Iterator[Scores]:
    """The scores of one fold after the other."""
    for training, held_out in folds:
        model.renew()
        model.fit({name: np.ascontiguousarray(array[training]) for name, array in data.items()})
        scores = model.evaluate_arrays({name: np.ascontiguousarray(array[held_out]) for name, array in data.items()})
        yield {name: value for name, value in scores.items() if isinstance(value, float)}
