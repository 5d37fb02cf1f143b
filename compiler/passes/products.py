"""Products that are added up in a loop become one product of operands side by side.

Before:  at each time   %5 = add(contract(%x, %W), contract(%h, %U))                    %x a step, %h carried
After:   at each time   %5 = contract(concat(%x, %h), concat(%W, %U))

The product of the steps could be hoisted instead, one product for all times. But where that is more than a cache holds, each of its
elements goes to memory and comes back at its time, which costs more than it saves (an LSTM of 256 units over 64 features, 32 rows, 100
times: 9% of a prediction). Few rows hardly use a weight that is loaded at each time; there hoisting stays the better choice.
Legal up to the order of the additions, which is that of the operands side by side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.elementwise import Elementwise
from ..ir.graph import Graph, Node, rewrite
from ..ir.ops import Concat, Contract
from ..ir.scan import CARRY, STEP
from ..ir.types import elements
from .loops import has_loops, in_bodies

LEAST_ROWS = 16
"""Rows of a batch from which a product at each time runs as fast as one for all times."""
CACHED_BYTES = 4 << 20
"""The size of a product for all times that still comes back from a cache (RNN 32-128, 64 times, 32 rows: 1 MiB, hoisting is 2% faster)."""


def join_products(graph: Graph, rows: int) -> Graph:
    """The graph with such products of every loop joined, for batches of `rows`; the very same graph where there is none."""
    if rows < LEAST_ROWS or not has_loops(graph):
        return graph
    return in_bodies(graph, lambda body, length: _joined(body, rows * length))


def _joined(body: Graph, places: int) -> Graph:
    """A body with its products joined, which are made at so many `places`: rows times times."""
    finder = _Finder(body, places)

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        if node.op != Elementwise("add"):
            return None
        for ours, theirs in ((0, 1), (1, 0)):
            if finder.belong(node.inputs[ours], node.inputs[theirs]):
                return _one_product(new, node, (operands[ours], operands[theirs]))
            inner = body[node.inputs[ours]]
            place = finder.inside(inner, node.inputs[theirs])
            if place is not None:
                first = new[operands[ours]].inputs
                product = _one_product(new, node, (first[place], operands[theirs]))
                return new.add(node.op, [product, first[1 - place]], node.where)
        return None

    return rewrite(body, rule)


@dataclass
class _Finder:
    """Knows which products of a body belong together: both used once, their weights the same at all times, one of what is carried."""

    body: Graph
    places: int

    def __post_init__(self) -> None:
        sources = self.body.sources()
        self.stepping, self.carrying = (
            self.body.descendants([n for key, n in sources.items() if key.startswith(kind)]) for kind in (STEP, CARRY)
        )
        self.uses = Counter([*(i for node in self.body for i in node.inputs), *self.body.outputs.values()])

    def belong(self, first: int, second: int) -> bool:
        """Whether two values are such products, of the same form."""
        a, b = self.body[first], self.body[second]
        alike = self.is_product(a) and self.is_product(b) and a.op == b.op
        large = self.places * elements(a.type.shape) * a.type.dtype.bytes > CACHED_BYTES
        return alike and large and (first in self.carrying) != (second in self.carrying)

    def is_product(self, node: Node) -> bool:
        """Whether a value is a product summed over one axis, of something that varies and something that does not."""
        if not isinstance(node.op, Contract) or self.uses[node.id] != 1 or len(_summed(node.op)) != 1:
            return False
        varying = [i in self.stepping or i in self.carrying for i in node.inputs]
        return varying == [True, False]

    def inside(self, inner: Node, other: int) -> int | None:
        """The operand of a sum, used once, that belongs to `other`."""
        if inner.op != Elementwise("add") or self.uses[inner.id] != 1:
            return None
        return next((n for n, operand in enumerate(inner.inputs) if self.belong(operand, other)), None)


def _summed(op: Contract) -> list[int]:
    return [label for label in op.left if label not in op.out]


def _one_product(new: Graph, node: Node, products: Sequence[int]) -> int:
    """The product of the operands side by side along the axis that is summed over."""
    op = new[products[0]].op
    assert isinstance(op, Contract)
    (label,) = _summed(op)
    axes = op.left.index(label), op.right.index(label)
    pairs = zip(*(new[p].inputs for p in products), strict=True)
    return new.add(op, [new.add(Concat(axis), pair, node.where) for axis, pair in zip(axes, pairs, strict=True)], node.where)
