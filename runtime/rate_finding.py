"""Looking for a learning rate: the loss of each update while the rate rises from far too small to far too large (Smith 2017)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from ..compiler.driver import Blueprint
from ..compiler.errors import RanvierError
from ..compiler.frontend.blocks import nested, read_override
from ..compiler.frontend.library import standard_sources
from ..compiler.frontend.parser import parse
from ..compiler.frontend.values import Tensor, Value
from ..compiler.ir.evaluate import evaluate
from ..compiler.ir.graph import Graph
from ..compiler.updating import RUNTIME
from .memory import Array
from .model import Model
from .streaming import Rows
from .training import epoch_parts, epoch_rows

SETTINGS = "finding.nn"
UPDATES = 120
BURST = 3.0
"""How many times its first value the loss may rise above it before the search ends."""
WIDTH = 3.0
"""The standard deviation of the smoothing, in updates: a fifth of a power of ten at the library's range."""


@dataclass(frozen=True)
class Finding:
    """Rates, the loss of each update at them, the same smoothed; and the rates where it falls fastest and where it is least."""

    rates: Array
    losses: Array
    smooth: Array
    steepest: float
    least: float

    @property
    def suggestion(self) -> float:
        """The rate of the steepest fall, or a tenth of that of the least loss where that is lower: there is room before it bursts."""
        return min(self.steepest, self.least / 10)


def finding_blueprint(blueprint: Blueprint) -> Blueprint:
    """The same model with the settings of a search instead of its schedule; what is set from outside inside them stays."""
    unit = blueprint.unit
    block = parse(standard_sources()[SETTINGS]).blocks[0]
    names = [f"train.{setting.name.id}" for setting in block.settings]
    values = [read_override(unit.library, name, setting.value) for name, setting in zip(names, block.settings, strict=True)]
    found: dict[str, Value] = dict(zip(names, values, strict=True))
    inner = {f"{owner}.{each}" for name, value in found.items() for call, owner in nested(name, value) for each in call.settings}
    kept = {k: v for k, v in blueprint.overrides.items() if k in inner or not k.startswith(tuple(names))}
    return replace(blueprint, overrides={**kept, **found}, _programs={})


def find_rate(model: Model, data: Rows, updates: int = UPDATES) -> Finding:
    """Train a model (see `finding_blueprint`) for some updates, or until its loss bursts; raises RanvierError when it does so at once."""
    if not model.fitted:
        model.fit_statistics(data)
    model.entry("train")
    model.set_runtime(steps=updates)
    losses: list[float] = []
    for loss in _losses(model, data):
        losses.append(loss)
        if len(losses) == updates or not loss - losses[0] <= BURST * abs(losses[0]):
            break
    finite = [loss for loss in losses if math.isfinite(loss)]
    if len(finite) < 4 * WIDTH:
        raise RanvierError(f"the loss is {losses[-1]} after {len(finite)} updates at the smallest rates: check the data and the loss")
    return _finding(np.asarray(rates(model.blueprint, len(finite), updates)), np.asarray(finite))


def _losses(model: Model, data: Rows) -> Iterator[float]:
    """The loss of each update, the mean over its batches, epoch after epoch."""
    while True:
        losses, done = list[float](), model.updates
        for loss in _epoch(model, data):
            losses.append(loss)
            if model.updates > done:
                yield float(np.mean(losses))
                losses, done = [], model.updates
        model.epoch += 1


def _epoch(model: Model, data: Rows) -> Iterator[float]:
    """The loss of each batch of an epoch."""
    rows, batch = epoch_rows(model, data), model.capacity
    with closing(epoch_parts(model, data)) as parts:
        for part in parts:
            for start in range(part.start, part.stop, batch):
                end = min(start + batch, part.stop)
                model.set_runtime(left=-(-(rows - start) // batch))
                model.run_epoch("train", part.arrays, part.order, start - part.start, end - part.start, batch)
                yield float(model.memory.flat("output:loss")[0])


def rates(blueprint: Blueprint, count: int, steps: int) -> list[float]:
    """The learning rates of the first updates; raises RanvierError for an optimizer that has none."""
    graph = Graph("rate")
    rate = blueprint.updating(graph).rate
    if rate is None:
        name = blueprint.train_settings.optimizer.function.name
        raise RanvierError(f"the optimizer `{name}` has no setting `lr`, so there is no learning rate to find")
    assert isinstance(rate, Tensor)
    graph.outputs["rate"] = rate.node
    sources = {f"runtime:{name}": 0.0 for name in RUNTIME} | {"runtime:steps": float(steps)}
    clock = ({"runtime:step": float(step), "runtime:update": float(step)} for step in range(1, count + 1))
    return [float(evaluate(graph, {**sources, **now})["rate"]) for now in clock]


def _finding(found: Array, losses: Array) -> Finding:
    smooth = _smoothed(losses)
    least = int(np.argmin(smooth))
    slopes = np.gradient(smooth, np.log(found))
    steepest = int(np.argmin(slopes[: least + 1]))
    return Finding(found, losses, smooth, float(found[steepest]), float(found[least]))


def _smoothed(values: Array) -> Array:
    """A weighted mean around each value, so that nothing is shifted; what lies beyond the ends does not count."""
    places = np.arange(len(values))
    weights = np.exp(-0.5 * ((places[:, None] - places) / WIDTH) ** 2)
    return np.asarray(weights @ values / weights.sum(axis=1))
