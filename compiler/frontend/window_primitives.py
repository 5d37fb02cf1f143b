"""Primitives over windows of axes: padding, windows, their adjoint, and axes walked backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.op import ShapeError
from ..ir.windows import OverlapAdd, Reverse, Sliding, Window
from .binding import Bound, Signature
from .lengths import grown, masked, windowed
from .values import Tensor, Value, describe, fresh_label

if TYPE_CHECKING:
    from .expressions import Expressions


def _pad(e: Expressions, a: Bound) -> Value:
    x = a.tensor("x")
    axes = a.axes_in_order("over", x)
    number = a.values["value"][0] if "value" in a.values else 0
    if not isinstance(number, int | float) or isinstance(number, bool):
        e.context.refuse("type-mismatch", f"`value` is a number, not {describe(number)}", a.values["value"][1])
    sides = [a.along(side, len(axes), 0, 0) for side in ("before", "after")]
    x = masked(e.context, x, axes, float(number))
    build = e.context.build
    node = x.node if build.type(x.node).dtype.is_float else build.cast(x.node, e.context.real)
    for axis, before, after in zip(axes, *sides, strict=True):
        node = build.frame(node, axis, before, after, float(number))
    lead, labels = int(e.context.batched(x)), list(x.axes)
    for axis, before, after in zip(axes, *sides, strict=True):
        labels[axis - lead] = grown(e.context, labels[axis - lead], before + after)
    return Tensor(node, tuple(labels))


def _sliding_axes(e: Expressions, a: Bound, x: Tensor) -> list[int]:
    axes, lead = a.axes_in_order("over", x), int(e.context.batched(x))
    if not axes or axes[0] < lead:
        e.context.refuse("bad-argument", "windows slide along axes of a sample", a.span)
    return axes


def _sliding(e: Expressions, a: Bound, x: Tensor, size: tuple[int, ...] | None = None) -> Sliding:
    axes = _sliding_axes(e, a, x)
    count = len(axes)
    size = a.along("size", count, 1, 1) if size is None else size
    return Sliding(tuple(axes), size, a.along("stride", count, 1, 1), a.along("dilation", count, 1, 1))


def _windows(e: Expressions, a: Bound) -> Value:
    x = a.tensor("x")
    sliding, lead = _sliding(e, a, x), int(e.context.batched(x))
    x, axes = masked(e.context, x, sliding.axes, 0.0), list(x.axes)
    for n, (axis, stride) in enumerate(zip(sliding.axes, sliding.stride, strict=True)):
        axes[axis - lead] = windowed(e.context, axes[axis - lead], sliding.reach(n), stride)
    first = sliding.inside[0] - lead
    inside = [fresh_label("window") for _ in sliding.axes]
    return Tensor(e.context.build.add_op(Window(sliding), x.node), (*axes[:first], *inside, *axes[first:]))


def _overlap_add(e: Expressions, a: Bound) -> Value:
    x = a.tensor("x")
    _refuse_lengths(e, a, x, _sliding_axes(e, a, x))
    axes, build, lead = _sliding_axes(e, a, x), e.context.build, int(e.context.batched(x))
    shape, inside = build.type(x.node).shape, range(axes[-1] + 1, axes[-1] + 1 + len(axes))
    if inside.stop > len(shape):
        wanted = "an axis" if len(axes) == 1 else f"{len(axes)} axes"
        raise ShapeError(f"{e.context.spell(x)} lacks {wanted} of windows' elements behind those that count the windows", (0,))
    sliding = _sliding(e, a, x, tuple(d for n in inside if isinstance(d := shape[n], int)))
    node = build.add_op(OverlapAdd(sliding, sliding.covered(shape), (0,) * len(axes)), x.node)
    return Tensor(node, tuple(label for n, label in enumerate(x.axes) if n + lead not in inside))


def _reverse(e: Expressions, a: Bound) -> Value:
    x = a.tensor("x")
    axes = a.axes("over", x)
    if axes and axes[0] < int(e.context.batched(x)):
        e.context.refuse("bad-argument", "samples are not reversed, only axes of a sample", a.span)
    _refuse_lengths(e, a, x, axes)
    return Tensor(e.context.build.add_op(Reverse(tuple(axes)), x.node), x.axes) if axes else x


def _refuse_lengths(e: Expressions, a: Bound, x: Tensor, axes: list[int]) -> None:
    """What has no meaning where each sample ends at another place."""
    lead = int(e.context.batched(x))
    wrong = next((x.axes[axis - lead] for axis in axes if x.axes[axis - lead] in e.context.lengths), None)
    if wrong is not None:
        e.context.refuse("unsupported", f"the axis `{wrong}` is as long as each sample says, and this needs one length for all", a.span)


WINDOWS: dict[str, Signature] = {
    "pad": Signature(("x", "over", "before", "after", "value"), 2, _pad),
    "windows": Signature(("x", "over", "size", "stride", "dilation"), 3, _windows),
    "overlap_add": Signature(("x", "over", "stride", "dilation"), 2, _overlap_add),
    "reverse": Signature(("x", "over"), 1, _reverse),
}
