"""A cell applied to a sequence: its body is checked for one step; running it over time is not compiled yet, and that is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .syntax import Expression
from .values import Instance, Tensor, Value, fresh_label

if TYPE_CHECKING:
    from .elaborate import Elaborator
    from .expressions import Arguments


def check_over_time(elaborator: Elaborator, instance: Instance, arguments: Arguments, site: Expression) -> Value:
    """What a cell gives for a [time, ...] value: one step's result for every time, its shapes checked; reports `unsupported`."""
    context, build = elaborator.context, elaborator.context.build
    sequence = _first(elaborator, instance, arguments, site)
    lead = int(context.batched(sequence))
    with elaborator.at(site.span):
        step = build.slice_axis(sequence.node, lead, 0, 1)
        shape = build.type(step).shape
        step = build.reshape(step, (*shape[:lead], *shape[lead + 1 :]))
    first = (Tensor(step, sequence.axes[1:], sequence.classes), arguments[0][0][1])
    before = len(context.diagnostics)
    result = elaborator.applied(instance, ([first, *arguments[0][1:]], arguments[1]), site)
    if len(context.diagnostics) == before:
        context.report("unsupported", f"`{instance.function.name}` is a cell, and cells over time are not compiled yet", site.span)
    if not isinstance(result, Tensor):
        return result
    with elaborator.at(site.span):
        kind = build.type(result.node)
        lead = int(context.batched(result))
        shape = (*kind.shape[:lead], context.body(sequence)[0], *kind.shape[lead:])
        axes = [n if n < lead else n + 1 for n in range(kind.rank)]
        return Tensor(build.broadcast(result.node, shape, axes), (fresh_label("time"), *result.axes))


def _first(elaborator: Elaborator, instance: Instance, arguments: Arguments, site: Expression) -> Tensor:
    """The sequence: one axis more than the cell's signature names."""
    definition, context = instance.function.definition, elaborator.context
    if not arguments[0]:
        context.refuse("missing-argument", f"`{instance.function.name}` needs a sequence", site.span)
    value, place = arguments[0][0]
    sequence = elaborator.tensor(value, place)
    pattern = definition.inputs[0].type if definition.inputs else None
    dims = len(pattern.dims) if pattern and pattern.dims is not None else 1
    names = ", ".join(d.span.text for d in pattern.dims) if pattern and pattern.dims else "..."
    if not sequence.axes or (pattern is not None and len(sequence.axes) != dims + 1):
        message = (
            f"`{instance.function.name}` is a cell and runs over time: it takes [time, {names}], and this is {context.spell(sequence)}"
        )
        context.refuse("shape-mismatch", message, place)
    return sequence
