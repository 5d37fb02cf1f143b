"""The reference: run an op graph with NumPy, node by node. Tests compare every pass and the native code with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .graph import Graph
from .op import Array, Context, Trait


def evaluate(graph: Graph, sources: Mapping[str, Any], *, rows: int = 1) -> dict[str, Array]:
    """The outputs of a graph for arrays bound to its sources by label; `rows` is the extent of the batch axis."""
    context = Context({k: np.asarray(v) for k, v in sources.items()}, {"batch": rows})
    values: dict[int, Array] = {}
    live = graph.live()
    with np.errstate(all="ignore"):
        for node in graph:
            if node.id in live:
                result = node.op.evaluate(context, *(values[i] for i in node.inputs))
                values[node.id] = result if node.op.has(Trait.LOOP) else np.asarray(result, dtype=node.type.dtype.numpy)
    return {name: values[number] for name, number in graph.outputs.items()}
