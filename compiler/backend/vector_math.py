"""Elementary functions of f32 and f64 vectors, written in arithmetic alone: no call of a maths library, any number of lanes.

Largest errors in units in the last place, as tested (fused multiply-add; without it up to 0.6 more):

    function    f32   f64    notes
    exp          1     1     overflows to inf, underflows to 0; results below the smallest normal number may be flushed to 0
    expm1        2     2
    log          1     1     log(0) = -inf, log(x < 0) = NaN
    log1p        2     2
    tanh         5     3     never beyond 1
    sigmoid      3     3
    erf          2     2
    sin, cos     2     1     for |x| <= 1e4; right to |x| = 1e6, meaningless far beyond
    pow          1     1     pow(x, 0) = pow(1, y) = 1; pow(x < 0, y) is NaN unless y is an integer

Methods: arguments are reduced after Cody and Waite; log is the atanh series of FreeBSD's msun (e_log.c, s_log1p.c); tanh in f32 is the
rational 9/8 approximation of XNNPACK (f32-vtanh); erf(x) beyond 1 in f64 is 1 - exp(-x^2) P((x - 3) / (x + 3)) after Shepherd and
Laframboise (1981); pow carries the logarithm in two doubles.
"""

from __future__ import annotations

import struct

from ..ir.types import F32, F64, I64
from .coefficients import (
    DOUBLE,
    FORMATS,
    HALF_PI,
    LOG2_E,
    LOG_ERFC,
    LOG_TAIL,
    SCALED_ERFC,
    TANH_ABOVE,
    TANH_BELOW,
    TANH_LIMIT,
    TWO_OVER_PI,
    TWO_THIRDS,
    Format,
)
from .lanes import Lanes
from .text import Value, scalar_type, vector

INFINITY = float("inf")
NAN = float("nan")
POWER_LIMIT = 1e20  # a larger exponent overflows or underflows for every base but 1


def floor(v: Lanes, x: Value) -> Value:
    """The largest integer not above x."""
    if v.text.target.fma:
        return v.intrinsic("floor", x)
    nearest = round_half_even(v, x)
    return v.select(v.compare("gt", nearest, x), v.sub(nearest, v.number(1)), nearest)


def ceil(v: Lanes, x: Value) -> Value:
    """The smallest integer not below x."""
    return v.intrinsic("ceil", x) if v.text.target.fma else v.neg(floor(v, v.neg(x)))


def round_half_even(v: Lanes, x: Value) -> Value:
    """The nearest integer, halves to the even one. Targets without a rounding instruction add and subtract 2^mantissa."""
    if v.text.target.fma:
        return v.intrinsic("roundeven", x)
    edge = v.number(2.0 ** FORMATS[v.dtype].mantissa)
    size = v.intrinsic("fabs", x)
    nearest = v.intrinsic("copysign", v.sub(v.add(size, edge), edge), x)
    return v.select(v.compare("lt", size, edge), nearest, x)


def exp(v: Lanes, x: Value) -> Value:
    """e^x."""
    form = FORMATS[v.dtype]
    return _exp(v, _clamp(v, x, form.smallest_argument, form.largest_argument))


def expm1(v: Lanes, x: Value) -> Value:
    """e^x - 1 as 2 (2^(n-1) expm1(r) + (2^(n-1) - 1/2))."""
    form = FORMATS[v.dtype]
    whole, rest = _reduce_exp(v, _clamp(v, x, form.minus_one_below, form.largest_argument))
    integer = Lanes(v.text, form.bits, v.lanes)
    exponent = integer.add(whole, integer.number(form.bias - 1 - _bits(form, form.rounder)))
    scale = _from_exponent(v, exponent)
    reduced = v.fma(v.mul(rest, rest), v.polynomial(rest, form.exp), rest)
    half = v.fma(scale, reduced, v.sub(scale, v.number(0.5)))
    return v.add(half, half)


