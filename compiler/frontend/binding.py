"""The arguments of a primitive: bound to its names, then asked for by type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from ..diagnostics import did_you_mean
from ..ir.types import Shape
from .context import Refused
from .values import Axes, Poison, Tensor, Value, describe

if TYPE_CHECKING:
    from ..source import Span
    from .expressions import Arguments, Expressions
    from .syntax import Expression


@dataclass(frozen=True)
class Bound:
    """The arguments of one primitive call, asked for by type."""

    elaborator: Expressions
    values: dict[str, tuple[Value, Span]]
    span: Span

    def tensor(self, name: str) -> Tensor:
        """A tensor (a number becomes a scalar one)."""
        return self.elaborator.tensor(*self.values[name])

    def integer(self, name: str) -> int:
        """A whole number."""
        value, place = self.values[name]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.elaborator.context.refuse("type-mismatch", f"`{name}` is a whole number, not {describe(value)}", place)
        return value

    def shape(self, name: str) -> Shape:
        """A list of whole numbers, each at least 1."""
        value, place = self.values[name]
        items = value if isinstance(value, tuple) else (value,)
        if not all(isinstance(v, int) and not isinstance(v, bool) and v >= 1 for v in items):
            self.elaborator.context.refuse("bad-shape", f"`{name}` is a list of whole numbers of at least 1", place)
        return tuple(v for v in items if isinstance(v, int))

    def axes(self, name: str, tensor: Tensor) -> list[int]:
        """Axes of a tensor; all of a sample's when not given."""
        if name not in self.values:
            lead = int(self.elaborator.context.batched(tensor))
            return [n + lead for n in range(len(tensor.axes))]
        value, place = self.values[name]
        if not isinstance(value, Axes | tuple):
            self.elaborator.context.refuse("type-mismatch", f"`{name}` is a list of axes such as [channels], not {describe(value)}", place)
        return self.elaborator.axes_of(value, tensor, place)

    def axes_in_order(self, name: str, tensor: Tensor) -> list[int]:
        """Axes of a tensor that lists of numbers are given for: in the value's order, each once."""
        found = self.axes(name, tensor)
        value, place = self.values[name]
        items = value.items if isinstance(value, Axes) else value if isinstance(value, tuple) else ()
        if "..." not in items:
            named = [n for item in items for n in self.elaborator.axes_of((item,), tensor, place)]
            if named != found:
                self.elaborator.context.refuse("bad-argument", "`over` names each axis once, in the order of the value's axes", place)
        return found

    def along(self, name: str, count: int, default: int, least: int) -> tuple[int, ...]:
        """A whole number for each of `count` axes: a list, or one number for all."""
        if name not in self.values:
            return (default,) * count
        value, place = self.values[name]
        items = value if isinstance(value, tuple) else (value,) * count
        if not are_whole(items, least) or len(items) != count:
            message = (
                f"`{name}` is a whole number of at least {least}, or a list of one for each of the {count} axes, not {describe(value)}"
            )
            self.elaborator.context.refuse("bad-argument", message, place)
        return items


Body = Callable[["Expressions", Bound], Value]


@dataclass(frozen=True)
class Signature:
    """Names of the arguments, how many must be given, and the body."""

    names: tuple[str, ...]
    required: int
    body: Body

    def bind(self, elaborator: Expressions, name: str, arguments: Arguments, site: Expression) -> Bound:
        """The arguments of a call by their names; refuses what does not fit."""
        positional, named = arguments
        context = elaborator.context
        if len(positional) > len(self.names):
            context.refuse("bad-argument", f"`{name}` takes at most {len(self.names)} arguments, not {len(positional)}", site.span)
        values = dict(zip(self.names, positional, strict=False))
        for key, (value, place) in named.items():
            if key not in self.names:
                context.refuse("unknown-argument", f"`{name}` has no argument `{key}`", place, help=did_you_mean(key, self.names))
            if key in values:
                context.refuse("bad-argument", f"`{key}` is given twice", place)
            values[key] = (value, place)
        for key in self.names[: self.required]:
            if key not in values:
                context.refuse("missing-argument", f"`{name}` needs `{key}`", site.span)
        if any(is_poisoned(v) for v, _ in values.values()):
            raise Refused
        return Bound(elaborator, values, site.span)


def are_whole(items: tuple[Value, ...], least: int) -> TypeGuard[tuple[int, ...]]:
    """Whether all are whole numbers of at least `least`."""
    return all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in items)


def is_poisoned(value: Value) -> bool:
    """True for what failed before, and for lists with such an entry: the mistake is known."""
    return isinstance(value, Poison) or (isinstance(value, tuple) and any(isinstance(v, Poison) for v in value))
