"""The elementwise operations, a row each: arity, result type, NumPy reference, derivative.

All operands of a row have one shape (broadcasts are nodes of their own) and, but for `select` and comparisons' results, one element type.
Derivatives are written with the result where that saves keeping an operand alive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .op import Array, Context, Op, ShapeError, Trait
from .random import philox2x32
from .types import BOOL, DType, TensorType

if TYPE_CHECKING:
    from .build import Build
    from .graph import Node

# (build, operands, result, cotangent) -> cotangents of the operands
Derivative = Callable[["Build", tuple[int, ...], int, int], Sequence[int | None]]


@dataclass(frozen=True)
class Row:
    """One elementwise operation: `flops` a point, `domain` the kinds of element types it takes, `boolean` if it yields bool."""

    arity: int
    reference: Callable[..., Array]
    derivative: Derivative | None = None
    flops: int = 1
    domain: str = "f"
    boolean: bool = False
    commutative: bool = False


def _erf(x: Array) -> Array:
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), dtype=x.dtype)


def _sigmoid(x: Array) -> Array:
    t = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + t), t / (1 + t)).astype(x.dtype)


def _larger(b: Build, inputs: tuple[int, ...], out: int, g: int) -> Sequence[int | None]:
    first = b.gt(out, inputs[1])
    return b.select(first, g, b.zeros_like(g)), b.select(first, b.zeros_like(g), g)


def _smaller(b: Build, inputs: tuple[int, ...], out: int, g: int) -> Sequence[int | None]:
    first = b.lt(out, inputs[1])
    return b.select(first, g, b.zeros_like(g)), b.select(first, b.zeros_like(g), g)


def _power(b: Build, inputs: tuple[int, ...], out: int, g: int) -> Sequence[int | None]:
    x, y = inputs
    down = b.mul(g, b.mul(y, b.pow(x, b.sub(y, b.constant_like(1, y)))))
    safe = b.select(b.gt(x, b.zeros_like(x)), x, b.constant_like(1, x))
    return down, b.mul(g, b.mul(out, b.log(safe)))


def _sign(b: Build, x: int) -> int:
    return b.apply("sign", x)


TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)

ROWS: dict[str, Row] = {
    "add": Row(2, np.add, lambda b, i, o, g: (g, g), domain="fiu", commutative=True),
    "sub": Row(2, np.subtract, lambda b, i, o, g: (g, b.neg(g)), domain="fiu"),
    "mul": Row(2, np.multiply, lambda b, i, o, g: (b.mul(g, i[1]), b.mul(g, i[0])), domain="fiu", commutative=True),
    "div": Row(2, lambda x, y: x / y if x.dtype.kind == "f" else x // y,
               lambda b, i, o, g: (b.div(g, i[1]), b.neg(b.div(b.mul(g, o), i[1]))), flops=4, domain="fiu"),
    "mod": Row(2, np.mod, lambda b, i, o, g: (g, b.neg(b.mul(g, b.apply("floor", b.div(i[0], i[1]))))), flops=6, domain="fiu"),
    "pow": Row(2, np.power, _power, flops=60),
    "max": Row(2, np.maximum, _larger, domain="fiu", commutative=True),
    "min": Row(2, np.minimum, _smaller, domain="fiu", commutative=True),
    "neg": Row(1, np.negative, lambda b, i, o, g: (b.neg(g),), domain="fi"),
    "abs": Row(1, np.abs, lambda b, i, o, g: (b.mul(g, _sign(b, i[0])),), domain="fi"),
    "sign": Row(1, np.sign, flops=2),
    "floor": Row(1, np.floor),
    "ceil": Row(1, np.ceil),
    "round": Row(1, np.round),
    "sqrt": Row(1, np.sqrt, lambda b, i, o, g: (b.div(g, b.add(o, o)),), flops=6),
    "rsqrt": Row(1, lambda x: (1 / np.sqrt(x)).astype(x.dtype),
                 lambda b, i, o, g: (b.mul(b.scale(g, -0.5), b.mul(o, b.mul(o, o))),), flops=10),
    "exp": Row(1, np.exp, lambda b, i, o, g: (b.mul(g, o),), flops=12),
    "expm1": Row(1, np.expm1, lambda b, i, o, g: (b.mul(g, b.add(o, b.constant_like(1, o))),), flops=30),
    "log": Row(1, np.log, lambda b, i, o, g: (b.div(g, i[0]),), flops=18),
    "log1p": Row(1, np.log1p, lambda b, i, o, g: (b.div(g, b.add(i[0], b.constant_like(1, i[0]))),), flops=24),
    "tanh": Row(1, np.tanh, lambda b, i, o, g: (b.mul(g, b.sub(b.constant_like(1, o), b.mul(o, o))),), flops=16),
    "sigmoid": Row(1, _sigmoid, lambda b, i, o, g: (b.mul(g, b.mul(o, b.sub(b.constant_like(1, o), o))),), flops=18),
    "erf": Row(1, _erf, lambda b, i, o, g: (b.mul(b.scale(g, TWO_OVER_ROOT_PI), b.exp(b.neg(b.mul(i[0], i[0])))),), flops=25),
    "sin": Row(1, np.sin, lambda b, i, o, g: (b.mul(g, b.apply("cos", i[0])),), flops=20),
    "cos": Row(1, np.cos, lambda b, i, o, g: (b.neg(b.mul(g, b.apply("sin", i[0]))),), flops=20),
    "lt": Row(2, np.less, domain="fiub", boolean=True),
    "le": Row(2, np.less_equal, domain="fiub", boolean=True),
    "gt": Row(2, np.greater, domain="fiub", boolean=True),
    "ge": Row(2, np.greater_equal, domain="fiub", boolean=True),
    "eq": Row(2, np.equal, domain="fiub", boolean=True, commutative=True),
    "ne": Row(2, np.not_equal, domain="fiub", boolean=True, commutative=True),
    "and": Row(2, np.bitwise_and, domain="biu", commutative=True),
    "or": Row(2, np.bitwise_or, domain="biu", commutative=True),
    "xor": Row(2, np.bitwise_xor, domain="biu", commutative=True),
    "not": Row(1, np.logical_not, domain="b"),
    "shift_left": Row(2, np.left_shift, domain="u"),
    "shift_right": Row(2, np.right_shift, domain="u"),
    "random_bits": Row(3, philox2x32, flops=60, domain="u"),
}  # fmt: skip


@dataclass(frozen=True)
class Elementwise(Op):
    """A row of the table applied point by point."""

    row: str
    traits: ClassVar[Trait] = Trait.ELEMENTWISE

    @property
    def name(self) -> str:  # type: ignore[override]
        """The row's name."""
        return self.row

    def infer(self, *types: TensorType) -> TensorType:
        """One shape, one element type of the row's domain."""
        row = ROWS[self.row]
        if len(types) != row.arity:
            raise ShapeError(f"`{self.row}` takes {row.arity} operands, not {len(types)}")
        for position, other in enumerate(types[1:], 1):
            if other.shape != types[0].shape:
                raise ShapeError(f"shapes {types[0]} and {other} differ", (0, position))
            if other.dtype != types[0].dtype:
                raise ShapeError(f"element types {types[0].dtype} and {other.dtype} differ", (0, position))
        if types[0].dtype.kind not in row.domain:
            raise ShapeError(f"`{self.row}` is not defined on {types[0].dtype}", (0,))
        return types[0].with_dtype(BOOL) if row.boolean else types[0]

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """The row's reference."""
        return np.asarray(ROWS[self.row].reference(*arrays))

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """The row's derivative."""
        rule = ROWS[self.row].derivative
        return [None] * len(node.inputs) if rule is None else rule(build, node.inputs, node.id, cotangent)

    def flops(self, result: TensorType, *types: TensorType) -> int:
        """The row's figure."""
        return ROWS[self.row].flops

    def attributes(self) -> dict[str, object]:
        """None: the name says it."""
        return {}

    def has(self, trait: Trait) -> bool:
        """Elementwise, and commutative where the row is."""
        return super().has(trait) or (trait is Trait.COMMUTATIVE and ROWS[self.row].commutative)


