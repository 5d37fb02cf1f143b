"""The reference: run an op graph with NumPy, node by node. Tests compare every pass and the native code with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .graph import Graph, Node
from .op import Array, Context, Trait

Value = tuple[Node, tuple[Array, ...], Array]


@dataclass(frozen=True)
class Step:
    """A live node, where its operands come from, which values nobody reads after it, and the type of its value: a loop has many."""

    node: Node
    inputs: tuple[int, ...]
    gone: tuple[int, ...]
    dtype: np.dtype[Any] | None

    def value(self, context: Context, operands: tuple[Array, ...]) -> Array:
        """What the node computes."""
        result = self.node.op.evaluate(context, *operands)
        return result if self.dtype is None else np.asarray(result, dtype=self.dtype)


class Evaluator:
    """A graph made ready to be evaluated, once or many times; it must not change from then on."""

    def __init__(self, graph: Graph) -> None:
        self.outputs = dict(graph.outputs)
        self.steps = _steps(graph)

    def __call__(self, sources: Mapping[str, Any], *, rows: int = 1) -> dict[str, Array]:
        """The outputs for arrays bound to the sources by label; `rows` is the extent of the batch axis."""
        context, values = _context(sources, rows), dict[int, Array]()
        kept, found = set(self.outputs.values()), dict[int, Array]()
        with np.errstate(all="ignore"):
            for step in self.steps:
                value = values[step.node.id] = step.value(context, tuple([values[i] for i in step.inputs]))
                if step.node.id in kept:
                    found[step.node.id] = value
                for operand in step.gone:
                    del values[operand]
        return {name: found[number] for name, number in self.outputs.items()}


def evaluate(graph: Graph, sources: Mapping[str, Any], *, rows: int = 1) -> dict[str, Array]:
    """The outputs of a graph for arrays bound to its sources by label; `rows` is the extent of the batch axis."""
    return Evaluator(graph)(sources, rows=rows)


def walk(graph: Graph, sources: Mapping[str, Any], *, rows: int = 1) -> Iterator[Value]:
    """Every live node with its operands' values and its own, in order; a value is let go of after its last use."""
    context, values = _context(sources, rows), dict[int, Array]()
    for step in _steps(graph):
        operands = tuple(values[i] for i in step.inputs)
        with np.errstate(all="ignore"):
            value = values[step.node.id] = step.value(context, operands)
        yield step.node, operands, value
        for operand in step.gone:
            del values[operand]


def _context(sources: Mapping[str, Any], rows: int) -> Context:
    return Context({k: np.asarray(v) for k, v in sources.items()}, {"batch": rows})


def _steps(graph: Graph) -> tuple[Step, ...]:
    live = graph.live()
    nodes = [node for node in graph if node.id in live]
    last = {operand: node.id for node in nodes for operand in node.inputs}
    return tuple(
        Step(
            node,
            node.inputs,
            tuple({i for i in node.inputs if last[i] == node.id} | ({node.id} - last.keys())),
            None if node.op.has(Trait.LOOP) else node.type.dtype.numpy,
        )
        for node in nodes
    )
