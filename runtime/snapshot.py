"""A model as it stood at one moment: what it takes to save it, or to go back there.

Taking one copies bytes as they lie, so that training waits for no more than that; what is written of it is spelled elsewhere, at leisure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..compiler.driver import Blueprint
from ..compiler.kernels.placement import Placement
from ..compiler.updating import RUNTIME, counter_of
from .memory import Array, logical

if TYPE_CHECKING:
    from .model import Model
    from .training import Standing


CLOCK = ("step", "update", "pending", "gathered", "norm")
"""Run-time scalars of which training goes on."""


@dataclass(frozen=True, eq=False)
class Held:
    """A value as it lay in memory."""

    place: Placement
    flat: Array

    def is_finite(self) -> bool:
        """Whether no element is NaN or an infinity."""
        return self.flat.dtype.kind != "f" or bool(np.isfinite(self.flat).all())


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Values by key (`parameter:dense_1.weight`), the optimizer's among `state:`, and how far training was.

    `begun` are the labels of the optimizer's states that have values, `resumed` such values that wait for a place, in logical shapes.
    `clock` are the run-time scalars, `origin` says how the settings were chosen.
    """

    blueprint: Blueprint
    held: Mapping[str, Held]
    begun: frozenset[str]
    resumed: Mapping[str, Array]
    vocabularies: Mapping[str, list[str]]
    fitted: bool
    seed: int
    epoch: int
    clock: Mapping[str, float]
    standing: Standing
    origin: str

    def read(self, key: str) -> Array:
        """A value in its logical shape."""
        held = self.held[key]
        return logical(held.place, held.flat, self.blueprint.layout.capacity)

    @property
    def updates(self) -> int:
        """How many updates the parameters had had."""
        return int(self.clock[counter_of(self.blueprint.train_settings)]) - 1

    def nonfinite(self) -> Iterator[str]:
        """Keys of the values with a NaN or an infinity; running figures are not asked, which may rightly be infinite."""
        return (key for key, held in self.held.items() if not key.startswith("accumulator:") and not held.is_finite())

    @property
    def bytes(self) -> int:
        """What it takes of memory."""
        return sum(held.flat.nbytes for held in self.held.values())


def take(model: Model) -> Snapshot:
    """A copy of what a model holds; it stands between two steps."""
    memory = model.memory
    held = {key: Held(memory.place(key), memory.flat(key).copy()) for key in _keys(model)}
    return Snapshot(
        blueprint=model.blueprint,
        held=held,
        begun=frozenset(model.begun),
        resumed=dict(model.resumed),
        vocabularies={name: list(words) for name, words in model.vocabularies.items()},
        fitted=model.fitted,
        seed=model.seed,
        epoch=model.epoch,
        clock={name: model.runtime(name) for name in RUNTIME},
        standing=_copied(model.standing),
        origin=model.origin,
    )


def put_back(model: Model, snapshot: Snapshot) -> None:
    """Make the model what it was when the snapshot of it was taken."""
    for key, held in snapshot.held.items():
        model.memory.flat(key)[: held.flat.size] = held.flat
    model.epoch, model.standing = snapshot.epoch, _copied(snapshot.standing)
    model.set_runtime(**snapshot.clock)


def _copied(standing: Standing) -> Standing:
    """A standing of its own; arrays in it are never written to."""
    return replace(standing, best_values=dict(standing.best_values), trained=dict(standing.trained))


def _keys(model: Model) -> list[str]:
    inference = model.blueprint.inference
    keys = [*inference.variables, *(f"state:{label}" for label in sorted(model.begun))]
    keys += [f"fit:{label}" for label in inference.fits] if model.fitted else []
    stage = model.blueprint.objective.progress if model.standing.position else None
    return keys + ([f"accumulator:{a.label}" for a in stage.accumulators] if stage is not None else [])
