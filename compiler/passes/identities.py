"""Identities of elementwise operations: rules for `simplify`, a table by row.

    x + 0, x - 0, x * 1, x / 1        ->  x
    0 - x, x * -1                     ->  neg(x)
    neg(neg(x)), not(not(x))          ->  x
    x / 2^n                           ->  x * 2^-n                       both are the nearest number to the same real one
    pow(x, c), c in POWERS            ->  products, sqrt, rsqrt, 1 / x   within the error of pow, and closer
    select(constant, a, b)            ->  a or b ;   select(c, a, a) -> a
    cast(cast(x)) through a type that holds every x exactly  ->  cast(x)
    stop_gradient(x)                  ->  x                              the gradient has been taken

The only float results that change: pow, and the sign of a zero (-0 + 0 is +0, 0 - 0 is +0). x * 0 stays: it is NaN for NaN and infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..ir.elementwise import Cast, Elementwise, Select
from ..ir.op import Op
from ..ir.types import BOOL, F32, F64, DType
from .local import LocalRule, Maker

Operands = tuple[int, ...]

SMALLEST_NORMAL = {F32: 2.0**-126, F64: 2.0**-1022}


def _add(m: Maker, op: Op, operands: Operands) -> int | None:
    a, b = operands
    if m.known(b) == 0:
        return a
    return b if m.known(a) == 0 else None


def _sub(m: Maker, op: Op, operands: Operands) -> int | None:
    a, b = operands
    if m.known(b) == 0:
        return a
    return m.apply("neg", b) if m.known(a) == 0 and _signed(m, b) else None


def _mul(m: Maker, op: Op, operands: Operands) -> int | None:
    for value, factor in (operands, reversed(operands)):
        number = m.known(factor)
        if number == 1:
            return value
        if number == -1 and _signed(m, value):
            return m.apply("neg", value)
    return None


def _div(m: Maker, op: Op, operands: Operands) -> int | None:
    value, divisor = operands[0], m.known(operands[1])
    if divisor == 1:
        return value
    dtype = m.graph.type(value).dtype
    if divisor is None or not dtype.is_float or not _has_exact_reciprocal(divisor, dtype):
        return None
    return m.apply("mul", value, m.number_like(1 / divisor, value))


def _has_exact_reciprocal(divisor: float, dtype: DType) -> bool:
    power_of_two = math.isfinite(divisor) and abs(math.frexp(divisor)[0]) == 0.5
    return power_of_two and SMALLEST_NORMAL[dtype] <= abs(divisor) <= 1 / SMALLEST_NORMAL[dtype]


POWERS: dict[float, Callable[[Maker, int], int]] = {
    -1: lambda m, x: m.apply("div", m.number_like(1, x), x),
    -0.5: lambda m, x: m.apply("rsqrt", x),
    0: lambda m, x: m.number_like(1, x),
    0.5: lambda m, x: m.apply("sqrt", x),
    1: lambda m, x: x,
    2: lambda m, x: m.apply("mul", x, x),
    3: lambda m, x: m.apply("mul", x, m.apply("mul", x, x)),
}


def _pow(m: Maker, op: Op, operands: Operands) -> int | None:
    exponent = m.known(operands[1])
    return POWERS[exponent](m, operands[0]) if exponent in POWERS else None


def _involution(m: Maker, op: Op, operands: Operands) -> int | None:
    inner = m.graph[operands[0]]
    return inner.inputs[0] if inner.op == op else None


def _signed(m: Maker, value: int) -> bool:
    return m.graph.type(value).dtype.kind in "fi"


IDENTITIES: dict[str, LocalRule] = {
    "add": _add, "sub": _sub, "mul": _mul, "div": _div, "pow": _pow, "neg": _involution, "not": _involution,
}  # fmt: skip


def row_identity(m: Maker, op: Elementwise, operands: Operands) -> int | None:
    """The identity of a row of the elementwise table."""
    return IDENTITIES[op.row](m, op, operands) if op.row in IDENTITIES else None


def chosen(m: Maker, op: Select, operands: Operands) -> int | None:
    """A select whose condition is known, or does not matter."""
    condition, a, b = operands
    known = m.known(condition)
    if known is None:
        return a if a == b else None
    return a if known else b


# Each type with the types that hold all its values exactly.
EXACT = {
    "bool": {"u8", "u32", "i32", "i64", "f32", "f64"},
    "u8": {"u32", "i32", "i64", "f32", "f64"},
    "u32": {"i64", "f64"},
    "i32": {"i64", "f64"},
    "f32": {"f64"},
}  # fmt: skip


def converted(m: Maker, op: Cast, operands: Operands) -> int | None:
    """A cast to the type the value has, or of a cast that loses nothing.

    Not from float to integer: there, numbers out of range are not the same from every type.
    """
    (value,) = operands
    if m.graph.type(value).dtype == op.dtype:
        return value
    middle = m.graph[value]
    if not isinstance(middle.op, Cast):
        return None
    source = m.graph.type(middle.inputs[0]).dtype
    safe = not middle.op.dtype.is_float or op.dtype.is_float or op.dtype == BOOL or _exact(source, op.dtype)
    return m.make(op, middle.inputs[0]) if safe and _exact(source, middle.op.dtype) else None


def _exact(source: DType, target: DType) -> bool:
    return source == target or target.name in EXACT.get(source.name, ())


def forwarded(m: Maker, op: Op, operands: Operands) -> int | None:
    """The operand itself."""
    return operands[0]
