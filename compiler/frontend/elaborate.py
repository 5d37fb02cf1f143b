"""A model becomes an op graph: layers are made and applied, parameters and states are born, both ends of every mismatch are known.

The result holds one graph whose outputs are named by role: `predict`, `loss` (a sample's, or the batch's), `metric:NAME`, `next:LABEL`
(the new value of a state) and `fit:LABEL` (a statistic of the training rows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ..diagnostics import Diagnostic, Note, did_you_mean
from ..errors import SourceError
from ..ir.build import Build
from ..ir.graph import Graph
from ..ir.types import BATCH, DTYPES, F32, F64, I32, DType, TensorType
from ..source import Span
from .cells import carried_on, carry, is_step, run_once, run_over_time
from .context import Context, Field, Layer, Parameter, Refused, StateVariable, instance_label
from .expressions import Arguments, Expressions
from .lengths import MAXIMUM_CAPACITY, SUFFIX, UNKNOWN_CAPACITY, is_length, length_names, masked
from .library import Library, is_standard
from .patterns import match_pattern
from .references import has_rows, is_batch
from .syntax import (
    Assign,
    Definition,
    Expression,
    ExpressionStatement,
    Fit,
    If,
    Input,
    Loss,
    Metric,
    Name,
    NextState,
    Param,
    Predict,
    Repeat,
    Require,
    Return,
    State,
    Statement,
    Target,
    TypeExpression,
)
from .syntax import Parameter as SyntaxParameter
from .values import POISON, Function, Instance, Live, Poison, Scope, Tensor, Value, describe, fresh_label

MAXIMUM_REPEAT = 10_000
MAXIMUM_DIM = 2**31 - 1
OUTSIDE = "apply the layer to the whole sequence, outside the cell"


@dataclass(frozen=True)
class Elaboration:
    """A model as an op graph, and what the outside must know of it."""

    graph: Graph
    fields: dict[str, Field]
    targets: frozenset[str]
    parameters: dict[str, Parameter]
    states: dict[str, StateVariable]
    fits: dict[str, TensorType]
    layers: tuple[Layer, ...]
    settings: dict[str, Value] = field(default_factory=dict)
    decisions: tuple[bool, ...] = ()

    @property
    def variables(self) -> dict[str, Parameter | StateVariable]:
        """What a training step changes in the model itself, by key: parameters and layer states."""
        parameters = {f"parameter:{label}": each for label, each in self.parameters.items()}
        return parameters | {f"state:{label}": each for label, each in self.states.items()}


class _Returned(Exception):
    """A `return` was reached."""

    def __init__(self, value: Value) -> None:
        self.value = value


@dataclass
class Elaborator(Expressions):
    """Runs bodies: statements, layers, cells, functions, the model. `state_shape` is that of a state declared without a type.

    `capacities` are the most times there are along axes whose length is a sample's own, `owners` the inputs that say how many.
    """

    state_shape: tuple[int, ...] = ()
    capacities: Mapping[str, int] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)

    # making and applying

    def make(self, function: Function, arguments: Arguments, site: Expression, scope: Scope) -> Instance:
        """The layer that this place makes: born at the first visit, the same at every later application of what contains it."""
        parent, counter = self.instances[-1], self.occurrences[-1]
        visit = counter[id(site)] = counter.get(id(site), -1) + 1
        key = (id(site), visit)
        settings = Scope()
        with self.context.call(function.name, site.span, function.definition.span):
            self.bind(function.definition, function.definition.settings or (), arguments, settings, site.span)
        if key in parent.children:  # settings may be tensors, which are others each time
            parent.children[key].settings = settings.values
            return parent.children[key]
        path = parent.path
        if function.definition.kind in ("layer", "cell"):
            parent.counts[function.name] = parent.counts.get(function.name, 0) + 1
            own = f"{function.name}_{parent.counts[function.name]}"
            path = f"{parent.path}.{own}" if parent.path else own
        parent.children[key] = Instance(function, settings.values, path, site.span, dict(parent.options))
        return parent.children[key]

    def apply(self, instance: Instance, arguments: Arguments, site: Expression) -> Value:
        """Apply a layer, a two-list function or a cell."""
        kind = instance.function.definition.kind
        if kind == "cell" and not is_step(self, instance, arguments):
            return run_over_time(self, instance, arguments, site)
        if kind == "cell":
            return run_once(self, instance, arguments, site)
        if kind not in ("layer", "fn"):
            self.context.refuse("unsupported", f"`{instance.function.name}`: {kind}s are not applied by hand", site.span)
        return self.applied(instance, arguments, site)

    def applied(self, instance: Instance, arguments: Arguments, site: Expression) -> Value:
        """The value of a body whose settings are known."""
        definition = instance.function.definition
        scope = Scope(dict(instance.settings))
        operands = [*arguments[0], *arguments[1].values()]
        self.instances.append(instance)
        self.occurrences.append({})
        try:
            with self.context.call(instance.function.name, site.span, definition.span, operands):
                self.bind(definition, definition.inputs or (), arguments, scope, site.span)
                value = scope.outward(self.run_body(definition, scope))
        finally:
            self.instances.pop()
            self.occurrences.pop()
        if definition.kind == "layer":
            self.note_layer(instance, arguments, value, site)
        return value

    def run_function(self, function: Function, arguments: Arguments, site: Expression) -> Value:
        """Call a one-list function."""
        scope, operands = Scope(), [*arguments[0], *arguments[1].values()]
        with self.context.call(function.name, site.span, function.definition.span, operands):
            self.bind(function.definition, function.definition.inputs or (), arguments, scope, site.span)
            return scope.outward(self.run_body(function.definition, scope))

    def bind(self, definition: Definition, parameters: Sequence[SyntaxParameter], arguments: Arguments, scope: Scope, place: Span) -> None:
        """Arguments meet an argument list: positions, names, defaults, patterns."""
        positional, named = arguments
        names = [p.name.id for p in parameters]
        what = f"`{definition.name.id}`"
        if len(positional) > len(parameters):
            self.context.refuse("bad-argument", f"{what} takes {len(parameters)} arguments here, not {len(positional)}", place)
        given = dict(zip(names, positional, strict=False))
        for name, pair in named.items():
            if name not in names:
                self.context.refuse("unknown-argument", f"{what} has no argument `{name}`", pair[1], help=did_you_mean(name, names))
            if name in given:
                self.context.refuse("bad-argument", f"`{name}` of {what} is given twice", pair[1])
            given[name] = pair
        for parameter in parameters:
            name = parameter.name.id
            if name in given:
                value, where = given[name]
            elif parameter.default is not None:
                value, where = self.argument(name, parameter.default, scope), parameter.span
            else:
                self.context.refuse("missing-argument", f"{what} needs `{name}`", place)
            scope.values[name] = self.fitted(parameter.type, value, scope, where)

    def fitted(self, pattern: TypeExpression | None, value: Value, scope: Scope, where: Span) -> Value:
        """A value that passed its pattern."""
        if isinstance(value, Poison):
            raise Refused
        if pattern is None:
            return value
        tensor = self.tensor(value, where)
        return match_pattern(self.context, pattern, tensor, scope, self.evaluate, where)

    def run_body(self, definition: Definition, scope: Scope) -> Value:
        """The value that a body returns; poison when a statement of it failed."""
        before = len(self.context.diagnostics)
        try:
            self.run(definition.body, scope)
        except _Returned as returned:
            return POISON if len(self.context.diagnostics) > before and not _usable(returned.value) else returned.value
        if len(self.context.diagnostics) > before:
            return POISON
        self.context.refuse("no-return", f"`{definition.name.id}` returns nothing", definition.name.span)

    def note_layer(self, instance: Instance, arguments: Arguments, value: Value, site: Expression) -> None:
        """Record an application for the summary."""
        inputs = tuple(self.context.spell(v) for v, _ in arguments[0] if isinstance(v, Tensor))
        output = self.context.spell(value) if isinstance(value, Tensor) else describe(value)
        settings = ", ".join(f"{k}={_short(v)}" for k, v in instance.settings.items())
        depth = len(self.instances)
        self.context.layers.append(Layer(instance.path, instance.function.name, settings, inputs, output, site.span, depth))

    # statements

    def run(self, statements: Sequence[Statement], scope: Scope) -> None:
        """Statements in order; one that fails poisons the names it would have bound, and the rest goes on."""
        for statement in statements:
            self.context.spend(statement.span)
            try:
                self.statement(statement, scope)
            except Refused:
                for name in _bound(statement):
                    scope.values[name] = POISON
                if isinstance(statement, NextState):
                    scope.next_values[statement.name.id] = POISON
                if isinstance(statement, Return | Require):
                    raise _Returned(POISON) from None

    def statement(self, statement: Statement, scope: Scope) -> None:
        """One statement."""
        match statement:
            case Assign():
                self.assign(statement, scope)
            case Return():
                values = tuple(self.evaluate(v, scope) for v in statement.values)
                raise _Returned(values[0] if len(values) == 1 else values)
            case Param():
                scope.values[statement.name.id] = self.parameter(statement, scope)
            case If():
                self.branch(statement, scope)
            case Repeat():
                self.repeat(statement, scope)
            case Require():
                self.require(statement, scope)
            case State():
                self.state(statement, scope)
            case NextState():
                self.next_state(statement, scope)
            case Fit():
                self.fit(statement, scope)
            case Input() | Target():
                scope.values[statement.name.id] = self.declare(statement, scope)
            case Predict() | Loss() | Metric():
                self.output(statement, scope)
            case ExpressionStatement():
                self.context.refuse("unused-value", "the value of this line goes nowhere", statement.span, help="assign it or remove it")

    def assign(self, statement: Assign, scope: Scope) -> None:
        """`y = …`, or several names from a list of values."""
        value = self.evaluate(statement.value, scope)
        if len(statement.names) == 1:
            scope.values[statement.names[0].id] = value
            return
        if isinstance(value, Poison):
            raise Refused
        if not isinstance(value, tuple) or len(value) != len(statement.names):
            got = f"a list of {len(value)}" if isinstance(value, tuple) else describe(value)
            self.context.refuse("type-mismatch", f"{len(statement.names)} names cannot take {got}", statement.span)
        for name, part in zip(statement.names, value, strict=True):
            scope.values[name.id] = part

    def branch(self, statement: If, scope: Scope) -> None:
        """`if`, decided now."""
        condition = self.context.decided(self.evaluate(statement.condition, scope))
        if isinstance(condition, Poison):
            raise Refused
        if not isinstance(condition, bool):
            message = f"`if` is decided at compile time and needs a truth value, not {describe(condition)}"
            mend = "between tensors use `a if condition else b`" if isinstance(condition, Tensor) else None
            self.context.refuse("type-mismatch", message, statement.condition.span, help=mend)
        self.run(statement.then if condition else statement.otherwise, scope)

    def repeat(self, statement: Repeat, scope: Scope) -> None:
        """`repeat n`, unrolled."""
        count = self.integer(statement.count, scope)
        if not 0 <= count <= MAXIMUM_REPEAT:
            self.context.refuse("too-large", f"`repeat` takes 0 to {MAXIMUM_REPEAT} turns, not {count}", statement.count.span)
        for turn in range(count):
            before = len(self.context.diagnostics)
            if statement.variable is not None:
                scope.values[statement.variable.id] = turn
            self.run(statement.body, scope)
            if len(self.context.diagnostics) > before:
                return

    def require(self, statement: Require, scope: Scope) -> None:
        """A library writer's own check; `{name}` in the message shows a value."""
        condition = self.context.decided(self.evaluate(statement.condition, scope))
        if isinstance(condition, bool) and not condition:
            text = statement.message.value
            for name, value in scope.values.items():
                text = text.replace("{" + name + "}", self.context.spell(value) if isinstance(value, Tensor) else _short(value))
            caller = self.context.frames[-1].site if self.context.frames else statement.span
            self.context.refuse("requirement", text, caller)
        if not isinstance(condition, bool | Poison):
            message = f"`{statement.condition.span.text}` is asked while compiling and needs a truth value, not {describe(condition)}"
            self.context.refuse("type-mismatch", message, statement.condition.span)

    def dims(self, type_: TypeExpression | None, scope: Scope) -> tuple[int, ...]:
        """The numbers of a declared shape."""
        result: list[int] = []
        for number, dim in enumerate(type_.axes if type_ else ()):
            if not number and is_batch(dim):
                continue
            size = self.integer(dim, scope)
            if not 1 <= size <= MAXIMUM_DIM:
                self.context.refuse("bad-shape", f"an axis has 1 to {MAXIMUM_DIM} elements, not {size}", dim.span)
            result.append(size)
        total = 1
        for size in result:
            total *= size
        if total > MAXIMUM_DIM:
            assert type_ is not None
            self.context.refuse("too-large", f"{result} has {total} elements, more than {MAXIMUM_DIM}", type_.span)
        return tuple(result)

    def named(self, node: int, type_: TypeExpression | None, scope: Scope, classes: int | None = None) -> Tensor:
        """A tensor whose axes are labelled by the names in its declared shape."""
        dims = [d for d in type_.axes if not is_batch(d)] if type_ else []
        names = [scope.labels.get(d.span.text) or fresh_label(d.span.text) for d in dims]
        return Tensor(node, tuple(names), classes)

    def parameter(self, statement: Param, scope: Scope) -> Tensor:
        """A trained tensor: made at the layer's first application, the same one later."""
        instance, name = self.instances[-1], statement.name.id
        shape = self.dims(statement.type, scope)
        label = instance_label(instance, name)
        if label in self.context.parameters:
            known = self.context.parameters[label]
            if known.type.shape != shape:
                message = f"`{label}` has shape {list(known.type.shape)} since its first use; this one would need {list(shape)}"
                place = self.context.frames[-1].site if self.context.frames else statement.span
                self.context.refuse("shape-mismatch", message, place, [Note("the layer is made here", instance.span)])
        else:
            with self.at(statement.span):
                where = self.context.build.where
            kind = TensorType(self.context.real, shape)
            init = self.known(statement.init, scope)
            self.context.parameters[label] = Parameter(label, kind, init, where, dict(instance.options))
        with self.at(statement.span):
            node = self.context.source("parameter", label, TensorType(self.context.real, shape))
        return self.named(node, statement.type, scope)

    def state(self, statement: State, scope: Scope) -> None:
        """Variables that a training step may change; those of a cell, which change from time to time, are carried by its loop."""
        for name in statement.names:
            label = instance_label(self.instances[-1], name.id)
            shape = self.dims(statement.type, scope) if statement.type else self.state_shape
            kind = TensorType(self.context.real, (BATCH, *shape) if has_rows(statement) else shape)
            if self.instances[-1].function.definition.kind == "cell":
                scope.values[name.id] = carry(self, statement, name.id, label, kind, scope)
                continue
            with self.at(statement.span):
                init = self.known(statement.init, scope)
                self.context.states.setdefault(label, StateVariable(label, kind, init, self.context.build.where))
                node = self.context.source("state", label, kind)
                if has_rows(statement) and not self.context.training:
                    node = self.first_of_rows(init, kind, statement)
            scope.values[name.id] = self.named(node, statement.type, scope) if statement.type else self.unnamed(node)

    def first_of_rows(self, init: Value, kind: TensorType, statement: State) -> int:
        """What a state of each row is where no batch goes on from another: its first value."""
        if isinstance(init, bool) or not isinstance(init, int | float):
            self.context.refuse("type-mismatch", f"a state of each row begins with a number, not {describe(init)}", statement.init.span)
        return self.context.build.broadcast(self.context.build.constant(float(init), kind.dtype), kind.shape, ())

    def next_state(self, statement: NextState, scope: Scope) -> None:
        """The new value of a state: takes effect after the step, and only while training."""
        name = statement.name.id
        label = instance_label(self.instances[-1], name)
        if self.context.recurrence and label in self.context.recurrence.carried:
            scope.next_values[name] = carried_on(self, statement, label, scope)
            return
        if isinstance(scope.values.get(name), Poison):
            raise Refused
        if label not in self.context.states:
            self.context.refuse("unknown-name", f"`{name}` is no state of this body", statement.name.span)
        if self.context.recurrence:
            message = f"`{name}` changes once a training step, and this runs at every time of a sequence"
            self.context.refuse("unsupported", message, statement.span, help=OUTSIDE)
        value = self.tensor(self.evaluate(statement.value, scope), statement.value.span)
        state = self.context.states[label]
        place = [(value, statement.value.span)]
        with self.context.shapes(statement.span, place), self.at(statement.span):
            differs = self.context.batched(value) and BATCH not in state.type.shape
            if differs:
                message, mend = (
                    f"the new value of `{name}` differs from sample to sample",
                    "reduce it, for example by `mean(…, over = [batch])`",
                )
                self.context.refuse("shape-mismatch", message, statement.value.span, help=mend)
            shape = [d for d in state.type.shape if d != BATCH]
            if list(self.context.body(value)) != shape:
                message = f"the new value of `{name}` is {self.context.spell(value)}, the state {shape}"
                self.context.refuse("shape-mismatch", message, statement.value.span)
            node = self.context.build.cast(value.node, state.type.dtype)
            self.context.graph.outputs[f"next:{label}"] = self.context.build.broadcast_to(node, state.type.shape)
        scope.next_values[name] = value

    def fit(self, statement: Fit, scope: Scope) -> None:
        """A statistic of the training rows: its expression is computed once, before training; here it is a value from outside.

        Of a layer that is applied again it is that of the first application, as its parameters are.
        """
        label = instance_label(self.instances[-1], statement.name.id)
        if self.context.recurrence:
            message = f"`{statement.name.id}` is computed once before training, and this runs at every time of a sequence"
            self.context.refuse("unsupported", message, statement.span, help=OUTSIDE)
        value = self.tensor(self.evaluate(statement.value, scope), statement.value.span)
        if self.context.batched(value):
            message = f"`{statement.name.id}` differs from row to row: a statistic reduces over [batch]"
            self.context.refuse("bad-statistic", message, statement.value.span)
        with self.at(statement.span):
            node = self.context.build.cast(value.node, self.context.real)
            kind = self.context.build.type(node)
            known = self.context.fits.setdefault(label, kind)
            if known != kind:
                message = f"`{label}` has shape {list(known.shape)} since its first use; this one would need {list(kind.shape)}"
                self.context.refuse("shape-mismatch", message, statement.span)
            self.context.graph.outputs.setdefault(f"fit:{label}", node)
            scope.values[statement.name.id] = Tensor(self.context.source("fit", label, kind), value.axes)

    # the model

    def declare(self, statement: Input | Target, scope: Scope) -> Tensor:
        """An input or target: an array from outside, one row a sample."""
        name, type_ = statement.name.id, statement.type
        if name in self.context.fields:
            self.context.refuse("duplicate-name", f"`{name}` is declared twice", statement.name.span)
        classes = None
        for dim in type_.axes:
            if is_length(dim, scope.values, self.library):
                self.length(statement, dim, scope)
        if type_.dtype == "class":
            classes = self.class_count(type_, scope)
            kind = TensorType(I32, (BATCH, *self.dims(type_, scope)))
        elif type_.dtype in ("u8", "i32", "f32", "f64", "bool"):
            dtype = DTYPES[type_.dtype]
            kind = TensorType(self.context.real if dtype.is_float else dtype, (BATCH, *self.dims(type_, scope)))
        else:
            known = ("u8", "i32", "f32", "f64", "bool", "class")
            help_ = did_you_mean(type_.dtype or "", known) or "write for example `f32[4]` or `class[10]`"
            self.context.refuse("unknown-type", f"`{type_.span.text}` is no type of an array", type_.span, help=help_)
        if type_.shape and classes is None:
            message = f"`{type_.span.text}` has two lists: only a class has, such as `class[10][20]`"
            self.context.refuse("unknown-type", message, type_.span)
        first = type_.axes[0] if type_.axes else None
        own = self.owners.get(first.id) if isinstance(first, Name) else None
        self.context.fields[name] = Field(name, kind, classes, statement.span, own)
        if isinstance(statement, Target):
            self.context.targets.add(name)
        with self.at(statement.span):
            node = self.context.source("input", name, kind)
        return self.named(node, type_, scope, classes)

    def length(self, statement: Input | Target, dim: Name, scope: Scope) -> None:
        """An axis as long as each sample says, by an input of its own."""
        name, place = statement.name.id + SUFFIX, dim.span
        if dim is not statement.type.axes[0]:
            self.context.refuse(
                "unsupported", f"only the first axis can be as long as each sample says, and `{dim.id}` is a later one", place
            )
        if name in self.context.fields:
            self.context.refuse("duplicate-name", f"`{name}` holds the lengths of `{statement.name.id}` and is declared already", place)
        size = self.capacities.get(dim.id, UNKNOWN_CAPACITY)
        if not 1 <= size <= MAXIMUM_CAPACITY:
            self.context.refuse("bad-shape", f"`{dim.id}` is from 1 to {MAXIMUM_CAPACITY}, not {size}", place)
        kind = TensorType(I32, (BATCH,))
        scope.values[dim.id], scope.labels[dim.id], self.owners[dim.id] = size, fresh_label(dim.id), name
        self.context.fields[name] = Field(name, kind, None, statement.span, most=size)
        if isinstance(statement, Target):
            self.context.targets.add(name)
        with self.at(place):
            self.context.lengths[scope.labels[dim.id]] = self.context.source("input", name, kind)

    def class_count(self, type_: TypeExpression, scope: Scope) -> int:
        """The number of classes of `class[n]`."""
        if not type_.dims or len(type_.dims) != 1:
            self.context.refuse("unknown-type", "a class index says its number of classes", type_.span, help="write `class[10]`")
        count = self.integer(type_.dims[0], scope)
        if not 2 <= count <= 2**24:
            self.context.refuse("bad-shape", f"a class index has 2 to {2**24} classes, not {count}", type_.dims[0].span)
        return count

    def output(self, statement: Predict | Loss | Metric, scope: Scope) -> None:
        """`predict`, `loss`, `metric`."""
        name = "predict" if isinstance(statement, Predict) else "loss"
        if isinstance(statement, Metric):
            name = "metric:" + (statement.name.id if statement.name else _function_name(statement.value))
        if name in self.context.graph.outputs:
            self.context.refuse("duplicate-name", f"`{name.removeprefix('metric:')}` is stated twice", statement.span)
        tensor = self.tensor(self.evaluate(statement.value, scope), statement.value.span)
        with self.at(statement.value.span):
            build = self.context.build
            lead = int(self.context.batched(tensor))
            node = masked(self.context, tensor, [n + lead for n in range(len(tensor.axes))], 0.0).node
            if not isinstance(statement, Predict) and not build.type(node).dtype.is_float:
                node = build.cast(node, build.real)
            if isinstance(statement, Loss) and tensor.axes:
                message = f"the loss of a sample is one number, not {self.context.spell(tensor)}"
                self.context.refuse("shape-mismatch", message, statement.value.span, help="reduce it, for example with `mean(…)`")
            self.context.graph.outputs[name] = node

    def model(self, definition: Definition, settings: Mapping[str, Value]) -> dict[str, Value]:
        """The whole model with the given settings; returns all of them, defaults included."""
        scope = Scope()
        lengths = length_names(self.library, definition)
        known = [*(p.name.id for p in definition.settings or ()), *lengths]
        for name in settings:
            if name not in known:
                hint = did_you_mean(name, known) or (f"its settings are {', '.join(known)}" if known else "it has no settings")
                self.context.report("unknown-setting", f"`{definition.name.id}` has no setting `{name}`", definition.name.span, help=hint)
        place = definition.name.span
        self.instances.append(Instance(Function(definition), scope.values, "", place))
        given: Arguments = ([], {k: (in_graph(self.context, v), place) for k, v in settings.items() if k in known and k not in lengths})
        self.capacities = {k: v for k, v in settings.items() if k in lengths and isinstance(v, int) and not isinstance(v, bool)}
        for name in lengths.keys() & settings.keys() - self.capacities.keys():
            self.context.report("bad-shape", f"`{name}` is a length, a whole number, not {describe(settings[name])}", place)
        missing = [p.name.id for p in definition.settings or () if p.default is None and p.name.id not in settings]
        if missing:
            message = f"the setting `{missing[0]}` of `{definition.name.id}` has no value"
            self.context.report("missing-argument", message, place, help="give it from outside, or a default in the file")
            return {}
        try:
            self.bind(definition, definition.settings or (), given, scope, place)
        except Refused:
            return {}
        chosen = dict(scope.values) | dict(self.capacities)
        # A `return` in a model is reported with the names of the file; here it only ends the body.
        with suppress(_Returned):
            self.run(definition.body, scope)
        if not self.context.diagnostics and not {"predict", "loss"} & set(self.context.graph.outputs):
            help_ = "add `predict …`, and `loss …` to train it"
            self.context.report("no-output", f"the model `{definition.name.id}` has neither `predict` nor `loss`", place, help=help_)
        return chosen


