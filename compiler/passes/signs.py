"""Which states can never be negative, by induction over training steps.

A state begins at 0 or above, and if all such states are not negative before a step, what the step makes of it is not either: squares,
exponentials, roots, and sums and products of what is not negative, as in  next v = 0.9 * v + 0.1 * g * g.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..ir.elementwise import Cast, Elementwise, Select
from ..ir.graph import Graph, Node
from ..ir.op import Trait
from ..ir.ops import Constant, Extent, Reduce, Source

ALWAYS = frozenset({"exp", "sigmoid", "abs", "sqrt", "rsqrt"})
IF_ALL = frozenset({"add", "mul", "div", "min", "pow", "floor", "ceil", "round", "sign"})
IF_ANY = frozenset({"max"})
COUNTS = frozenset({"step", "steps", "update", "epoch", "seed", "rows", "pending", "gathered", "left", "norm"})
"""Run-time scalars that count something, or add up norms."""
FACTORS = 64
"""Factors of a product that are looked at, so that a long chain of products costs no more than its length."""


def nonnegative_states(graph: Graph, beginnings: Mapping[str, bool]) -> list[str]:
    """Labels of the states of a training graph that are never negative; `beginnings` tell whose first value is known not to be.

    The largest set that supports itself: states are taken out until every one left follows from the others.
    """
    held = {label for label, sound in beginnings.items() if sound and f"state:{label}" in graph.outputs}
    while held:
        known = _nonnegative(graph, held)
        lost = {label for label in held if graph.outputs[f"state:{label}"] not in known}
        if not lost:
            break
        held -= lost
    return sorted(held)


def _nonnegative(graph: Graph, held: set[str]) -> set[int]:
    """Nodes that are not negative where the states `held` are not."""
    known: set[int] = set()
    for node in graph:
        if _is_nonnegative(node, known, held) or _is_square(graph, node, known):
            known.add(node.id)
    return known


def _is_square(graph: Graph, node: Node, known: set[int]) -> bool:
    """A product whose factors of unknown sign come in pairs, such as 0.1 * g * g."""
    open_ends, factors = [node.id], Counter[int]()
    while open_ends and factors.total() < FACTORS:
        factor = graph[open_ends.pop()]
        if factor.id in known:
            continue
        if factor.op == Elementwise("mul"):
            open_ends += factor.inputs
        else:
            factors[factor.id] += 1
    return not open_ends and all(count % 2 == 0 for count in factors.values())


def _is_nonnegative(node: Node, known: set[int], held: set[str]) -> bool:
    """Whether a node is not negative, given which of those before it are."""
    all_known = all(i in known for i in node.inputs)
    match node.op:
        case Source(kind=kind, label=label):
            return (kind == "runtime" and label in COUNTS) or (kind == "state" and label in held)
        case Constant(value=value):
            return bool(value >= 0)
        case Extent():
            return True
        case Select():
            return node.inputs[1] in known and node.inputs[2] in known
        case Elementwise(row=row):
            return row in ALWAYS or (row in IF_ALL and all_known) or (row in IF_ANY and any(i in known for i in node.inputs))
        case Reduce(kind=kind):
            return all_known and kind in ("sum", "max", "min")
        case Cast():
            return all_known
    return all_known and bool(node.inputs) and node.op.has(Trait.VIEW)
