"""Folds trained and judged, several at once where there are processors for them: each by a model of its own, all by the same programs."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

from .folds import Fold
from .memory import Array
from .model import Model
from .splitting import Keys, split
from .streaming import Rows, taken
from .training import Progress, Report

Scores = dict[str, float]
SHIFTS = 16
"""How often at most a fold that takes turns is set aside for others."""

MANY = 2
"""With so many threads a fold the threads share the work of a single training instead."""


class _StoppedError(Exception):
    """Nobody waits for this fold any more."""


def run_folds(model: Model, data: Rows, folds: Sequence[Fold], keys: Keys | None = None) -> Iterator[Scores]:
    """The scores of one fold after the other, in their order; the model is used up.

    A small model gains little from several threads, and folds wait for nothing of each other: each thread has a fold of its own. The
    results are the same bits.
    """
    width = min(model.team.threads, len(folds))
    if width == 1 or model.team.threads >= MANY * len(folds):
        return (run_fold(model, data, fold, keys) for fold in folds)
    return _at_once(model, data, folds, keys, width)


class Turns:
    """So many may work at once; of those who wait, whoever has done the least is next."""

    def __init__(self, places: int) -> None:
        """Nobody works yet."""
        self._free, self._changed = places, threading.Condition()
        self._waiting: list[tuple[int, int]] = []
        self._tickets = itertools.count()

    def take(self, done: int = 0) -> None:
        """Wait for a place."""
        with self._changed:
            mine = (done, next(self._tickets))
            heapq.heappush(self._waiting, mine)
            self._changed.wait_for(lambda: self._free and self._waiting[0] == mine)
            heapq.heappop(self._waiting)
            self._free -= 1
            self._changed.notify_all()

    def give(self) -> None:
        """Leave a place to whoever waits."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def pass_on(self, done: int, lead: int) -> None:
        """Let somebody else go first who is at least `lead` behind; return when it is this one's turn again."""
        with self._changed:
            if self._waiting and done - self._waiting[0][0] >= lead:
                self.give()
                self.take(done)


def _at_once(model: Model, data: Rows, folds: Sequence[Fold], keys: Keys | None, width: int) -> Iterator[Scores]:
    """Folds on threads of their own; whoever stops asking ends them within a moment.

    Where their number is no multiple of that of the threads, the odd ones take turns with others, so that no thread is idle at the end.
    """
    models, stop, turns = SimpleQueue[Model](), threading.Event(), Turns(width)
    under_way = width + len(folds) % width
    models.put(sibling(model))  # what all of them share is made by now: the others are quick, and each thread makes its own

    def look(progress: Progress) -> None:
        if progress.finished:
            turns.pass_on(progress.epoch, max(1, progress.epochs // SHIFTS))
        if stop.is_set():
            raise _StoppedError

    def idle() -> Model:
        try:
            return models.get_nowait()
        except Empty:
            return sibling(model)

    def run(fold: Fold) -> Scores:
        turns.take()
        own = None
        try:
            if stop.is_set():
                raise _StoppedError
            own = idle()
            return run_fold(own, data, fold, keys, look)
        finally:
            turns.give()
            if own is not None:
                models.put(own)

    with ThreadPoolExecutor(under_way, "ranvier-fold") as pool:
        try:
            yield from pool.map(run, folds)
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def sibling(model: Model) -> Model:
    """A model by the same programs, all compiled, for one thread; numbers of the run time are those of the other."""
    blueprint = model.blueprint
    made = Model(blueprint, threads=1, seed=model.seed)
    made.vocabularies = model.vocabularies
    made.set_runtime(**{each.label: model.runtime(each.label) for each in blueprint.live})
    made.compile_passes("fit")
    made.compile_passes("evaluate")
    made.entry("train")
    return made


def run_fold(model: Model, data: Rows, fold: Fold, keys: Keys | None = None, report: Report | None = None) -> Scores:
    """The scores on the rows held out of a model that is trained anew on the others."""
    training, held_out = fold
    model.renew()
    fit_on(model, data, training, keys, report)
    scores = model.evaluate_arrays(taken(data, held_out))
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def fit_on(model: Model, data: Rows, rows: Array, keys: Keys | None = None, report: Report | None = None) -> None:
    """Train a model on some rows, of which it watches a share if it says so: what the `keys` keep together stays together there, too."""
    watched: Rows | float = 0.0
    if model.watched_share:
        own = Keys(last=model.in_order) if keys is None else keys.of(rows)
        rest, part = split(len(rows), model.watched_share, model.seed, own)
        rows, watched = rows[rest], taken(data, rows[part])
    model.fit(taken(data, rows), validation=watched, report=report)
