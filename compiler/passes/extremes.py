"""What is found at the place of an extreme is the extreme.

Before:  %2 = select(eq(%place, spread argmax(window(%x))), %dy, 0) ; %3 = overlap_add(%2) ; %4 = select(gt(%x, 0), %3, 0)
After:   %2 = select(eq(%place, spread argmax(window(%x))), select(gt(spread max(window(%x)), 0), %dy, 0), 0) ; %4 = overlap_add(%2)

Such masks come from differentiating an activation that is pooled. What the windows pass on comes from their extremes alone, so their
extremes may be compared instead of all elements; %x then need not be read again, and not even be kept where nobody else wants it. Legal
because the first extreme in order has the value of the extreme, NaN included (the sign of a zero aside, which no comparison sees), and
a sum of masked terms is the masked sum.
"""

from __future__ import annotations

from ..ir.build import Build
from ..ir.elementwise import Elementwise, Select
from ..ir.graph import Graph, Node, rewrite
from ..ir.ops import Position, Reduce
from ..ir.types import row_major
from ..ir.views import Broadcast
from ..ir.windows import OverlapAdd, Pad, Window
from .fold import constant_behind

COMPARISONS = {"gt", "ge", "lt", "le", "eq", "ne"}
EXTREMES = {"argmax": "max", "argmin": "min"}


def compare_extremes(graph: Graph) -> Graph:
    """Rewrite every comparison that matters at the places of extremes only; the very same graph when there is none."""
    if not any(isinstance(node.op, OverlapAdd) for node in graph):
        return graph

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        if not isinstance(node.op, Select) or not isinstance(new[operands[1]].op, OverlapAdd):
            return None
        return _masked_inside(Build(new, node.type.dtype, node.where), *operands)

    return rewrite(graph, rule)


def _masked_inside(build: Build, condition: int, overlap: int, zero: int) -> int | None:
    """The overlapping windows with the mask inside, for `select(condition, overlap, 0)`."""
    graph = build.graph
    inner = graph[graph[overlap].inputs[0]]
    if not isinstance(inner.op, Select) or not (_is_zero(graph, zero) and _is_zero(graph, inner.inputs[2])):
        return None
    guard, value, nothing = inner.inputs
    spread = _extreme(graph, guard)
    if spread is None or not _are_windows(graph, condition, overlap, graph[graph[spread].inputs[0]].inputs[0]):
        return None
    mask = _compared(build, condition, graph[graph[spread].inputs[0]])
    axes = graph[spread].op
    assert isinstance(axes, Broadcast)
    masked = _masked(build, mask, value, axes)
    return build.add_op(graph[overlap].op, build.add_op(Select(), guard, masked, nothing))


def _is_zero(graph: Graph, number: int) -> bool:
    constant = constant_behind(graph, number)
    return constant is not None and constant.value == 0


def _extreme(graph: Graph, guard: int) -> int | None:
    """The spread place of an extreme, where `guard` compares it with the place that each point is."""
    if not _is_row(graph[guard], {"eq"}):
        return None
    place, spread = (graph[i] for i in graph[guard].inputs)
    if not isinstance(place.op, Position) or not isinstance(spread.op, Broadcast):
        return None
    found = graph[spread.inputs[0]]
    if not isinstance(found.op, Reduce) or found.op.kind not in EXTREMES:
        return None
    shape = graph.type(found.inputs[0]).shape
    counted = dict(zip(found.op.axes, row_major(tuple(shape[a] for a in found.op.axes)), strict=True))
    kept = tuple(a for a in range(len(shape)) if a not in found.op.axes)
    alike = place.op.strides == tuple(counted.get(a, 0) for a in range(len(shape))) and spread.op.axes == kept
    return spread.id if alike and spread.type.shape == shape else None


def _are_windows(graph: Graph, condition: int, overlap: int, searched: int) -> bool:
    """Whether `condition` compares, with a number, the very elements whose windows are `searched` and add up in `overlap`."""
    op, windows, compared = graph[overlap].op, graph[searched], graph[condition]
    assert isinstance(op, OverlapAdd)
    if not isinstance(windows.op, Window) or windows.op.sliding != op.sliding or not _is_row(compared, COMPARISONS):
        return False
    (framed,) = windows.inputs
    before = [0] * len(op.sliding.axes)
    if isinstance(graph[framed].op, Pad) and framed not in compared.inputs:
        frame = graph[framed].op
        assert isinstance(frame, Pad)
        if any(width for axis, width in enumerate(frame.before) if axis not in op.sliding.axes):
            return False
        before, (framed,) = [frame.before[axis] for axis in op.sliding.axes], graph[framed].inputs
    others = [i for i in compared.inputs if i != framed]
    return op.offset == tuple(before) and len(others) == 1 and constant_behind(graph, others[0]) is not None


def _is_row(node: Node, rows: set[str]) -> bool:
    return isinstance(node.op, Elementwise) and node.op.row in rows


def _compared(build: Build, condition: int, argument: Node) -> int:
    """The comparison, of the extreme instead of what is searched for it."""
    assert isinstance(argument.op, Reduce)
    extreme = build.add_op(Reduce(EXTREMES[argument.op.kind], argument.op.axes), argument.inputs[0])
    sides = []
    for side in build.graph[condition].inputs:
        constant = constant_behind(build.graph, side)
        number = extreme if constant is None else build.add_op(constant)
        sides.append(number if constant is None else build.broadcast(number, argument.type.shape, ()))
    return build.add_op(build.graph[condition].op, *sides)


def _masked(build: Build, mask: int, value: int, spread: Broadcast) -> int:
    """`select(spread mask, value, 0)`, done before a value is spread."""
    node = build.graph[value]
    inside = node.op == spread
    where, what = (mask, node.inputs[0]) if inside else (build.add_op(spread, mask), value)
    zero = build.broadcast(build.constant(0.0, node.type.dtype), build.type(what).shape, ())
    masked = build.add_op(Select(), where, what, zero)
    return build.add_op(spread, masked) if inside else masked
