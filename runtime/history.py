"""The figures of every epoch of a training: kept with the model and saved with it, an array a figure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .memory import Array

HISTORY = "history:"
MOST_FIGURES = 1000

History = tuple[Mapping[str, float], ...]
"""A record an epoch: `loss`, metrics by name, and the same of the rows held out as `validation_loss`, …"""

HELD_OUT = "validation_"


def history_arrays(history: History) -> dict[str, Array]:
    """An array [epochs] for each figure; NaN where an epoch has no such figure."""
    names = sorted({name for record in history for name in record})
    return {HISTORY + name: np.array([record.get(name, np.nan) for record in history]) for name in names}


def history_of(arrays: Mapping[str, Array]) -> History:
    """The records that were saved; none when what was saved is no history."""
    found = {name.removeprefix(HISTORY): array for name, array in arrays.items() if name.startswith(HISTORY)}
    whole = all(array.ndim == 1 and array.dtype == np.float64 for array in found.values())
    if not found or not whole or len({len(array) for array in found.values()}) != 1 or len(found) > MOST_FIGURES:
        return ()
    names = sorted(found, key=lambda name: (name.startswith(HELD_OUT), name.removeprefix(HELD_OUT) != "loss", name))
    values = zip(*(found[name].tolist() for name in names), strict=True)
    return tuple(dict(zip(names, each, strict=True)) for each in values)


def series(history: History) -> dict[str, tuple[list[float], list[float]]]:
    """For each figure its values over the epochs, of the training rows and of the rows held out; NaN where there is none."""
    names = dict.fromkeys(name.removeprefix(HELD_OUT) for record in history for name in record)
    nothing = float("nan")
    return {
        name: ([record.get(name, nothing) for record in history], [record.get(HELD_OUT + name, nothing) for record in history])
        for name in sorted(names, key=lambda name: name != "loss")
    }
