"""Trials in processes of their own: each opens the file and the rows once, and runs what it is asked, with its share of the processors."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from .processors import available
from .tuning import Bench, Settings, Study, Trial, attempt


@dataclass(frozen=True)
class Recipe:
    """How a process comes to what the search was started with: the words of the command line."""

    file: Path
    settings: tuple[tuple[str, str], ...]
    seed: int | None
    data: Path | None
    folds: int

    def bench(self, threads: int) -> Bench:
        """Where this process runs trials."""
        from .cli.options import blueprint_of
        from .cli.tune import rows_of

        model, split = rows_of(blueprint_of(self.file, self.settings, self.seed), self.data, threads)
        return Bench(model.blueprint, split.training, self.folds, threads=threads, vocabularies=model.vocabularies)


@dataclass
class InProcesses:
    """Runs `width` trials at once; their results are those of one after the other, to the bit (see `Attempts`)."""

    recipe: Recipe
    width: int
    _pool: ProcessPoolExecutor | None = field(default=None, init=False)

    def __call__(self, study: Study, asked: Sequence[tuple[int, Settings]]) -> list[Trial]:
        """The trials with these numbers and settings, in their order."""
        if self._pool is None:
            threads = max(1, available() // self.width)
            context = multiprocessing.get_context("spawn")  # a team of threads does not survive a fork
            self._pool = ProcessPoolExecutor(self.width, context, _open, (self.recipe, threads))
        return list(self._pool.map(_run, [(study.settings, tuple(study.trials), number, settings) for number, settings in asked]))


_bench: list[Bench] = []
"""The one of this process, made when it starts."""


def _open(recipe: Recipe, threads: int) -> None:
    _bench.append(recipe.bench(threads))


def _run(asked: tuple[object, tuple[Trial, ...], int, Settings]) -> Trial:
    settings, trials, number, tried = asked
    return attempt(Study(settings, list(trials)), _bench[0], number, tried)  # type: ignore[arg-type]
