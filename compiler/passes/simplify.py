"""Simplification: what an operation and its operands say together, said with less.

Before:  %1 = broadcast(constant(1), shape=[4]) ; %2 = mul(%0, %1) ; %3 = reshape(%2, shape=[2, 2]) ; %4 = reshape(%3, shape=[4, 1])
After:   %1 = reshape(%0, shape=[4, 1])

A table of local rules, each legal for the reason that its own file gives: constants (`fold`), elementwise identities (`identities`),
views, broadcasts and their sums (`views`). One walk in topological order applies them until none does; then reshapes are moved towards
the sources (`reshapes`), which may give the rules new work, and so on. Run it after differentiation only: it removes `stop_gradient`.
"""

from __future__ import annotations

from functools import cache

from ..ir.elementwise import Cast, Elementwise, Select, StopGradient
from ..ir.graph import Graph, Node, rewrite
from ..ir.op import Op, Trait
from ..ir.ops import Concat, Reduce
from ..ir.views import Broadcast, Reshape, Slice, Transpose
from ..ir.windows import Pad
from . import identities, joins, views
from .dce import dce
from .fold import folded
from .local import LocalRule, Maker
from .reshapes import raise_reshapes

MAXIMUM_ROUNDS = 8


def _constant(m: Maker, op: Op, operands: tuple[int, ...]) -> int | None:
    return folded(m.graph, op, operands, m.where)


# Which operations a rule looks at, by class or by trait; the first rule that applies wins.
RULES: tuple[tuple[type[Op] | Trait, LocalRule], ...] = (
    (Trait.ELEMENTWISE, _constant),
    (StopGradient, identities.forwarded),
    (Elementwise, identities.row_identity),
    (Elementwise, joins.overlaid),
    (Select, identities.chosen),
    (Cast, identities.converted),
    (Trait.ELEMENTWISE, views.lifted),
    (Reshape, views.nothing),
    (Slice, views.nothing),
    (Broadcast, views.nothing),
    (Pad, views.nothing),
    (Transpose, views.in_order),
    (Trait.VIEW, views.spread_scalar),
    (Reshape, views.reshape_twice),
    (Reshape, views.reshape_inside),
    (Transpose, views.transpose_twice),
    (Slice, views.slice_twice),
    (Slice, views.part_of_overlap),
    (Pad, views.frame_twice),
    (Broadcast, views.broadcast_twice),
    (Concat, views.alone),
    (Reduce, views.reduce_one),
    (Reduce, views.sum_of_repeated),
)


@cache
def rules_of(kind: type[Op]) -> tuple[LocalRule, ...]:
    """The rules for a class of operations."""
    return tuple(rule for key, rule in RULES if (key in kind.traits if isinstance(key, Trait) else issubclass(kind, key)))


def simplify(graph: Graph) -> Graph:
    """The graph in which no rule applies any more, without dead nodes."""

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        return Maker(new, rules_of, node.where).simpler(node.op, operands)

    graph = dce(rewrite(graph, rule, keep=graph.live()))
    for _ in range(MAXIMUM_ROUNDS):
        moved = raise_reshapes(graph)
        if moved is graph:
            break
        graph = dce(rewrite(moved, rule))
    return graph
