"""A search through the `tune` block: trials drawn by a seed, judged by held-out rows, kept in a file so that a search can go on.

Trials that differ in numbers of the run time only (a learning rate, the strength of a penalty, a dropout rate) share one compiled model:
see `Live`. Every other combination of settings is compiled once.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..compiler.driver import Blueprint
from ..compiler.errors import CheckpointError, RanvierError, SourceError
from ..compiler.frontend.search import Choices, Range, TuneSettings, read_tune
from ..compiler.frontend.spelling import spell
from ..compiler.frontend.values import Live, Value
from .atomic import write_atomic
from .cross_validation import Scores, Validation, folds_of, run_folds
from .data import split_rows
from .memory import Array
from .model import Model
from .opening import make_blueprint, split_settings

FORMAT = "ranvier study 1"
HELD_OUT = 0.2
"""The share of rows that trials are judged by, without folds."""

Setting = int | float | bool | str
Settings = dict[str, Setting]
Stop = Callable[[Sequence[Scores]], bool]
"""Whether to give a trial up after the scores of some folds."""


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and their scores on each fold; `failure` says why there are none."""

    number: int
    settings: Settings
    folds: tuple[Scores, ...] = ()
    failure: str = ""
    pruned: bool = False

    def value(self, figure: str) -> float:
        """The mean of a figure, NaN when the trial failed."""
        return Validation(self.folds).mean(figure) if self.folds and not self.failure else math.nan


@dataclass
class Study:
    """The trials of a search so far."""

    settings: TuneSettings
    trials: list[Trial] = field(default_factory=list)

    @property
    def whole(self) -> list[Trial]:
        """The trials that ran to their end with a finite figure, the best first."""
        found = [t for t in self.trials if not t.pruned and math.isfinite(t.value(self.settings.figure))]
        sign = -1 if self.settings.largest else 1
        return sorted(found, key=lambda t: (sign * t.value(self.settings.figure), t.number))

    @property
    def best(self) -> Trial:
        """The best trial; raises RanvierError when there is none."""
        if not self.whole:
            reasons = {t.failure for t in self.trials if t.failure}
            raise RanvierError("no trial came to its end" + (f": {sorted(reasons)[0]}" if reasons else ""))
        return self.whole[0]


def tune_settings(blueprint: Blueprint) -> TuneSettings:
    """What the `tune` block of a file says; raises SourceError, or RanvierError without one."""
    block = blueprint.unit.blocks.get("tune")
    if block is None:
        raise RanvierError("the file has no tune block: add `tune { train.optimizer.lr in log(1e-4, 1e-1) }`")
    settings = read_tune(block)
    generator = np.random.Generator(np.random.PCG64(0))
    for name, domain in settings.space.items():  # better now than in every trial
        chosen(blueprint, {name: _drawn(domain, generator)})
    return settings


# --- what is tried


def proposals(settings: TuneSettings, seed: int) -> Iterator[Settings]:
    """The settings of one trial after the other: all combinations of a grid, or draws without end; the same for the same seed."""
    if settings.search == "grid":
        yield from _grid(settings.space)
        return
    for number in itertools.count():
        generator = np.random.Generator(np.random.PCG64([seed, number]))
        yield {name: _drawn(domain, generator) for name, domain in settings.space.items()}


def _grid(space: Mapping[str, Choices | Range]) -> Iterator[Settings]:
    for name, domain in space.items():
        if isinstance(domain, Range) and not domain.whole:
            mend = f"write `{name} in [{domain.low:g}, {domain.high:g}]`"
            raise RanvierError(f"a grid needs a list of values for `{name}`, not a range: {mend}")
    values = [d.values if isinstance(d, Choices) else range(int(d.low), int(d.high) + 1) for d in space.values()]
    for combination in itertools.product(*values):
        yield dict(zip(space, combination, strict=True))


def _drawn(domain: Choices | Range, generator: np.random.Generator) -> Setting:
    if isinstance(domain, Choices):
        return domain.values[int(generator.integers(len(domain.values)))]
    if domain.whole:
        return int(generator.integers(int(domain.low), int(domain.high) + 1))
    if domain.log:
        return float(math.exp(generator.uniform(math.log(domain.low), math.log(domain.high))))
    return float(generator.uniform(domain.low, domain.high))


