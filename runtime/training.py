"""The training loop: statistics, epochs of shuffled rows run natively, running figures, validation, criteria to stop."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..compiler.errors import NonFiniteError, RanvierError
from .averaging import averages, use_averages, use_trained
from .gathering import Weights, gathered
from .history import History
from .interruption import Interrupted, interruption
from .memory import Array
from .stopping import check_criteria, require_watched, should_stop, watched_value
from .streaming import Part, Rows, StreamedRows, in_order, row_count

if TYPE_CHECKING:
    from .checkpoints import Checkpoints
    from .model import Model
    from .trap import Trap

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


class Companion(Protocol):
    """What goes along with a training, met whenever the model stands between two steps."""

    def batches(self, model: Model) -> int:
        """The most batches until it wants to be met again."""

    def follow(self, model: Model, *, epoch_ended: bool) -> None:
        """Meet; what it raises ends the training."""


@dataclass
class Standing:
    """How far a fit is: kept by the model, so that it can be saved with it and taken up again to the bit.

    `epochs` are finished, `position` rows of the next one are done; `best` is the least watched figure, seen after `best_epoch`, when
    the model held `best_values`; `watched` are the figures of all epochs that criteria ask for, `history` all figures of all epochs;
    `stopped` when a criterion ended it. While the model holds averages, `trained` are the parameters that the updates left.
    """

    epochs: int = 0
    position: int = 0
    best: float = float("inf")
    best_epoch: int = 0
    best_values: dict[str, Array] = field(default_factory=dict)
    stopped: bool = False
    watched: tuple[float, ...] = ()
    history: History = ()
    trained: dict[str, Array] = field(default_factory=dict)


@dataclass
class Run:
    """One call of `fit`: what it trains on, how far it is; `settled` while the model stands between two steps."""

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
    companions: tuple[Companion, ...] = ()
    trap: Trap | None = None
    settled: bool = True

    @property
    def rows(self) -> int:
        """Training rows of an epoch."""
        return epoch_rows(self.model, self.data)

    @property
    def batches(self) -> int:
        """Batches of an epoch."""
        return -(-self.rows // self.model.capacity)

    @property
    def batches_left(self) -> int:
        """Batches that the present epoch has still to run."""
        return -(-(self.rows - self.standing.position) // self.model.capacity)

    @property
    def updates(self) -> int:
        """Updates of an epoch, whose last one takes what batches are left."""
        return max(math.ceil(self.batches / self.model.blueprint.train_settings.accumulate), 1)

    @property
    def standing(self) -> Standing:
        """How far it is."""
        return self.model.standing


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
    checkpoints: Checkpoints | None = None,
    trap_nan: bool = True,
    log: str | os.PathLike[str] | None = None,
) -> list[dict[str, float]]:
    """Train a model; see `Model.fit`."""
    settings = model.blueprint.train_settings
    if epochs is not None and (not hasattr(epochs, "__index__") or epochs < 0):
        raise RanvierError(f"`epochs` is a whole number of at least 0, not {epochs!r}")
    arrays, held_out = gathered(model, data, y, validation, weights)
    if not model.fitted:
        model.fit_statistics(arrays)
    check_criteria(model.blueprint)
    require_watched(model.blueprint, held_out=held_out is not None)
    run = Run(model, arrays, held_out, settings.epochs if epochs is None else epochs, report)
    if resume and is_over(run):  # nothing is trained, and what the model ended with stays: its averages, or the best values
        conclude(run, checkpoints)
        return []
    model.entry("train")
    if held_out is not None:
        model.compile_passes("evaluate")
    use_trained(model)
    if not resume or model.standing.position >= run.rows:
        model.standing = Standing() if not resume else replace(model.standing, position=0)
    standing = model.standing
    done = standing.epochs * run.updates + -(-standing.position // model.capacity) // settings.accumulate
    model.set_runtime(steps=model.updates - done + run.updates * run.epochs)
    run.rows_seen = run.rows_before = standing.epochs * run.rows + standing.position
    with ExitStack() as stack:
        if log is not None:
            from .log import Log

            run.report = both(stack.enter_context(Log(model, log)), report)
        asked = stack.enter_context(interruption(termination=checkpoints is not None))
        accompany(run, checkpoints, asked, trap_nan=trap_nan)
        run.started = time.perf_counter()  # from here on rows are trained on: statistics and compilation are no part of the speed
        go_on(run, checkpoints)
    return run.history


def is_over(run: Run) -> bool:
    """Whether all epochs are done, or a criterion ended the training."""
    return run.standing.epochs >= run.epochs or run.standing.stopped


def both(first: Report, second: Report | None) -> Report:
    """A report to two."""

    def report(progress: Progress) -> None:
        first(progress)
        if second is not None:
            second(progress)

    return report


def accompany(run: Run, checkpoints: Checkpoints | None, asked: threading.Event, *, trap_nan: bool) -> None:
    """Give a training its companions: whether it is sound is asked before anything is written of it."""
    if trap_nan:
        from .trap import Trap

        run.trap = Trap(run)
        run.trap.begin()
    kept = (checkpoints,) if checkpoints is not None else ()
    run.companions = (*((run.trap,) if run.trap else ()), *kept, Stop(asked))


@dataclass(frozen=True)
class Stop:
    """Ends the training between two steps when the user asked for it."""

    asked: threading.Event

    def batches(self, model: Model) -> int:
        """A turn is short enough."""
        return sys.maxsize

    def follow(self, model: Model, *, epoch_ended: bool) -> None:
        """Raise `Interrupted` if it was asked for."""
        if self.asked.is_set():
            raise Interrupted


def go_on(run: Run, checkpoints: Checkpoints | None) -> None:
    """Train to the end, and write the last checkpoint however it comes; none of a model that is torn or no longer sound."""
    try:
        while not is_over(run):
            one_epoch(run)
        if run.trap:
            run.trap.end()
    except BaseException as ending:
        torn = not run.settled or isinstance(ending, NonFiniteError) or type(ending) is KeyboardInterrupt
        if not torn:
            use_averages(run.model)
        if checkpoints is not None and not torn:
            checkpoints.finish(run.model)
        raise
    conclude(run, checkpoints)


def conclude(run: Run, checkpoints: Checkpoints | None) -> None:
    """Leave the model as a finished training does, and write it."""
    use_averages(run.model)
    restore_best(run)
    if checkpoints is not None:
        checkpoints.finish(run.model)


def streams(model: Model, rows: int) -> Array:
    """An order in which each row of a batch is followed by the next one of the data in the same place of the next batch.

    The data is cut into as many stretches as a batch has rows; what does not fill one more batch is left out.
    """
    side_by_side = min(model.capacity, rows)
    length = rows // side_by_side
    first = np.arange(side_by_side, dtype=np.int64) * length
    return np.ascontiguousarray((first + np.arange(length, dtype=np.int64)[:, None]).reshape(-1))


def epoch_rows(model: Model, data: Rows) -> int:
    """Rows of an epoch."""
    rows = row_count(data)
    return streams(model, rows).size if model.carries_rows else rows


def epoch_parts(model: Model, data: Rows, position: int = 0) -> Generator[Part]:
    """The rows of the model's epoch from a position on, in an order by seed and epoch only, by parts that lie in memory together."""
    model.set_runtime(epoch=model.epoch)
    if model.carries_rows and position == 0:
        model.begin_streams()
    if model.carries_rows and not isinstance(data, StreamedRows):
        order = streams(model, row_count(data))
        yield Part(data, order, 0, order.size)
        return
    yield from in_order(data, model.capacity, (model.seed, model.epoch), position)


