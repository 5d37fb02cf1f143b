"""Reverse-mode differentiation, graph to graph.

Before:  %2 = mul(%0, %1)            After:  %2 = mul(%0, %1)
         return loss = %2                    %3 = constant(1)
                                             %4 = mul(%3, %1)      the cotangent of %0

Walks the ancestors of the output backwards; every operation's own rule gives the cotangents of its operands, which are summed where a
value is used more than once. The backward nodes are ordinary nodes and go through every later pass; each carries the place of the
forward node it belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.build import Build
from ..ir.op import Trait
from ..ir.types import TensorType


def differentiate(build: Build, output: int, wrt: Sequence[int]) -> list[int]:
    """Append the gradient of a float scalar to the graph; returns the cotangent of each of `wrt` (zeros where nothing flows).

    Raises ValueError when the output is not a float scalar.
    """
    graph = build.graph
    if graph.type(output).shape or not graph.type(output).dtype.is_float:
        raise ValueError(f"only a float scalar can be differentiated, not {graph.type(output)}")
    needed = graph.ancestors([output]) & graph.descendants(list(wrt))
    cotangents: dict[int, int] = {output: build.constant(1.0, graph.type(output).dtype)}
    place = build.where
    for number in sorted(needed, reverse=True):
        node = graph[number]
        if number not in cotangents or node.op.has(Trait.SOURCE) or number in wrt:
            continue
        build.where = node.where
        parts = node.op.gradient(build, node, cotangents[number])
        for operand, part in zip(node.inputs, parts, strict=True):
            if part is None or operand not in needed:
                continue
            _check(graph.type(operand), graph.type(part))
            cotangents[operand] = build.add(cotangents[operand], part) if operand in cotangents else part
    build.where = place
    return [cotangents[w] if w in cotangents else build.zeros_like(w) for w in wrt]


def _check(operand: TensorType, cotangent: TensorType) -> None:
    if operand != cotangent:
        raise AssertionError(f"a gradient rule gave {cotangent} for an operand of {operand}")
