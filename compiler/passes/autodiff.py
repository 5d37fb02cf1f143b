"""Reverse-mode differentiation, graph to graph.

Before:  %2 = mul(%0, %1)            After:  %2 = mul(%0, %1)
         return loss = %2                    %3 = constant(1)
                                             %4 = mul(%3, %1)      the cotangent of %0

Walks the ancestors of the output backwards; every operation's own rule gives the cotangents of its operands, which are summed where a
value is used more than once. A loop's are computed by a loop in the other direction (see `loop_gradient`). The backward nodes are
ordinary nodes and go through every later pass; each carries the place of the forward node it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir.build import Build
from ..ir.graph import Node
from ..ir.op import Trait
from ..ir.scan import Result
from ..ir.types import TensorType
from .loop_gradient import reverse_loop


def differentiate(build: Build, output: int, wrt: Sequence[int]) -> list[int]:
    """Append the gradient of a float scalar to the graph; returns the cotangent of each of `wrt` (zeros where nothing flows).

    Raises ValueError when the output is not a float scalar.
    """
    graph = build.graph
    if graph.type(output).shape or not graph.type(output).dtype.is_float:
        raise ValueError(f"only a float scalar can be differentiated, not {graph.type(output)}")
    found = pull_back(build, {output: build.constant(1.0, graph.type(output).dtype)}, wrt)
    return [build.zeros_like(w) if value is None else value for w, value in zip(wrt, found, strict=True)]


def pull_back(build: Build, given: Mapping[int, int], wrt: Sequence[int]) -> list[int | None]:
    """Append the cotangents of `wrt` for `given` cotangents by node; None where nothing flows."""
    graph = build.graph
    needed = graph.ancestors(list(given)) & graph.descendants(list(wrt))
    cotangents, bundles = dict(given), dict[int, dict[Result, int]]()
    place = build.where
    for number in sorted(needed, reverse=True):
        node = graph[number]
        if (number not in cotangents and number not in bundles) or node.op.has(Trait.SOURCE) or number in wrt:
            continue
        build.where = node.where
        if isinstance(node.op, Result):
            bundle = bundles.setdefault(node.inputs[0], {})
            bundle[node.op] = build.add(bundle[node.op], cotangents[number]) if node.op in bundle else cotangents[number]
            continue
        for operand, part in zip(node.inputs, _parts(build, node, cotangents, bundles, needed), strict=True):
            if part is None or operand not in needed:
                continue
            _check(graph.type(operand), graph.type(part))
            cotangents[operand] = build.add(cotangents[operand], part) if operand in cotangents else part
    build.where = place
    return [cotangents.get(w) for w in wrt]


def _parts(
    build: Build, node: Node, cotangents: Mapping[int, int], bundles: Mapping[int, Mapping[Result, int]], needed: set[int]
) -> Sequence[int | None]:
    """What flows to the operands of a node."""
    if node.op.has(Trait.LOOP):
        return reverse_loop(build, node, bundles[node.id], {p for p, i in enumerate(node.inputs) if i in needed}, pull_back)
    return node.op.gradient(build, node, cotangents[node.id])


def _check(operand: TensorType, cotangent: TensorType) -> None:
    if operand != cotangent:
        raise AssertionError(f"a gradient rule gave {cotangent} for an operand of {operand}")