@dataclass(frozen=True)
class Select(Op):
    """`condition ? a : b`, point by point."""

    name: ClassVar[str] = "select"
    traits: ClassVar[Trait] = Trait.ELEMENTWISE

    def infer(self, *types: TensorType) -> TensorType:
        """A bool and two equal types, all of one shape."""
        if len(types) != 3:
            raise ShapeError(f"`select` takes 3 operands, not {len(types)}")
        condition, a, b = types
        if condition.dtype != BOOL:
            raise ShapeError(f"the condition is {condition}, not bool", (0,))
        if a != b or a.shape != condition.shape:
            raise ShapeError(f"{condition}, {a} and {b} do not fit together", (0, 1, 2))
        return a

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """numpy.where."""
        return np.where(*arrays)

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """The cotangent goes where the value came from."""
        zero = build.zeros_like(cotangent)
        condition = node.inputs[0]
        return None, build.select(condition, cotangent, zero), build.select(condition, zero, cotangent)

    def flops(self, result: TensorType, *types: TensorType) -> int:
        """One."""
        return 1


@dataclass(frozen=True)
class Cast(Op):
    """Conversion to another element type."""

    dtype: DType
    name: ClassVar[str] = "cast"
    traits: ClassVar[Trait] = Trait.ELEMENTWISE

    def infer(self, *types: TensorType) -> TensorType:
        """The same shape."""
        return types[0].with_dtype(self.dtype)

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """astype."""
        return arrays[0].astype(self.dtype.numpy)

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """Cast back between floats; nothing flows to integers."""
        source = build.type(node.inputs[0]).dtype
        return [build.cast(cotangent, source) if source.is_float and self.dtype.is_float else None]

    def flops(self, result: TensorType, *types: TensorType) -> int:
        """One."""
        return 1


@dataclass(frozen=True)
class StopGradient(Op):
    """The value itself, through which no gradient flows; `simplify` removes it after autodiff."""

    name: ClassVar[str] = "stop_gradient"
    traits: ClassVar[Trait] = Trait.ELEMENTWISE

    def infer(self, *types: TensorType) -> TensorType:
        """The operand's."""
        return types[0]

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """The operand."""
        return arrays[0]
