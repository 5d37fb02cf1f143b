"""The rules every op graph keeps; run after each pass in tests, and before lowering, so that no second path skips them."""

from __future__ import annotations

from .graph import Graph, Node
from .op import ShapeError
from .printer import print_node
from .scan import Scan
from .types import Symbol

MAXIMUM_ELEMENTS = 2**31 - 1
MAXIMUM_NODES = 100_000


class VerificationError(Exception):
    """A pass broke the graph: a defect of the compiler, never of the user's file."""


def verify(graph: Graph, after: str) -> Graph:
    """Check the graph and return it; `after` names the pass for the message."""
    if len(graph) > MAXIMUM_NODES:
        raise VerificationError(f"after {after}: {len(graph)} nodes")
    for node in graph:
        problem = _problem(graph, node)
        if problem:
            neighbours = "\n".join("    " + print_node(graph[i]) for i in node.inputs if 0 <= i < node.id)
            raise VerificationError(f"after {after}: {problem}\n  {print_node(node)}\n  operands:\n{neighbours}")
    for name, value in graph.outputs.items():
        if not 0 <= value < len(graph):
            raise VerificationError(f"after {after}: output {name} is no node")
    return graph


def _problem(graph: Graph, node: Node) -> str | None:
    if node.inputs and not 0 <= min(node.inputs) <= max(node.inputs) < node.id:
        return "an operand is not made before its user"
    try:
        inferred = node.op.infer(*[graph.type(i) for i in node.inputs])
    except ShapeError as error:
        return str(error)
    if isinstance(node.op, Scan):
        verify(node.op.body, "the same")
    if inferred is not node.type and inferred != node.type:
        return "the recorded type is not what the operation infers"
    if any(isinstance(d, Symbol) for d in node.type.shape[1:]):
        return "the batch axis is not in front"
    size = 1
    for dim in node.type.shape:
        if isinstance(dim, int):
            if dim < 1:
                return "an axis has no elements"
            size *= dim
    return f"{size} elements exceed {MAXIMUM_ELEMENTS}" if size > MAXIMUM_ELEMENTS else None
