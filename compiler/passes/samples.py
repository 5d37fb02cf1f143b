"""Reductions over the batch and other axes go sample by sample first.

Before:  %1 = sum(%0, axes=[0, 1, 2]) : f32[16]
After:   %2 = sum(%0, axes=[1, 2]) : f32[batch, 16] ; %1 = sum(%2, axes=[0]) : f32[16]

What is left of a sample is small, and making it is work of its own rows, which threads share out as they do all work on rows, together
with the operations whose result is reduced. Legal for sums up to rounding (the order is fixed all the same, and the error of two short
sums is smaller than that of a long one), for extremes exactly.
"""

from __future__ import annotations

from ..ir.graph import Graph, Node, rewrite
from ..ir.ops import REDUCTIONS, Reduce
from ..ir.types import Shape, elements

LEAST_POINTS = 8
"""Points of a sample from which reducing them by themselves pays."""


def reduce_samples(graph: Graph) -> Graph:
    """Rewrite every reduction over the batch and enough points of a sample."""

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        if not isinstance(node.op, Reduce) or not pays_by_sample(node.op, new.type(operands[0]).shape):
            return None
        one = new.add(Reduce(node.op.kind, node.op.axes[1:]), operands, node.where)
        return new.add(Reduce(node.op.kind, (0,)), [one], node.where)

    return rewrite(graph, rule)


def pays_by_sample(op: Reduce, shape: Shape) -> bool:
    """True for a reduction over the batch and enough points of a sample."""
    if op.kind not in REDUCTIONS or not op.combines_samples(shape):
        return False
    return elements(tuple(shape[a] for a in op.axes[1:])) >= LEAST_POINTS