def begin_epoch(run: Run) -> Generator[Part]:
    """The rows that are left of an epoch; at its beginning its figures and streams begin too."""
    model = run.model
    stage = model.blueprint.objective.progress
    if run.standing.position == 0:
        model.set_runtime(norm=0)
    if stage is not None and run.standing.position == 0:
        model.reset(stage)
    return epoch_parts(model, run.data, run.standing.position)


def one_epoch(run: Run) -> None:
    """All rows once, in turns."""
    with closing(begin_epoch(run)) as parts:
        for part in parts:
            run_part(run, part)
    run.model.epoch += 1
    run.standing.epochs += 1
    run.standing.position = 0
    finish_epoch(run)


def run_part(run: Run, part: Part) -> None:
    """Train on a part from where the epoch stands, in turns that are short enough to be reported on."""
    model, position, batch = run.model, run.standing.position, run.model.capacity
    while position < part.stop:
        batches = min(run.turn, *(each.batches(model) for each in run.companions))
        end = min(position + batches * batch, part.stop)
        before, run.settled = time.perf_counter(), False
        model.set_runtime(left=run.batches_left)
        model.run_epoch("train", part.arrays, part.order, position - part.start, end - part.start, batch)
        model.set_runtime(left=math.inf)
        spent = time.perf_counter() - before
        run.rows_seen += end - position
        run.standing.position = position = end
        run.turn = max(1, min(4 * run.turn, -(-run.rows // batch), int(batches * TURN_SECONDS / max(spent, 1e-6))))
        if position < run.rows:
            between_turns(run, told=spent > TURN_SECONDS / 4)


def between_turns(run: Run, *, told: bool) -> None:
    """The model stands between two steps of an epoch: meet the companions, and tell how it goes."""
    run.settled = True
    for each in run.companions:
        each.follow(run.model, epoch_ended=False)
    if run.report and told:
        position = run.standing.position
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
        raise diverged(run, figures["loss"])
    with averages(run.model):
        checked = run.model.evaluate_arrays(run.held_out) if run.held_out is not None else {}
        single = {name: value for name, value in checked.items() if isinstance(value, float)}
        value = watched_value(run.model.blueprint, figures, single)
        run.standing.watched = (*run.standing.watched, value)
        run.model.set_runtime(watched=value)
        remember_best(run, value)
    run.history.append({**figures, **{f"validation_{name}": value for name, value in single.items()}})
    run.standing.history = (*run.standing.history, run.history[-1])
    # Before the report, which may end the fit by an exception: the fit taken up again must not ask another epoch later.
    gradient = run.model.runtime("norm") / run.updates
    run.standing.stopped = should_stop(run.model.blueprint, run.standing.watched, gradient)
    run.settled = True
    for each in run.companions:
        each.follow(run.model, epoch_ended=True)
    if run.report:
        run.report(progress(run, run.rows, figures, single, finished=True))


def diverged(run: Run, loss: float) -> NonFiniteError:
    """The error of an epoch whose mean loss is not finite."""
    if run.trap:
        return run.trap.explained()
    epoch, step = run.model.epoch, int(run.model.runtime("step")) - 1
    mend = "lower the learning rate or check the data's scale; `--trap-nan` finds the operation"
    return NonFiniteError(f"error non-finite: the loss is {loss} in epoch {epoch}, after step {step} at the latest: {mend}", step, epoch)


def remember_best(run: Run, value: float) -> None:
    """Keep what the model holds when it is the best one yet, and a criterion may end training."""
    standing = run.standing
    if value < standing.best:
        standing.best, standing.best_epoch = value, standing.epochs
        if run.model.blueprint.train_settings.stop:
            standing.best_values = {k: run.model.memory.flat(k).copy() for k in run.model.blueprint.inference.variables}


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