class Tpe:
    """Proposals by Optuna's tree-structured Parzen estimator (Bergstra et al. 2011), told of every trial."""

    def __init__(self, settings: TuneSettings, seed: int) -> None:
        """Raises RanvierError where Optuna is not installed."""
        try:
            import optuna
        except ImportError:
            raise RanvierError("search = tpe needs Optuna, which is not installed: pip install 'ranvier[tune]'") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.optuna, self.settings = optuna, settings
        direction = optuna.study.StudyDirection.MAXIMIZE if settings.largest else optuna.study.StudyDirection.MINIMIZE
        self.study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
        self.domains = {name: self._distribution(domain) for name, domain in settings.space.items()}
        self.asked: dict[int, Any] = {}

    def _distribution(self, domain: Choices | Range) -> Any:
        kinds = self.optuna.distributions
        if isinstance(domain, Choices):
            return kinds.CategoricalDistribution(domain.values)
        if domain.whole:
            return kinds.IntDistribution(int(domain.low), int(domain.high))
        return kinds.FloatDistribution(domain.low, domain.high, log=domain.log)

    def ask(self, number: int) -> Settings:
        """The settings of a trial."""
        self.asked[number] = self.study.ask(self.domains)
        return dict(self.asked[number].params)

    def tell(self, trial: Trial) -> None:
        """What became of a trial, of this run or of an earlier one."""
        value, asked = trial.value(self.settings.figure), self.asked.get(trial.number)
        state = self.optuna.trial.TrialState
        failed = trial.pruned or not math.isfinite(value)
        if asked is not None:
            self.study.tell(asked, None if failed else value, state=state.FAIL if failed else None)
        elif not failed:
            params, domains = {k: trial.settings[k] for k in self.domains}, self.domains
            self.study.add_trial(self.optuna.trial.create_trial(params=params, distributions=domains, value=value))


# --- trying


@dataclass
class Bench:
    """Where trials run: the rows, the parts they are judged by, and the models compiled so far, by what had to be compiled."""

    base: Blueprint
    data: Mapping[str, Array]
    folds: int
    groups: Array | None = None
    threads: int | None = None
    vocabularies: dict[str, list[str]] = field(default_factory=dict)
    models: dict[str, Model] = field(default_factory=dict)
    live: dict[str, bool] = field(default_factory=dict)

    def run(self, settings: Mapping[str, Setting], stop: Stop) -> tuple[list[Scores], bool]:
        """The scores of each fold, and whether `stop` ended the trial before the last; raises RanvierError when it fails."""
        model = self.model(settings)
        folds = folds_of(model, self.data, self.folds, self.groups) if self.folds else [self._part(model)]
        scores: list[Scores] = []
        for found in run_folds(model, self.data, folds):
            scores.append(found)
            if len(scores) < len(folds) and stop(scores):
                return scores, True
        return scores, False

    def _part(self, model: Model) -> tuple[Array, Array]:
        return split_rows(len(next(iter(self.data.values()))), HELD_OUT, model.seed)

    def model(self, settings: Mapping[str, Setting]) -> Model:
        """A compiled model with the settings, its programs shared with all trials that need the same."""
        numbers = {name: float(v) for name, v in settings.items() if type(v) in (int, float) and self.is_live(name, settings)}
        blueprint = chosen(self.base, settings, numbers)
        parts = [blueprint.settings, blueprint.overrides]
        key = json.dumps([{k: spell(v) for k, v in part.items()} for part in parts])
        key += repr((blueprint.inference.decisions, blueprint.training.decisions))
        if key not in self.models:
            self.models[key] = Model(blueprint, threads=self.threads)
            self.models[key].vocabularies = self.vocabularies
        model = self.models[key]
        model.set_runtime(**{value.label: numbers[value.name] for value in blueprint.live})
        return model

    def is_live(self, name: str, settings: Mapping[str, Setting]) -> bool:
        """Whether a setting may be a number of the run time: whether the model can be made without knowing it."""
        if name not in self.live:
            try:
                blueprint = chosen(self.base, settings, {name: float(settings[name])})
                _ = blueprint.objective, blueprint.inference
            except (SourceError, TypeError):  # it gives a shape, or one branch of an `if`
                self.live[name] = False
            else:
                self.live[name] = any(value.name == name for value in blueprint.live)
        return self.live[name]


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


FIXED = frozenset({"train.batch", "train.accumulate", "train.epochs", "train.seed", "train.validate", "train.stop", "data.test"})
"""Numbers that Python reads before anything runs, and owners of such numbers."""


def is_fixed(name: str) -> bool:
    """Whether a setting, by its dotted name, is none of the compiled programs' business."""
    return any(name == each or name.startswith(f"{each}.") for each in FIXED)


# --- the study


class Attempts(Protocol):
    """Who runs trials: several at once, or one."""

    width: int

    def __call__(self, study: Study, asked: Sequence[tuple[int, Settings]]) -> list[Trial]:
        """The trials with these numbers and settings, in their order."""


@dataclass
class InTurn:
    """Runs one trial after the other, in this process."""

    bench: Bench
    width: int = 1

    def __call__(self, study: Study, asked: Sequence[tuple[int, Settings]]) -> list[Trial]:
        """See `Attempts`."""
        return [attempt(study, self.bench, number, settings) for number, settings in asked]


