"""Trials in processes of their own: each makes the model's blueprint anew, is given the rows once, and has its share of the processors."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.synchronize import Event
from pathlib import Path

from ...compiler.driver import Blueprint
from ...compiler.errors import DataError, ResourceError
from ...compiler.frontend.spelling import spell
from ...compiler.ir.types import DTYPES
from ..feeding import streamed
from ..memory import Array
from ..model import Model
from ..opening import TEXT, make_blueprint, open_source
from ..processors import default_threads
from ..splitting import Keys
from ..stored import Stored, open_stored
from ..streaming import Rows, StreamedRows
from .bench import Bench
from .search import attempt
from .study import Settings, Study, Trial

QUEUED = 2
"""Trials that wait for each process, so that none is idle."""
LOOKING_SECONDS = 1.0
"""How often a process looks whether anybody still waits for it."""


@dataclass(frozen=True)
class FileRows:
    """Rows that stay in their files, in a form that can be sent: which they are, and what the files were like when they were opened."""

    path: Path
    index: Array
    fingerprints: Mapping[str, tuple[int, int]]

    def opened(self, blueprint: Blueprint, vocabularies: Mapping[str, list[str]]) -> StreamedRows:
        """The rows for a model of this process; reading them raises DataError where the files were changed since."""
        model = Model(blueprint, threads=1, initialise=False)
        model.vocabularies = dict(vocabularies)
        stored = open_stored(self.path)
        if stored is None:
            raise DataError(f"{self.path}: was changed while it was read; begin anew when the file is complete")
        arrays = {name: replace(array, fingerprint=self.fingerprints[name]) for name, array in stored.arrays.items()}
        return replace(streamed(model, Stored(arrays, stored.file)), index=self.index)


def _as_sent(rows: Rows) -> dict[str, Array] | FileRows:
    if not isinstance(rows, StreamedRows):
        return rows
    stored = rows.stored
    return FileRows(Path(stored.file), rows.index, {name: array.fingerprint for name, array in stored.arrays.items()})


@dataclass(frozen=True)
class Recipe:
    """What a process needs for a bench, in a form that can be sent: text instead of graphs."""

    source: str
    settings: Mapping[str, str]
    overrides: Mapping[str, str]
    capacity: int | None
    real: str
    data: dict[str, Array] | FileRows
    keys: Keys
    folds: int
    vocabularies: Mapping[str, list[str]]

    def bench(self, threads: int) -> Bench:
        """Where this process runs trials."""
        unit = open_source(self.source)
        blueprint = make_blueprint(unit, self.settings, self.overrides, capacity=self.capacity, real=DTYPES[self.real])
        data = self.data if isinstance(self.data, dict) else self.data.opened(blueprint, self.vocabularies)
        return Bench(blueprint, data, self.folds, self.keys, threads, self.vocabularies)


def recipe_of(bench: Bench) -> Recipe:
    """The recipe of a bench of this process."""
    base = bench.base
    return Recipe(
        source=_source(base),
        settings={name: spell(value) for name, value in base.settings.items()},
        overrides={name: spell(value) for name, value in base.overrides.items()},
        capacity=base.capacity,
        real=str(base.real),
        data=_as_sent(bench.data),
        keys=bench.keys,
        folds=bench.folds,
        vocabularies=bench.vocabularies,
    )


def _source(blueprint: Blueprint) -> str:
    main = blueprint.unit.library.file.source
    return main.text if main.name == TEXT else main.name


@dataclass
class InProcesses:
    """Runs `width` trials at once; their results are those of one after the other, to the bit."""

    bench: Bench
    width: int
    _pool: ProcessPoolExecutor | None = field(default=None, init=False)
    _over: Event | None = field(default=None, init=False)

    def __enter__(self) -> InProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes at once, in the midst of trials that nobody waits for any more."""
        if self._pool is not None and self._over is not None:
            self._over.set()
            self._pool.shutdown(wait=False, cancel_futures=True)

    def __call__(self, study: Study, asked: Iterable[tuple[int, Settings]]) -> Iterator[Trial]:
        """The trials with these numbers and settings, in their order, each as soon as it and those before it are there."""
        if self._pool is None:
            threads = max(1, (self.bench.threads or default_threads()) // self.width)
            context = multiprocessing.get_context("spawn")  # a team of threads does not survive a fork
            self._over = context.Event()
            self._pool = ProcessPoolExecutor(self.width, context, _open, (recipe_of(self.bench), threads, self._over))
        waiting, rest = deque[Future[Trial]](), iter(asked)
        before = Study(study.settings, list(study.trials)) if study.settings.search == "tpe" else Study(study.settings)
        try:
            while True:
                for number, settings in islice(rest, self.width * QUEUED - len(waiting)):
                    waiting.append(self._pool.submit(_run, before, number, settings))
                if not waiting:
                    return
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise ResourceError("a process that ran trials ended by itself, perhaps for want of memory: use fewer --jobs") from None


_bench: list[Bench] = []
"""The one of this process, made when it starts."""


def _open(recipe: Recipe, threads: int, over: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    threading.Thread(target=_leave, args=(over,), daemon=True).start()
    _bench.append(recipe.bench(threads))


def _leave(over: Event) -> None:
    """End this process when the search is over, or its own process is gone: this one writes nothing, so that nothing is lost."""
    parent = multiprocessing.parent_process()
    while not over.wait(LOOKING_SECONDS) and parent is not None and parent.is_alive():
        pass
    os._exit(0)


def _run(study: Study, number: int, settings: Settings) -> Trial:
    return attempt(_bench[0], study, number, settings)
