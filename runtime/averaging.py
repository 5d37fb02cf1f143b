"""Averaged parameters: a model is watched, used and saved with them, and trained on with those that the updates left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ..compiler.kernels.placement import unpack
from ..compiler.updating import AVERAGE
from .memory import Array

if TYPE_CHECKING:
    from .model import Model
    from .snapshot import Snapshot


def is_averaged(model: Model) -> bool:
    """Whether training keeps averages, and has made the first ones."""
    return model.blueprint.train_settings.average is not None and model.updates > 0


@contextmanager
def averages(model: Model) -> Iterator[None]:
    """Within, the model holds its averages."""
    use_averages(model)
    try:
        yield
    finally:
        use_trained(model)


def use_averages(model: Model) -> None:
    """Put the averages in place of the parameters, which are kept aside."""
    if not is_averaged(model) or model.standing.trained:
        return
    memory = model.memory
    model.standing.trained = {f"parameter:{label}": memory.flat(f"parameter:{label}").copy() for label in model.params}
    for label in model.params:
        memory.flat(f"parameter:{label}")[...] = memory.flat(_average(label))


def use_trained(model: Model) -> None:
    """Put the parameters that were kept aside back, unless somebody has assigned others since."""
    kept, model.standing.trained = model.standing.trained, {}
    if not kept:
        return
    same = all(np.array_equal(model.memory.flat(f"parameter:{label}"), model.memory.flat(_average(label))) for label in model.params)
    for key, value in kept.items() if same else ():
        model.memory.flat(key)[...] = value


def saved_parameters(snapshot: Snapshot) -> tuple[dict[str, Array], dict[str, Array]]:
    """The parameters by label as a model is saved with them; and by key those that training goes on from, where they are others."""
    kept, blueprint = snapshot.standing.trained, snapshot.blueprint
    now = {label: snapshot.read(f"parameter:{label}") for label in blueprint.inference.parameters}
    if kept:
        return now, {key: unpack(snapshot.held[key].place, value) for key, value in kept.items()}
    if blueprint.train_settings.average is None or snapshot.updates == 0:
        return now, {}
    return {label: snapshot.read(_average(label)) for label in now}, {f"parameter:{label}": value for label, value in now.items()}


def _average(label: str) -> str:
    return f"state:{label}.{AVERAGE}"
