"""Primitives for sequences: how a cell runs, and what of a sequence is wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..ir.scan import STACK, Result, Scan, final
from ..ir.types import BATCH, I32, Shape
from .binding import Bound, Signature
from .lengths import counter, length_of
from .values import Function, Instance, Tensor, Value, describe
from .window_primitives import WINDOWS

if TYPE_CHECKING:
    from .expressions import Expressions


def _cell(e: Expressions, a: Bound, name: str) -> Instance:
    """An argument that is a cell."""
    value, place = a.values[name]
    if not isinstance(value, Instance) or value.function.definition.kind != "cell":
        e.context.refuse("type-mismatch", f"a cell is wanted here, such as `lstm(64)`, not {describe(value)}", place)
    return value


def _reverse(e: Expressions, a: Bound) -> Value:
    """The same cell, run from the last time to the first; of a tensor, the elements along axes in the other order."""
    given, place = a.values.get("over", (None, a.span))
    if isinstance(given, Instance):
        mend = "write `reverse(cell)(x)`"
        e.context.refuse("bad-argument", "`reverse` takes a cell alone, and gives one that is then applied", place, help=mend)
    if isinstance(a.values["x"][0], Tensor):
        return WINDOWS["reverse"].body(e, a)
    cell = _cell(e, a, "x")
    return replace(cell, reverse=not cell.reverse)


def _final(e: Expressions, a: Bound) -> Value:
    """The same cell, giving its states after the last time."""
    return replace(_cell(e, a, "cell"), final=True)


def _another(e: Expressions, a: Bound) -> Value:
    """A cell or layer of the same kind and settings with parameters of its own."""
    value, place = a.values["layer"]
    if not isinstance(value, Instance):
        mend = f"give it its settings: `{value.name}(…)`" if isinstance(value, Function) and value.definition.settings is not None else None
        e.context.refuse("type-mismatch", f"a layer or a cell is wanted here, not {describe(value)}", place, help=mend)
    return _copied(e, value)


def _copied(e: Expressions, value: Instance) -> Instance:
    parent, name = e.instances[-1], value.function.name
    parent.counts[name] = parent.counts.get(name, 0) + 1
    own = f"{name}_{parent.counts[name]}"
    settings = {k: _copied(e, v) if isinstance(v, Instance) else v for k, v in value.settings.items()}
    path = f"{parent.path}.{own}" if parent.path else own
    return Instance(value.function, settings, path, value.span, dict(value.options), reverse=value.reverse, final=value.final)


def _last(e: Expressions, a: Bound) -> Value:
    """The value at a sequence's last time, which is each sample's own where lengths vary."""
    x = a.tensor("x")
    if not x.axes:
        e.context.refuse("shape-mismatch", f"`last` takes a sequence, and this is {e.context.spell(x)}", a.values["x"][1])
    ends = length_of(e.context, x.axes[0])
    return _at_own_end(e, x, ends) if ends is not None else _at_end(e, x)


def _at_own_end(e: Expressions, x: Tensor, ends: int) -> Tensor:
    """The value at each sample's last time."""
    build, length = e.context.build, e.context.body(x)[0]
    shape: Shape = (BATCH, *e.context.body(x))
    node = build.broadcast_to(x.node, shape)
    here = build.eq(counter(e.context, length), build.broadcast(build.sub(ends, build.constant(1, I32)), (BATCH, length), (0,)))
    value = build.select(build.broadcast(here, shape, (0, 1)), node, build.zeros_like(node))
    return Tensor(build.reduce("sum", value, [1]), x.axes[1:])


def _at_end(e: Expressions, x: Tensor) -> Tensor:
    """The value at the last time; of what a loop carries, what it carried last: a stack of which nobody wants more need not be made."""
    build = e.context.build
    result = build.graph[x.node]
    loop = build.graph[result.inputs[0]].op if isinstance(result.op, Result) and result.op.kind == STACK else None
    if isinstance(loop, Scan) and isinstance(result.op, Result) and not loop.reverse:
        carry = next((n for n in range(loop.carries) if loop.following(n) == result.op.number), None)
        if carry is not None:
            return Tensor(build.add_op(final(loop, carry), result.inputs[0]), x.axes[1:], x.classes)
    lead, length, shape = int(e.context.batched(x)), e.context.body(x)[0], build.type(x.node).shape
    one = build.slice_axis(x.node, lead, length - 1, length)
    return Tensor(build.reshape(one, (*shape[:lead], *shape[lead + 1 :])), x.axes[1:], x.classes)


MAKERS = ("final", "another")
"""Primitives that make a layer of a layer: `x -> final(cell)` applies what they make."""

SEQUENCES: dict[str, Signature] = {
    "reverse": Signature(WINDOWS["reverse"].names, 1, _reverse),
    "final": Signature(("cell",), 1, _final),
    "another": Signature(("layer",), 1, _another),
    "last": Signature(("x",), 1, _last),
}
