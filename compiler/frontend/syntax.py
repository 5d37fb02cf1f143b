"""The syntax tree of a `.nn` file: untyped, frozen, every node with its span."""

from __future__ import annotations

from dataclasses import dataclass

from ..source import Source, Span


@dataclass(frozen=True)
class Syntax:
    """Anything with a place in the text."""

    span: Span


# --- expressions ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Number(Syntax):
    """`3`, `1e-4`, `5%` (value 0.05, `percent` true). An integer literal has an int value."""

    value: int | float
    percent: bool = False


@dataclass(frozen=True)
class String(Syntax):
    """A quoted text."""

    value: str


@dataclass(frozen=True)
class Boolean(Syntax):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True)
class Name(Syntax):
    """An identifier, or a dotted path in a `train`/`tune` block (`train.optimizer.lr`)."""

    id: str


@dataclass(frozen=True)
class Ellipsis(Syntax):
    """`...`: any axes."""


@dataclass(frozen=True)
class Next(Syntax):
    """`next c` used as a value: the state's new value."""

    name: str


@dataclass(frozen=True)
class Unary(Syntax):
    """`-x` or `not x`."""

    op: str
    operand: Expression


@dataclass(frozen=True)
class Binary(Syntax):
    """`op` is one of + - * / // ^ @ == != < <= > >= and or."""

    op: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Conditional(Syntax):
    """`a if condition else b`, the condition known at compile time or a tensor."""

    condition: Expression
    then: Expression
    otherwise: Expression


@dataclass(frozen=True)
class Argument(Syntax):
    """One argument of a call, named or not."""

    name: str | None
    value: Expression


@dataclass(frozen=True)
class Call(Syntax):
    """`f(a, b = 1)`: makes a layer, applies one, or calls a function; the checker knows which."""

    callee: Expression
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class With(Syntax):
    """`dense(64) with l2 = 1e-4, name = "head"`: a layer with settings of its own."""

    layer: Expression
    settings: tuple[Argument, ...]


@dataclass(frozen=True)
class Pipe(Syntax):
    """`x -> f`: apply the right side to the left."""

    left: Expression
    right: Expression


@dataclass(frozen=True)
class Slice(Syntax):
    """`a:b:c` inside an index."""

    start: Expression | None
    stop: Expression | None
    step: Expression | None


@dataclass(frozen=True)
class Index(Syntax):
    """`x[0, 1:3, ...]`."""

    value: Expression
    items: tuple[Expression | Slice, ...]


@dataclass(frozen=True)
class Listing(Syntax):
    """`[a, b]`: axes, shapes or choices; `...` may stand in it."""

    items: tuple[Expression, ...]


Expression = Number | String | Boolean | Name | Ellipsis | Next | Unary | Binary | Conditional | Call | With | Pipe | Index | Listing


# --- types ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TypeExpression(Syntax):
    """`u8[8, 8, 1]`, `class[10]`, `[..., inputs]`: element type (or None for any) and dimensions (or None for a bare `f32`).

    `shape` are the axes of `class[10][T]`, a class for each of T places.
    """

    dtype: str | None
    dims: tuple[Expression, ...] | None
    shape: tuple[Expression, ...] = ()

    @property
    def axes(self) -> tuple[Expression, ...]:
        """The axes of a sample."""
        return self.shape if self.dtype == "class" else self.dims or ()


# --- statements ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Input(Syntax):
    """`input image: u8[8, 8, 1]`."""

    name: Name
    type: TypeExpression


@dataclass(frozen=True)
class Target(Syntax):
    """`target digit: class[10]`."""

    name: Name
    type: TypeExpression


@dataclass(frozen=True)
class Param(Syntax):
    """`param weight: [inputs, units] ~ glorot_uniform`."""

    name: Name
    type: TypeExpression
    init: Expression


@dataclass(frozen=True)
class State(Syntax):
    """`state h, c: [units] = 0`; without a type (in optimizers) it has the shape of the parameter."""

    names: tuple[Name, ...]
    type: TypeExpression | None
    init: Expression


@dataclass(frozen=True)
class Fit(Syntax):
    """`fit mu = mean(x, over = [batch])`: a statistic of the training rows."""

    name: Name
    value: Expression


@dataclass(frozen=True)
class NextState(Syntax):
    """`next h = …`."""

    name: Name
    value: Expression


@dataclass(frozen=True)
class Assign(Syntax):
    """`y = …` or `i, f = …`."""

    names: tuple[Name, ...]
    value: Expression


@dataclass(frozen=True)
class Return(Syntax):
    """`return y` or `return a, b`."""

    values: tuple[Expression, ...]


@dataclass(frozen=True)
class Predict(Syntax):
    """`predict softmax(logits)`."""

    value: Expression


@dataclass(frozen=True)
class Loss(Syntax):
    """`loss cross_entropy(logits, digit)`."""

    value: Expression


@dataclass(frozen=True)
class Metric(Syntax):
    """`metric accuracy(logits, digit)` or `metric top5 = top_k(logits, digit, 5)`; unnamed, it takes the name of the function it calls."""

    name: Name | None
    value: Expression


@dataclass(frozen=True)
class Require(Syntax):
    """`require units > 0 : "units is {units}"`; the message may hold {expressions} of names."""

    condition: Expression
    message: String


@dataclass(frozen=True)
class If(Syntax):
    """`if c { … } else { … }`, decided at compile time."""

    condition: Expression
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True)
class Repeat(Syntax):
    """`repeat n { … }` or `repeat n as i { … }`, unrolled at compile time."""

    count: Expression
    variable: Name | None
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class ExpressionStatement(Syntax):
    """An expression on its own line; the checker refuses it, since its value goes nowhere."""

    value: Expression


Statement = (
    Input
    | Target
    | Param
    | State
    | Fit
    | NextState
    | Assign
    | Return
    | Predict
    | Loss
    | Metric
    | Require
    | If
    | Repeat
    | ExpressionStatement
)


# --- definitions and blocks ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parameter(Syntax):
    """One entry of an argument list: `units`, `bias = true`, `x: [..., inputs]`."""

    name: Name
    type: TypeExpression | None = None
    default: Expression | None = None


@dataclass(frozen=True)
class Definition(Syntax):
    """`model`, `layer`, `cell`, `fn`, `optimizer` or `schedule`.

    With two argument lists the first is `settings`, the second `inputs`. With one list: a model's is `settings` (inputs None), a fn's is
    `inputs` (settings None).
    """

    kind: str
    name: Name
    settings: tuple[Parameter, ...] | None
    inputs: tuple[Parameter, ...] | None
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Setting(Syntax):
    """`batch = 64` in a block; in `tune` also `hidden in [64, 128]`, where `choices` is true."""

    name: Name
    value: Expression
    choices: bool = False


@dataclass(frozen=True)
class Block(Syntax):
    """`train { … }`, `data { … }` or `tune { … }`."""

    kind: str
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Import(Syntax):
    """`import "blocks.nn"`."""

    path: String


@dataclass(frozen=True)
class File:
    """A whole parsed file."""

    source: Source
    imports: tuple[Import, ...]
    definitions: tuple[Definition, ...]
    blocks: tuple[Block, ...]
