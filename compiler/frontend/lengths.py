"""Axes whose length is a sample's own: `input frames: f32[T, 12]` has room for T times, and `frames_length` says how many a sample has.

T is a name that begins with a capital letter and that nothing else defines. What lies past a sample's end never counts: reductions and
products over the axis leave it out.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from typing import TypeGuard

from ..ir.ops import Position
from ..ir.types import BATCH, I32, Shape
from .context import Context
from .library import Library
from .syntax import Definition, Expression, Input, Name, Target
from .values import Label, Tensor, fresh_label

SUFFIX = "_length"
"""`frames_length` are the lengths of `frames`."""

UNKNOWN_CAPACITY = 16
"""Times that there is room for while nobody has said how many: for checks and pictures alone."""

MAXIMUM_CAPACITY = 2**24


def is_length(dim: Expression, known: Container[str], library: Library) -> TypeGuard[Name]:
    """Whether an axis of an input is as long as each sample says; `known` are names that are bound already."""
    return isinstance(dim, Name) and dim.id[:1].isupper() and dim.id not in known and library.lookup(dim.id) is None


def length_names(library: Library, model: Definition) -> dict[str, str]:
    """The lengths that a model's inputs name, with the first input that has each."""
    settings = {p.name.id for p in model.settings or ()}
    found: dict[str, str] = {}
    for statement in model.body:
        if isinstance(statement, Input | Target):
            for dim in statement.type.axes:
                if is_length(dim, settings, library):
                    found.setdefault(dim.id, statement.name.id)
    return found


def length_of(context: Context, label: Label) -> int | None:
    """The node of the samples' lengths along an axis, in the graph that is being built; None for an axis of one length."""
    node = context.lengths.get(label)
    if node is None or context.recurrence is None:
        return node
    return context.recurrence.writer.outer(node)


def renamed(context: Context, old: Label, new: Label) -> None:
    """An axis gets another name."""
    if old in context.lengths:
        context.lengths[new] = context.lengths[old]


def kept(context: Context, axes: Sequence[Label], sources: Sequence[Label | None]) -> tuple[Label, ...]:
    """The axes of a result, where those that come from an axis with lengths have these: its label, which no two axes share."""
    for new, old in zip(axes, sources, strict=True):
        if old is not None:
            renamed(context, old, new)
    return tuple(new if old is None or old in sources[:n] else old for n, (new, old) in enumerate(zip(axes, sources, strict=True)))


def masked(context: Context, x: Tensor, axes: Sequence[int], neutral: float | bool) -> Tensor:
    """A value with `neutral` past each sample's end along those of the `axes` (of the graph) that have lengths."""
    for axis, length in list(_lengths(context, x, axes)):
        x = _masked(context, x, axis, length, neutral)
    return x


def _lengths(context: Context, x: Tensor, axes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Positions in a sample of axes that have lengths, and the nodes of those."""
    lead = int(context.batched(x))
    for axis in axes:
        length = length_of(context, x.axes[axis - lead]) if axis >= lead else None
        if length is not None:
            yield axis - lead, length


def _masked(context: Context, x: Tensor, axis: int, length: int, neutral: float | bool) -> Tensor:
    build = context.build
    size = context.body(x)[axis]
    shape: Shape = (BATCH, *context.body(x))
    node = build.broadcast_to(x.node, shape)
    inside = build.lt(counter(context, size), build.broadcast(length, (BATCH, size), (0,)))
    other = build.broadcast(build.constant(neutral, build.type(node).dtype), shape, ())
    return replace(x, node=build.select(build.broadcast(inside, shape, (0, axis + 1)), node, other))


def counter(context: Context, size: int) -> int:
    """0, 1, 2, … along an axis, for every sample."""
    return context.build.add_op(Position((BATCH, size), (0, 1), I32))


def counted(context: Context, x: Tensor, axes: Sequence[int]) -> list[int]:
    """The axes along which a reduction leaves out what lies past a sample's end: those that vanish, and all when samples do."""
    lead = int(context.batched(x))
    return list(range(lead, lead + len(x.axes))) if lead and 0 in axes else list(axes)


def count(context: Context, x: Tensor, axes: Sequence[int]) -> Tensor | None:
    """How many elements a reduction over axes with lengths takes, at least 1; None when all samples are of one length.

    Over the batch it is counted at each time apart, unless time vanishes too.
    """
    build, found = context.build, list(_lengths(context, x, counted(context, x, axes)))
    if not found:
        return None
    lead = int(context.batched(x))
    kept = [axis for axis, _ in found if axis + lead not in axes]
    total = Tensor(build.constant(1.0, context.real))
    for axis, length in found:
        size, label = context.body(x)[axis], x.axes[axis]
        if axis in kept:
            inside = build.lt(counter(context, size), build.broadcast(length, (BATCH, size), (0,)))
            total = _outer(context, total, Tensor(build.cast(inside, context.real), (label,)))
        else:
            total = _outer(context, total, Tensor(build.cast(length, context.real)))
    if lead and 0 in axes:
        total = replace(total, node=build.sum(total.node, [0]))
    return replace(total, node=build.apply("max", total.node, build.constant(1.0, context.real)))


def _outer(context: Context, a: Tensor, b: Tensor) -> Tensor:
    """The product of every element of one with every element of the other, sample by sample."""
    build = context.build
    shape: Shape = (BATCH, *context.body(a), *context.body(b))
    left = build.broadcast(a.node, shape, range(len(a.axes) + 1)) if context.batched(a) else build.broadcast_to(a.node, shape)
    right = build.broadcast(b.node, shape, (0, *range(len(a.axes) + 1, len(shape))))
    return Tensor(build.mul(left, right), (*a.axes, *b.axes))


def sliced(context: Context, label: Label, start: int, stop: int, size: int, *, from_end: bool) -> Label:
    """The label of a part of an axis: what remains of each sample's length; `from_end` when its stop counts from each sample's own end."""
    length = length_of(context, label)
    if length is None or (start, stop) == (0, size):
        return label
    build = context.build
    ends = build.sub(length, build.constant(size - stop, I32)) if from_end else build.apply("min", length, build.constant(stop, I32))
    return _labelled(context, label, build.apply("max", build.sub(ends, build.constant(start, I32)), build.constant(0, I32)))


def grown(context: Context, label: Label, more: int) -> Label:
    """The label of an axis with more elements round it."""
    length = length_of(context, label)
    if length is None:
        return fresh_label(label.text)
    return _labelled(context, label, context.build.add(length, context.build.constant(more, I32)))


def windowed(context: Context, label: Label, span: int, stride: int) -> Label:
    """The label of the windows of an axis: as many as fit into each sample."""
    length = length_of(context, label)
    if length is None:
        return fresh_label(label.text)
    build = context.build
    room = build.cast(build.sub(length, build.constant(span - stride, I32)), context.real)
    count = build.apply("floor", build.div(room, build.constant(float(stride), context.real)))
    return _labelled(context, label, build.apply("max", build.cast(count, I32), build.constant(0, I32)))


def _labelled(context: Context, label: Label, length: int) -> Label:
    found = fresh_label(label.text)
    context.lengths[found] = length
    return found
