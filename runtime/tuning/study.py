"""A study: the trials of a search with their scores, how they rank, and the file that keeps them from run to run."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...compiler.driver import Blueprint
from ...compiler.errors import CheckpointError, RanvierError
from ...compiler.frontend.search import TuneSettings
from ...compiler.frontend.spelling import spell
from ..atomic import write_atomic
from ..cross_validation import Validation
from ..fold_runs import Scores
from ..memory import Array
from ..regular_file import read_regular
from ..splitting import Keys
from ..streaming import Rows, in_pieces
from ..tensor_file import strict_json

FORMAT = "ranvier study 2"
LARGEST = 2**28
"""Bytes of the largest file of a study that is read."""

Setting = int | float | bool | str
Settings = dict[str, Setting]


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and what came of them.

    `folds` are the scores on each part held out; `rungs` the figure on the way there: its mean after every fold, or without folds
    after each quarter of the epochs. `failure` says why there are no scores, `pruned` that the trial was given up.
    """

    number: int
    settings: Settings
    folds: tuple[Scores, ...] = ()
    rungs: tuple[float, ...] = ()
    failure: str = ""
    pruned: bool = False
    seconds: float = 0.0

    def value(self, figure: str) -> float:
        """The mean of a figure, NaN when the trial came to none."""
        complete = self.folds and not self.failure and not self.pruned
        return Validation(self.folds).mean(figure) if complete else math.nan

    def spread(self, figure: str) -> float:
        """The standard deviation of a figure over the folds, 0 without folds."""
        return Validation(self.folds).spread(figure)


@dataclass
class Study:
    """The trials of a search so far; `origin` are digests of what they were judged by (see `digests`)."""

    settings: TuneSettings
    trials: list[Trial] = field(default_factory=list)
    origin: Mapping[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> list[Trial]:
        """The trials that ran to their end with a finite figure, the best first."""
        found = [t for t in self.trials if math.isfinite(t.value(self.settings.figure))]
        return sorted(found, key=lambda t: (self.settings.sign * t.value(self.settings.figure), t.number))

    @property
    def best(self) -> Trial:
        """The best trial; raises RanvierError when there is none."""
        if not self.whole:
            reasons = sorted({t.failure for t in self.trials if t.failure})
            raise RanvierError("no trial came to its end" + (f": {reasons[0]}" if reasons else ""))
        return self.whole[0]


# --- in words


def spell_score(trial: Trial, figure: str) -> str:
    """What came of a trial, in a line."""
    if trial.failure:
        return f"failed: {trial.failure}"
    if trial.pruned:
        return f"given up at {figure} {trial.rungs[-1]:.4f}"
    spread = f" ± {trial.spread(figure):.4f}" if len(trial.folds) > 1 else ""
    return f"{figure} {trial.value(figure):.4f}{spread}"


def spell_settings(trial: Trial) -> str:
    """What a trial tried, in a line."""
    return "  ".join(f"{name}={spell_setting(value)}" for name, value in trial.settings.items())


def spell_setting(value: Setting) -> str:
    """A setting in a few letters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# --- the file


def digests(blueprint: Blueprint, settings: TuneSettings, data: Rows, keys: Keys) -> dict[str, str]:
    """What the scores of a study depend on beside the settings of a trial, each part as a digest under the name that messages give it."""
    given = {name: spell(value) for part in (blueprint.settings, blueprint.overrides) for name, value in part.items()}
    space = {name: repr(domain) for name, domain in settings.space.items()}
    parts = {"file": _text(blueprint), "settings": given, "space": space, "folds": settings.folds}
    return {name: _digest(part) for name, part in parts.items()} | {"rows": _rows_digest(data, keys)}


def _rows_digest(data: Rows, keys: Keys) -> str:
    found = hashlib.sha256()
    split_by = {f"{name} of rows": key for name, key in vars(keys).items() if isinstance(key, np.ndarray)}
    pieces = [{**data, **split_by}] if isinstance(data, dict) else itertools.chain(in_pieces(data), [split_by])
    for piece in pieces:
        for name, array in sorted(piece.items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(_bytes(array))
    return found.hexdigest()


def _text(blueprint: Blueprint) -> list[str]:
    """The file and its imports without the `tune` block: more trials, or another search, go on with those that are there."""
    library, block = blueprint.unit.library, blueprint.unit.blocks["tune"]
    main = library.file.source
    rest = main.text[: block.span.start] + main.text[block.span.end :]
    return [rest, *(source.text for name, source in sorted(library.sources.items()) if name != main.name)]


def _bytes(array: Array) -> memoryview | bytes:
    if array.dtype.kind in "UO":
        return repr(array.tolist()).encode()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _digest(part: object) -> str:
    return hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()


def write_study(path: Path, study: Study) -> None:
    """Write the trials, atomically, as JSON."""
    content = {"format": FORMAT, "origin": dict(study.origin), "trials": [_plain(asdict(trial)) for trial in study.trials]}
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode())


def read_study(path: Path, settings: TuneSettings, origin: Mapping[str, str]) -> Study:
    """The trials of an earlier run; raises CheckpointError when the file is damaged or of another search."""
    try:
        kept = strict_json(read_regular(path, LARGEST, CheckpointError))
        trials = [_trial(number, each) for number, each in enumerate(kept["trials"])]
        found, form = dict(kept["origin"]), kept["format"]
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        raise CheckpointError(f"{path}: cannot be read as a study ({failure}); remove it to begin anew") from None
    if form != FORMAT:
        raise CheckpointError(f"{path}: is a study in another format; remove it to begin anew")
    differing = [name for name, digest in origin.items() if found.get(name) != digest]
    if differing:
        message = f"is a study of another search: its {' and '.join(differing)} differ"
        raise CheckpointError(f"{path}: {message}; give another output, or remove it to begin anew")
    return Study(settings, trials, origin)


def opened(path: Path | None, settings: TuneSettings, origin: Mapping[str, str], *, resume: bool) -> Study:
    """The study of a file to go on with, where there is one and that is wanted, else a new one."""
    return read_study(path, settings, origin) if resume and path is not None and path.exists() else Study(settings, origin=origin)


def _trial(number: int, kept: Mapping[str, Any]) -> Trial:
    """A trial of a file; ValueError for anything else."""
    folds, rungs = tuple({str(k): _number(v) for k, v in fold.items()} for fold in kept["folds"]), tuple(map(_number, kept["rungs"]))
    settings = dict(kept["settings"].items())
    sound = all(isinstance(v, int | float | bool | str) for v in settings.values()) and isinstance(kept["failure"], str)
    if kept["number"] != number or not sound or not isinstance(kept["pruned"], bool) or (kept["pruned"] and not rungs):
        raise ValueError(f"trial {number + 1} is none")
    return Trial(number, settings, folds, rungs, kept["failure"], kept["pruned"], _number(kept["seconds"]))


def _number(value: object) -> float:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"{str(value)[:20]} is no number")
    return math.nan if value is None else float(value)


def _plain(value: Any) -> Any:
    """Numbers that are not finite as null: JSON has none."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
