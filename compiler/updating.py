"""What a training step does with its gradients: gathers and clips them, runs the optimizer's body, constrains and averages the parameters.

Before:  a graph with a gradient for every parameter
After:   the same with outputs `parameter:LABEL`, `state:LABEL` and `runtime:NAME`, the values after the step

With `accumulate = n` gradients are summed over n batches, each times its rows, and the update is made at the last of them or at the end of
an epoch: the step of n batches is that of one with all their rows. Between updates every output keeps its old value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from .diagnostics import Diagnostic
from .errors import SourceError
from .frontend.blocks import TrainSettings
from .frontend.chain import innermost_own
from .frontend.context import Parameter, StateVariable
from .frontend.elaborate import Application, apply_function, instantiate
from .frontend.library import Library
from .frontend.values import Instance, Tensor, Value, describe
from .ir.build import Build
from .ir.graph import Graph
from .ir.ops import Source
from .ir.types import BATCH, F64, DType, Shape, TensorType
from .source import Span

RUNTIME = ("step", "steps", "epoch", "seed", "rows", "update", "pending", "gathered", "left", "watched", "norm")
"""Scalars that the outside sets and a step may change.

`step` counts batches and `update` updates, from 1; `pending` batches of `gathered` rows wait for their update, `left` batches are left of
the epoch; `watched` is the figure after the last epoch, and `norm` the sum of the norms of the epoch's gradients.
"""

SUM, AVERAGE, SCHEDULE = "(gradient)", "(average)", "(schedule)"
"""Ends of labels of what training keeps for a parameter, and the owner of the schedule's states: no name of a file is written like this."""
RATE = "rate"
"""The setting of a layer that is a factor of its learning rate."""


