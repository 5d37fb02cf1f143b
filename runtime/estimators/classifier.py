"""A model as a scikit-learn classifier: one class of several, or several labels a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import column_or_1d

from ..memory import Array
from ..model import Model
from .base import NNEstimator, Rows
from .columns import label_field


class NNClassifier(ClassifierMixin, NNEstimator):  # type: ignore[misc]
    """Tells classes apart with a model that Ranvier compiles.

    `model` is the path or the source of a `.nn` file; without one, a perceptron with layers of the `hidden` sizes (a number or a list)
    whose inputs are scaled in the graph. What is None is as the file says: `epochs`, `batch`, `learning_rate` (the optimizer's `lr`).
    `early_stopping` holds out `validation_fraction` of the rows, in equal shares of the classes, for the file's criterion to watch.
    `warm_start` lets `fit` go on from the parameters and statistics that are there. `dtype` is "f32", "f64" or "auto", by the precision
    of X. `threads` is 1 so that searches can use processes; None takes all processors. Every other keyword, and everything in the
    dictionary `settings`, is a setting of the model (`activation="gelu"`) or of a block (`train__optimizer="sgd(lr = 0.1)"`).

    After `fit`: `classes_`, `model_`, `history_` (a record an epoch), `n_iter_` (epochs), `seed_`, `n_features_in_`, `feature_names_in_`.
    """

    __module__ = "ranvier.sklearn"

    classes_: Array
    _multilabel: bool

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NNClassifier:
        """Train on X [rows, features] and y, a label a row or 0 and 1 in [rows, labels]; a row of weight 2 counts as two rows."""
        again = self.warm_start and self.__sklearn_is_fitted__()
        self._train(self._rows(X, y, sample_weight, None, again), again=again, share=True, epochs=self.epochs)
        self._name_classes()
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> NNClassifier:
        """One epoch over these rows from where training is; statistics are those of the first call's rows.

        `classes` are all there will ever be; by default those of the first call.
        """
        again = self.__sklearn_is_fitted__()
        if again and classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(f"`classes={classes!r}` is not what the first call of partial_fit was given: {self.classes_!r}")
        self._train(self._rows(X, y, sample_weight, classes, again), again=again, share=False, epochs=1)
        self._name_classes()
        return self

    def predict(self, X: Any) -> Array:
        """The likeliest class of each row; of labels, 0 and 1 in [rows, labels]."""
        found = self.predict_proba(X)
        if self._multilabel:
            return (found > 0.5).astype(np.int64)
        chosen: Array = self.classes_[found.argmax(axis=1)]
        return chosen

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, [rows, classes], in the order of `classes_`; of each label, [rows, labels]."""
        found = self._predictions(X)
        if self._multilabel:
            return found.reshape(len(found), -1)
        if found.size == len(found) and len(self.classes_) == 2:
            positive = found.reshape(-1, 1)
            return np.hstack([1 - positive, positive])
        used = found[:, : len(self.classes_)]  # a model may have room for more classes than the labels have
        return used if used.shape == found.shape else used / np.maximum(used.sum(axis=1, keepdims=True), np.finfo(used.dtype).tiny)

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            found: Array = np.log(self.predict_proba(X))
        return found

    def _template(self, rows: Rows) -> str:
        return "multilabel.nn" if self._multilabel else "classifier.nn"

    def _rows(self, X: Any, y: Any, sample_weight: Any, classes: Any, again: bool) -> Rows:
        X, y = self._table(X, y, reset=not again, multi_output=True)
        check_classification_targets(y)
        multilabel = type_of_target(y) == "multilabel-indicator"
        if again and multilabel != self._multilabel:
            raise ValueError("training began with another kind of labels: one class a row, or several labels")
        self._multilabel = multilabel
        return self._labels(X, y, sample_weight, again) if multilabel else self._classes(X, y, sample_weight, classes, again)

    def _labels(self, X: Array, y: Any, sample_weight: Any, again: bool) -> Rows:
        """Rows with several labels each."""
        y = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
        if again and y.shape[1] != len(self.classes_):
            raise ValueError(f"y has {y.shape[1]} labels, training began with {len(self.classes_)}")
        self.classes_ = np.arange(y.shape[1])
        return Rows(X, y, self._weights(sample_weight, X), None, {"outputs": y.shape[1]})

    def _classes(self, X: Array, y: Any, sample_weight: Any, classes: Any, again: bool) -> Rows:
        """Rows with a class each."""
        y = column_or_1d(y, warn=True)
        if not again:
            self.classes_ = np.unique(y if classes is None else classes)
        strange = np.setdiff1d(y, self.classes_)
        if strange.size:
            raise ValueError(f"`y` has classes that training did not begin with: {strange[:5]} are not in {self.classes_}")
        index = np.searchsorted(self.classes_, y)
        return Rows(X, index, self._weights(sample_weight, X), index, {"classes": max(2, len(self.classes_))})

    def _arrays(self, model: Model, rows: Rows) -> tuple[dict[str, Array], Array | None]:
        room = label_field(model).classes
        if not self._multilabel and (room or 2) < len(self.classes_):
            raise ValueError(f"y has {len(self.classes_)} classes, the model's `{label_field(model).name}` has room for {room or 2}")
        return super()._arrays(model, rows)

    def _name_classes(self) -> None:
        """Classes that are texts keep their names in the saved model."""
        if self.classes_.dtype.kind in "OU" and all(isinstance(label, str) for label in self.classes_):
            with self._holder.using() as model:
                model.vocabularies[label_field(model).name] = [str(label) for label in self.classes_]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