def elaborate(library: Library, definition: Definition, settings: Mapping[str, Value], *, training: bool, real: DType = F32) -> Elaboration:
    """The op graph of a model with settings; raises SourceError with everything that is wrong."""
    context = Context(Build(Graph(definition.name.id), real), training)
    elaborator = Elaborator(context, library)
    chosen: dict[str, Value] = {}
    with context.stack(definition.name.span):
        chosen = elaborator.model(definition, settings)
    context.finish()
    return Elaboration(
        context.graph, context.fields, frozenset(context.targets), context.parameters, context.states, context.fits,
        tuple(context.layers), chosen, tuple(context.decisions),
    )  # fmt: skip


@dataclass(frozen=True)
class Application:
    """A definition applied outside a model: its value, the states that it declared, what was decided by samples of the run time."""

    value: Value
    states: dict[str, StateVariable]
    decisions: tuple[bool, ...]


def instantiate(library: Library, function: Function, given: Sequence[Value], place: Span, path: str = "", purpose: str = "") -> Instance:
    """A definition with its settings bound outside a model: `given` in their order, defaults for the rest; raises SourceError."""
    context, settings = Context(Build(Graph("settings"), F64), training=True, purpose=purpose), Scope()
    instance = Instance(function, settings.values, path, place)
    elaborator = Elaborator(context, library, instances=[instance])
    try:
        elaborator.bind(function.definition, function.definition.settings or (), ([(v, place) for v in given], {}), settings, place)
    except Refused:
        context.finish()
    return instance


