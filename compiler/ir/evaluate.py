"""The reference: run an op graph with NumPy, node by node. Tests compare every pass and the native code with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .graph import Graph, Node
from .op import Array, Context, Trait

Value = tuple[Node, tuple[Array, ...], Array]


def evaluate(graph: Graph, sources: Mapping[str, Any], *, rows: int = 1) -> dict[str, Array]:
    """The outputs of a graph for arrays bound to its sources by label; `rows` is the extent of the batch axis."""
    wanted = set(graph.outputs.values())
    found = {node.id: value for node, _, value in walk(graph, sources, rows=rows) if node.id in wanted}
    return {name: found[number] for name, number in graph.outputs.items()}


def walk(graph: Graph, sources: Mapping[str, Any], *, rows: int = 1) -> Iterator[Value]:
    """Every live node with its operands' values and its own, in order; a value is let go of after its last use."""
    context = Context({k: np.asarray(v) for k, v in sources.items()}, {"batch": rows})
    values: dict[int, Array] = {}
    live = graph.live()
    last = {operand: node.id for node in graph if node.id in live for operand in node.inputs}
    for node in graph:
        if node.id not in live:
            continue
        operands = tuple(values[i] for i in node.inputs)
        with np.errstate(all="ignore"):
            result = node.op.evaluate(context, *operands)
        value = result if node.op.has(Trait.LOOP) else np.asarray(result, dtype=node.type.dtype.numpy)
        if node.id in last:
            values[node.id] = value
        yield node, operands, value
        for operand in {i for i in node.inputs if last[i] == node.id}:
            del values[operand]
