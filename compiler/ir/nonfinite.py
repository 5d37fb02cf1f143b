"""Where a computation first leaves the finite numbers: the graph run node by node, then followed back from the result that is wrong.

Not every infinity is a mistake: a mask is often one, and a maximum begins at one. So the search begins at a result and goes backwards,
along NaN to where the first one came to be, and from there along the infinities that it was made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .evaluate import walk
from .graph import Graph, Node
from .op import Array, Trait
from .scan import Scan

FINITE, INFINITE, NAN = 0, 1, 2


@dataclass(frozen=True)
class Birth:
    """The node where a value first is not finite: `found` what it gave, of `count` elements `wrong` are so; its operands' ranges.

    `time` is that of the loop in whose body the node is.
    """

    node: Node
    found: str
    wrong: int
    count: int
    ranges: tuple[tuple[float, float], ...]
    time: int | None = None


def first_nonfinite(graph: Graph, sources: Mapping[str, Any], outputs: Sequence[str], *, rows: int) -> Birth | None:
    """The birth of what makes the first of the `outputs` that is not finite so; None when all of them are finite."""
    state: dict[int, int] = {}
    births: dict[int, Birth] = {}
    for node, operands, value in walk(graph, sources, rows=rows):
        state[node.id] = _state(node, value)
        if state[node.id]:
            births[node.id] = _birth(node, operands, value)
    bad = next((graph.outputs[name] for name in outputs if state.get(graph.outputs[name])), None)
    return None if bad is None else births.get(_origin(graph, bad, state))


def _origin(graph: Graph, number: int, state: Mapping[int, int]) -> int:
    """Backwards along NaN to the first node that gives it; from there, and from an infinity, along what is infinite and was computed."""
    while True:
        made = [i for i in graph[number].inputs if state[i] and not _is_given(graph, i)]
        worst = [i for i in made if state[i] >= state[number]]
        if not made:
            return number
        number = min(worst or made)


def _is_given(graph: Graph, number: int) -> bool:
    """Whether an infinity stands in the graph or comes from outside: nothing went wrong there."""
    while graph[number].inputs and graph[number].op.has(Trait.VIEW):
        number = graph[number].inputs[0]
    return not graph[number].inputs


def _state(node: Node, value: Array) -> int:
    if node.op.has(Trait.LOOP):
        _, history = value[()]
        return max((_of(v) for values in history for v in values.values()), default=FINITE)
    return _of(value)


def _of(value: Array) -> int:
    if value.dtype.kind != "f" or np.isfinite(value).all():
        return FINITE
    return NAN if np.isnan(value).any() else INFINITE


def _birth(node: Node, operands: tuple[Array, ...], value: Array, time: int | None = None) -> Birth:
    """The birth at a node; of a loop, at the node of its body."""
    if isinstance(node.op, Scan):
        _, history = value[()]
        times = range(node.op.length)
        for time in reversed(times) if node.op.reverse else times:
            values = history[time]
            for inner in node.op.body:
                if inner.inputs and _state(inner, values[inner.id]) and not any(_of(values[i]) for i in inner.inputs):
                    return _birth(inner, tuple(values[i] for i in inner.inputs), values[inner.id], time)
        return Birth(node, "nan", 0, 0, ())
    wrong = ~np.isfinite(value)
    found = "nan" if np.isnan(value).any() else "inf" if (value > 0)[wrong].any() else "-inf"
    ranges = tuple((float(x.min()), float(x.max())) for x in operands if x.dtype.kind in "fiu" and x.size)
    return Birth(node, found, int(wrong.sum()), value.size, ranges, time)