def apply_function(
    library: Library, build: Build, value: Value, arguments: Sequence[Value], names: Mapping[str, Value], place: Span,
    path: str = "", purpose: str = "",
) -> Application:  # fmt: skip
    """Apply an initialiser, penalty, schedule, optimizer or criterion.

    `names` are extra names its body may use, `path` owns its states, `purpose` says in diagnostics what it is applied for.
    """
    context = Context(build, training=True, purpose=purpose, sources=build.graph.sources())
    first = next((context.body(a) for a in arguments if isinstance(a, Tensor)), ())
    elaborator = Elaborator(context, library, state_shape=first)
    instance = value if isinstance(value, Instance) else None
    if isinstance(value, Function):
        instance = instantiate(library, value, (), place, path, purpose)
    if instance is None:
        raise SourceError([Diagnostic("type-mismatch", f"{describe(value)} cannot be used here", place)])
    definition, site = instance.function.definition, place if is_standard(instance.span.source) else instance.span
    scope = Scope({**names, **{name: in_graph(context, each) for name, each in instance.settings.items()}})
    elaborator.instances.append(Instance(instance.function, instance.settings, path, site))
    given: Arguments = ([(_given(elaborator, a), site) for a in arguments], {})
    result: Value = None
    try:
        with context.stack(site), context.call(definition.name.id, site, definition.span):
            elaborator.bind(definition, definition.inputs or (), given, scope, site)
            result = elaborator.run_body(definition, scope)
    except Refused:
        pass
    context.finish()
    return Application(result, context.states, tuple(context.decisions))


