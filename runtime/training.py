"""The training loop: statistics, epochs of shuffled rows run natively, running figures, validation, criteria to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiler.errors import DataError, RanvierError
from ..compiler.frontend.elaborate import apply_function
from ..compiler.ir.build import Build
from ..compiler.ir.graph import Graph
from ..compiler.passes.weights import WEIGHT
from .data import Field, fit_arrays
from .memory import Array
from .splitting import Keys, split, split_keys
from .streaming import Part, Rows, StreamedRows, in_order, row_count
from .table import Origin
from .weights import ClassWeight, class_factors, class_target, times_class, whole_labels

if TYPE_CHECKING:
    from .model import Model

TURN_SECONDS = 0.1


@dataclass(frozen=True)
class Progress:
    """Where training is: told about ten times a second, and once at the end of each epoch (`finished`)."""

    epoch: int
    epochs: int
    rows_done: int
    rows: int
    train: Mapping[str, float]
    validation: Mapping[str, float]
    rows_per_second: float
    seconds_left: float
    finished: bool


Report = Callable[[Progress], None]


@dataclass
class Standing:
    """How far a fit is: kept by the model, so that it can be saved with it and taken up again to the bit.

    `epochs` are finished, `position` rows of the next one are done; `best` is the least watched figure, seen after `best_epoch`, when
    the model held `best_values`; `stopped` when the criterion ended it.
    """

    epochs: int = 0
    position: int = 0
    best: float = float("inf")
    best_epoch: int = 0
    best_values: dict[str, Array] = field(default_factory=dict)
    stopped: bool = False


@dataclass
class Run:
    """One call of `fit`: what it trains on, how far it is."""

    model: Model
    data: Rows
    held_out: Rows | None
    epochs: int
    report: Report | None
    history: list[dict[str, float]] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    rows_seen: int = 0
    rows_before: int = 0
    turn: int = 1

    @property
    def rows(self) -> int:
        """Training rows of an epoch."""
        rows = row_count(self.data)
        return streams(self.model, rows).size if self.model.carries_rows else rows

    @property
    def standing(self) -> Standing:
        """How far it is."""
        return self.model.standing


@dataclass(frozen=True)
class Weights:
    """What a person gives to `fit`: how much rows count, and how much classes do."""

    rows: Any = None
    classes: ClassWeight | None = None

    def __bool__(self) -> bool:
        return self.rows is not None or self.classes is not None

    def by_class(self, model: Model, arrays: Rows, held_out: Rows | None) -> tuple[Rows, Rows | None]:
        """Rows to train on and to watch with their weights times the factors of their classes, learned from the ones to train on."""
        wanted = model.blueprint.data_settings.class_weight if self.classes is None else self.classes
        if wanted is None:
            return arrays, held_out
        target = class_target([model.fields[name] for name in model.blueprint.inference.targets])
        labels = whole_labels(target, labels_of(model, target, arrays))
        factors = class_factors(wanted, target, labels, model.vocabularies.get(target.name))
        return weighed(arrays, target, factors), None if held_out is None else weighed(held_out, target, factors)


def labels_of(model: Model, target: Field, rows: Rows) -> Array:
    """The class of every row."""
    if not isinstance(rows, StreamedRows):
        return rows[target.name]
    wanted = model.blueprint.data_settings.columns.get(target.name, (target.name,))
    table = model.named(rows.stored.table(rows.index, wanted))
    return fit_arrays([target], table, vocabularies=model.vocabularies)[target.name]


def weighed(rows: Rows, target: Field, factors: Array) -> Rows:
    """The rows with their weights times the factors of their classes."""
    if isinstance(rows, StreamedRows):
        return rows.then(lambda arrays: times_class(arrays, target, factors))
    return times_class(rows, target, factors)


def train(
    model: Model,
    data: Any,
    y: Any,
    *,
    epochs: int | None,
    validation: Any,
    weights: Weights,
    report: Report | None,
    resume: bool = False,
) -> list[dict[str, float]]:
    """Train a model; see `Model.fit`."""
    settings = model.blueprint.train_settings
    if epochs is not None and (not hasattr(epochs, "__index__") or epochs < 0):
        raise RanvierError(f"`epochs` is a whole number of at least 0, not {epochs!r}")
    if weights:
        model.weigh()
    share: Any = settings.validate if validation is None else validation
    if isinstance(share, str | bytes):
        raise DataError(f"`validation` is a share of the rows or other rows, not {share!r}")
    arrays, held_out = weights.by_class(model, *gathered(model, data, y, share, weights.rows))
    if not model.fitted:
        model.fit_statistics(arrays)
    run = Run(model, arrays, held_out, settings.epochs if epochs is None else epochs, report)
    model.entry("train")
    if not resume or model.standing.position >= run.rows:
        model.standing = Standing() if not resume else replace(model.standing, position=0)
    standing, batches = model.standing, -(-run.rows // model.capacity)
    done = standing.epochs * batches + -(-standing.position // model.capacity)
    model.set_runtime(steps=model.runtime("step") - 1 - done + batches * run.epochs)
    run.rows_seen = run.rows_before = standing.epochs * run.rows + standing.position
    while standing.epochs < run.epochs and not standing.stopped:
        one_epoch(run)
    restore_best(run)
    return run.history


def streams(model: Model, rows: int) -> Array:
    """An order in which each row of a batch is followed by the next one of the data in the same place of the next batch.

    The data is cut into as many stretches as a batch has rows; what does not fill one more batch is left out.
    """
    side_by_side = min(model.capacity, rows)
    length = rows // side_by_side
    first = np.arange(side_by_side, dtype=np.int64) * length
    return np.ascontiguousarray((first + np.arange(length, dtype=np.int64)[:, None]).reshape(-1))


def gathered(model: Model, data: Any, y: Any, share: Any, weights: Any) -> tuple[Rows, Rows | None]:
    """Rows to train on and to watch, from what a person gives."""
    held_out = None if isinstance(share, Real) else other_rows(model, share)
    if isinstance(data, StreamedRows):
        return data, held_out
    named = model.named(data, y)
    model.learn_names(named)
    arrays = model.arrays(named, targets=True, weights=weights)
    if row_count(arrays) == 0:
        raise DataError("there are no rows to train on")
    if WEIGHT in arrays and not arrays[WEIGHT].any():
        raise DataError("the weights are 0 in all rows: none of them counts")
    if not isinstance(share, Real) or not share:
        return arrays, held_out
    keys = split_keys(model.blueprint.data_settings, named, Origin(), last=model.in_order)
    return hold_out(arrays, float(share), model.seed, keys)


def other_rows(model: Model, rows: Any) -> Rows:
    """Rows to watch that a person gives: by name, or inputs, targets and perhaps weights in a tuple."""
    if isinstance(rows, StreamedRows):
        return rows
    if not isinstance(rows, tuple):
        return model.arrays(rows, targets=True)
    data, y, weights, *_ = (*rows, None, None, None)
    return model.arrays(data, targets=True, y=y, weights=weights)


def hold_out(arrays: dict[str, Array], share: float, seed: int, keys: Keys) -> tuple[dict[str, Array], dict[str, Array]]:
    """Rows apart by their keys and a seed: (the rest, the share)."""
    rest, part = split(len(next(iter(arrays.values()))), share, seed, keys)
    taken = ({k: np.ascontiguousarray(v[i]) for k, v in arrays.items()} for i in (rest, part))
    return next(taken), next(taken)


def one_epoch(run: Run) -> None:
    """All rows once, in an order that depends on seed and epoch only."""
    model = run.model
    if model.carries_rows and run.standing.position == 0:
        model.begin_streams()
    model.set_runtime(epoch=model.epoch)
    stage = model.blueprint.objective.progress
    if stage is not None and run.standing.position == 0:
        model.reset(stage)
    with closing(parts_left(run)) as parts:
        for part in parts:
            run_part(run, part)
    model.epoch += 1
    run.standing.epochs += 1
    run.standing.position = 0
    finish_epoch(run)


def parts_left(run: Run) -> Generator[Part]:
    """What is left of an epoch, by parts of rows that lie in memory together."""
    model, data = run.model, run.data
    if model.carries_rows and not isinstance(data, StreamedRows):
        yield Part(data, streams(model, row_count(data)), 0, run.rows)
        return
    yield from in_order(data, model.capacity, (model.seed, model.epoch), run.standing.position)


def run_part(run: Run, part: Part) -> None:
    """Train on a part from where the epoch stands, in turns that are short enough to be reported on."""
    model, position, batch = run.model, run.standing.position, run.model.capacity
    while position < part.stop:
        end = min(position + run.turn * batch, part.stop)
        before = time.perf_counter()
        model.run_epoch("train", part.arrays, part.order, position - part.start, end - part.start, batch)
        spent = time.perf_counter() - before
        run.rows_seen += end - position
        run.standing.position = position = end
        run.turn = max(1, min(4 * run.turn, -(-run.rows // batch), int(run.turn * TURN_SECONDS / max(spent, 1e-6))))
        if run.report and position < run.rows and spent > TURN_SECONDS / 4:
            run.report(progress(run, position, running(run, position), {}, finished=False))


def running(run: Run, rows: int) -> dict[str, float]:
    """Loss and metrics over the rows of this epoch so far."""
    stage = run.model.blueprint.objective.progress
    if stage is None:
        return {}
    found = run.model.finish(stage, rows)
    return {name: float(value) for name, value in found.items() if value.ndim == 0 and not name.startswith("value:")}


def finish_epoch(run: Run) -> None:
    """Record the epoch, look at the rows held out, remember the best."""
    figures = running(run, run.rows)
    if not np.isfinite(figures.get("loss", 0.0)):
        raise RanvierError(f"the loss is {figures['loss']} in epoch {run.model.epoch}: lower the learning rate or check the data's scale")
    checked = run.model.evaluate_arrays(run.held_out) if run.held_out is not None else {}
    single = {name: value for name, value in checked.items() if isinstance(value, float)}
    run.history.append({**figures, **{f"validation_{name}": value for name, value in single.items()}})
    value = single.get("loss", figures.get("loss", 0.0))
    standing = run.standing
    if value < standing.best:
        standing.best, standing.best_epoch = value, standing.epochs
        if run.model.blueprint.train_settings.stop is not None:
            standing.best_values = {k: run.model.memory.flat(k).copy() for k in run.model.blueprint.inference.variables}
    # Before the report, which may end the fit by an exception: the fit taken up again must not ask another epoch later.
    standing.stopped = run.model.blueprint.train_settings.stop is not None and should_stop(run)
    if run.report:
        run.report(progress(run, run.rows, figures, single, finished=True))


def should_stop(run: Run) -> bool:
    """Ask the criterion of the `train` block."""
    settings = run.model.blueprint.train_settings
    last = run.history[-1]
    value = last.get("validation_loss", last.get("loss", 0.0))
    build = Build(Graph("criterion"), run.model.blueprint.real)
    values = [run.standing.epochs, value, run.standing.best, run.standing.best_epoch]
    done = apply_function(run.model.blueprint.unit.library, build, settings.stop, values, {}, settings.place)
    return done.value is True


def restore_best(run: Run) -> None:
    """After a stop by a criterion the model is the best one seen, not the last."""
    standing = run.standing
    if standing.best_values and standing.best_epoch < standing.epochs:
        for key, value in standing.best_values.items():
            run.model.memory.flat(key)[: value.size] = value
    standing.best_values = {}


def progress(run: Run, position: int, train_figures: Mapping[str, float], validation: Mapping[str, float], *, finished: bool) -> Progress:
    """What the display shows."""
    spent = max(time.perf_counter() - run.started, 1e-9)
    epoch = run.standing.epochs if finished else run.standing.epochs + 1
    total = run.epochs * run.rows
    speed = (run.rows_seen - run.rows_before) / spent
    left = (total - run.rows_seen) / max(speed, 1e-9)
    return Progress(epoch, run.epochs, position, run.rows, train_figures, validation, speed, left, finished)
