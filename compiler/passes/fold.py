"""Constant folding: arithmetic on numbers known at compile time.

Before:  %0 = constant(2) ; %1 = constant(3) ; %2 = mul(%0, %1)
After:   %2 = constant(6)

Before:  %1 = broadcast(constant(2), shape=[4]) ; %2 = broadcast(constant(3), shape=[4]) ; %3 = add(%1, %2)
After:   %3 = broadcast(constant(5), shape=[4])

Legal because the NumPy reference of the operation, in its own element type, gives the number: overflow, infinities and NaN come out as
they would at run time. Spread numbers stay spread: no array is ever made, so that folding cannot cost memory.
"""

from __future__ import annotations

import numpy as np

from ..ir.graph import Graph, Node, Where, rewrite
from ..ir.op import Context, Op, Trait
from ..ir.ops import Constant
from ..ir.views import Broadcast

NO_CONTEXT = Context({}, {})


def fold(graph: Graph) -> Graph:
    """The graph with elementwise operations on constants worked out."""

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        return folded(new, node.op, operands, node.where) if node.op.has(Trait.ELEMENTWISE) else None

    return rewrite(graph, rule)


def folded(graph: Graph, op: Op, operands: tuple[int, ...], where: Where) -> int | None:
    """The constant that an elementwise operation gives, added to the graph; None when an operand is not constant."""
    known = []
    for operand in operands:
        number = constant_behind(graph, operand)
        if number is None:
            return None
        known.append(number)
    with np.errstate(all="ignore"):
        value = op.evaluate(NO_CONTEXT, *(n.evaluate(NO_CONTEXT) for n in known))
    result = op.infer(*(graph.type(o) for o in operands))
    scalar = graph.add(Constant(np.asarray(value, dtype=result.dtype.numpy).item(), result.dtype), (), where)
    return graph.add(Broadcast(result.shape, ()), [scalar], where) if result.shape else scalar


def constant_behind(graph: Graph, number: int) -> Constant | None:
    """The constant that a node is, or spreads over a shape."""
    node = graph[number]
    if isinstance(node.op, Broadcast):
        node = graph[node.inputs[0]]
    return node.op if isinstance(node.op, Constant) else None