@dataclass
class Updating:
    """Writes the update of all parameters into a graph."""

    library: Library
    settings: TrainSettings
    parameters: Mapping[str, Parameter]
    graph: Graph
    real: DType
    decisions: list[bool] = field(default_factory=list)
    """What was decided by samples of numbers that are known at run time only."""
    _schedule_states: dict[str, StateVariable] = field(default_factory=dict)

    def all(self, nodes: Mapping[str, int], gradients: Mapping[str, int]) -> None:
        """The update of every parameter, its outputs added to those of the graph."""
        gathered = {label: self._gathered(label, gradient) for label, gradient in gradients.items()}
        if self.settings.needs_norm:
            self._note_norm(list(gathered.values()))
        optimizer = self._optimizer
        for label, gradient in self._clipped(gathered).items():
            self._one(optimizer, label, nodes[label], gradient)
        if self._due is not None:
            self._count(self._due)

    def states(self) -> dict[str, StateVariable]:
        """What is kept between steps, by label. No gradient is needed to know; the optimizer keeps the same for equal types."""
        kept: dict[TensorType, tuple[str, dict[str, StateVariable]]] = {}
        found: dict[str, StateVariable] = {}
        build, optimizer = Build(self.graph, self.real), self._optimizer
        for label, parameter in self.parameters.items():
            kind = parameter.type
            if kind not in kept:
                node, gradient = (build.add_op(Source(role, label, kind)) for role in ("parameter", "gradient"))
                kept[kind] = label, self._stepped(optimizer, label, node, gradient)[1].states
            first, states = kept[kind]
            renamed = {label + name.removeprefix(first): state for name, state in states.items()}
            found |= {name: replace(state, label=name) for name, state in renamed.items()}
            extra = [SUM] * (self.settings.accumulate > 1) + [AVERAGE] * (self.settings.average is not None)
            found |= {f"{label}.{end}": StateVariable(f"{label}.{end}", kind, 0, parameter.where) for end in extra}
        return found | self._schedule_states

    @property
    def rate(self) -> Value:
        """The learning rate of this step; None for an optimizer that has none."""
        return self._optimizer.settings.get("lr")

    # --- whose turn it is

    @cached_property
    def _due(self) -> int | None:
        """Whether this batch ends with an update; None when every batch does."""
        if self.settings.accumulate == 1:
            return None
        build = Build(self.graph, self.real)
        full = build.apply("ge", self._runtime("pending"), build.constant(float(self.settings.accumulate) - 1))
        return build.apply("or", full, build.apply("le", self._runtime("left"), build.constant(1.0)))

    @cached_property
    def _rows(self) -> int:
        """The rows gathered, those of this batch included."""
        build = Build(self.graph, self.real)
        return build.add(self._runtime("gathered"), build.extent(BATCH))

    def _count(self, due: int) -> None:
        """Batches and rows that wait, batches that are left, updates made."""
        build, outputs = Build(self.graph, self.real), self.graph.outputs
        one, nothing = build.constant(1.0), build.constant(0.0)
        outputs["runtime:pending"] = build.select(due, nothing, build.add(self._runtime("pending"), one))
        outputs["runtime:gathered"] = build.select(due, nothing, self._rows)
        outputs["runtime:left"] = build.sub(self._runtime("left"), one)
        outputs["runtime:update"] = build.add(self._runtime("update"), build.select(due, one, nothing))

    def _kept(self, label: str, value: int, before: int) -> int:
        """A new value, or the old one when no update is due."""
        build = Build(self.graph, self.real, self.parameters[label].where if label in self.parameters else self.graph[value].where)
        renewed = build.cast(value, build.type(before).dtype)
        return renewed if self._due is None else build.select(self._due, renewed, before)

    def _runtime(self, name: str) -> int:
        return Build(self.graph, self.real).add_op(Source("runtime", name, TensorType(F64)))

    def _clock(self) -> dict[str, Value]:
        """What schedules and optimizers may ask of where training is, by name."""
        names = {"step": counter_of(self.settings), "steps": "steps", "epoch": "epoch", "watched": "watched"}
        return {name: Tensor(self._runtime(source)) for name, source in names.items()}

    # --- gradients

    def _gathered(self, label: str, gradient: int) -> int:
        """The mean gradient over the rows of the batches that wait and this one."""
        if self._due is None:
            return gradient
        build = Build(self.graph, self.real, self.parameters[label].where)
        key = f"{label}.{SUM}"
        before = build.add_op(Source("state", key, build.type(gradient)))
        total = build.add(before, build.mul(gradient, build.extent(BATCH)))
        self.graph.outputs[f"state:{key}"] = build.select(self._due, build.zeros_like(total), total)
        return build.div(total, self._rows)

    def _note_norm(self, gradients: Sequence[int]) -> None:
        """Add the norm of the whole gradient to the epoch's sum."""
        build = Build(self.graph, self.real)
        squares = build.constant(0.0)
        for each in gradients:
            build.where = self.graph[each].where
            square = build.mul(each, each)
            squares = build.add(squares, build.cast(build.sum(square, range(build.type(each).rank)), F64))
        norm = build.apply("sqrt", squares)
        if self._due is not None:
            norm = build.select(self._due, norm, build.constant(0.0))
        self.graph.outputs["runtime:norm"] = build.add(self._runtime("norm"), norm)

    def _clipped(self, gradients: Mapping[str, int]) -> dict[str, int]:
        """All gradients after the functions of `clip`, in order."""
        found = dict(gradients)
        for clip in self.settings.clip:
            build, place = Build(self.graph, self.real), innermost_own([clip.span, self.settings.place])
            given = tuple(Tensor(g) for g in found.values())
            value = self._noted(apply_function(self.library, build, clip, [given], {}, place, purpose="the clipped gradients")).value
            wanted = f"what clips takes the list of all gradients and returns one of as many ({len(given)})"
            if not isinstance(value, tuple) or len(value) != len(given):
                message = f"{wanted}, not {describe(value)}"
                raise SourceError([Diagnostic("type-mismatch", message, place)])
            shapes = {label: build.type(g).shape for label, g in found.items()}
            for (label, shape), each in zip(shapes.items(), value, strict=True):
                kept = f"the gradient of `{label}` keeps its shape {list(shape)}"
                found[label] = build.cast(returned(build, each, shape, kept, place), self.real)
        return found

    # --- parameters

    @cached_property
    def _optimizer(self) -> Instance:
        """The optimizer with its learning rate made what the schedule says of this step."""
        optimizer, place = self.settings.optimizer, self.settings.place
        if "lr" not in optimizer.settings:
            return optimizer
        schedule, build = self.settings.schedule, Build(self.graph, self.real)
        given = [optimizer.settings["lr"]]
        done = self._applied(lambda: apply_function(
            self.library, build, schedule, given, self._clock(), place, path=SCHEDULE, purpose="the learning rate"
        ))  # fmt: skip
        self._schedule_states |= done.states
        span = innermost_own([schedule.span, place])
        rate = returned(build, done.value, (), "a schedule returns the learning rate, one number", span)
        return replace(optimizer, settings={**optimizer.settings, "lr": Tensor(rate)})

    def _one(self, optimizer: Instance, label: str, node: int, gradient: int) -> None:
        """One parameter: the optimizer's step, what constrains it, its average."""
        optimizer = self._for_layer(optimizer, self.parameters[label])
        value, _ = self._stepped(optimizer, label, node, gradient)
        rate = optimizer.settings.get("lr", 1.0)
        for constraint in constraints(self.library, self.settings, self.parameters[label]):
            place = self._place_of(constraint, label)
            given = [Tensor(value), Tensor(node), rate]
            wanted = f"what constrains a parameter returns its new value, {self.parameters[label].type}"
            value = self._value(constraint, given, label, wanted, place)
        self.graph.outputs[f"parameter:{label}"] = self._kept(label, value, node)
        if self.settings.average is not None:
            self._average(self.settings.average, label, value)

    def _for_layer(self, optimizer: Instance, parameter: Parameter) -> Instance:
        """The optimizer with the learning rate that the parameter's layer asks for."""
        if RATE not in parameter.options:
            return optimizer
        rate, build = optimizer.settings.get("lr"), Build(self.graph, self.real)
        if not isinstance(rate, Tensor):
            message = f"`{parameter.label}` has a `rate` of its own, and the optimizer `{optimizer.function.name}` has no `lr`"
            raise SourceError([Diagnostic("bad-setting", message, innermost_own([*parameter.where.places, self.settings.place]))])
        factor = parameter.options[RATE]
        assert isinstance(factor, int | float)
        return replace(optimizer, settings={**optimizer.settings, "lr": Tensor(build.scale(rate.node, float(factor)))})

    def _stepped(self, optimizer: Instance, label: str, node: int, gradient: int) -> tuple[int, Application]:
        """The optimizer's body for one parameter: the new value, and the states it declared."""
        build = Build(self.graph, self.real, self.parameters[label].where)
        values, place = [Tensor(node), Tensor(gradient)], self.settings.place
        done = self._applied(lambda: apply_function(
            self.library, build, optimizer, values, self._clock(), place, path=label, purpose=f"the update of `{label}`"
        ))  # fmt: skip
        wanted = f"an optimizer returns the new value of the parameter, {build.type(node)}"
        renewed = returned(build, done.value, build.type(node).shape, wanted, innermost_own([optimizer.span, place]))
        return build.cast(renewed, self.real), done

    def _average(self, average: Instance, label: str, value: int) -> None:
        """The running average of a parameter with its new value."""
        key = f"{label}.{AVERAGE}"
        before = Build(self.graph, self.real).add_op(Source("state", key, self.parameters[label].type))
        clock = self._clock()
        given = [Tensor(before), Tensor(value), clock["step"], clock["steps"]]
        wanted = f"an average returns its new value, {self.parameters[label].type}"
        renewed = self._value(average, given, label, wanted, innermost_own([average.span, self.settings.place]))
        self.graph.outputs[f"state:{key}"] = self._kept(label, renewed, before)

    def _value(self, function: Instance, given: Sequence[Value], label: str, wanted: str, place: Span) -> int:
        """What a function makes of one parameter, in its shape."""
        kind = self.parameters[label].type
        build = Build(self.graph, self.real, self.parameters[label].where)
        done = self._noted(apply_function(self.library, build, function, given, {}, place, purpose=f"the update of `{label}`"))
        return build.cast(returned(build, done.value, kind.shape, wanted, place), self.real)

    def _noted(self, done: Application) -> Application:
        self.decisions += done.decisions
        return done

    def _place_of(self, function: Instance, label: str) -> Span:
        return innermost_own([function.span, *self.parameters[label].where.places, self.settings.place])

    def _applied(self, run: Callable[[], Application]) -> Application:
        """A body applied, the states that it renewed among the outputs of the graph."""
        before, self.graph.outputs = self.graph.outputs, {}
        done = self._noted(run())
        renewed = {k.removeprefix("next:"): v for k, v in self.graph.outputs.items() if k.startswith("next:")}
        self.graph.outputs = before
        for name, value in renewed.items():
            old = Build(self.graph, self.real).add_op(Source("state", name, done.states[name].type))
            self.graph.outputs[f"state:{name}"] = self._kept(name.rpartition(".")[0], value, old)
        return done


