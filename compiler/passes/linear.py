"""A sum over the batch of what earlier sums over the batch scale becomes a combination of sums that need not wait for them.

Before:  %3 = add(mul(%x, spread %c), mul(%y, spread %d)) ; %4 = sum(%3, axes=[0, 1, 2])      with %c, %d from sums over the batch
After:   %4 = add(mul(%c, sum(%x)), mul(%d, sum(%y)))

Such sums come from differentiating a normalisation over the batch. Each one that waits for another costs a pass over all rows, and
threads a meeting; sums that wait for nothing share one pass. Legal because a factor that is the same along the summed axes may be
taken out of the sum. Differences from a mean are left whole, for their sums apart would cancel each other's digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

from ..ir.build import Build
from ..ir.elementwise import Elementwise
from ..ir.graph import Graph, Node, rewrite
from ..ir.ops import Reduce
from ..ir.types import Shape
from ..ir.views import Broadcast
from .fold import constant_behind

MOST_TERMS = 6
"""Terms of a combination beyond which their sums would cost more than the pass that is saved."""

Term = tuple[int | None, int]
"""A factor without the summed axes (None: 1) and what it multiplies."""


def combine_sums(graph: Graph) -> Graph:
    """Rewrite every sum over the batch that takes a factor from another one."""
    if not _waits(graph):
        return graph
    late = _Late()

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        return _combined(new, node, operands[0], late) if _over_batch(node.op, new, operands) else None

    return rewrite(graph, rule)


@dataclass
class _Late:
    """The values of a growing graph that depend on a sum over the batch, among the first `seen`."""

    numbers: set[int] = field(default_factory=set)
    seen: int = 0

    def look(self, graph: Graph) -> None:
        """Look at the values that were added since."""
        for node in (graph[n] for n in range(self.seen, len(graph))):
            if _over_batch(node.op, graph, node.inputs) or not self.numbers.isdisjoint(node.inputs):
                self.numbers.add(node.id)
        self.seen = len(graph)


def _waits(graph: Graph) -> bool:
    """True when some sum over the batch depends on another one."""
    late: set[int] = set()
    for node in graph:
        waits, sums = not late.isdisjoint(node.inputs), _over_batch(node.op, graph, node.inputs)
        if waits and sums:
            return True
        if waits or sums:
            late.add(node.id)
    return False


def _over_batch(op: object, graph: Graph, operands: tuple[int, ...]) -> bool:
    return isinstance(op, Reduce) and op.kind == "sum" and op.combines_samples(graph.type(operands[0]).shape)


def _combined(new: Graph, node: Node, value: int, late: _Late) -> int | None:
    """The sums of the terms, when one of their factors comes from a sum over the batch."""
    assert isinstance(node.op, Reduce)
    build = Build(new, node.type.dtype, node.where)
    terms = _terms(build, value, node.op.axes)
    late.look(new)
    if len(terms) > MOST_TERMS or not (_is_scaled(build, terms) or any(factor in late.numbers for factor, _ in terms)):
        return None
    sums = [(factor, build.add_op(node.op, term)) for factor, term in terms]
    return reduce(build.add, [total if factor is None else build.mul(factor, total) for factor, total in sums])


def _is_scaled(build: Build, terms: Sequence[Term]) -> bool:
    """True for one term with a factor that is no mere number."""
    factor = terms[0][0]
    return len(terms) == 1 and factor is not None and constant_behind(build.graph, factor) is None


def _terms(build: Build, value: int, axes: tuple[int, ...]) -> list[Term]:
    """A value as a sum of terms, factors that are the same along the summed axes apart."""
    node = build.graph[value]
    match node.op:
        case Elementwise("add") if not any(_is_spread(build, i, axes) for i in node.inputs):
            return [term for i in node.inputs for term in _terms(build, i, axes)]
        case Elementwise("sub") if not any(_is_spread(build, i, axes) for i in node.inputs):
            return [*_terms(build, node.inputs[0], axes), *_negated(build, _terms(build, node.inputs[1], axes), axes)]
        case Elementwise("neg"):
            return _negated(build, _terms(build, node.inputs[0], axes), axes)
        case Elementwise("mul"):
            factors = _factors(build, value)
            spread = [f for f in factors if _is_spread(build, f, axes)]
            others = [f for f in factors if f not in spread]
            if spread and others:
                own = reduce(build.mul, [_without(build, f, axes) for f in spread])
                inner = _terms(build, others[0], axes) if len(others) == 1 else [(None, reduce(build.mul, others))]
                return [(own if f is None else build.mul(f, own), v) for f, v in inner]
    return [(None, value)]


def _factors(build: Build, value: int) -> list[int]:
    """What a product is made of."""
    node = build.graph[value]
    if not isinstance(node.op, Elementwise) or node.op.row != "mul":
        return [value]
    return [factor for operand in node.inputs for factor in _factors(build, operand)]


def _is_spread(build: Build, value: int, axes: tuple[int, ...]) -> bool:
    """True for a value that is the same along all summed axes."""
    op = build.graph[value].op
    return isinstance(op, Broadcast) and set(axes).isdisjoint(op.axes)


def _kept(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(d for a, d in enumerate(shape) if a not in axes)


def _without(build: Build, value: int, axes: tuple[int, ...]) -> int:
    """A spread value without the summed axes."""
    node = build.graph[value]
    assert isinstance(node.op, Broadcast)
    kept = [a for a in range(len(node.op.shape)) if a not in axes]
    return build.broadcast(node.inputs[0], _kept(node.op.shape, axes), [kept.index(a) for a in node.op.axes])


def _negated(build: Build, terms: list[Term], axes: tuple[int, ...]) -> list[Term]:
    """Terms with the other sign."""

    def minus(term: Term) -> Term:
        factor, value = term
        if factor is not None:
            return build.neg(factor), value
        kind = build.type(value)
        one = build.constant(-1.0, kind.dtype)
        return build.broadcast(one, _kept(kind.shape, axes), ()), value

    return [minus(term) for term in terms]