def search(
    study: Study,
    attempts: Attempts,
    seed: int,
    trials: int,
    *,
    keep: Path | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> Study:
    """Run trials until there are `trials` of them, writing the study to `keep` after each; those that are there count."""
    tpe = Tpe(study.settings, seed) if study.settings.search == "tpe" else None
    drawn = itertools.islice(enumerate(proposals(study.settings, seed)), len(study.trials), trials)
    for trial in study.trials if tpe else ():
        assert tpe is not None
        tpe.tell(trial)
    while len(study.trials) < trials:
        first, last = len(study.trials), min(len(study.trials) + attempts.width, trials)
        asked = [(n, tpe.ask(n)) for n in range(first, last)] if tpe else list(itertools.islice(drawn, attempts.width))
        if not asked:
            break  # the grid is through
        for trial in attempts(study, asked):
            study.trials.append(trial)
            if tpe:
                tpe.tell(trial)
            if keep is not None:
                write_study(keep, study)
            tell(trial)
    return study


def attempt(study: Study, bench: Bench, number: int, settings: Settings) -> Trial:
    """One trial; what goes wrong in it is its result. A trial is given up when its folds so far are worse than the median there."""
    before = [t for t in study.trials if t.folds and not t.pruned and not t.failure]
    figure, sign = study.settings.figure, -1 if study.settings.largest else 1

    def hopeless(scores: Sequence[Scores]) -> bool:
        if len(before) < ENOUGH_TRIALS or study.settings.search != "tpe":
            return False
        others = [sign * Validation(t.folds[: len(scores)]).mean(figure) for t in before]
        return sign * Validation(tuple(scores)).mean(figure) > float(np.median(others))

    try:
        scores, pruned = bench.run(settings, hopeless)
    except RanvierError as failure:
        return Trial(number, settings, (), str(failure).splitlines()[0])
    if scores and figure not in scores[0]:
        known = ", ".join(f"val.{name}" for name in sorted(scores[0]))
        return Trial(number, settings, (), f"`best` asks for `val.{figure}`, and the model has {known}")
    return Trial(number, settings, tuple(scores), "", pruned)


def train_best(bench: Bench, study: Study) -> Model:
    """The best settings trained on all rows; the model says how they were chosen."""
    best, figure = study.best, study.settings.figure
    model = Model(chosen(bench.base, best.settings), threads=bench.threads)
    model.vocabularies = bench.vocabularies
    model.fit(dict(bench.data))
    judged = f"{study.settings.folds} folds" if study.settings.folds else "rows held out"
    parts = f"trial {best.number + 1} of {len(study.trials)} ({study.settings.search}), {spell_score(best, figure)} on {judged}"
    model.origin = f"{parts}: {spell_settings(best)}"
    return model


def spell_score(trial: Trial, figure: str) -> str:
    """What came of a trial, in a line."""
    if trial.failure:
        return f"failed: {trial.failure}"
    found = Validation(trial.folds)
    spread = f" ± {found.spread(figure):.4f}" if len(trial.folds) > 1 else ""
    return f"{figure} {found.mean(figure):.4f}{spread}" + (" (given up)" if trial.pruned else "")


def spell_settings(trial: Trial) -> str:
    """What a trial tried, in a line."""
    return "  ".join(f"{name}={spell_setting(value)}" for name, value in trial.settings.items())


def spell_setting(value: Setting) -> str:
    """A setting in a few letters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


ENOUGH_TRIALS = 5
"""Trials to compare with before one is given up."""


@dataclass(frozen=True)
class Tuned:
    """What `ranvier.tune` gives: the trials, and the best settings trained on all rows."""

    study: Study
    model: Model


def tune(blueprint: Blueprint, data: Any, y: Any, *, trials: int | None, folds: int | None, groups: Any, threads: int | None) -> Tuned:
    """See `ranvier.tune`."""
    wanted = tune_settings(blueprint)
    wanted = replace(wanted, trials=trials or wanted.trials, folds=folds or wanted.folds)
    model = Model(blueprint, threads=threads, initialise=False)
    arrays = model.arrays(data, targets=True, y=y)
    bench = Bench(blueprint, arrays, wanted.folds, None if groups is None else np.asarray(groups), threads)
    study = search(Study(wanted), InTurn(bench), blueprint.train_settings.seed, wanted.trials)
    return Tuned(study, train_best(bench, study))


# --- the file of a study


def write_study(path: Path, study: Study) -> None:
    """Write the trials, atomically, as JSON."""
    trials = [asdict(trial) for trial in study.trials]
    text = json.dumps({"format": FORMAT, "block": study.settings.place.text, "trials": trials}, indent=1)
    write_atomic(path, text.encode("utf-8"))


def read_study(path: Path, settings: TuneSettings) -> Study:
    """The trials of an earlier run; raises CheckpointError when the file is damaged or of another search."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        trials = [Trial(t["number"], dict(t["settings"]), tuple(t["folds"]), t["failure"], t["pruned"]) for t in kept["trials"]]
        fits = kept["format"] == FORMAT and kept["block"] == settings.place.text and [t.number for t in trials] == list(range(len(trials)))
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise CheckpointError(f"{path}: cannot be read as a study: {failure}; remove it to begin anew") from None
    if not fits:
        raise CheckpointError(f"{path}: is a study of another tune block; give another output, or remove it to begin anew")
    return Study(settings, trials)
