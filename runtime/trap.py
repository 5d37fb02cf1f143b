"""What to do when training comes to NaN: go back to the last sound moment, find the step, and in it the operation and its line.

Training is the same to the bit every time, so that what happened can be made to happen again, this time with a look at every step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..compiler.diagnostics import Diagnostic, Note
from ..compiler.errors import NonFiniteError
from ..compiler.frontend.chain import innermost_own
from ..compiler.ir.graph import Where
from ..compiler.ir.nonfinite import Birth, first_nonfinite
from ..compiler.ir.ops import Source
from ..compiler.source import Span
from . import training
from .snapshot import Snapshot, put_back, take

if TYPE_CHECKING:
    from .model import Model

SECONDS = 0.1
SHARE = 0.01
HELP = "lower the learning rate, clip the gradient, or check the scale of the data; the model is as it was before that step"


class _ReachedError(Exception):
    """A replay is where it should end."""


@dataclass
class Trap:
    """Goes along with a training and keeps a sound snapshot, renewed so seldom that it costs 1% of the time at most.

    What is not finite from the start is never asked for.
    """

    run: training.Run
    odd: frozenset[str] = frozenset()
    _sound: Snapshot | None = None
    _taken: float = 0.0
    _cost: float = 0.0

    def begin(self) -> None:
        """Remember how training begins."""
        self.odd = frozenset(take(self.run.model).nonfinite())
        self._renew()

    def batches(self, model: Model) -> int:
        """It holds nothing up."""
        return 2**53

    def follow(self, model: Model, *, epoch_ended: bool) -> None:
        """Look whether training is still sound; raises NonFiniteError."""
        if time.perf_counter() - self._taken < max(SECONDS, self._cost / SHARE):
            return
        if not epoch_ended and not np.isfinite(training.running(self.run, self.run.standing.position).get("loss", 0.0)):
            raise self.explained()
        self._renew()

    def end(self) -> None:
        """Look once more, for the last step may have been the one; raises NonFiniteError."""
        if self.run.rows_seen > self.run.rows_before and any(_unsound(self.run.model, self.odd)):
            raise self.explained()

    def _renew(self) -> None:
        before = time.perf_counter()
        snapshot = take(self.run.model)
        if self._sound is not None and not self.odd.issuperset(snapshot.nonfinite()):
            raise self.explained()
        self._sound, self._taken = snapshot, time.perf_counter()
        self._cost = self._taken - before

    def explained(self) -> NonFiniteError:
        """The error, with the step and the place; the model is put back to where it stood before that step."""
        assert self._sound is not None
        model = self.run.model
        put_back(model, self._sound)
        careful = Stepper(model, self.odd)
        reached = _replay(self.run, careful)
        bad = next(_unsound(model, self.odd), "output:loss")
        if not reached:
            return _error(model, f"training came to a value that is not finite in epoch {model.epoch}", Where(), (), model.epoch)
        put_back(model, self._sound)
        if int(model.runtime("step")) < careful.step:
            _replay(self.run, Stepper(model, self.odd, until=careful.step))
        return _found(self.run, bad)


@dataclass
class Stepper:
    """The companion of a replay: ends it after the first step that is not sound, or before step `until`; `step` is that step."""

    model: Model
    odd: frozenset[str]
    until: int = 0
    step: int = field(init=False)

    def __post_init__(self) -> None:
        self.step = int(self.model.runtime("step"))

    def batches(self, model: Model) -> int:
        """One by one, or all at once where the step is known."""
        return self.until - int(model.runtime("step")) if self.until else 1

    def follow(self, model: Model, *, epoch_ended: bool) -> None:
        """End the replay, or go on."""
        now = int(model.runtime("step"))
        if now == self.until or (not self.until and any(_unsound(model, self.odd))):
            raise _ReachedError
        self.step = now


def _replay(run: training.Run, stepper: Stepper) -> bool:
    """Train again as it was; False when nothing came of it."""
    again = replace(run, companions=(stepper,), report=None, history=list(run.history), trap=None, turn=1)
    try:
        while not training.is_over(again):
            training.one_epoch(again)
    except (_ReachedError, NonFiniteError):
        return True
    return False


def _unsound(model: Model, odd: frozenset[str]) -> Iterator[str]:
    """What of the loss, the parameters and the states is not finite and should be."""
    keys = ["output:loss", *model.blueprint.inference.variables, *(f"state:{label}" for label in sorted(model.begun))]
    return (key for key in keys if key not in odd and not _is_finite(model, key))


def _is_finite(model: Model, key: str) -> bool:
    values = model.memory.flat(key)
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())


def _found(run: training.Run, bad: str) -> NonFiniteError:
    """What is wrong with the next step of a model, of which `bad` is known to be a result."""
    model, graph = run.model, run.model.blueprint.objective.graph
    with closing(training.begin_epoch(run)) as parts:
        part = next(parts)
    model.set_runtime(left=run.batches_left)
    start = run.standing.position - part.start
    rows = part.order[start : start + model.capacity]
    sources = {}
    for node in graph:
        if isinstance(node.op, Source) and node.id in graph.live():
            key, memory = node.op.key, model.memory
            values = part.arrays[node.op.label][rows] if node.op.kind == "input" else memory.read(key)
            sources[key] = values[: len(rows)] if node.op.kind != "input" and memory.is_batched(key) else values
    sources["runtime:left"] = np.asarray(float(run.batches_left))
    wanted = ["output:loss", *(name for name in graph.outputs if name.startswith(("parameter:", "state:")))]
    try:
        birth = first_nonfinite(graph, sources, wanted, rows=len(rows))
    except MemoryError:
        birth = None
    step, name = int(model.runtime("step")), "the loss" if bad == "output:loss" else f"`{bad.partition(':')[2]}`"
    where = f"in step {step} (epoch {model.epoch + 1}, rows {run.standing.position + 1:,} to {run.standing.position + len(rows):,} of it)"
    if birth is None:
        variable = model.blueprint.training.parameters.get(bad.partition(":")[2])
        return _error(model, f"{name} is not finite {where}", variable.where if variable else Where(), (), step)
    ahead = birth.node.id in graph.ancestors([graph.outputs["output:loss"]]) or birth.time is not None
    return _error(model, f"{name} is not finite {where}: {_spelled(birth, ahead=ahead)}", birth.node.where, _notes(birth), step)


def _spelled(birth: Birth, *, ahead: bool) -> str:
    node = birth.node
    operands = " and ".join(f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}" for low, high in birth.ranges)
    within = f" in `{node.where.layer}`" if node.where.layer else ""
    way = "" if ahead else ", in the gradient or the update,"
    time = f" at time {birth.time}" if birth.time is not None else ""
    return f"{node.op.name}{within}{way} first gives {birth.found}{time}, from {operands or 'nothing'}"


def _notes(birth: Birth) -> tuple[Note, ...]:
    share = f"{birth.wrong:,} of {birth.count:,} elements of {birth.node.type} are not finite"
    inner = birth.node.where.span
    return (Note(share), *((Note("computed here", inner),) if inner and _place(birth.node.where) is not inner else ()))


def _place(where: Where) -> Span | None:
    return innermost_own(where.places) if where.places else None


def _error(model: Model, message: str, where: Where, notes: tuple[Note, ...], step: int) -> NonFiniteError:
    diagnostic = Diagnostic("non-finite", message, _place(where), notes, help=HELP)
    return NonFiniteError(diagnostic.render(), step, model.epoch + 1)