def sigmoid(v: Lanes, x: Value) -> Value:
    """1 / (1 + e^-x), with the exponential of -|x| so that neither tail cancels."""
    small = exp(v, v.neg(v.intrinsic("fabs", x)))
    above = v.select(v.compare("lt", x, v.number(0)), small, v.number(1))
    return v.div(above, v.add(v.number(1), small))


def tanh(v: Lanes, x: Value) -> Value:
    """The hyperbolic tangent."""
    if v.dtype == F32:
        bounded = _clamp(v, x, -TANH_LIMIT, TANH_LIMIT)
        square = v.mul(bounded, bounded)
        return v.div(v.mul(bounded, v.polynomial(square, TANH_ABOVE)), v.polynomial(square, TANH_BELOW))
    size = v.intrinsic("fabs", x)
    change = expm1(v, v.mul(size, v.number(-2)))
    return v.intrinsic("copysign", v.div(change, v.add(change, v.number(2))), x)


def erf(v: Lanes, x: Value) -> Value:
    """The error function: an odd polynomial below 1, one minus a scaled exponential above."""
    form = FORMATS[v.dtype]
    size = _at_most(v, v.intrinsic("fabs", x), form.erf_is_one)
    square = v.mul(size, size)
    near = v.fma(size, v.polynomial(square, form.erf), size)
    if v.dtype == F32:
        tail = _exp(v, v.polynomial(size, LOG_ERFC))
    else:
        place = v.div(v.sub(size, v.number(3)), v.add(size, v.number(3)))
        tail = v.mul(_exp(v, v.neg(square)), v.polynomial(place, SCALED_ERFC))
    far = v.sub(v.number(1), tail)
    return v.intrinsic("copysign", v.select(v.compare("lt", size, v.number(1)), near, far), x)


def log(v: Lanes, x: Value) -> Value:
    """The natural logarithm."""
    exponent, mantissa = _split_exponent(v, x)
    return _log_domain(v, x, x, _log(v, exponent, mantissa, None))


def log1p(v: Lanes, x: Value) -> Value:
    """log(1 + x): the logarithm of the rounded sum, corrected by what the rounding lost."""
    one = v.number(1)
    total = v.add(x, one)
    large = v.sub(one, v.sub(total, x))
    small = v.sub(x, v.sub(total, one))
    lost = v.div(v.select(v.compare("ge", total, v.number(2)), large, small), total)
    exponent, mantissa = _split_exponent(v, total)
    return _log_domain(v, x, total, _log(v, exponent, mantissa, lost))


def sin(v: Lanes, x: Value) -> Value:
    """The sine of x radians."""
    return _sine(v, x, 0)


def cos(v: Lanes, x: Value) -> Value:
    """The cosine of x radians: the sine a quarter turn further."""
    return _sine(v, x, 1)


def power(v: Lanes, x: Value, y: Value) -> Value:
    """x^y as exp(y log|x|) in f64, for f64 with the logarithm in two doubles; then the signs and exact cases of C's pow."""
    one, zero = v.number(1), v.number(0)
    size = v.intrinsic("fabs", x)
    exponent = _clamp(v, y, -POWER_LIMIT, POWER_LIMIT)
    result = _power_f64(v, size, exponent) if v.dtype == F64 else _power_f32(v, size, exponent)
    half = v.mul(y, v.number(0.5))
    whole = v.compare("eq", floor(v, y), y)
    odd = v.both(whole, v.compare("ne", floor(v, half), half))
    result = v.select(odd, v.intrinsic("copysign", result, x), result)
    negative = v.both(v.compare("lt", x, zero), v.compare("gt", x, v.number(-INFINITY)))
    undefined = v.both(negative, v.inverse(whole))
    result = v.select(undefined, v.number(NAN), result)
    return v.select(v.either(v.compare("eq", y, zero), v.compare("eq", x, one)), one, result)


