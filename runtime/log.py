"""A log of a training: `log.csv` with a row an epoch, and event files for TensorBoard, training and validation as two runs side by side.

A training that is taken up goes on with its log: what the log says of later epochs than the checkpoint is void.
"""

from __future__ import annotations

import csv
import io
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..compiler.errors import DataError, RanvierWarning
from .event_file import EventFile
from .regular_file import reason

if TYPE_CHECKING:
    from .model import Model
    from .training import Progress

TABLE = "log.csv"
LEADING = ("epoch", "step", "seconds", "rows_per_second")
WITHIN_SECONDS = 1.0
"""Figures in the midst of an epoch are written about so often."""


class Log:
    """Told of progress. A disk that fails while training goes on is a warning, once."""

    def __init__(self, model: Model, folder: str | os.PathLike[str]) -> None:
        """The log of a model from where its training is, 0 epochs or more. Raises DataError when the folder cannot be written to."""
        self._model, self._folder = model, Path(folder)
        self._started, self._told, self._fails = time.monotonic(), time.monotonic(), False
        epochs = model.standing.epochs
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._rows = _rows_until(self._folder / TABLE, epochs)
            self._write_table()
            self._before = float(self._rows[-1]["seconds"]) if self._rows else 0.0
            self._train = EventFile(self._folder / "train", purge=epochs + 1)
            self._within = EventFile(self._folder / "train_steps", purge=int(model.runtime("step")))
            self._validation: EventFile | None = None
        except OSError as failure:
            raise DataError(f"{folder}: a log cannot be written there: {reason(failure)}; choose another folder") from failure
        self._first = epochs + 1

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *exception: object) -> None:
        for each in (self._train, self._within, self._validation):
            if each is not None:
                each.close()

    def __call__(self, progress: Progress) -> None:
        """Write what is new."""
        try:
            if progress.finished:
                self._epoch(progress)
            elif time.monotonic() - self._told >= WITHIN_SECONDS:
                self._told = time.monotonic()
                self._within.add(int(self._model.runtime("step")) - 1, progress.train)
        except OSError as failure:
            if not self._fails:
                self._fails = True
                message = f"{self._folder}: the log is not complete, training goes on: {reason(failure)}"
                warnings.warn(message, RanvierWarning, stacklevel=2)

    def _epoch(self, progress: Progress) -> None:
        step, seconds = int(self._model.runtime("step")) - 1, self._before + time.monotonic() - self._started
        leading = (progress.epoch, step, f"{seconds:.3f}", f"{progress.rows_per_second:.1f}")
        figures = {**progress.train, **{f"validation_{name}": value for name, value in progress.validation.items()}}
        self._rows.append({**dict(zip(LEADING, map(str, leading), strict=True)), **{k: repr(v) for k, v in figures.items()}})
        if len(self._rows) == 1 or self._rows[-1].keys() != self._rows[-2].keys():
            self._write_table()
        else:
            with open(self._folder / TABLE, "a", newline="") as file:
                file.write(_lines(self._rows[-1:]))
        self._train.add(progress.epoch, {**progress.train, "rows_per_second": progress.rows_per_second})
        if progress.validation:
            if self._validation is None:
                self._validation = EventFile(self._folder / "validation", purge=self._first)
            self._validation.add(progress.epoch, progress.validation)

    def _write_table(self) -> None:
        """The whole table anew."""
        columns = dict.fromkeys([*LEADING, *(name for row in self._rows for name in row)])
        self._rows = [{name: row.get(name, "") for name in columns} for row in self._rows]
        (self._folder / TABLE).write_text(_lines([dict(zip(columns, columns, strict=True)), *self._rows]), newline="")


def _lines(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(row.values() for row in rows)
    return text.getvalue()


def _rows_until(path: Path, epochs: int) -> list[dict[str, str]]:
    """The rows of the first epochs of a table that is there; a last one that a crash cut short is none."""
    if not epochs or not path.exists():
        return []
    with open(path, newline="", errors="replace") as file:
        found = list(csv.DictReader(file))
    return [row for row in found if None not in row.values() and None not in row and _is_before(row, epochs)]


def _is_before(row: dict[str, str], epochs: int) -> bool:
    try:
        return int(row["epoch"]) <= epochs and float(row["seconds"]) >= 0
    except (KeyError, ValueError):
        return False
