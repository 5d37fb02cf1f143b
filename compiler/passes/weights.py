"""Every row counts as much as its weight says: sums over the rows become weighted sums, and their number the sum of the weights.

Before:  %3 = sum(%2, axes=[0]) ; %4 = extent(batch) ; %5 = div(%3, %4)                       the mean over the rows
After:   %6 = sum(mul(%2, w), axes=[0]) ; %7 = max(sum(w), least) ; %8 = div(%6, %7)          the weighted mean

Figures that follow from sums (a root, a share, a table of counts) become those of the weighted rows. What is `within` the value of one
sample stays as it is, such as the statistics of a normalisation over the batch; extremes do not depend on weights. Legal as the definition
of a weighted figure: with weights of 1 all is as before, a weight of 2 is a row that stands there twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from ..ir.build import Build
from ..ir.graph import Graph, Node
from ..ir.ops import Contract, Extent, Reduce, Source
from ..ir.types import BATCH, F64, TensorType
from .stream import is_batched, reduces_batch

WEIGHT = "sample weight"
"""The input that holds the weights; no name of a file has a blank in it."""

LEAST = 1e-30
"""In place of a sum of weights that is 0: rows that do not count give 0, not 0/0."""


def weight_type(build: Build) -> TensorType:
    """One real number a row."""
    return TensorType(build.real, (BATCH,))


def weighted(build: Build, results: Mapping[str, int], within: Set[int]) -> dict[str, int]:
    """The results of a graph with their reductions over the rows weighted, added to the same graph."""
    graph = build.graph
    nodes = [graph[n] for n in sorted(graph.ancestors(list(results.values())) - within)]
    weight = build.add_op(Source("input", WEIGHT, weight_type(build)))
    total = build.apply("max", build.sum(build.cast(weight, F64), [0]), build.constant(LEAST, F64))
    made: dict[int, int] = {}
    for node in nodes:
        operands = [made.get(i, i) for i in node.inputs]
        if isinstance(node.op, Extent) and node.op.symbol == BATCH:
            made[node.id] = total
        elif reduces_batch(graph, node) and _adds(node):
            made[node.id] = _weighed(build, node, operands, weight)
        elif operands != list(node.inputs):
            made[node.id] = graph.add(node.op, operands, node.where)
    return {name: made.get(value, value) for name, value in results.items()}


def _adds(node: Node) -> bool:
    return isinstance(node.op, Contract) or (isinstance(node.op, Reduce) and node.op.kind == "sum")


def _weighed(build: Build, node: Node, operands: list[int], weight: int) -> int:
    """A sum over the rows with one of its factors times the weights."""
    graph: Graph = build.graph
    build.where = node.where
    factor = next(n for n, operand in enumerate(operands) if is_batched(graph, operand))
    kind = graph.type(operands[factor])
    operands[factor] = build.mul(operands[factor], build.broadcast(build.cast(weight, kind.dtype), kind.shape, [0]))
    return graph.add(node.op, operands, node.where)
