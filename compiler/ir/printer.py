"""The stable text of an op graph: one line a node, its type on every line, where it came from behind it."""

from __future__ import annotations

from dataclasses import replace

from .graph import Graph, Node
from .scan import STACK, Result, Scan


def print_graph(graph: Graph, *, places: bool = True) -> str:
    """The whole graph; nodes are renumbered in order, so that equal graphs print equally."""
    number = {node.id: position for position, node in enumerate(graph)}
    lines = [f"graph {graph.name} {{"]
    for node in graph:
        lines.append(f"  {print_node(_as_printed(graph, node), number, places=places)}")
        if isinstance(node.op, Scan):
            lines += [f"    {line}" for line in print_graph(node.op.body, places=places).splitlines()]
    lines += [f"  return {name} = %{number[value]}" for name, value in graph.outputs.items()]
    return "\n".join([*lines, "}"])


def _as_printed(graph: Graph, node: Node) -> Node:
    """The node; a stacked value of a loop by its number in the text of the body."""
    if not isinstance(node.op, Result) or node.op.kind != STACK:
        return node
    loop = graph[node.inputs[0]].op
    assert isinstance(loop, Scan)
    order = [inner.id for inner in loop.body]
    return replace(node, op=replace(node.op, number=order.index(node.op.number)))


def print_node(node: Node, number: dict[int, int] | None = None, *, places: bool = True) -> str:
    """One node: `%3 = add(%1, %2) : f32[batch, 4]  # model.nn:7:9`."""
    names = [f"%{number[i] if number else i}" for i in node.inputs]
    attributes = [f"{key}={_spell(value)}" for key, value in node.op.attributes().items()]
    line = f"%{number[node.id] if number else node.id} = {node.op.name}({', '.join(names + attributes)}) : {node.type}"
    return f"{line}  # {node.where}" if places and node.where.span else line


def _spell(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_spell, value)) + "]"
    return str(value)
