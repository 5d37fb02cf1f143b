"""The elementwise table as LLVM IR: one row an operation, on vectors of any number of lanes.

Every row follows NumPy: integers wrap, integer division floors and yields 0 for a zero divisor, comparisons with NaN are false (but `ne`),
minimum and maximum propagate NaN. A float `mod` is exact while the quotient is below 2^53 and 0 beyond. No row traps on any input, so
that lanes outside a mask may hold anything.
"""

from __future__ import annotations

from collections.abc import Callable

from ..ir.random import MULTIPLIER, ROUNDS, WEYL
from ..ir.types import F64, I64, U32, DType
from . import vector_math as maths
from .lanes import Lanes
from .text import Text, Value, scalar_type, vector

Emitter = Callable[..., Value]


def apply(text: Text, op: str, args: list[Value], operand_dtypes: list[DType], dtype: DType, lanes: int) -> Value:
    """Write one row on operands of `lanes` lanes in register form (bool is i1); the result has type `dtype`.

    `operand_dtypes` are equal but for `select`, whose first is a bool. For `cast`, `dtype` is the wanted type.
    """
    if op == "cast":
        return cast(text, args[0], operand_dtypes[0], dtype, lanes)
    return EMITTERS[op](Lanes(text, operand_dtypes[-1], lanes), *args)


def cast(text: Text, value: Value, source: DType, dtype: DType, lanes: int) -> Value:
    """Convert element types: floats to integers truncate (out of range: the nearest integer, NaN: 0), anything but 0 is true."""
    type_ = vector(scalar_type(dtype), lanes)
    if source == dtype:
        return value
    if dtype.kind == "b":
        lane = Lanes(text, source, lanes)
        return lane.compare("ne", value, lane.number(0))
    if source.is_float and not dtype.is_float:
        name = f"fpto{'s' if dtype.kind == 'i' else 'u'}i.sat.{Lanes(text, dtype, lanes).suffix}.{Lanes(text, source, lanes).suffix}"
        return text.call(type_, f"llvm.{name}", value)
    if source.is_float:
        return text.op(type_, f"{'fpext' if dtype.bits > source.bits else 'fptrunc'} {value} to {type_}")
    if dtype.is_float:
        return text.op(type_, f"{'sitofp' if source.kind == 'i' else 'uitofp'} {value} to {type_}")
    return _resize(text, value, source, type_, dtype.bits)


def _resize(text: Text, value: Value, source: DType, type_: str, bits: int) -> Value:
    if value.type == type_:
        return value
    if source.kind == "b" or bits > source.bits:
        return text.op(type_, f"{'sext' if source.kind == 'i' else 'zext'} {value} to {type_}")
    return text.op(type_, f"trunc {value} to {type_}")


def _absolute(v: Lanes, a: Value) -> Value:
    if v.dtype.is_float:
        return v.intrinsic("fabs", a)
    return v.intrinsic("abs", a, Value("i1", "false")) if v.dtype.kind == "i" else a


def _sign(v: Lanes, a: Value) -> Value:
    zero = v.number(0)
    positive = v.select(v.compare("gt", a, zero), v.number(1), a)
    return v.select(v.compare("lt", a, zero), v.number(-1), positive) if v.dtype.kind != "u" else positive


def _sqrt(v: Lanes, a: Value) -> Value:
    return v.intrinsic("sqrt", a)


def _reciprocal_sqrt(v: Lanes, a: Value) -> Value:
    return v.div(v.number(1), _sqrt(v, a))


def _divide(v: Lanes, a: Value, b: Value) -> Value:
    return v.div(a, b) if v.dtype.is_float else _floor_division(v, a, b)[0]


def _modulo(v: Lanes, a: Value, b: Value) -> Value:
    return _float_modulo(v, a, b) if v.dtype.is_float else _floor_division(v, a, b)[1]


def _floor_division(v: Lanes, a: Value, b: Value) -> tuple[Value, Value]:
    """Quotient rounded down and remainder with the divisor's sign; the divisors that would trap (0 and -1) are taken apart."""
    zero, one = v.number(0), v.number(1)
    nothing = v.compare("eq", b, zero)
    if v.dtype.kind == "u":
        safe = v.select(nothing, one, b)
        quotient, rest = v.binary("udiv", a, safe), v.binary("urem", a, safe)
        return v.select(nothing, zero, quotient), v.select(nothing, zero, rest)
    opposite = v.compare("eq", b, v.number(-1))
    safe = v.select(v.either(nothing, opposite), one, b)
    quotient, rest = v.binary("sdiv", a, safe), v.binary("srem", a, safe)
    signs_differ = v.compare("lt", v.binary("xor", rest, safe), zero)
    round_down = v.both(v.compare("ne", rest, zero), signs_differ)
    quotient = v.select(round_down, v.sub(quotient, one), quotient)
    rest = v.select(round_down, v.add(rest, safe), rest)
    quotient = v.select(opposite, v.neg(a), quotient)
    return v.select(nothing, zero, quotient), rest


