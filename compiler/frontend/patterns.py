"""Signatures meet values: `x: [..., inputs]` names axes, binds their sizes, and refuses what does not fit with both ends shown."""

from __future__ import annotations

from collections.abc import Callable

from ..diagnostics import Note
from ..source import Span
from .context import Context
from .lengths import renamed
from .library import is_standard
from .syntax import Ellipsis, Expression, Name, TypeExpression
from .values import Label, Scope, Tensor, fresh_label

Evaluate = Callable[[Expression, Scope], object]
ELEMENT_TYPES = ("f32", "f64", "i32", "u8", "bool", "class")


def match_pattern(context: Context, pattern: TypeExpression, tensor: Tensor, scope: Scope, evaluate: Evaluate, place: Span) -> Tensor:
    """The tensor with its axes renamed to the pattern's; sizes of new names are bound in the scope."""
    if pattern.dtype == "class":
        return _match_class(context, pattern, tensor, scope, evaluate, place)
    _match_dtype(context, pattern, tensor, place)
    if pattern.dims is None:
        return tensor
    body, dims = context.body(tensor), list(pattern.dims)
    rest = [n for n, d in enumerate(dims) if isinstance(d, Ellipsis)]
    if len(rest) > 1:
        context.refuse("bad-pattern", "`...` may stand once in a signature", pattern.span)
    missing = len(body) - (len(dims) - len(rest))
    if missing < 0 or (missing and not rest):
        count = f"at least {axes_text(len(dims) - 1)}" if rest else axes_text(len(dims))
        message = f"`{context.callee}` takes {pattern.span.text}, {count}, and this is {context.spell(tensor)}"
        context.refuse("shape-mismatch", message, place, _signature(pattern))
    kept = list(tensor.axes[rest[0] : rest[0] + missing]) if rest else []
    if rest:
        scope.rest = (*(scope.rest or ()), *kept)
    if rest:
        dims[rest[0] : rest[0] + 1] = [dims[rest[0]]] * missing
    axes: list[Label] = []
    for position, (dim, size) in enumerate(zip(dims, body, strict=True)):
        if isinstance(dim, Ellipsis):
            axes.append(kept[position - rest[0]])
        else:
            axes.append(_match_dim(context, dim, size, tensor, scope, evaluate, place))
            renamed(context, tensor.axes[position], axes[-1])
            scope.outside.setdefault(axes[-1], tensor.axes[position])
    return Tensor(tensor.node, tuple(axes), tensor.classes)


def _signature(pattern: TypeExpression) -> list[Note]:
    """Where a person's own signature asks for what did not come; the library's needs no showing."""
    return [] if is_standard(pattern.span.source) else [Note(f"the signature asks for {pattern.span.text}", pattern.span)]


def axes_text(count: int) -> str:
    """`1 axis`, `2 axes`."""
    return f"{count} axis" if count == 1 else f"{count} axes"


def _match_dtype(context: Context, pattern: TypeExpression, tensor: Tensor, place: Span) -> None:
    dtype = context.build.type(tensor.node).dtype
    if pattern.dtype not in ELEMENT_TYPES:
        return
    wants_float = pattern.dtype.startswith("f")
    if wants_float != dtype.is_float:
        mend = "`float(x)` turns whole numbers into floats" if wants_float else None
        message = f"`{context.callee}` takes {pattern.span.text}, and this is {context.spell(tensor)}"
        context.refuse("type-mismatch", message, place, _signature(pattern), mend)


def _match_class(context: Context, pattern: TypeExpression, tensor: Tensor, scope: Scope, evaluate: Evaluate, place: Span) -> Tensor:
    if tensor.classes is None:
        message = f"`{context.callee}` takes a class index here, and this is {context.spell(tensor)}"
        context.refuse("type-mismatch", message, place, _signature(pattern), "declare the target as `target name: class[N]`")
    if pattern.dims:
        _match_dim(context, pattern.dims[0], tensor.classes, tensor, scope, evaluate, place)
    return tensor


def _match_dim(context: Context, dim: Expression, size: int, tensor: Tensor, scope: Scope, evaluate: Evaluate, place: Span) -> Label:
    if isinstance(dim, Name) and dim.id not in scope.values:
        scope.values[dim.id] = size
        scope.origins[dim.id] = Note(f"`{dim.id}` is {size}: this is {context.spell(tensor)}", place)
        scope.labels[dim.id] = fresh_label(dim.id)
        return scope.labels[dim.id]
    expected = evaluate(dim, scope)
    if expected != size:
        origin = scope.origins.get(dim.span.text, Note(f"`{dim.span.text}` is {expected} here", dim.span))
        message = f"`{context.callee}` takes `{dim.span.text}` = {expected} here, and this is {context.spell(tensor)}"
        context.refuse("shape-mismatch", message, place, [origin])
    if isinstance(dim, Name):
        return scope.labels.setdefault(dim.id, fresh_label(dim.id))
    return fresh_label(dim.span.text)
