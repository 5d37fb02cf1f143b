"""Which settings a search has shown to matter: how much of the trials' spread goes with each of them alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...compiler.frontend.search import Choices
from ..memory import Array
from .study import Study

ENOUGH_TRIALS = 12
"""Trials below which nothing can be said."""
BINS = 4
"""Parts of equal numbers of trials in which the values of a range are compared."""


def importances(study: Study) -> dict[str, float]:
    """The share of the variance of the scores that each setting alone explains, from 0 to 1; nothing for fewer than a dozen trials.

    The trials are grouped by the values of a list, or by quartiles of a range. The share is Kelley's epsilon squared (1935), which allows
    for the chance that groups differ where nothing depends on them. Scores count by their ranks, so that a few that went wild do not
    hide the rest.
    """
    trials = study.whole
    if len(trials) < ENOUGH_TRIALS:
        return {}
    ranks = _ranks([trial.value(study.settings.figure) for trial in trials])
    found = {}
    for name, domain in study.settings.space.items():
        values = [trial.settings[name] for trial in trials]
        groups = _listed(values) if isinstance(domain, Choices) else _quartiles(values)
        found[name] = _explained(ranks, groups)
    return found


def _ranks(scores: Sequence[float]) -> Array:
    """Places in the order of the scores; equal ones share the mean of theirs."""
    _, member, counts = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[member])


def _listed(values: Sequence[object]) -> Array:
    known: dict[str, int] = {}
    return np.array([known.setdefault(repr(value), len(known)) for value in values])


def _quartiles(values: Sequence[object]) -> Array:
    ranks = _ranks([float(str(value)) for value in values])
    return np.minimum((ranks - 0.5) * BINS // len(values), BINS - 1).astype(np.int64)


def _explained(scores: Array, groups: Array) -> float:
    """Epsilon squared: (between - (groups - 1) * mean square within) / total."""
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    total = float(((scores - scores.mean()) ** 2).sum())
    if len(sizes) < 2 or len(scores) <= len(sizes) or total == 0:
        return 0.0
    means = np.bincount(member, scores) / sizes
    within = float(((scores - means[member]) ** 2).sum())
    share = (total - within - (len(sizes) - 1) * within / (len(scores) - len(sizes))) / total
    return max(share, 0.0)
