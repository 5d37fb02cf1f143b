"""Local rules: an operation that is about to be added, seen with its operands, becomes something simpler, or stays.

Operands are made before their users, and every new node is again offered to the rules, so one walk over the graph leaves nothing that a
rule would change. Each rule makes the graph smaller or moves a view or a broadcast one step; none can undo another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.elementwise import Elementwise
from ..ir.graph import Graph, Where
from ..ir.op import Op
from ..ir.ops import Constant
from ..ir.types import DType, Shape
from ..ir.views import Broadcast
from .fold import constant_behind

# (maker, operation, operands) -> the number of the replacement, or None when the rule does not apply
LocalRule = Callable[["Maker", Any, tuple[int, ...]], int | None]
# The rules for a class of operations, in the order in which they are tried.
RulesOf = Callable[..., Sequence[LocalRule]]


@dataclass(frozen=True)
class Maker:
    """Adds operations to a graph, simplified; every node gets the place that the replaced one had."""

    graph: Graph
    rules_of: RulesOf
    where: Where

    def simpler(self, op: Op, operands: tuple[int, ...]) -> int | None:
        """The node that has the value of an operation, by the first rule that applies; None when none does."""
        for rule in self.rules_of(type(op)):
            result = rule(self, op, operands)
            if result is not None:
                return result
        return None

    def make(self, op: Op, *operands: int) -> int:
        """The node that has the value of an operation: a simpler one, or the operation itself, added."""
        result = self.simpler(op, operands)
        return self.graph.add(op, operands, self.where) if result is None else result

    def apply(self, row: str, *operands: int) -> int:
        """A row of the elementwise table."""
        return self.make(Elementwise(row), *operands)

    def spread(self, value: int, shape: Shape, axes: Sequence[int] = ()) -> int:
        """A broadcast."""
        return self.make(Broadcast(shape, tuple(axes)), value)

    def number_like(self, value: float | int, other: int) -> int:
        """A number in the shape and type of another value."""
        kind = self.graph.type(other)
        return self.spread(self.scalar(float(value) if kind.dtype.is_float else value, kind.dtype), kind.shape)

    def scalar(self, value: float | int, dtype: DType) -> int:
        """A number."""
        return self.make(Constant(value, dtype))

    def known(self, number: int) -> float | int | bool | None:
        """The number that a value is at every point, when that is known at compile time."""
        constant = constant_behind(self.graph, number)
        return None if constant is None else constant.value
