"""Reshapes move towards the sources, so that a `flatten` behind arithmetic on an input becomes a view of the input.

Before:  %2 = mul(%0, %1) ; %3 = reshape(%2, shape=[batch, 64]) ; %4 = contract(%3, %w)
After:   %2 = reshape(%0, shape=[batch, 64]) ; %3 = mul(%2, %1 in that shape) ; %4 = contract(%3, %w)

A reshape between two operations keeps them from sharing a kernel, for each would walk other axes. An *island* is a set of elementwise
operations and reshapes joined by edges. It moves as a whole to the one shape in which it is used outside, when all that flows in can be
had in that shape for nothing: a source, a reshape, spread numbers, a counter. What flows in from a reduction or contraction keeps its
shape, for there the arithmetic belongs to that kernel. Legal because elementwise operations do not look at the shape.
An island is moved at most once, and what is moved has no reshape left inside.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.graph import Graph, Node, rewrite
from ..ir.op import Trait
from ..ir.ops import Position, Source
from ..ir.types import Shape
from ..ir.views import Broadcast, Reshape
from .views import respread, restride


def raise_reshapes(graph: Graph) -> Graph:
    """The graph with every island that can move in the shape in which it is used; the very same graph when none can."""
    if not any(isinstance(node.op, Reshape) for node in graph):
        return graph  # an island has one shape then
    shapes = _moves(graph)
    if not shapes:
        return graph

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        if node.id not in shapes:
            return None
        shape = shapes[node.id]
        moved = [o if new.type(o).shape == shape else new.add(Reshape(shape), [o], node.where) for o in operands]
        return moved[0] if isinstance(node.op, Reshape) else new.add(node.op, moved, node.where)

    return rewrite(graph, rule)


def _moves(graph: Graph) -> dict[int, Shape]:
    """The members of the islands that move, each with the shape it moves to."""
    island = _islands(graph)
    uses: dict[int, set[Shape]] = {}
    for value in _read_outside(graph, island):
        uses.setdefault(island[value], set()).add(graph.type(value).shape)
    target = {root: shapes.pop() for root, shapes in uses.items() if len(shapes) == 1}
    shapes = {number: target[root] for number, root in island.items() if root in target}
    astir = {island[number] for number, shape in shapes.items() if graph.type(number).shape != shape}
    stuck = {island[number] for number, shape in shapes.items() if not _flows_in(graph, graph[number], shape, island)}
    return {number: shape for number, shape in shapes.items() if island[number] in astir - stuck}


def _islands(graph: Graph) -> dict[int, int]:
    """The members of all islands, each with the first member of its island (disjoint sets, merged along edges)."""
    leader: dict[int, int] = {}

    def root(number: int) -> int:
        while leader[number] != number:
            leader[number] = number = leader[leader[number]]
        return number

    for node in graph:
        if node.op.has(Trait.ELEMENTWISE) or isinstance(node.op, Reshape):
            roots = {root(i) for i in node.inputs if i in leader}
            leader[node.id] = min(roots, default=node.id)
            leader.update(dict.fromkeys(roots, leader[node.id]))
    return {number: root(number) for number in leader}


def _read_outside(graph: Graph, island: Mapping[int, int]) -> list[int]:
    inner = (i for node in graph if node.id not in island for i in node.inputs)
    return [number for number in (*inner, *graph.outputs.values()) if number in island]


def _flows_in(graph: Graph, node: Node, shape: Shape, island: Mapping[int, int]) -> bool:
    """True when all that a member reads from outside can be had in the shape for nothing."""
    return isinstance(node.op, Reshape) or all(i in island or _is_free(graph[i], shape) for i in node.inputs)


def _is_free(node: Node, shape: Shape) -> bool:
    match node.op:
        case _ if node.type.shape == shape:
            return True
        case Broadcast():
            return respread(node.op, shape) is not None
        case Position():
            return restride(node.op, shape) is not None
        case _:
            return isinstance(node.op, Source)
