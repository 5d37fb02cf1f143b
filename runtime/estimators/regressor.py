"""A model as a scikit-learn regressor: one number a row, or several."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from ..memory import Array
from .base import NNEstimator, Rows


class NNRegressor(RegressorMixin, NNEstimator):  # type: ignore[misc]
    """Estimates numbers with a model that Ranvier compiles.

    `model` is the path or the source of a `.nn` file; without one, a perceptron with layers of the `hidden` sizes (a number or a list)
    whose inputs and targets are scaled in the graph. What is None is as the file says: `epochs`, `batch`, `learning_rate` (the
    optimizer's `lr`). `early_stopping` holds out `validation_fraction` of the rows for the file's criterion to watch. `warm_start` lets
    `fit` go on from the parameters and statistics that are there. `dtype` is "f32", "f64" or "auto", by the precision of X. `threads`
    is 1 so that searches can use processes; None takes all processors. Every other keyword, and everything in the dictionary `settings`,
    is a setting of the model (`activation="gelu"`) or of a block (`train__optimizer="sgd(lr = 0.1)"`).

    After `fit`: `model_`, `history_` (a record an epoch), `n_iter_` (epochs), `seed_`, `n_features_in_`, `feature_names_in_`.
    """

    __module__ = "ranvier.sklearn"

    _shape: tuple[int, ...]

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NNRegressor:
        """Train on X [rows, features] and y [rows] or [rows, outputs]; a row of weight 2 counts as two rows."""
        again = self.warm_start and self.__sklearn_is_fitted__()
        self._train(self._rows(X, y, sample_weight, again), again=again, share=True, epochs=self.epochs)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NNRegressor:
        """One epoch over these rows from where training is; statistics are those of the first call's rows."""
        again = self.__sklearn_is_fitted__()
        self._train(self._rows(X, y, sample_weight, again), again=again, share=False, epochs=1)
        return self

    def predict(self, X: Any) -> Array:
        """The estimates, in the shape of y: [rows] or [rows, outputs]."""
        found = self._predictions(X)
        return found.reshape(len(found), *self._shape)

    def _template(self, rows: Rows) -> str:
        return "regressor.nn"

    def _rows(self, X: Any, y: Any, sample_weight: Any, again: bool) -> Rows:
        X, y = self._table(X, y, reset=not again, multi_output=True, y_numeric=True)
        if again and y.shape[1:] != self._shape:
            raise ValueError(f"y has the shape [rows, {y.shape[1:]}], training began with [rows, {self._shape}]")
        self._shape = y.shape[1:]
        weights = self._weights(sample_weight, X)
        return Rows(X, y, weights, None, {"outputs": int(np.prod(y.shape[1:], dtype=int))})

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
