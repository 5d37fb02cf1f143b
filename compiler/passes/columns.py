"""Contractions that the tile generator cannot take become products and sums.

Before:  %2 = contract(%0, %1, form=ab,b->a)
After:   %3 = broadcast(%1) ; %4 = mul(%0, %3) ; %2 = sum(%4, axes=[1])

A contraction needs columns: a last axis of the result, of fixed extent, that belongs to one factor alone. Without it (a matrix times a
vector, a product of equal shapes summed) the work is a reduction along a row, which is what the sum of products says. Legal by the
definition of the contraction; only the order of additions is the reduction's.
"""

from __future__ import annotations

from ..ir.build import Build
from ..ir.graph import Graph, Node, rewrite
from ..ir.ops import Contract, Reduce
from ..ir.views import Broadcast


def give_columns(graph: Graph) -> Graph:
    """Rewrite every contraction without columns; the very same graph when there is none."""
    if all(_has_columns(graph, node.op, node.inputs) for node in graph if isinstance(node.op, Contract)):
        return graph

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        op = node.op
        return None if not isinstance(op, Contract) or _has_columns(new, op, operands) else _summed(new, node, op, operands)

    return rewrite(graph, rule)


def _has_columns(graph: Graph, op: Contract, operands: tuple[int, ...]) -> bool:
    """True when the last axis of the result belongs to one factor alone and has a fixed extent."""
    sizes = op.sizes(*(graph.type(i) for i in operands))
    return bool(op.out) and (op.out[-1] in op.left) != (op.out[-1] in op.right) and isinstance(sizes[op.out[-1]], int)


def _summed(new: Graph, node: Node, op: Contract, operands: tuple[int, ...]) -> int:
    sizes = op.sizes(*(new.type(i) for i in operands))
    order = (*op.out, *(label for label in dict.fromkeys(op.left + op.right) if label not in op.out))
    build = Build(new, node.type.dtype, node.where)
    factors = []
    for operand, labels in zip(operands, (op.left, op.right), strict=True):
        ranked = sorted(labels, key=order.index)
        aligned = build.transpose(operand, [labels.index(x) for x in ranked])
        shape = tuple(sizes[x] for x in order)
        spread = Broadcast(shape, tuple(order.index(x) for x in ranked))
        factors.append(aligned if new.type(aligned).shape == shape else build.add_op(spread, aligned))
    product = build.mul(*factors)
    folded = tuple(range(len(op.out), len(order)))
    return build.add_op(Reduce("sum", folded), product) if folded else product
