"""The loop: a body graph run for every time of a sequence, with values carried from each time to the next.

    carry:n    what the loop carries, as it is before this time      next:n    the same after it (an output of the body)
    step:n     this time's part of a sequence                        outer:n   a value that is the same at all times

A scan's operands are the first values of what is carried, then the sequences, then the outer values. Its own value stands for all that
it computes; a `Result` picks one: what was carried after the last time, or any value of the body at all times, stacked. The time axis
comes right after the batch axis. A reversed scan begins at the last time; what it stacks lies at its own time all the same.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from .graph import Graph
from .op import Array, Context, Op, ShapeError, Trait
from .ops import Constant, Source
from .types import I32, TensorType, batched

CARRY, STEP, OUTER = "carry", "step", "outer"
FINAL, STACK = "final", "stack"


def time_axis(kind: TensorType) -> int:
    """Where the time axis stands in a sequence of such values, and in what they become."""
    return int(batched(kind.shape))


def over_time(kind: TensorType, length: int) -> TensorType:
    """The type of a sequence of values."""
    axis = time_axis(kind)
    return kind.with_shape((*kind.shape[:axis], length, *kind.shape[axis:]))


def at_one_time(kind: TensorType) -> TensorType:
    """The type of one time's part of a sequence."""
    axis = time_axis(kind)
    return kind.with_shape((*kind.shape[:axis], *kind.shape[axis + 1 :]))


@dataclass(frozen=True)
class Scan(Op):
    """`body` run for `length` times, from the last to the first if `reverse`; of the operands `carries` are carried, `steps` sequences."""

    body: Graph = field(compare=False)
    length: int
    reverse: bool
    carries: int
    steps: int
    name: ClassVar[str] = "scan"
    traits: ClassVar[Trait] = Trait.LOOP

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scan) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @cached_property
    def _identity(self) -> Hashable:
        """All that the loop does. Constants by their spelling: 0 and -0 are equal as numbers and are different values."""
        nodes = tuple((n.op, str(n.op.value) if isinstance(n.op, Constant) else "", n.inputs) for n in self.body)
        return nodes, tuple(sorted(self.body.outputs.items())), self.length, self.reverse, self.carries, self.steps

    def key(self, operand: int) -> str:
        """The source of the body that stands for an operand."""
        if operand < self.carries:
            return f"{CARRY}:{operand}"
        if operand < self.carries + self.steps:
            return f"{STEP}:{operand - self.carries}"
        return f"{OUTER}:{operand - self.carries - self.steps}"

    def operand(self, source: Source) -> int:
        """The position of the operand that a source of the body stands for."""
        first = {CARRY: 0, STEP: self.carries, OUTER: self.carries + self.steps}
        return first[source.kind] + int(source.label)

    def following(self, carry: int) -> int:
        """The node of the body that is carried on as number `carry`."""
        return self.body.outputs[f"next:{carry}"]

    def infer(self, *types: TensorType) -> TensorType:
        """A token: the results have types of their own."""
        sources = self.body.sources()
        for position, kind in enumerate(types):
            key = self.key(position)
            if key not in sources:
                continue
            inside = self.body.type(sources[key])
            wanted = over_time(inside, self.length) if key.startswith(STEP) else inside
            if kind != wanted:
                raise ShapeError(f"the loop takes {wanted} as {key}, and this is {kind}", (position,))
        for number in range(self.carries):
            if self.body.type(self.following(number)) != types[number]:
                raise ShapeError(f"the loop carries on {self.body.type(self.following(number))} as {types[number]}", (number,))
        return TensorType(I32)

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """Time after time. Gives what a `Result` reads: the values carried at the end, and those of all nodes by time."""
        carried, history = list(arrays[: self.carries]), dict[int, dict[int, Array]]()
        times = range(self.length)
        for time in reversed(times) if self.reverse else times:
            values = history[time] = self._turn(context, time, carried, arrays)
            carried = [values[self.following(number)] for number in range(self.carries)]
        whole = np.empty((), dtype=object)
        whole[()] = carried, [history[time] for time in times]
        return whole

    def _turn(self, context: Context, time: int, carried: list[Array], arrays: tuple[Array, ...]) -> dict[int, Array]:
        """The values of all nodes of the body at one time."""
        sources = {f"{CARRY}:{number}": value for number, value in enumerate(carried)}
        for position in range(self.carries, len(arrays)):
            key, whole = self.key(position), arrays[position]
            source = self.body.sources().get(key)
            if source is not None:
                sources[key] = whole.take(time, time_axis(self.body.type(source))) if key.startswith(STEP) else whole
        inner, values = Context(sources, context.sizes), dict[int, Array]()
        for node in self.body:
            result = node.op.evaluate(inner, *(values[i] for i in node.inputs))
            values[node.id] = result if node.op.has(Trait.LOOP) else np.asarray(result, dtype=node.type.dtype.numpy)
        return values

    def attributes(self) -> Mapping[str, object]:
        """Without the body, which is printed below."""
        return {"length": self.length, "reverse": self.reverse, "carries": self.carries, "steps": self.steps}


@dataclass(frozen=True)
class Result(Op):
    """One value of a scan: `final` carried value number `number`, or the `stack` of the body's node `number` over all times."""

    kind: str
    number: int
    type: TensorType
    name: ClassVar[str] = "result"
    traits: ClassVar[Trait] = Trait.RESULT

    def infer(self, *types: TensorType) -> TensorType:
        """As stated by who made the scan (see `final` and `stack`)."""
        return self.type

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """The array."""
        carried, history = arrays[0].item()
        if self.kind == FINAL:
            return np.asarray(carried[self.number])
        axis = time_axis(self.type)
        return np.stack([values[self.number] for values in history], axis=axis)

    def attributes(self) -> Mapping[str, object]:
        """Which."""
        return {"kind": self.kind, "number": self.number}


def final(op: Scan, carry: int) -> Result:
    """What is carried as number `carry` after the last turn."""
    return Result(FINAL, carry, op.body.type(op.following(carry)))


def stack(op: Scan, node: int) -> Result:
    """A value of the body at all times."""
    return Result(STACK, node, over_time(op.body.type(node), op.length))
