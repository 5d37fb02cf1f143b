"""The functions that `.nn` source gets from the compiler: elementwise rows, reductions, shapes, random draws. The rest is library."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from ..ir import elementwise
from ..ir.op import ShapeError
from ..ir.ops import Contract, Position
from ..ir.take import Take
from ..ir.types import BATCH, I32, U32, DType, Shape, elements, row_major
from . import lengths
from .binding import Bound, Signature, are_whole
from .lengths import masked
from .sequence_primitives import SEQUENCES
from .values import Tensor, Value, describe, fresh_label
from .window_primitives import WINDOWS

if TYPE_CHECKING:
    from .expressions import Arguments, Expressions
    from .syntax import Expression


MAXIMUM_PARTS = 10_000


def call(elaborator: Expressions, name: str, arguments: Arguments, site: Expression) -> Value:
    """Call a primitive by name: bind, check, build."""
    signature = TABLE[name]
    bound = signature.bind(elaborator, name, arguments, site)
    with elaborator.context.shapes(site.span, list(bound.values.values())), elaborator.at(site.span):
        return signature.body(elaborator, bound)


# --- bodies --------------------------------------------------------------------------------------------------------------------------

FOLDED: dict[str, Callable[[float], float]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "floor": math.floor,
    "ceil": math.ceil,
    "abs": abs,
}


def _unary(row: str) -> Signature:
    def body(e: Expressions, a: Bound) -> Value:
        value = a.values["x"][0]
        if row in FOLDED and isinstance(value, int | float):
            try:
                return FOLDED[row](value)
            except (ValueError, OverflowError):
                e.context.refuse("number-out-of-range", f"`{row}({value})` is not a number", a.span)
        return e.elementwise(row, a.tensor("x"))

    return Signature(("x",), 1, body)


def _extreme(row: str) -> Signature:
    """`max(a, b)` between two values, `max(x, over = axes)` along axes."""

    def body(e: Expressions, a: Bound) -> Value:
        if "b" not in a.values:
            return _reduced(e, a.tensor("a"), row, a.axes("over", a.tensor("a")))
        pair = [a.values["a"][0], a.values["b"][0]]
        if all(isinstance(v, int | float) for v in pair):
            return (max if row == "max" else min)(pair)  # type: ignore[type-var]
        return e.elementwise(row, a.tensor("a"), a.tensor("b"))

    return Signature(("a", "b", "over"), 1, body)


def _reduced(e: Expressions, x: Tensor, kind: str, axes: list[int]) -> Tensor:
    build = e.context.build
    node = masked(e.context, x, lengths.counted(e.context, x, axes), _neutral(kind, build.type(x.node).dtype)).node
    lead = int(e.context.batched(Tensor(node)))
    if kind == "sum" and not build.type(node).dtype.is_float:
        node = build.cast(node, e.context.real)
    axes = [a + lead - int(e.context.batched(x)) for a in axes]
    kept = tuple(label for n, label in enumerate(x.axes) if n + lead not in axes)
    return Tensor(build.reduce(kind, node, axes), kept)


def _neutral(kind: str, dtype: DType) -> float | bool:
    """What changes no reduction of a kind."""
    if kind in ("any", "all"):
        return kind == "all"
    if kind == "sum":
        return 0.0
    least = kind in ("max", "argmax")
    if dtype.is_float:
        return float("-inf") if least else float("inf")
    signed = dtype.kind == "i"
    return (-(2 ** (dtype.bits - 1)) if signed else 0) if least else 2 ** (dtype.bits - signed) - 1


def _reduction(kind: str) -> Signature:
    return Signature(("x", "over"), 1, lambda e, a: _reduced(e, a.tensor("x"), kind, a.axes("over", a.tensor("x"))))


def _size(e: Expressions, a: Bound) -> Value:
    x = a.tensor("x")
    axes, shape = a.axes("over", x), e.context.build.type(x.node).shape
    own = lengths.count(e.context, x, axes)
    if own is not None:
        lead = int(e.context.batched(x))
        same = elements(tuple(shape[n] for n in axes if n >= lead and x.axes[n - lead] not in e.context.lengths))
        return Tensor(e.context.build.scale(own.node, float(same)), own.axes)
    count = elements(tuple(shape[n] for n in axes))
    if any(shape[n] == BATCH for n in axes):
        return Tensor(e.context.build.mul(e.context.build.extent(BATCH), e.context.build.constant(float(count))))
    return count


def _reshape(e: Expressions, a: Bound) -> Value:
    x, wanted = a.tensor("x"), a.shape("shape")
    if math.prod(e.context.body(x)) != math.prod(d for d in wanted if isinstance(d, int)):
        raise ShapeError(f"{e.context.spell(x)} has {math.prod(e.context.body(x))} elements and cannot become {list(wanted)}", (0,))
    batch: Shape = (BATCH,) if e.context.batched(x) else ()
    found = e.unnamed(e.context.build.reshape(x.node, (*batch, *wanted)))
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(e.context.body(x), wanted, strict=False))))
    kept = [label if label in e.context.lengths else new for label, new in zip(x.axes[:same], found.axes, strict=False)]
    return replace(found, axes=(*kept, *found.axes[same:]))


def _take(e: Expressions, a: Bound) -> Value:
    table, indices = a.tensor("table"), a.tensor("indices")
    if e.context.batched(table):
        e.context.refuse("shape-mismatch", "rows are taken from a table that is the same for every sample", a.values["table"][1])
    if e.context.build.type(indices.node).dtype.kind not in "iu":
        message = f"rows of a table are numbered by whole numbers, and this is {e.context.spell(indices)}"
        e.context.refuse("type-mismatch", message, a.values["indices"][1], help="declare the input as `i32[…]`, `u8[…]` or `class[n][…]`")
    node = e.context.build.add_op(Take(), table.node, indices.node)
    entries = e.context.body(table)[0]
    if (indices.classes or 0) > entries:
        message = f"the table has {entries} rows, and there are {indices.classes} classes to look up"
        e.context.refuse("shape-mismatch", message, a.values["indices"][1], help="give it a row for each class")
    return Tensor(node, (*indices.axes, table.axes[-1]))


def _permute(e: Expressions, a: Bound) -> Value:
    x = a.tensor("x")
    lead, count = int(e.context.batched(x)), len(x.axes)
    value = a.values["order"][0] if "order" in a.values else tuple(reversed(range(count)))
    if not isinstance(value, tuple) or sorted(v for v in value if isinstance(v, int)) != list(range(count)):
        e.context.refuse("bad-shape", f"`order` lists each of the {count} axes once", a.span)
    order = [v for v in value if isinstance(v, int)]
    node = e.context.build.transpose(x.node, [*range(lead), *(v + lead for v in order)])
    return Tensor(node, tuple(x.axes[v] for v in order))


def _concat(e: Expressions, a: Bound) -> Value:
    value, place = a.values["values"]
    if not isinstance(value, tuple) or not value:
        e.context.refuse("type-mismatch", "`concat` takes a list of tensors", place)
    tensors = [e.tensor(v, place) for v in value]
    axis = a.integer("axis") if "axis" in a.values else -1
    rank = len(tensors[0].axes)
    if not -rank <= axis < rank:
        e.context.refuse("unknown-axis", f"{e.context.spell(tensors[0])} has no axis {axis}", a.span)
    bodies = [_without(e.context.body(t), axis % rank) for t in tensors]
    other = next((t for t, body in zip(tensors, bodies, strict=True) if body != bodies[0]), None)
    if other is not None:
        message = f"{e.context.spell(tensors[0])} and {e.context.spell(other)} cannot be joined along axis {axis}: another axis differs"
        e.context.refuse("shape-mismatch", message, place)
    build = e.context.build
    if any(e.context.batched(t) for t in tensors):
        tensors = [t if e.context.batched(t) else Tensor(build.broadcast_to(t.node, (BATCH, *e.context.body(t))), t.axes) for t in tensors]
    dtype = e.context.real if any(build.type(t.node).dtype.is_float for t in tensors) else build.type(tensors[0].node).dtype
    joined = [t.axes[axis % rank] for t in tensors if t.axes[axis % rank] in e.context.lengths]
    if joined:
        e.context.refuse("unsupported", f"the axis `{joined[0]}` is as long as each sample says; nothing can be joined to its end", a.span)
    nodes = [build.cast(t.node, dtype) for t in tensors]
    labels = tuple(fresh_label("joined") if n == axis % rank else label for n, label in enumerate(tensors[0].axes))
    return Tensor(build.concat(nodes, axis % rank + int(e.context.batched(tensors[0]))), labels)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...] | None:
    """A shape without one of its axes; None when it has no such axis."""
    return (*shape[:axis], *shape[axis + 1 :]) if axis < len(shape) else None


def _split(e: Expressions, a: Bound) -> Value:
    x, parts = a.tensor("x"), a.integer("parts")
    axis, size = len(x.axes) - 1, e.context.body(x)[-1] if x.axes else 0
    if not 1 <= parts <= MAXIMUM_PARTS:
        e.context.refuse("bad-argument", f"`parts` is a whole number from 1 to {MAXIMUM_PARTS}, not {parts}", a.values["parts"][1])
    if not size or size % parts:
        raise ShapeError(f"the last axis of {e.context.spell(x)} does not split into {parts} equal parts", (0,))
    lead, width = int(e.context.batched(x)), size // parts
    cut = [e.context.build.slice_axis(x.node, axis + lead, n * width, (n + 1) * width) for n in range(parts)]
    return tuple(Tensor(node, (*x.axes[:-1], fresh_label("part"))) for node in cut)


def _einsum(e: Expressions, a: Bound) -> Value:
    form, place = a.values["form"]
    x, y = a.tensor("a"), a.tensor("b")
    if not isinstance(form, str) or form.count("->") != 1 or form.count(",") != 1:
        e.context.refuse("bad-argument", '`einsum` takes a form such as "ij,jk->ik"', place)
    left, right = form.replace(" ", "").split("->")[0].split(",")
    out = form.replace(" ", "").split("->")[1]
    if len(left) != len(x.axes) or len(right) != len(y.axes) or not set(out) <= set(left + right) or len(set(out)) != len(out):
        e.context.refuse("bad-argument", f'"{form}" does not fit {e.context.spell(x)} and {e.context.spell(y)}', place)
    _check_letters(e, a, left + right, out, [*e.context.body(x), *e.context.body(y)])
    code = {letter: n + 1 for n, letter in enumerate(dict.fromkeys(left + right))}
    spell = [[code[c] for c in part] for part in (left, right, out)]
    x = masked(e.context, x, [n + int(e.context.batched(x)) for n, letter in enumerate(left) if letter not in out], 0.0)
    y = masked(e.context, y, [n + int(e.context.batched(y)) for n, letter in enumerate(right) if letter not in out], 0.0)
    lead = [[0] if e.context.batched(t) else [] for t in (x, y)]
    lead.append([0] if any(lead) else [])
    op = Contract(*(tuple(b + s) for b, s in zip(lead, spell, strict=True)))
    build = e.context.build
    found = e.unnamed(build.add_op(op, build.cast(x.node, e.context.real), build.cast(y.node, e.context.real)))
    ends = [(letter, label) for letter, label in zip(left + right, x.axes + y.axes, strict=True) if label in e.context.lengths]
    return replace(found, axes=lengths.kept(e.context, found.axes, [dict(reversed(ends)).get(letter) for letter in out]))


def _check_letters(e: Expressions, a: Bound, letters: str, out: str, sizes: list[int]) -> None:
    """A letter has one size; one that stands on one side only is kept."""
    known: dict[str, int] = {}
    for letter, size in zip(letters, sizes, strict=True):
        if known.setdefault(letter, size) != size:
            raise ShapeError(f"`{letter}` is {known[letter]} and {size}", (1, 2))
    alone = [letter for letter in known if letters.count(letter) == 1 and letter not in out]
    if alone:
        message = f"`{alone[0]}` stands on one side only and not in the result"
        raise ShapeError(message, (1, 2), "keep it in the result, or sum over it before: `sum(…, over = …)`")


def _iota(e: Expressions, a: Bound) -> Value:
    count = a.integer("count")
    if count < 1:
        e.context.refuse("bad-shape", f"`count` is a whole number of at least 1, not {count}", a.values["count"][1])
    return e.unnamed(e.context.build.add_op(Position((count,), (1,), I32)))


def _fill(e: Expressions, a: Bound) -> Value:
    build, shape = e.context.build, a.shape("shape")
    return e.unnamed(build.broadcast_to(build.cast(a.tensor("value").node, e.context.real), shape))


def _random(e: Expressions, shape: Shape) -> int:
    """Numbers in [0, 1), 24 bits each: Philox on (position, step) under the run's seed and the draw's own stream."""
    build = e.context.build
    position = build.add_op(Position(shape, row_major(shape), U32))
    counter = build.cast(e.context.runtime("step").node, U32)
    key = e.context.random_key(e.instances[-1].path if e.instances else "")
    bits = build.apply("random_bits", position, counter, key)
    high = build.apply("shift_right", bits, build.constant(8, U32))
    return build.scale(build.cast(high, e.context.real), 2.0**-24)


def _shape_of(e: Expressions, a: Bound) -> Value:
    return e.context.body(a.tensor("x"))


def _classes(e: Expressions, a: Bound) -> Value:
    return a.tensor("x").classes or 0


def _float(e: Expressions, a: Bound) -> Value:
    x = a.tensor("x")
    return Tensor(e.context.build.cast(x.node, e.context.real), x.axes)


def _int(e: Expressions, a: Bound) -> Value:
    """Whole numbers, cut towards 0; of a number, that number with all its digits."""
    number = a.values["x"][0]
    if isinstance(number, int) and not isinstance(number, bool):
        return Tensor(e.context.build.constant(number, I32), ())
    x = a.tensor("x")
    return Tensor(e.context.build.cast(x.node, I32), x.axes)


def _product(e: Expressions, a: Bound) -> Value:
    return math.prod(d for d in a.shape("values") if isinstance(d, int)) if a.values["values"][0] else 1


def _length(e: Expressions, a: Bound) -> Value:
    value, place = a.values["values"]
    if not isinstance(value, tuple):
        e.context.refuse("type-mismatch", f"`length` takes a list, not {describe(value)}", place)
    return len(value)


def _as_list(e: Expressions, a: Bound) -> Value:
    value, place = a.values["value"]
    count = a.integer("count")
    items = value if isinstance(value, tuple) else (value,) * count
    what, least = a.values["what"][0] if "what" in a.values else None, a.integer("least") if "least" in a.values else 0
    wrong = what is not None and not are_whole(items, least)
    if wrong or len(items) != count:
        each = f"a whole number of at least {least}" if what is not None else "one value"
        several = f", or a list of {count} of them" if count > 1 else ""
        found = f"a list of {len(value)}" if isinstance(value, tuple) and len(value) != count else shown(value)
        e.context.refuse("bad-argument", f"{what or 'what is wanted here'} is {each}{several}, not {found}", place)
    return items


def shown(value: Value) -> str:
    """A value in words, lists of numbers as they are written."""
    if isinstance(value, tuple) and all(isinstance(v, int | float) for v in value):
        return f"[{', '.join(map(str, value))}]"
    return describe(value)


def _stop(e: Expressions, a: Bound) -> Value:
    x = a.tensor("x")
    return Tensor(e.context.build.stop_gradient(x.node), x.axes)


def _random_like(e: Expressions, a: Bound) -> Value:
    x = a.tensor("x")
    return Tensor(_random(e, e.context.build.type(x.node).shape), x.axes)


UNARY = [name for name, row in elementwise.ROWS.items() if row.arity == 1 and name not in ("neg", "not")]

TABLE: dict[str, Signature] = {
    **{name: _unary(name) for name in UNARY},
    **{name: _extreme(name) for name in ("max", "min")},
    **{kind: _reduction(kind) for kind in ("sum", "any", "all", "argmax", "argmin")},
    "mod": Signature(("a", "b"), 2, lambda e, a: e.elementwise("mod", a.tensor("a"), a.tensor("b"))),
    "pow": Signature(("a", "b"), 2, lambda e, a: e.elementwise("pow", a.tensor("a"), a.tensor("b"))),
    "size": Signature(("x", "over"), 1, _size),
    "shape": Signature(("x",), 1, _shape_of),
    "classes_of": Signature(("x",), 1, _classes),
    "float": Signature(("x",), 1, _float),
    "int": Signature(("x",), 1, _int),
    "product": Signature(("values",), 1, _product),
    "length": Signature(("values",), 1, _length),
    "reshape_to": Signature(("x", "shape"), 2, _reshape),
    "transpose": Signature(("x", "order"), 1, _permute),
    "concat": Signature(("values", "axis"), 1, _concat),
    "as_list": Signature(("value", "count", "least", "what"), 2, _as_list),
    "split": Signature(("x", "parts"), 2, _split),
    "take": Signature(("table", "indices"), 2, _take),
    "einsum": Signature(("form", "a", "b"), 3, _einsum),
    "iota": Signature(("count",), 1, _iota),
    **WINDOWS,
    **SEQUENCES,
    "fill": Signature(("shape", "value"), 2, _fill),
    "random": Signature(("shape",), 1, lambda e, a: e.unnamed(_random(e, a.shape("shape")))),
    "random_like": Signature(("x",), 1, _random_like),
    "stop_gradient": Signature(("x",), 1, _stop),
}
