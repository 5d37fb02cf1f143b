"""A cell applied to a sequence: its body becomes that of a loop, its states what the loop carries.

Inside another cell a cell is applied to one time's value; its states are then carried by the loop that is being written.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from ..ir.build import Build
from ..ir.graph import Graph
from ..ir.loop_writer import LoopWriter
from ..ir.ops import Position
from ..ir.scan import Scan, final, stack
from ..ir.types import BATCH, I32, TensorType, elements
from ..source import Span
from .context import MAXIMUM_ELEMENTS, Recurrence
from .lengths import length_of
from .references import state_names
from .syntax import Definition, Expression, NextState, State, TypeExpression
from .values import Instance, Label, Poison, Scope, Tensor, Value, describe

if TYPE_CHECKING:
    from .elaborate import Elaborator
    from .expressions import Arguments


def is_step(elaborator: Elaborator, instance: Instance, arguments: Arguments) -> bool:
    """Whether a cell is given one time's value, in the body of another cell."""
    value = arguments[0][0][0] if arguments[0] else None
    return elaborator.context.recurrence is not None and isinstance(value, Tensor) and len(value.axes) == _axes(instance)


def run_once(elaborator: Elaborator, instance: Instance, arguments: Arguments, site: Expression) -> Value:
    """What a cell gives for one time's value, in the body of another cell."""
    states = state_names(instance.function.definition)
    given = next((place for name, (_, place) in arguments[1].items() if name in states), None)
    if given is not None:
        mend = "declare it in the inner cell: `state h: [units] = h0`, with a `param h0`"
        message = "the first value of a state is given where a cell is applied to a sequence, and this is one time's value"
        elaborator.context.refuse("unsupported", message, given, help=mend)
    return elaborator.applied(instance, arguments, site)


def run_over_time(elaborator: Elaborator, instance: Instance, arguments: Arguments, site: Expression) -> Value:
    """What a cell gives for a [time, ...] value: its value at all times, or its states after the last one (`Instance.final`)."""
    context = elaborator.context
    sequence = _sequence(elaborator, instance, arguments, site)
    if context.recurrence is not None:
        context.refuse("unsupported", "a sequence within a sequence: a cell inside a cell is given one time's value", site.span)
    rest, given = _given_states(elaborator, instance, arguments)
    recurrence = Recurrence(context.build, LoopWriter(context.graph, Graph(instance.function.name)), given)
    outside, length = context.build, context.body(sequence)[0]
    before = len(context.diagnostics)
    with elaborator.at(site.span), context.over_time(recurrence):
        inside = _Inside(elaborator, recurrence, length)
        value = elaborator.applied(inside.instance(instance), inside.arguments(instance.function.definition, rest), site)
        if len(context.diagnostics) > before or isinstance(value, Poison):
            return value if isinstance(value, Poison) else Poison()
        following, values = inside.ends(sequence.axes[0], value, site.span)
    with elaborator.at(site.span):
        loop = recurrence.writer.write(following, length, reverse=instance.reverse, where=outside.where)
        op = outside.graph[loop].op
        assert isinstance(op, Scan)
        _check_size(elaborator, op, site.span)
        if instance.final:
            states = [elaborator.unnamed(outside.add_op(final(op, n), loop)) for n in range(op.carries)]
            found: Value = states[0] if len(states) == 1 else tuple(states)
        else:
            parts = [Tensor(outside.add_op(stack(op, v.node), loop), (sequence.axes[0], *v.axes), v.classes) for v in values]
            found = tuple(parts) if isinstance(value, tuple) else parts[0]
    elaborator.note_layer(instance, arguments, found, site)
    return found


def _check_size(elaborator: Elaborator, op: Scan, place: Span) -> None:
    """Whatever the body makes for a sample may be kept for all times."""
    shapes = [node.type.shape for node in op.body if node.type.shape[:1] == (BATCH,)]
    size = op.length * max((elements(shape[1:]) for shape in shapes), default=0)
    if size > MAXIMUM_ELEMENTS:
        message = f"{op.length} times of `{op.body.name}` have {size} elements, more than {MAXIMUM_ELEMENTS}"
        elaborator.context.refuse("too-large", message, place)