def _float_modulo(v: Lanes, a: Value, b: Value) -> Value:
    """The remainder of the sizes, then the divisor's sign."""
    x, y = _absolute(v, a), _absolute(v, b)
    rest = cast(v.text, _remainder(v, x, y), F64, v.dtype, v.lanes)
    zero, signed = v.number(0), v.intrinsic("copysign", rest, a)
    signs_differ = v.binary("xor", v.compare("lt", signed, zero), v.compare("lt", b, zero))
    shifted = v.both(signs_differ, v.compare("ne", rest, zero))
    return v.select(shifted, v.add(signed, b), v.intrinsic("copysign", rest, b))


def _remainder(v: Lanes, a: Value, b: Value) -> Value:
    """The f64 remainder of two sizes, exact because the product of quotient and divisor is: NaN for a zero divisor or an infinite size."""
    wide = Lanes(v.text, F64, v.lanes)
    x, y = (cast(v.text, value, v.dtype, F64, v.lanes) for value in (a, b))
    zero, ratio = wide.number(0), wide.div(x, y)
    quotient = maths.floor(wide, ratio)
    high, low = maths.two_product(wide, quotient, y)
    rest = wide.sub(wide.sub(x, high), low)
    rest = wide.select(wide.compare("lt", rest, zero), wide.add(rest, y), rest)
    rest = wide.select(wide.compare("lt", ratio, wide.number(1)), x, rest)
    proper = wide.both(wide.compare("gt", y, zero), wide.compare("lt", x, wide.number(float("inf"))))
    too_large = wide.compare("ge", ratio, wide.number(2.0**53))
    return wide.select(wide.both(proper, too_large), zero, rest)


def _larger(v: Lanes, a: Value, b: Value) -> Value:
    return _extreme(v, "gt", "umax" if v.dtype.kind == "u" else "smax", a, b)


def _smaller(v: Lanes, a: Value, b: Value) -> Value:
    return _extreme(v, "lt", "umin" if v.dtype.kind == "u" else "smin", a, b)


def _extreme(v: Lanes, relation: str, intrinsic: str, a: Value, b: Value) -> Value:
    """One `maxps` returns its second operand when either is NaN: that is right at once when the first is a literal number."""
    if not v.dtype.is_float:
        return v.intrinsic(intrinsic, a, b)
    if _is_number(b):
        a, b = b, a
    best = v.select(v.compare(relation, a, b), a, b)
    return best if _is_number(a) else v.select(v.is_nan(a), a, best)


def _is_number(value: Value) -> bool:
    return value.name[0] != "%" and "0x7FF8" not in value.name


def _shift(v: Lanes, instruction: str, a: Value, by: Value) -> Value:
    """Shift a u32; a distance of 32 or more leaves nothing."""
    shifted = v.binary(instruction, a, by)
    if by.name[0] != "%":
        return shifted
    return v.select(v.compare("lt", by, v.number(v.dtype.bits)), shifted, v.number(0))


def _not(v: Lanes, a: Value) -> Value:
    return v.inverse(a) if v.dtype.kind == "b" else v.binary("xor", a, v.number(-1))


def _random_bits(v: Lanes, index: Value, counter: Value, key: Value) -> Value:
    """Philox2x32-10 (compiler/ir/random.py), each word in 64 bits: what gathers in the upper halves is cut off before every product."""
    wide = Lanes(v.text, I64, v.lanes)
    multiplier, half, low_half = wide.number(MULTIPLIER), wide.number(32), wide.number(2**32 - 1)
    low, high, key = (cast(v.text, word, U32, I64, v.lanes) for word in (index, counter, key))
    for _ in range(ROUNDS):
        product = wide.mul(wide.both(low, low_half), multiplier)
        low, high = wide.binary("xor", wide.binary("xor", wide.binary("lshr", product, half), key), high), product
        key = wide.add(key, wide.number(WEYL))
    return cast(v.text, low, I64, U32, v.lanes)


def _comparison(relation: str) -> Emitter:
    return lambda v, a, b: v.compare(relation, a, b)


EMITTERS: dict[str, Emitter] = {
    "neg": Lanes.neg,
    "abs": _absolute,
    "sign": _sign,
    "floor": maths.floor,
    "ceil": maths.ceil,
    "round": maths.round_half_even,
    "sqrt": _sqrt,
    "rsqrt": _reciprocal_sqrt,
    "exp": maths.exp,
    "expm1": maths.expm1,
    "log": maths.log,
    "log1p": maths.log1p,
    "tanh": maths.tanh,
    "erf": maths.erf,
    "sigmoid": maths.sigmoid,
    "sin": maths.sin,
    "cos": maths.cos,
    "add": Lanes.add,
    "sub": Lanes.sub,
    "mul": Lanes.mul,
    "div": _divide,
    "pow": maths.power,
    "min": _smaller,
    "max": _larger,
    "mod": _modulo,
    "lt": _comparison("lt"),
    "le": _comparison("le"),
    "gt": _comparison("gt"),
    "ge": _comparison("ge"),
    "eq": _comparison("eq"),
    "ne": _comparison("ne"),
    "and": Lanes.both,
    "or": Lanes.either,
    "xor": lambda v, a, b: v.binary("xor", a, b),
    "not": _not,
    "shift_left": lambda v, a, by: _shift(v, "shl", a, by),
    "shift_right": lambda v, a, by: _shift(v, "lshr", a, by),
    "select": Lanes.select,
    "random_bits": _random_bits,
}
