"""Common subexpressions: the same operation on the same operands is one node.

Before:  %2 = mul(%0, %1) ; %3 = mul(%1, %0) ; %4 = add(%2, %3)
After:   %2 = mul(%0, %1) ; %3 = add(%2, %2)

Legal because operations are pure (random numbers too: they are functions of key, counter and index). Operands of commutative operations
are compared without regard to order. Constants are compared by their bits, for 0 equals -0 as a number but not as a divisor.
The first of equal nodes stays, with its place in the source.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ..ir.graph import Graph, Node, rewrite
from ..ir.op import Op, Trait
from ..ir.ops import Constant


def cse(graph: Graph) -> Graph:
    """The graph in which equal nodes are one."""
    known: dict[Hashable, int] = {}

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        own = len(new)
        first = known.setdefault(identity(node.op, operands), own)
        return None if first == own else first

    return rewrite(graph, rule)


def identity(op: Op, operands: tuple[int, ...]) -> Hashable:
    """What two nodes share exactly when they are the same value."""
    if isinstance(op, Constant):
        return op.dtype, np.asarray(op.value, dtype=op.dtype.numpy).tobytes()
    return op, tuple(sorted(operands)) if op.has(Trait.COMMUTATIVE) else operands
