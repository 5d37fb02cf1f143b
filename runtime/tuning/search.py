"""A search through the `tune` block: trials one after the other or several at once, each kept as it ends, and the best one trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ...compiler.diagnostics import Diagnostic, did_you_mean
from ...compiler.driver import Blueprint
from ...compiler.errors import RanvierError, SourceError
from ...compiler.frontend.lengths import length_names
from ...compiler.frontend.search import Choices, Range, TuneSettings, read_tune
from ...compiler.frontend.syntax import Name
from ..model import Model
from .bench import Bench, Hopeless, Outcome, chosen
from .proposals import drawn, proposals, told, upcoming
from .study import Settings, Study, Trial, spell_score, spell_settings, write_study

ENOUGH_TRIALS = 5
"""Trials to compare with before one is given up."""


def tune_settings(blueprint: Blueprint) -> TuneSettings:
    """What the `tune` block of a file says; raises SourceError, or RanvierError without one."""
    block = blueprint.unit.blocks.get("tune")
    if block is None:
        raise RanvierError("the file has no tune block: add `tune { train.optimizer.lr in log(1e-4, 1e-1) }`")
    settings = read_tune(block)
    wrong = [found for each in block.settings if each.choices and (found := _wrong_setting(blueprint, settings.space, each.name))]
    if wrong:
        raise SourceError(wrong)
    return settings


def _wrong_setting(blueprint: Blueprint, space: Mapping[str, Choices | Range], name: Name) -> Diagnostic | None:
    """What is wrong with the name of a setting to search, or with one of its values: better known now than from every trial."""
    if "." not in name.id:
        model = blueprint.unit.model
        known = [*(each.name.id for each in model.settings or ()), *length_names(blueprint.unit.library, model)]
        if name.id not in known:
            hint = did_you_mean(name.id, known) or (f"its settings are {', '.join(known)}" if known else "it has no settings")
            return Diagnostic("unknown-setting", f"`{model.name.id}` has no setting `{name.id}`", name.span, help=hint)
    domain, generator = space[name.id], np.random.Generator(np.random.PCG64(0))
    of_another = any(name.id.startswith(f"{each}.") for each in space)  # which of its choices has this setting shows in the trials
    for value in domain.values if isinstance(domain, Choices) else (drawn(domain, generator),):
        try:
            made = chosen(blueprint, {name.id: value})
            if not of_another:
                _ = made.train_settings
        except SourceError:
            raise
        except RanvierError as wrong:
            return Diagnostic("bad-setting", str(wrong), name.span)
    return None


class Attempts(Protocol):
    """Who runs trials: `width` of them at once."""

    width: int

    def __call__(self, study: Study, asked: Iterable[tuple[int, Settings]]) -> Iterator[Trial]:
        """The trials with these numbers and settings, in their order, each as soon as it is there."""


@dataclass
class InTurn:
    """Runs one trial after the other, in this process."""

    bench: Bench
    width: int = 1

    def __call__(self, study: Study, asked: Iterable[tuple[int, Settings]]) -> Iterator[Trial]:
        """See `Attempts`."""
        return (attempt(self.bench, study, number, settings) for number, settings in asked)


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
    found = proposals(study.settings, seed, attempts.width)
    told(found, study.trials)
    while (first := len(study.trials)) < trials:
        end = min(first + attempts.width, trials) if found.learns else trials
        for trial in attempts(study, upcoming(found, first, end)):
            study.trials.append(trial)
            found.tell(trial)
            if keep is not None:
                write_study(keep, study)
            tell(trial)
        if len(study.trials) < end:
            break  # the grid is through
    return study


def attempt(bench: Bench, study: Study, number: int, settings: Settings) -> Trial:
    """One trial; what goes wrong in it is its result."""
    begun, figure = time.perf_counter(), study.settings.figure
    try:
        outcome = bench.run(settings, figure, given_up(study))
        reason = _missing(outcome, figure)
    except RanvierError as failure:
        outcome, reason = Outcome((), (), False), str(failure).splitlines()[0]
    return Trial(number, settings, outcome.folds, outcome.rungs, reason, outcome.pruned, time.perf_counter() - begun)


def _missing(outcome: Outcome, figure: str) -> str:
    """What to say of scores that do not have the figure."""
    if not outcome.folds or figure in outcome.folds[0]:
        return ""
    known = ", ".join(f"val.{name}" for name in sorted(outcome.folds[0]))
    return f"`best` asks for `val.{figure}`, and the model has {known}"


def given_up(study: Study) -> Hopeless | None:
    """The rule by which a search that learns gives trials up: the best so far is worse than the median of the others there.

    Golovin et al. 2017, section 3.2.2, in the form of Optuna's MedianPruner.
    """
    if study.settings.search != "tpe":
        return None
    before, sign = list(study.whole), study.settings.sign

    def hopeless(rungs: Sequence[float]) -> bool:
        place = len(rungs) - 1
        others = [sign * trial.rungs[place] for trial in before if place < len(trial.rungs)]
        return len(others) >= ENOUGH_TRIALS and not min(sign * each for each in rungs) <= float(np.median(others))

    return hopeless


def train_best(bench: Bench, study: Study) -> Model:
    """The best settings trained on all rows; the model says how they were chosen."""
    best, figure = study.best, study.settings.figure
    model = bench.trained(best.settings)
    judged = f"{study.settings.folds} folds" if study.settings.folds else "rows held out"
    parts = f"trial {best.number + 1} of {len(study.trials)} ({study.settings.search}), {spell_score(best, figure)} on {judged}"
    model.origin = f"{parts}: {spell_settings(best)}"
    return model
