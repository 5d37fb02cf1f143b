"""Where trials run: rows, the parts they are judged by, and the models that are compiled, shared by all trials that need the same code.

A setting of a trial is one of three things. What gives a shape or makes another graph is compiled in. A number that the model can be made
without (a learning rate, the strength of a penalty, a dropout rate) is known at run time only: see `Live`. What feeds and runs the
programs (epochs, the seed) is none of their business.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from ...compiler.driver import Blueprint
from ...compiler.errors import SourceError
from ...compiler.frontend.blocks import UNCOMPILED
from ...compiler.frontend.spelling import spell
from ...compiler.frontend.values import Live, Value
from ..cross_validation import Validation, folds_of, held_out_part, require_key_each
from ..fold_runs import Scores, fit_on, run_fold, run_folds
from ..folds import Fold
from ..model import Model
from ..opening import make_blueprint, split_settings
from ..saving import restore, to_saved
from ..snapshot import take
from ..splitting import Keys
from ..streaming import Rows, row_count, taken
from ..training import Progress
from .study import Setting, Settings

FIXED = frozenset({"train.batch", "train.accumulate", "train.stop"})
"""Numbers that Python reads before anything runs, and owners of such numbers."""

Hopeless = Callable[[Sequence[float]], bool]
"""Whether to give a trial up, by what it has come to so far (see `Trial.rungs`)."""


class Outcome(NamedTuple):
    """The scores of each fold, the figures on the way there, and whether the trial was given up."""

    folds: tuple[Scores, ...]
    rungs: tuple[float, ...]
    pruned: bool


class _GivenUp(Exception):
    """Nothing will come of this trial."""


@dataclass
class Bench:
    """The rows of a search, and its models by what had to be compiled for them."""

    base: Blueprint
    data: Rows
    folds: int
    keys: Keys = field(default_factory=Keys)
    threads: int | None = None
    vocabularies: Mapping[str, list[str]] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    live: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_key_each(self.keys, row_count(self.data))

    def run(self, settings: Settings, figure: str, hopeless: Hopeless | None) -> Outcome:
        """Train and judge a model with some settings; raises RanvierError when it fails. Without `hopeless` it comes to its end."""
        model = self.model(settings)
        if not self.folds:
            return self._by_epochs(model, held_out_part(model, self.data, self.keys), figure, hopeless)
        scores: list[Scores] = []
        rungs: list[float] = []
        for found in run_folds(model, self.data, folds_of(model, self.data, self.folds, self.keys), self.keys):
            scores.append(found)
            rungs.append(Validation(tuple(scores)).mean(figure) if figure in scores[0] else float("nan"))
            if hopeless is not None and len(scores) < self.folds and hopeless(rungs):
                return Outcome(tuple(scores), tuple(rungs), True)
        return Outcome(tuple(scores), tuple(rungs), False)

    def _by_epochs(self, model: Model, fold: Fold, figure: str, hopeless: Hopeless | None) -> Outcome:
        """One part held out, looked at after each quarter of the epochs where a trial may be given up."""
        rungs: list[float] = []
        held_out = taken(self.data, fold[1])

        def look(progress: Progress) -> None:
            if not progress.finished or progress.epoch not in _quarters(progress.epochs):
                return
            rungs.append(float(model.evaluate_arrays(held_out).get(figure, float("nan"))))
            if hopeless is not None and hopeless(rungs):
                raise _GivenUp

        try:
            scores = run_fold(model, self.data, fold, self.keys, look if hopeless is not None else None)
        except _GivenUp:
            return Outcome((), tuple(rungs), True)
        return Outcome((scores,), tuple(rungs), False)

    def model(self, settings: Mapping[str, Setting]) -> Model:
        """A model as new with the settings, its programs shared with all trials that need the same."""
        numbers = {name: float(v) for name, v in settings.items() if type(v) in (int, float) and self.is_live(name, settings)}
        blueprint = chosen(self.base, settings, numbers)
        overrides = {name: value for name, value in blueprint.overrides.items() if not UNCOMPILED.fullmatch(name)}
        key = json.dumps([{name: spell(value) for name, value in part.items()} for part in (blueprint.settings, overrides)])
        key += repr(blueprint.decisions)
        if key not in self.models:
            self.models[key] = Model(blueprint, threads=self.threads)
        model = self.models[key]
        model.blueprint = model.blueprint.reread(blueprint.overrides)
        model.vocabularies = dict(self.vocabularies)
        model.renew(model.blueprint.train_settings.seed)
        model.set_runtime(**{value.label: numbers[value.name] for value in blueprint.live})
        return model

    def is_live(self, name: str, settings: Mapping[str, Setting]) -> bool:
        """Whether a setting may be a number of the run time: whether the model can be made without knowing it.

        Raises SourceError when it cannot be made at all with these settings.
        """
        if name not in self.live:
            try:
                blueprint = chosen(self.base, settings, {name: float(settings[name])})
                _ = blueprint.objective, blueprint.inference
            except (SourceError, TypeError):  # it gives a shape, or one branch of an `if`
                _ = chosen(self.base, settings).objective
                self.live[name] = False
            else:
                self.live[name] = any(value.name == name for value in blueprint.live)
        return self.live[name]

    def trained(self, settings: Mapping[str, Setting]) -> Model:
        """A model of its own with the settings written in, trained on all rows by the programs of the trials."""
        shared = self.model(settings)
        fit_on(shared, self.data, np.arange(row_count(self.data)), self.keys)
        model = Model(chosen(self.base, settings), threads=self.threads, seed=shared.seed, initialise=False)
        restore(model, to_saved(take(shared)), "the trained model")
        return model


def _quarters(epochs: int) -> set[int]:
    """The epochs that end the first, second and third quarter of a training."""
    return {-(-epochs * part // 4) for part in (1, 2, 3)} - {epochs}


def chosen(base: Blueprint, settings: Mapping[str, Setting], numbers: Mapping[str, float] | None = None) -> Blueprint:
    """The blueprint with settings of a trial, `numbers` of them known at run time only."""
    own, overrides = split_settings(dict(settings))
    made = make_blueprint(base.unit, own, overrides, capacity=base.capacity, real=base.real, target=base.target)
    live: dict[str, Value] = {name: Live(name, value) for name, value in (numbers or {}).items() if not is_fixed(name)}
    return replace(
        base,
        settings={**base.settings, **made.settings, **{k: v for k, v in live.items() if k in own}},
        overrides={**base.overrides, **made.overrides, **{k: v for k, v in live.items() if k in overrides}},
        _programs={},
    )


def is_fixed(name: str) -> bool:
    """Whether a setting, by its dotted name, is a number that has to be known before anything runs."""
    return bool(UNCOMPILED.fullmatch(name)) or any(name == each or name.startswith(f"{each}.") for each in FIXED)