def two_product(v: Lanes, a: Value, b: Value) -> tuple[Value, Value]:
    """The product and what its rounding lost, exactly (Dekker 1971 where there is no fused multiply-add)."""
    product = v.mul(a, b)
    if v.text.target.fma:
        return product, v.fma(a, b, v.neg(product))
    a_high, a_low = _halves(v, a)
    b_high, b_low = _halves(v, b)
    error = v.sub(v.mul(a_high, b_high), product)
    error = v.add(v.add(error, v.mul(a_high, b_low)), v.mul(a_low, b_high))
    return product, v.add(error, v.mul(a_low, b_low))


def _halves(v: Lanes, a: Value) -> tuple[Value, Value]:
    """A number as two of half the digits (Veltkamp)."""
    scaled = v.mul(a, v.number(2.0 ** ((FORMATS[v.dtype].mantissa + 2) // 2) + 1))
    high = v.sub(scaled, v.sub(scaled, a))
    return high, v.sub(a, high)


def _two_sum(v: Lanes, a: Value, b: Value) -> tuple[Value, Value]:
    """The sum and what its rounding lost, exactly (Knuth)."""
    total = v.add(a, b)
    part = v.sub(total, a)
    return total, v.add(v.sub(a, v.sub(total, part)), v.sub(b, part))


def _at_most(v: Lanes, x: Value, bound: float) -> Value:
    """min(x, bound); NaN stays."""
    limit = v.number(bound)
    return v.select(v.compare("lt", limit, x), limit, x)


def _clamp(v: Lanes, x: Value, low: float, high: float) -> Value:
    """x kept within bounds; NaN stays."""
    limit = v.number(low)
    return _at_most(v, v.select(v.compare("gt", limit, x), limit, x), high)


def _bits(form: Format, number: float) -> int:
    """The bit pattern of a float as an integer."""
    code, kind = ("<f", "<i") if form.dtype == F32 else ("<d", "<q")
    return int(struct.unpack(kind, struct.pack(code, number))[0])


def _reduce_exp(v: Lanes, x: Value) -> tuple[Value, Value]:
    """(bits of rounder + n, r) with x = n ln 2 + r and |r| <= ln(2) / 2."""
    form = FORMATS[v.dtype]
    shifted = v.fma(x, v.number(LOG2_E), v.number(form.rounder))
    turns = v.sub(shifted, v.number(form.rounder))
    rest = v.fma(turns, v.number(-form.ln2_high), x)
    return v.as_type(shifted, form.bits), v.fma(turns, v.number(-form.ln2_low), rest)


def _exp(v: Lanes, x: Value, low: Value | None = None) -> Value:
    """e^(x + low) for x within the format's bounds; 2^n is applied in two halves, which over- and underflow as they should."""
    form = FORMATS[v.dtype]
    whole, rest = _reduce_exp(v, x)
    if low is not None:
        rest = v.add(rest, low)
    integer = Lanes(v.text, form.bits, v.lanes)
    biased_twice = integer.add(whole, integer.number(2 * form.bias - _bits(form, form.rounder)))
    first = integer.binary("lshr", biased_twice, integer.number(1))
    second = integer.sub(biased_twice, first)
    value = v.polynomial(rest, (*form.exp, 1.0, 1.0))
    return v.mul(v.mul(value, _from_exponent(v, first)), _from_exponent(v, second))


def _from_exponent(v: Lanes, biased: Value) -> Value:
    """The power of two with a biased exponent."""
    form = FORMATS[v.dtype]
    integer = Lanes(v.text, form.bits, v.lanes)
    return v.as_type(integer.binary("shl", biased, integer.number(form.mantissa)), v.dtype)


def _split_exponent(v: Lanes, x: Value) -> tuple[Value, Value]:
    """(k, m) with x = 2^k m and sqrt(1/2) <= m < sqrt(2), for positive x; numbers below the smallest normal one are scaled first."""
    form = FORMATS[v.dtype]
    integer = Lanes(v.text, form.bits, v.lanes)
    tiny = v.compare("lt", x, v.number(form.smallest))
    normal = v.select(tiny, v.mul(x, v.number(2.0**form.mantissa)), x)
    root = _bits(form, 0.5**0.5)
    moved = integer.add(v.as_type(normal, form.bits), integer.number(_bits(form, 1.0) - root))
    # a small integer or-ed into the digits of 2^mantissa is that float plus the integer
    edge = 2.0**form.mantissa
    digits = integer.either(integer.binary("lshr", moved, integer.number(form.mantissa)), integer.number(_bits(form, edge)))
    base = v.select(tiny, v.number(edge + form.bias + form.mantissa), v.number(edge + form.bias))
    mantissa = integer.add(integer.both(moved, integer.number((1 << form.mantissa) - 1)), integer.number(root))
    return v.sub(v.as_type(digits, v.dtype), base), v.as_type(mantissa, v.dtype)


def _log(v: Lanes, exponent: Value, mantissa: Value, lost: Value | None) -> Value:
    """exponent ln 2 + log(mantissa) + lost, by log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)), s = f / (2 + f)."""
    form = FORMATS[v.dtype]
    f = v.sub(mantissa, v.number(1))
    s = v.div(f, v.add(f, v.number(2)))
    z = v.mul(s, s)
    half_square = v.mul(v.mul(f, f), v.number(0.5))
    series = v.mul(z, v.polynomial(z, form.log))
    small = v.mul(exponent, v.number(form.ln2_low))
    if lost is not None:
        small = v.add(small, lost)
    correction = v.fma(s, v.add(half_square, series), small)
    low = v.sub(v.sub(half_square, correction), f)
    return v.sub(v.mul(exponent, v.number(form.ln2_high)), low)


def _log_domain(v: Lanes, x: Value, argument: Value, result: Value) -> Value:
    """The logarithm's values at the ends of its domain and outside; infinity and NaN go through."""
    zero = v.number(0)
    result = v.select(v.compare("lt", x, v.number(INFINITY)), result, x)
    result = v.select(v.compare("eq", argument, zero), v.number(-INFINITY), result)
    return v.select(v.compare("lt", argument, zero), v.number(NAN), result)


def _sine(v: Lanes, x: Value, quarters: int) -> Value:
    """sin(x + quarters pi / 2)."""
    quadrant, rest, low = _reduce_turn(v, x)
    form = FORMATS[v.dtype]
    square = v.mul(rest, rest)
    half = v.mul(square, v.number(0.5))
    base = v.sub(v.number(1), half)
    cosine_tail = v.mul(v.mul(square, square), v.polynomial(square, form.cos))
    sine_tail = v.mul(v.mul(square, rest), v.polynomial(square, form.sin))
    if low is not None:
        rounding = v.sub(v.sub(v.number(1), base), half)
        cosine_tail = v.add(rounding, v.sub(cosine_tail, v.mul(rest, low)))
        sine_tail = v.fma(low, base, sine_tail)
    sine, cosine = v.add(rest, sine_tail), v.add(base, cosine_tail)
    turns = Lanes(v.text, I64, v.lanes)
    quadrant = turns.add(quadrant, turns.number(quarters))
    odd = turns.compare("ne", turns.both(quadrant, turns.number(1)), turns.number(0))
    back = turns.compare("ne", turns.both(quadrant, turns.number(2)), turns.number(0))
    value = v.select(odd, cosine, sine)
    return v.select(back, v.neg(value), value)


def _reduce_turn(v: Lanes, x: Value) -> tuple[Value, Value, Value | None]:
    """(q, r, low) with x = q pi/2 + r + low (q modulo 4) and |r| <= pi/4; always in f64, where two parts of pi/2 are enough for f32."""
    text, wide = v.text, Lanes(v.text, F64, v.lanes)
    doubled = x if v.dtype == F64 else text.op(wide.type, f"fpext {x} to {wide.type}")
    shifted = wide.fma(doubled, wide.number(TWO_OVER_PI), wide.number(DOUBLE.rounder))
    turns = wide.sub(shifted, wide.number(DOUBLE.rounder))
    quadrant = wide.as_type(shifted, I64)
    first = wide.sub(doubled, wide.mul(turns, wide.number(HALF_PI[0])))
    second = wide.mul(turns, wide.number(HALF_PI[1]))
    rest = wide.sub(first, second)
    if v.dtype == F32:
        narrow = vector(scalar_type(F32), v.lanes)
        return quadrant, text.op(narrow, f"fptrunc {rest} to {narrow}"), None
    lost = wide.sub(wide.sub(wide.sub(first, rest), second), wide.mul(turns, wide.number(HALF_PI[2])))
    total = wide.add(rest, lost)
    return quadrant, total, wide.add(wide.sub(rest, total), lost)


def _power_f32(v: Lanes, size: Value, exponent: Value) -> Value:
    """size^exponent through f64, whose spare digits make up for the size of the logarithm."""
    text, wide = v.text, Lanes(v.text, F64, v.lanes)
    base, times = (text.op(wide.type, f"fpext {value} to {wide.type}") for value in (size, exponent))
    result = exp(wide, wide.mul(times, log(wide, base)))
    return text.op(v.type, f"fptrunc {result} to {v.type}")


def _power_f64(v: Lanes, size: Value, exponent: Value) -> Value:
    """size^exponent with the logarithm in two doubles; at 0, infinity and NaN its plain value is enough."""
    ordinary = v.both(v.compare("gt", size, v.number(0)), v.compare("lt", size, v.number(INFINITY)))
    high, low = _log_in_two(v, size)
    high = v.select(ordinary, high, _log_domain(v, size, size, high))
    product, error = two_product(v, exponent, high)
    error = v.fma(exponent, low, error)
    usable = v.both(ordinary, v.compare("lt", v.intrinsic("fabs", product), v.number(800)))
    return _exp(v, _clamp(v, product, DOUBLE.smallest_argument, DOUBLE.largest_argument), v.select(usable, error, v.number(0)))


def _log_in_two(v: Lanes, x: Value) -> tuple[Value, Value]:
    """The natural logarithm of a positive finite f64 as the sum of two: 2 atanh(s), its first two terms in double the digits."""
    exponent, mantissa = _split_exponent(v, x)
    f = v.sub(mantissa, v.number(1))
    below = v.add(f, v.number(2))
    below_low = v.sub(f, v.sub(below, v.number(2)))
    s = v.div(f, below)
    product, error = two_product(v, s, below)
    s_low = v.div(v.sub(v.sub(v.sub(f, product), error), v.mul(s, below_low)), below)
    z, z_low = two_product(v, s, s)
    z_low = v.fma(v.add(s, s), s_low, z_low)
    cube, cube_low = two_product(v, s, z)
    cube_low = v.add(cube_low, v.fma(s, z_low, v.mul(s_low, z)))
    third, third_low = two_product(v, cube, v.number(TWO_THIRDS[0]))
    third_low = v.add(third_low, v.fma(cube, v.number(TWO_THIRDS[1]), v.mul(cube_low, v.number(TWO_THIRDS[0]))))
    tail = v.mul(v.mul(cube, z), v.polynomial(z, LOG_TAIL))
    high, lost = _two_sum(v, v.mul(exponent, v.number(DOUBLE.ln2_high)), v.add(s, s))
    high, lost_too = _two_sum(v, high, third)
    rest = v.add(v.add(tail, third_low), v.fma(exponent, v.number(DOUBLE.ln2_low), v.add(s_low, s_low)))
    return _two_sum(v, high, v.add(v.add(lost, lost_too), rest))
