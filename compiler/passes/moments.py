"""Squares about a value that comes from a sum over the batch are summed about the mean of each sample first.

Before:  %3 = sub(%x, spread %m) ; %4 = sum(mul(%3, %3), axes=[0, 1, 2])                  with %m from a sum over the batch
After:   %s = mul(sum(%x, axes=[1, 2]), 1/p) ; %q = sum((%x - spread %s)^2, axes=[1, 2])       p points a sample
         %4 = sum(add(%q, mul(p, (%s - %m)^2)), axes=[0])

So the variance of a normalisation needs no pass of its own that waits for the mean: both come from one look at each sample, while it
is in the cache. Legal because the differences from a sample's own mean add up to 0, whatever %m is; all terms are positive, so that no
digits cancel (Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances").
"""

from __future__ import annotations

from ..ir.build import Build
from ..ir.elementwise import Elementwise
from ..ir.graph import Graph, Node, rewrite
from ..ir.ops import Reduce
from ..ir.types import elements
from ..ir.views import Broadcast
from .samples import pays_by_sample


def sum_about_samples(graph: Graph) -> Graph:
    """Rewrite every sum over the batch of squares about what a sum over the batch says; the very same graph when there is none."""
    late = _late(graph)

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        if not isinstance(node.op, Reduce) or node.inputs[0] not in late:
            return None
        return _about_samples(Build(new, node.type.dtype, node.where), node.op, operands[0])

    return rewrite(graph, rule) if late else graph


def _late(graph: Graph) -> set[int]:
    """The squares whose sums over the batch depend on another such sum."""
    after: set[int] = set()
    squares: set[int] = set()
    for node in graph:
        by_sample = isinstance(node.op, Reduce) and node.op.kind == "sum" and pays_by_sample(node.op, graph.type(node.inputs[0]).shape)
        if by_sample and node.inputs[0] in after and _is_square(graph[node.inputs[0]]):
            squares.add(node.inputs[0])
        if by_sample or not after.isdisjoint(node.inputs):
            after.add(node.id)
    return squares


def _is_square(node: Node) -> bool:
    return isinstance(node.op, Elementwise) and node.op.row == "mul" and node.inputs[0] == node.inputs[1]


def _about_samples(build: Build, op: Reduce, square: int) -> int | None:
    """The sum of squares of `x - spread centre`, sample by sample."""
    graph = build.graph
    difference = graph[graph[square].inputs[0]]
    if not isinstance(difference.op, Elementwise) or difference.op.row != "sub":
        return None
    x, spread = difference.inputs
    kept = tuple(a for a in range(difference.type.rank) if a not in op.axes)
    centre = graph[spread]
    if not isinstance(centre.op, Broadcast) or centre.op.axes != kept:
        return None
    shape, inner = difference.type.shape, op.axes[1:]
    points = elements(tuple(shape[a] for a in inner))
    mean = build.scale(build.sum(x, inner), 1 / points)
    own = build.sub(x, build.broadcast(mean, shape, (0, *kept)))
    within = build.sum(build.mul(own, own), inner)
    apart = build.sub(mean, build.broadcast(centre.inputs[0], build.type(mean).shape, range(1, 1 + len(kept))))
    return build.sum(build.add(within, build.scale(build.mul(apart, apart), float(points))), (0,))
