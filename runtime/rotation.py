"""The last two of a model's files: a new one leaves the one before it beside itself, and where the new one is damaged that one is read."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from ..compiler.errors import CheckpointError, RanvierWarning
from .checkpoint import SavedModel, UnsoundError, load_model


def previous_of(path: str | os.PathLike[str]) -> Path:
    """The file before that at `path`: `digits.previous.safetensors`, beside the file itself where `path` is a link."""
    return _beside(path, "previous")


def best_of(path: str | os.PathLike[str]) -> Path:
    """The best of a training that writes to `path`: `digits.best.safetensors`."""
    return _beside(path, "best")


def _beside(path: str | os.PathLike[str], word: str) -> Path:
    real = Path(os.path.realpath(path))
    return real.with_name(f"{real.stem}.{word}{real.suffix}")


def load_latest(path: str | os.PathLike[str], *, allow_nonfinite: bool = False) -> tuple[SavedModel, Path]:
    """The model of a file, or where that is damaged or gone of the one before it, with a warning that names both; and whose it is.

    Raises CheckpointError about the first when neither is whole, or when the one that is holds what no sound training gives.
    """
    try:
        return load_model(path, allow_nonfinite=allow_nonfinite), Path(path)
    except UnsoundError:
        raise
    except CheckpointError as error:
        failure, previous = error, previous_of(path)
        if not previous.exists():
            raise
    try:
        saved = load_model(previous, allow_nonfinite=allow_nonfinite)
    except UnsoundError:
        raise
    except CheckpointError as second:
        raise CheckpointError(f"{failure}\n{second}") from failure
    warnings.warn(f"{failure}; {previous}, the checkpoint before it, is used instead", RanvierWarning, stacklevel=2)
    return saved, previous
