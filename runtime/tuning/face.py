"""What `ranvier.tune` does: the search with rows from Python."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...compiler.driver import Blueprint
from ...compiler.errors import RanvierError
from ..cross_validation import given_keys
from ..gathering import complete
from ..model import Model
from .bench import Bench
from .processes import InProcesses
from .search import InTurn, search, train_best, tune_settings
from .study import Study, digests, opened


@dataclass(frozen=True)
class Tuned:
    """What `ranvier.tune` gives: the trials, and the best settings trained on all rows."""

    study: Study
    model: Model


def tune(
    blueprint: Blueprint,
    data: Any,
    y: Any = None,
    *,
    trials: int | None = None,
    folds: int | None = None,
    groups: Any = None,
    jobs: int = 1,
    study: str | os.PathLike[str] | None = None,
    resume: bool = False,
    threads: int | None = None,
) -> Tuned:
    """See `ranvier.tune`."""
    for name, value in (("trials", trials), ("jobs", jobs)):
        if value is not None and value < 1:
            raise RanvierError(f"`{name}` is at least 1, not {value}")
    wanted = tune_settings(blueprint)
    wanted = replace(wanted, trials=trials or wanted.trials, folds=folds or wanted.folds)
    model = Model(blueprint, threads=threads, initialise=False)
    named, groups = complete(model, model.named(data, y), groups)
    model.learn_names(named)
    arrays = model.arrays(named, targets=True)
    bench = Bench(model.blueprint, arrays, wanted.folds, given_keys(model, named, groups), threads, model.vocabularies)
    keep = None if study is None else Path(study)
    found = opened(keep, wanted, digests(blueprint, wanted, arrays, bench.keys), resume=resume)
    seed = blueprint.train_settings.seed
    if jobs == 1:
        search(found, InTurn(bench), seed, wanted.trials, keep=keep)
    else:
        with InProcesses(bench, jobs) as processes:
            search(found, processes, seed, wanted.trials, keep=keep)
    return Tuned(found, train_best(bench, found))
