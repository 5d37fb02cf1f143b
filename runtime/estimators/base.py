"""What both estimators share: parameters as scikit-learn wants them, rows checked, a model made, trained, continued and asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ...compiler.driver import Blueprint, Unit
from ...compiler.errors import DataError, RanvierError
from ...compiler.passes.weights import WEIGHT as ROW_WEIGHT
from ..data import split_rows
from ..memory import Array
from ..model import Model
from ..training import Progress
from .columns import WEIGHT, label_field, split_columns, takes_weights
from .holder import Holder
from .rest import take_up
from .settings import blueprint_for, chosen_settings, open_model, same_program, says_seed, source_text

PRECISIONS = ("auto", "f32", "f64")


@dataclass(frozen=True)
class Rows:
    """What a fit trains on: X, y as the model's target takes it, the weight of each row (None: all alike), what to keep equal shares of.

    `known` are sizes that only the data knows, by the names of settings.
    """

    X: Array
    y: Array
    weights: Array | None
    strata: Array | None
    known: Mapping[str, int]


class NNEstimator(BaseEstimator):  # type: ignore[misc]
    """The parameters are those of the constructor and every setting of the model and its blocks (see `set_params`)."""

    history_: list[dict[str, float]]
    _holder: Holder

    def __init__(
        self,
        model: Any = None,
        *,
        hidden: Any = None,
        epochs: int | None = None,
        batch: int | None = None,
        learning_rate: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        random_state: Any = None,
        dtype: str = "auto",
        threads: int | None = 1,
        verbose: bool = False,
        settings: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.model = model
        self.hidden = hidden
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.dtype = dtype
        self.threads = threads
        self.verbose = verbose
        self.settings = settings if not more else {**_mapping(settings), **more}

    # --- parameters

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters of the constructor; with `deep` also each of `settings` by its name."""
        found: dict[str, Any] = super().get_params(deep=False)
        return {**_mapping(self.settings), **found} if deep else found

    def set_params(self, **params: Any) -> NNEstimator:
        """Set parameters; any other name is a setting of the model or, as `train__optimizer__lr`, of a block; `fit` checks it."""
        own = {name: value for name, value in params.items() if name in super(NNEstimator, self).get_params(deep=False)}
        for name, value in own.items():
            setattr(self, name, value)
        more = {name: value for name, value in params.items() if name not in own}
        if more:
            self.settings = {**_mapping(self.settings), **more}
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return "_holder" in vars(self)

    @property
    def model_(self) -> Model:
        """The trained model, as `ranvier.compile` gives it: to look at, or to `save`."""
        check_is_fitted(self)
        found: Model = self._holder.lend()
        return found

    # --- rows

    def _table(self, X: Any, y: Any = None, *, reset: bool, **checks: Any) -> Any:
        """X, and y if there is one, as arrays that scikit-learn has checked; a model of one's own may take more than two axes."""
        pair = {} if y is None and not reset else {"y": y}
        return validate_data(self, X, reset=reset, allow_nd=self.model is not None, **pair, **checks)

    def _weights(self, sample_weight: Any, X: Array) -> Array | None:
        """Weights of mean 1 over the rows that have any."""
        if sample_weight is None:
            return None
        weights: Array = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if (weights < 0).any():
            raise ValueError("Negative values in data passed to `sample_weight`")
        if not weights.any():
            raise ValueError("Sample weights must contain at least one non-zero number: all are zero")
        scaled: Array = weights / weights[weights > 0].mean()
        return scaled

    # --- training

    def _train(self, rows: Rows, *, again: bool, share: bool, epochs: int | None) -> None:
        """Train on rows with a new model or, `again`, with the one that is there; `share`: some may be held out."""
        key, make = self._recipe(rows)
        holder = self._continued(key, make) if again else self._begun(key, make)
        with holder.using() as model:
            data, strata = self._arrays(model, rows)
            held_out = None
            if share:
                data, held_out = self._held_out(model, data, strata)
            records = model.fit(data, epochs=epochs, validation=held_out or 0, report=_say if self.verbose else None)
            self.seed_ = model.seed
        self._holder = holder
        self.history_ = [*(self.history_ if again else []), *records]
        self.n_iter_ = len(self.history_)

    def _recipe(self, rows: Rows) -> tuple[Hashable, Callable[[], Blueprint]]:
        """What a blueprint is made from, to know it again, and how it is made."""
        template = self._template(rows)
        own, overrides = chosen_settings(self._given(), sizes=self.model is None)
        source, real = source_text(self.model, template), self._precision(rows.X)

        def make() -> Blueprint:
            unit = open_model(self.model, template)
            return blueprint_for(unit, own, overrides, {**_sizes(unit, rows.X), **rows.known}, real)

        return (source, repr(own), repr(overrides), rows.X.shape[1:], repr(rows.known), real), make

    def _begun(self, key: Hashable, make: Callable[[], Blueprint]) -> Holder:
        """A new model."""
        blueprint = take_up(key, make)
        return Holder(Model(blueprint, threads=self.threads, seed=self._seed(blueprint)), self.threads, key)

    def _continued(self, key: Hashable, make: Callable[[], Blueprint]) -> Holder:
        """The model that is there; when other settings make another program of it, a new one with its values."""
        if self._holder.key == key:
            return self._holder
        with self._holder.using() as before:
            blueprint = take_up(key, make)
            if same_program(before.blueprint, blueprint):
                return self._holder
            model = Model(blueprint, threads=self.threads, seed=before.seed, initialise=False)
            carry(before, model)
        return Holder(model, self.threads, key)

    def _template(self, rows: Rows) -> str:
        raise NotImplementedError

    def _given(self) -> dict[str, Any]:
        named = {"hidden": self.hidden, "train.batch": self.batch, "train.optimizer.lr": self.learning_rate}
        if self.settings is not None and not isinstance(self.settings, Mapping):
            raise TypeError(f"`settings` is a dictionary of settings by name, or None, not {type(self.settings).__name__}")
        return {**named, **(self.settings or {})}

    def _precision(self, X: Array) -> str:
        """f64 for numbers that f32 does not hold, as scikit-learn has it; or what is asked for."""
        if self.dtype not in PRECISIONS:
            raise ValueError(f"dtype is one of {', '.join(PRECISIONS)}, not {self.dtype!r}")
        return ("f64" if np.result_type(X.dtype, np.float32) == np.float64 else "f32") if self.dtype == "auto" else self.dtype

    def _seed(self, blueprint: Blueprint) -> int | None:
        """A whole number is the seed itself. None: the file's, else one from NumPy's global generator."""
        if self.random_state is None and says_seed(blueprint):
            return None
        generator = check_random_state(self.random_state)
        return int(self.random_state) if isinstance(self.random_state, Integral) else int(generator.randint(2**31 - 1))

    def _arrays(self, model: Model, rows: Rows) -> tuple[dict[str, Array], Array | None]:
        """The rows for the model, without those of weight 0; and their strata."""
        data = {**self._inputs(model, rows.X), label_field(model).name: rows.y}
        if takes_weights(model):
            data[WEIGHT] = np.ones(len(rows.X)) if rows.weights is None else rows.weights
        elif rows.weights is not None:
            model.weigh()
            data[ROW_WEIGHT] = rows.weights
        strata = rows.strata
        if rows.weights is not None and not rows.weights.all():
            counted = rows.weights > 0
            data = {name: array[counted] for name, array in data.items()}
            strata = strata[counted] if strata is not None else None
        return data, strata

    def _inputs(self, model: Model, X: Array) -> dict[str, Array]:
        return split_columns(model, X, getattr(self, "feature_names_in_", None))

    def _held_out(self, model: Model, data: dict[str, Array], strata: Array | None) -> tuple[dict[str, Array], dict[str, Array] | None]:
        """The rows to train on and those to watch, in equal shares of the classes."""
        settings = model.blueprint.train_settings
        share = settings.validate
        if self.early_stopping:
            share = share or self.validation_fraction
            if not settings.stop:
                mend = 'say when to stop, in the train block or as `train__stop="patience(10)"`'
                raise RanvierError(f"`early_stopping` has no criterion: {mend}")
        if not share:
            return data, None
        count = len(next(iter(data.values())))
        try:
            rest, part = split_rows(count, share, model.seed, strata)
        except DataError as failure:
            raise ValueError(f"n_samples={count}: {failure}") from None
        if model.in_order:
            rest, part = np.arange(count)[: len(rest)], np.arange(count)[len(rest) :]
        return {name: array[rest] for name, array in data.items()}, {name: array[part] for name, array in data.items()}

    # --- asking

    def _predictions(self, X: Any) -> Array:
        """What the model predicts for X, [rows, …]."""
        check_is_fitted(self)
        X = self._table(X, reset=False)
        with self._holder.using() as model:
            return model.predict(self._inputs(model, X))


