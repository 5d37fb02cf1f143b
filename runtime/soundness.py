"""What a saved training may hold: counters in their ranges, and no negative number where the update can give none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..compiler.driver import Blueprint
from ..compiler.passes.signs import nonnegative_states
from .checkpoint import ALLOW, SavedModel, UnsoundError

LAST = 2**53
"""Counters are also read as numbers of double precision, which hold every whole number up to this one."""
LEAST: Mapping[str, int] = {
    "epoch": 0,
    "step": 1,
    "update": 1,
    "pending": 0,
    "gathered": 0,
    "seed": 0,
    "finished": 0,
    "position": 0,
    "best_epoch": 0,
}


def check_sound(blueprint: Blueprint, saved: SavedModel, path: str) -> None:
    """UnsoundError says what cannot have come from a training of this model.

    A counter out of its range would make random numbers that repeat or never were; a negative mean of squares (a second moment, a
    variance) has no root.
    """
    for name, least in LEAST.items():
        value = saved.progress.get(name, least)
        if type(value) is not int or not least <= value <= LAST:
            raise UnsoundError(f"{path}: its `{name}` is {value}, which is no whole number from {least} on; {ALLOW}")
    groups = {**saved.state, **saved.optimizer}
    if not any(array.dtype.kind == "f" and array.size and array.min() < 0 for array in groups.values()):
        return
    for label in nonnegative_states(blueprint.objective.graph, _beginnings(blueprint)):
        if label in groups and np.any(groups[label] < 0):
            raise UnsoundError(f"{path}: `{label}` holds negative numbers, which its update never gives; {ALLOW}")


def _beginnings(blueprint: Blueprint) -> dict[str, bool]:
    """The states by label, and whether their first values are known not to be negative."""
    states = {**blueprint.inference.states, **blueprint.optimizer_states}
    return {label: isinstance(spec.init, int | float) and spec.init >= 0 for label, spec in states.items()}
