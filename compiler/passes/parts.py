"""Products with joined factors of which only some parts are wanted: the product with each of these parts alone.

Before:  %3 = contract(%x, concat(%a, %b)) ; %4 = slice(%3)          just what comes of %b, and nobody wants the rest
After:   %4 = contract(%x, %b)

Such slices come from differentiating a product with operands side by side. Legal because the elements along an axis that only one factor
has do not meet each other. Where all parts are wanted the one product is the better one.
"""

from __future__ import annotations

from itertools import accumulate

from ..ir.graph import Graph, Node, rewrite
from ..ir.ops import Concat, Contract
from ..ir.views import Slice


def take_parts(graph: Graph) -> Graph:
    """Rewrite every such slice; the very same graph when there is none."""
    users: dict[int, list[Node]] = {}
    for node in graph:
        for operand in node.inputs:
            users.setdefault(operand, []).append(node)
    shown = set(graph.outputs.values())
    parts = {node.id: found for node in graph if node.id not in shown and (found := _wanted(graph, node, users.get(node.id, [])))}
    if not parts:
        return graph

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        if not isinstance(node.op, Slice) or node.inputs[0] not in parts:
            return None
        factor, part = parts[node.inputs[0]][node.id]
        product = new[operands[0]]
        factors = list(product.inputs)
        factors[factor] = new[factors[factor]].inputs[part]
        return new.add(product.op, factors, product.where)

    return rewrite(graph, rule)


def _wanted(graph: Graph, product: Node, users: list[Node]) -> dict[int, tuple[int, int]]:
    """The joined factor and the part of it that each user takes; empty when there is no such factor, or all of it is wanted."""
    if not isinstance(product.op, Contract):
        return {}
    for factor, (labels, number) in enumerate(zip((product.op.left, product.op.right), product.inputs, strict=True)):
        join = graph[number]
        if not isinstance(join.op, Concat):
            continue
        label = labels[join.op.axis]
        if (label in product.op.left and label in product.op.right) or label not in product.op.out:
            continue
        found = {user.id: _part(graph, join, user, product.op.out.index(label)) for user in users}
        taken = {part for part in found.values() if part is not None}
        if None not in found.values() and len(taken) < len(join.inputs):
            return {user: (factor, part) for user, part in found.items() if part is not None}
    return {}


def _part(graph: Graph, join: Node, user: Node, axis: int) -> int | None:
    """Which operand of a join a slice along `axis` of the product takes exactly; None for anything else."""
    op, shape = user.op, graph.type(user.inputs[0]).shape
    assert isinstance(join.op, Concat)
    if not isinstance(op, Slice) or any(
        (op.start[n], op.step[n]) != (0, 1) or op.stop[n] not in (-1, d) for n, d in enumerate(shape) if n != axis
    ):
        return None
    sizes = [size for i in join.inputs if isinstance(size := graph.type(i).shape[join.op.axis], int)]
    ends = list(accumulate(sizes))
    bounds = {(end - size, end): n for n, (size, end) in enumerate(zip(sizes, ends, strict=True))}
    return bounds.get((op.start[axis], op.stop[axis])) if op.step[axis] == 1 else None
