"""Checkpoints of a training: when one is due, written beside the work from a snapshot; the last two and the best are kept."""

from __future__ import annotations

import os
import threading
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compiler.errors import CheckpointError, RanvierWarning
from .atomic import name_too, sweep
from .checkpoint import save_model
from .every import DEFAULT_EVERY, Every, read_every
from .lock import lock_beside, unlock
from .rotation import best_of, load_latest, previous_of
from .saving import restore, sources_of, to_saved
from .snapshot import Snapshot, take

if TYPE_CHECKING:
    from .model import Model

FAR = 2**53
STARTING_TRIES, STARTING_SECONDS = 1000, 1e-3


def _join(writer: threading.Thread) -> None:
    """Wait for a thread. A Ctrl-C in the midst of its start leaves one that does not know yet that it runs: it will in a moment."""
    for _ in range(STARTING_TRIES):
        try:
            writer.join()
        except RuntimeError:
            time.sleep(STARTING_SECONDS)
        else:
            return


@dataclass
class Checkpoints:
    """The files of one training, `path` the latest; entered, they are this process' alone. Goes along with the training as its companion.

    A checkpoint that cannot be written is a warning and tried again when the next is due: the work is worth more than its copy.
    """

    path: Path
    every: Every
    allow_nonfinite: bool = False
    _lock: int = -1
    _writer: threading.Thread | None = None
    _failure: CheckpointError | None = None
    _told: str = ""
    _best: Snapshot | None = None
    _best_written: Snapshot | None = None
    _owed: bool = False
    _written: float = field(default_factory=time.monotonic)
    _rotates: bool = True

    def __enter__(self) -> Checkpoints:
        self._lock = lock_beside(self.path)
        for path in (self.path, previous_of(self.path), best_of(self.path)):
            sweep(path)
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._wait()
        finally:
            unlock(self.path, self._lock)

    def take_up(self, model: Model) -> Path | None:
        """Put the latest training that is whole into the model; returns its file, None when there is none. Raises CheckpointError."""
        if not self.path.exists() and not previous_of(self.path).exists():
            return None
        saved, found = load_latest(self.path, allow_nonfinite=self.allow_nonfinite)
        restore(model, saved, found, allow_nonfinite=self.allow_nonfinite)
        now = sources_of(model.blueprint.unit)
        other = [name for name, text in saved.sources.items() if now.get(name) != text]
        if other:
            message = f"{found}: was trained from another text of {', '.join(other)}; it goes on with the present one"
            warnings.warn(message, RanvierWarning, stacklevel=2)
        self._rotates = found == self.path  # a damaged file must not take the place of the whole one before it
        return found

    # --- as a companion of the training

    def batches(self, model: Model) -> int:
        """How many batches may be run until a checkpoint is due."""
        return self.every.steps - _steps(model) % self.every.steps if self.every.steps else FAR

    def follow(self, model: Model, *, epoch_ended: bool) -> None:
        """Write a checkpoint if one is due; the model stands between two steps."""
        standing, latest = model.standing, None
        if epoch_ended and standing.best_epoch == standing.epochs:
            latest = self._best = take(model)
        self._owed = self._owed or self._is_due(model, epoch_ended)
        if self._owed and not self._is_writing():
            self._tell()
            self._owed, self._written = False, time.monotonic()
            parts = (latest or take(model), self._unwritten_best())
            self._writer = threading.Thread(target=self._write_quietly, args=parts, name="ranvier-checkpoint")
            self._writer.start()

    def finish(self, model: Model) -> None:
        """Write the model as it is now, and wait until it is there; raises CheckpointError."""
        self._wait()
        self._write(take(model), self._unwritten_best())

    def _is_due(self, model: Model, epoch_ended: bool) -> bool:
        every = self.every
        if every.steps:
            return _steps(model) % every.steps == 0
        if every.epochs:
            return epoch_ended and model.standing.epochs % every.epochs == 0
        return time.monotonic() - self._written >= every.seconds

    # --- writing

    def _is_writing(self) -> bool:
        return self._writer is not None and self._writer.is_alive()

    def _wait(self) -> None:
        if self._writer is not None:
            _join(self._writer)
        self._tell()

    def _tell(self) -> None:
        """What failed in the background, once for each reason."""
        failure, self._failure = self._failure, None
        if failure is not None and str(failure) != self._told:
            self._told = str(failure)
            warnings.warn(f"no checkpoint was written, training goes on: {failure}", RanvierWarning, stacklevel=2)

    def _unwritten_best(self) -> Snapshot | None:
        if self._best is self._best_written:
            self._best = self._best_written = None
        return self._best

    def _write_quietly(self, latest: Snapshot, best: Snapshot | None) -> None:
        try:
            self._write(latest, best)
        except CheckpointError as failure:
            self._failure = failure

    def _write(self, latest: Snapshot, best: Snapshot | None) -> None:
        """The best first: a training taken up from the latest file finds no best that is older than it should be."""
        failure = self._try_best(best) if best is not None else None
        self._require_finite(latest)
        previous = previous_of(self.path) if self._rotates else None
        if failure is not None or latest is not best or not name_too(best_of(self.path), self.path, previous=previous):
            save_model(self.path, to_saved(latest), previous=previous)
        self._rotates = True
        if failure is not None:
            raise failure

    def _try_best(self, best: Snapshot) -> CheckpointError | None:
        """Write the best; a failure is returned, for it must not cost the latest."""
        try:
            self._require_finite(best)
            save_model(best_of(self.path), to_saved(best))
        except CheckpointError as failure:
            return failure
        self._best_written = best
        return None

    def _require_finite(self, snapshot: Snapshot) -> None:
        odd = None if self.allow_nonfinite else next(snapshot.nonfinite(), None)
        if odd is not None:
            raise CheckpointError(f"{self.path}: `{odd}` holds NaN or an infinity; the checkpoint before it is kept")


def open_checkpoints(path: str | os.PathLike[str], every: str = DEFAULT_EVERY, *, allow_nonfinite: bool = False) -> Checkpoints:
    """The checkpoints of a training that writes to `path`; see `read_every`."""
    return Checkpoints(Path(path), read_every(every), allow_nonfinite)


def _steps(model: Any) -> int:
    """Training steps done."""
    return int(model.runtime("step")) - 1
