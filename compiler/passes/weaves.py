"""Work on woven values is done on what is woven: each part by itself, in the kernel that makes it.

Before:  %3 = weave(%1, %2) ; %4 = select(%m, %3, 0) ; %5 = sum(%3 over the woven axis)
After:   %4 = weave(select(%m[0::2], %1, 0), select(%m[1::2], %2, 0)) ; %5 = add(sum(%1), sum(%2))

The parts of a weave are stored at their turns, so a weave itself costs nothing; reading it again for the next operation would. An
elementwise operation moves inside when it is the only one that uses the weave, sums over all woven axes always do. Legal because the
same elements meet, and a sum of parts is the sum in another fixed order.
"""

from __future__ import annotations

from functools import reduce

from ..ir.build import Build
from ..ir.graph import Graph, Node, rewrite
from ..ir.op import Trait
from ..ir.ops import Reduce
from ..ir.windows import Weave


def sink_weaves(graph: Graph) -> Graph:
    """The graph with work on weaves moved inside."""
    uses = _uses(graph)

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        woven = [o for o in operands if isinstance(new[o].op, Weave)]
        if not woven:
            return None
        build = Build(new, node.type.dtype, node.where)
        if isinstance(node.op, Reduce) and node.op.kind == "sum":
            return _sum_of_parts(build, node.op, new[operands[0]])
        alone = node.op.has(Trait.ELEMENTWISE) and any(uses[i] == 1 for i, o in zip(node.inputs, operands, strict=True) if o in woven)
        return _parts_alike(build, node, operands, woven[0]) if alone else None

    return rewrite(graph, rule)


def _uses(graph: Graph) -> dict[int, int]:
    """How many operations other than sums, which need no woven value, use a value; leaving the graph is a use."""
    found = dict.fromkeys(range(len(graph)), 0)
    for node in graph:
        for operand in set(node.inputs):
            found[operand] += not (isinstance(node.op, Reduce) and node.op.kind == "sum")
    for value in graph.outputs.values():
        found[value] += 1
    return found


def _sum_of_parts(build: Build, op: Reduce, woven: Node) -> int | None:
    assert isinstance(woven.op, Weave)
    if not set(woven.op.axes) <= set(op.axes):
        return None
    alike: dict[object, list[int]] = {}
    for part in woven.inputs:
        alike.setdefault(build.type(part), []).append(part)
    return reduce(build.add, [build.add_op(op, reduce(build.add, parts)) for parts in alike.values()])


def _parts_alike(build: Build, node: Node, operands: tuple[int, ...], woven: int) -> int:
    """The operation on every part of the weave, other operands cut to match."""
    graph, weave = build.graph, build.graph[woven].op
    assert isinstance(weave, Weave)
    parts = []
    for number, remainders in enumerate(weave.remainders):
        own = [graph[o].inputs[number] if graph[o].op == weave else weave.part(build, o, remainders) for o in operands]
        parts.append(build.add_op(node.op, *own))
    return build.add_op(weave, *parts)