def carry(before: Model, model: Model) -> None:
    """Give a model the parameters, states and statistics of another; ValueError when they are not of the same shapes and precision."""
    old, new = before.blueprint.inference, model.blueprint.inference
    if {k: v.type for k, v in old.variables.items()} != {k: v.type for k, v in new.variables.items()} or old.fits != new.fits:
        raise ValueError("training goes on only with parameters of the same shapes and precision: fit anew, without `warm_start`")
    for key in (*new.variables, *(f"fit:{label}" for label in new.fits)):
        model.memory.write(key, before.memory.read(key))
    model.fitted, model.epoch = before.fitted, before.epoch


def _mapping(settings: Any) -> dict[str, Any]:
    """Settings to add to; what is no dictionary is refused by `fit`, not before."""
    return dict(settings) if isinstance(settings, Mapping) else {}


def _sizes(unit: Unit, X: Array) -> dict[str, int]:
    """What of a model's settings X knows: its columns and, where X has a time axis, how long its sequences are."""
    lengths = dict.fromkeys(unit.lengths, X.shape[1]) if X.ndim > 2 else {}
    return {"features": X.shape[1], **lengths}


def _say(progress: Progress) -> None:
    """A line an epoch."""
    if progress.finished:
        figures = {**progress.train, **{f"validation {name}": value for name, value in progress.validation.items()}}
        print(f"epoch {progress.epoch}/{progress.epochs}", *(f"{name} {value:.5g}" for name, value in figures.items()), sep="  ")