class _Inside:
    """Values from around a loop as its body sees them, and what the body leaves."""

    def __init__(self, elaborator: Elaborator, recurrence: Recurrence, length: int) -> None:
        self.elaborator, self.recurrence, self.length = elaborator, recurrence, length

    @property
    def build(self) -> Build:
        """Writes the body."""
        return self.elaborator.context.build

    def instance(self, instance: Instance) -> Instance:
        """The cell or layer with settings that are tensors brought in."""
        return replace(instance, settings={name: self.brought(value) for name, value in instance.settings.items()})

    def brought(self, value: Value) -> Value:
        """A value from around the loop, the same at all times."""
        match value:
            case Tensor():
                return replace(value, node=self.recurrence.writer.outer(value.node))
            case Instance():
                return self.instance(value)
            case tuple():
                return tuple(map(self.brought, value))
            case _:
                return value

    def arguments(self, definition: Definition, given: Arguments) -> Arguments:
        """The cell's inputs at one time: the first is a sequence, and so is every other with one axis more than its signature names."""
        patterns = {p.name.id: p.type for p in definition.inputs or ()}
        first = given[0][0][0]
        assert isinstance(first, Tensor)

        def at_one_time(value: Value, pattern: TypeExpression | None, place: Span) -> Value:
            if not isinstance(value, Tensor) or not _is_sequence(value, pattern, first):
                return self.brought(value)
            length = self.recurrence.outside.type(value.node).shape[-len(value.axes)]
            if length != self.length:
                message = f"this sequence has {length} times, and the one before it {self.length}"
                self.elaborator.context.refuse("shape-mismatch", message, place)
            return replace(value, node=self.recurrence.writer.step(value.node), axes=value.axes[1:])

        named = {name: (at_one_time(value, patterns.get(name), place), place) for name, (value, place) in given[1].items()}
        listed = zip_longest(given[0], list(patterns.values())[: len(given[0])])
        return [(at_one_time(value, pattern, place), place) for (value, place), pattern in listed], named

    def ends(self, time: Label, value: Value, place: Span) -> tuple[list[int], list[Tensor]]:
        """What is carried on, and the values of the cell; past the end of a sample's sequence states stay, and values are zero."""
        outputs, sources = self.build.graph.outputs, self.build.graph.sources()
        before = [sources[f"carry:{n}"] for n in range(len(self.recurrence.carried))]
        following = [outputs.get(f"next:{label}", old) for label, old in zip(self.recurrence.carried, before, strict=True)]
        values = [self.elaborator.tensor(v, place) for v in _listed(value)]
        running = self.running(time)
        if running is None:
            return following, values
        following = [self.build.select(self.spread(running, new), new, old) for new, old in zip(following, before, strict=True)]
        return following, [replace(v, node=self.build.select(self.spread(running, v.node), v.node, self.zero(v.node))) for v in values]

    def running(self, time: Label) -> int | None:
        """Whether each sample's sequence still runs at this time; None when all run to the end."""
        length = length_of(self.elaborator.context, time)
        if length is None:
            return None
        counter = self.recurrence.writer.step(self.recurrence.outside.add_op(Position((self.length,), (1,), I32)))
        return self.build.lt(counter, length)

    def spread(self, running: int, value: int) -> int:
        """A truth value a sample for every element of a value."""
        shape = self.build.type(value).shape
        return self.build.broadcast(running, shape if shape and shape[0] == BATCH else (BATCH, *shape), (0,))

    def zero(self, value: int) -> int:
        """Zeros like a value."""
        return self.build.zeros_like(value)


def carry(elaborator: Elaborator, statement: State, name: str, label: str, kind: TensorType, scope: Scope) -> Tensor:
    """A state of a cell: what it is at this time."""
    context = elaborator.context
    recurrence = context.recurrence
    assert recurrence is not None, "the body of a cell runs in a loop"
    if label in recurrence.carried:
        context.refuse("unsupported", f"`{elaborator.instances[-1].function.name}` is applied twice at one time", statement.span)
    kind = kind.with_shape((BATCH, *kind.shape))
    value, place = recurrence.given.pop(name) if _is_outermost(elaborator) and name in recurrence.given else (None, statement.init.span)
    node = _first(elaborator, statement, scope, recurrence) if value is None else value.node
    outside = recurrence.outside
    shape = [d for d in outside.type(node).shape if d != BATCH]
    if shape and shape != list(kind.shape[1:]):
        context.refuse("shape-mismatch", f"the first value of `{name}` has shape {shape}, the state {list(kind.shape[1:])}", place)
    recurrence.carried.append(label)
    source = recurrence.writer.carry(outside.broadcast_to(outside.cast(node, kind.dtype), kind.shape))
    return elaborator.named(source, statement.type, scope) if statement.type else elaborator.unnamed(source)


