"""What an expression of a `.nn` file can be while a model is being elaborated.

Compile-time values are plain Python (int, float, bool, str, tuples of them). The rest is here: tensors in the graph with named axes,
things that can be called, lists of axes, and `Poison`, the value of what failed already, which stays silent.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .syntax import Definition

if TYPE_CHECKING:
    from ..diagnostics import Note
    from ..source import Span

_serial = itertools.count()


@dataclass(frozen=True)
class Label:
    """The name of an axis inside one application; unnamed axes get a fresh one, so that alignment by name always works."""

    text: str
    serial: int = 0

    def __str__(self) -> str:
        return self.text


def fresh_label(text: str) -> Label:
    """A label equal to no other."""
    return Label(text, next(_serial) + 1)


@dataclass(frozen=True)
class Tensor:
    """A value in the graph. `axes` labels every axis but the batch; `classes` is set on class indices."""

    node: int
    axes: tuple[Label, ...] = ()
    classes: int | None = None


@dataclass(frozen=True)
class Axes:
    """`[batch, h, ...]` given for `over`: names and positions as written; `...` is `rest`, the axes that it stood for in the signature
    of the body that wrote it, or (None) every axis not mentioned."""

    items: tuple[str | int, ...]
    rest: tuple[Label, ...] | None = None


@dataclass(frozen=True)
class Primitive:
    """A function the compiler knows: an elementwise row, a reduction, a change of shape."""

    name: str


@dataclass(frozen=True)
class Function:
    """A definition that can be called, with the file-level definitions it may use."""

    definition: Definition

    @property
    def name(self) -> str:
        """As written."""
        return self.definition.name.id


@dataclass
class Instance:
    """A layer or two-list function with its settings: made once, applied any number of times with the same parameters.

    A cell may run from the last time to the first (`reverse`), and may give its states after the last one (`final`) instead of a sequence.
    """

    function: Function
    settings: dict[str, Value]
    path: str
    span: Span
    options: dict[str, Value] = field(default_factory=dict)
    children: dict[tuple[int, int], Instance] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    reverse: bool = False
    final: bool = False


@dataclass(frozen=True)
class Live:
    """A number that is known at run time only: the setting `name`, which a search changes from one training to the next.

    What must be decided while compiling (`rate > 0`) is decided for `sample`.
    """

    name: str
    sample: float

    @property
    def label(self) -> str:
        """The run-time scalar that holds it."""
        return f"set:{self.name}"


class Poison:
    """The value of an expression that was reported already."""

    def __repr__(self) -> str:
        return "poison"


POISON = Poison()

Value = int | float | bool | str | None | tuple["Value", ...] | Tensor | Axes | Primitive | Function | Instance | Live | Poison


@dataclass
class Scope:
    """Names of one body: values, the new values of state variables, labels of axes (`rest` for `...`), what gave an axis its size.

    `outside` are the labels that axes have where the body is called, by the body's own.
    """

    values: dict[str, Value] = field(default_factory=dict)
    next_values: dict[str, Value] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    origins: dict[str, Note] = field(default_factory=dict)
    rest: tuple[Label, ...] | None = None
    outside: dict[Label, Label] = field(default_factory=dict)

    def outward(self, value: Value) -> Value:
        """A value of the body with the labels that its axes have for the caller."""
        if isinstance(value, tuple):
            return tuple(map(self.outward, value))
        if not isinstance(value, Tensor):
            return value
        return replace(value, axes=tuple(self.outside.get(label, label) for label in value.axes))


def with_article(kind: str) -> str:
    """A kind of definition in words: `a layer`, `an optimizer`, `a function`."""
    word = "function" if kind == "fn" else kind
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def describe(value: Value) -> str:
    """What a value is, in words for a message."""
    match value:
        case bool():
            return "a truth value"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'the text "{value}"'
        case tuple():
            return f"a list of {len(value)}"
        case Tensor():
            return "a tensor"
        case Function() if value.definition.kind == "fn":
            return f"the function `{value.name}`"
        case Function():
            return f"the {value.definition.kind} `{value.name}`"
        case Primitive():
            return f"the function `{value.name}`"
        case Instance():
            return f"a `{value.function.name}`"
        case Axes():
            return "a list of axes"
        case _:
            return "nothing"