def _given(elaborator: Elaborator, value: Value) -> Value:
    """An argument from outside: the axes of its tensors labelled apart, a number of the run time as the scalar that holds it."""
    if isinstance(value, tuple):
        return tuple(_given(elaborator, each) for each in value)
    return elaborator.unnamed(value.node) if isinstance(value, Tensor) else in_graph(elaborator.context, value)


def in_graph(context: Context, value: Value) -> Value:
    """A value, where it is a number of the run time as the scalar that holds it."""
    if not isinstance(value, Live):
        return value
    scalar = context.runtime(value.label)
    context.given[scalar.node], context.samples[f"runtime:{value.label}"] = value, value.sample
    return scalar


def _usable(value: Value) -> bool:
    return not isinstance(value, Poison)


def _bound(statement: Statement) -> list[str]:
    match statement:
        case Assign() | State():
            return [n.id for n in statement.names]
        case Param() | Input() | Target() | Fit():
            return [statement.name.id]
        case _:
            return []


def _function_name(expression: Expression) -> str:
    from .syntax import Call, Name, Pipe

    if isinstance(expression, Pipe):
        return _function_name(expression.right)
    if isinstance(expression, Call):
        return _function_name(expression.callee)
    return expression.id if isinstance(expression, Name) else "metric"


def _short(value: Value) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Function():
            return value.name
        case Instance():
            return value.function.name
        case tuple():
            return "[" + ", ".join(map(_short, value)) + "]"
        case _:
            return str(value)