def _is_outermost(elaborator: Elaborator) -> bool:
    """Whether the cell that the loop is for runs, not one inside it."""
    return sum(i.function.definition.kind == "cell" for i in elaborator.instances) == 1


def _first(elaborator: Elaborator, statement: State, scope: Scope, recurrence: Recurrence) -> int:
    """The first value that the declaration states, in the graph around the loop."""
    context = elaborator.context
    value = elaborator.evaluate(statement.init, scope)
    if isinstance(value, int | float):
        return recurrence.outside.constant(float(value))
    around = {inner: outer for outer, inner in recurrence.writer.outers.items()}
    if isinstance(value, Tensor) and value.node in around:
        return around[value.node]
    mend = "write a number or a `param`, or give it where the cell is applied: `cell(x, h = …)`"
    message = f"the first value of a state must be known before the sequence begins; this is {describe(value)} made at each time"
    context.refuse("type-mismatch", message, statement.init.span, help=mend)


def carried_on(elaborator: Elaborator, statement: NextState, label: str, scope: Scope) -> Tensor:
    """`next h = …` in a cell."""
    context = elaborator.context
    assert context.recurrence is not None
    value = elaborator.tensor(elaborator.evaluate(statement.value, scope), statement.value.span)
    kind = context.build.type(context.build.graph.sources()[f"carry:{context.recurrence.carried.index(label)}"])
    name = statement.name.id
    if list(context.body(value)) != list(kind.shape[1:]):
        spelled = f"the new value of `{name}` is {context.spell(value)}, the state {list(kind.shape[1:])}"
        context.refuse("shape-mismatch", spelled, statement.value.span)
    with elaborator.at(statement.span):
        node = context.build.broadcast_to(context.build.cast(value.node, kind.dtype), kind.shape)
    context.graph.outputs[f"next:{label}"] = node
    return replace(value, node=node)


def _given_states(elaborator: Elaborator, instance: Instance, arguments: Arguments) -> tuple[Arguments, dict[str, tuple[Tensor, Span]]]:
    """The inputs of a cell, and the first values of states, which are given by name."""
    states = set(state_names(instance.function.definition))
    given = {n: (elaborator.tensor(v, place), place) for n, (v, place) in arguments[1].items() if n in states}
    return (arguments[0], {n: pair for n, pair in arguments[1].items() if n not in states}), given


def _sequence(elaborator: Elaborator, instance: Instance, arguments: Arguments, site: Expression) -> Tensor:
    """The sequence: one axis more than the cell's signature names."""
    definition, context = instance.function.definition, elaborator.context
    if not arguments[0]:
        context.refuse("missing-argument", f"`{instance.function.name}` needs a sequence", site.span)
    value, place = arguments[0][0]
    sequence = elaborator.tensor(value, place)
    pattern = definition.inputs[0].type if definition.inputs else None
    names = ", ".join(d.span.text for d in pattern.dims) if pattern and pattern.dims else "..."
    if not sequence.axes or (pattern is not None and len(sequence.axes) != _axes(instance) + 1):
        message = (
            f"`{instance.function.name}` is a cell and runs over time: it takes [time, {names}], and this is {context.spell(sequence)}"
        )
        context.refuse("shape-mismatch", message, place)
    return sequence


def _axes(instance: Instance) -> int:
    """Axes of what a cell is given at one time."""
    inputs = instance.function.definition.inputs
    pattern = inputs[0].type if inputs else None
    return len(pattern.dims) if pattern and pattern.dims is not None else 1


def _is_sequence(value: Tensor, pattern: TypeExpression | None, first: Tensor) -> bool:
    """Whether a value has a time axis: one axis more than its pattern, or without a pattern the axis of the cell's first sequence."""
    if pattern is None or pattern.dims is None:
        return value.axes[:1] == first.axes[:1]
    return len(value.axes) == len(pattern.dims) + 1


def _listed(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else (value,)