def counter_of(settings: TrainSettings) -> str:
    """The run-time scalar that counts updates: where every batch makes one, that of the batches."""
    return "step" if settings.accumulate == 1 else "update"


# --- regularisers


def penalties(library: Library, settings: TrainSettings, parameter: Parameter) -> Iterator[Instance]:
    """What a parameter costs."""
    return (each for each in _regularisers(library, settings, parameter) if not is_constraint(each))


def constraints(library: Library, settings: TrainSettings, parameter: Parameter) -> Iterator[Instance]:
    """What is done to a parameter after its update."""
    return (each for each in _regularisers(library, settings, parameter) if is_constraint(each))


def is_constraint(regulariser: Instance) -> bool:
    """A penalty takes the parameter alone; what acts after the update takes its new value, the old one and the learning rate."""
    return len(regulariser.function.definition.inputs or ()) > 1


def _regularisers(library: Library, settings: TrainSettings, parameter: Parameter) -> Sequence[Instance]:
    """Those of the parameter's layer, else the model's."""
    own: list[Instance] = []
    options = {name: value for name, value in parameter.options.items() if name != RATE}
    for name, value in options.items():
        several = value if isinstance(value, tuple) else (value,)
        made = [each for each in several if isinstance(each, Instance)]
        if made:
            own += made
            continue
        function = library.lookup(name)
        assert function is not None
        own.append(instantiate(library, function, [value], function.definition.span))
    return own if options else settings.regularize


def returned(build: Build, value: Value, shape: Shape, wanted: str, place: Span) -> int:
    """The node of what a body outside the model returned, which must have a shape."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = Tensor(build.constant(float(value)))
    if not isinstance(value, Tensor):
        raise SourceError([Diagnostic("type-mismatch", f"{wanted}, not {describe(value)}", place)])
    kind = build.type(value.node)
    if kind.shape != shape:
        raise SourceError([Diagnostic("shape-mismatch", f"{wanted}, not {kind}", place)])
    return value.node
