"""Constants of the vector maths: the two float formats, their polynomials, and split irrational numbers.

The polynomials have the highest power first and were fitted for this file by Remez exchange in 60 digits, but for tanh, the rational
9/8 approximation of XNNPACK (f32-vtanh).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.types import F32, F64, I32, I64, DType

LOG2_E = 1.4426950408889634
TWO_OVER_PI = 0.6366197723675814


def _hex(*numbers: str) -> tuple[float, ...]:
    return tuple(float.fromhex(n) for n in numbers)


@dataclass(frozen=True)
class Format:
    """Constants of a float format; ln 2 is split so that an integer multiple of `ln2_high` is exact.

    `exp` is (e^r - 1 - r) / r^2, `log` (2 atanh(s) - 2s) / s^3 in s^2, `sin` (sin r - r) / r^3 and `cos` (cos r - 1 + r^2/2) / r^4 in r^2,
    `erf` erf(x) / x - 1 in x^2 on [0, 1]. Beyond the arguments' bounds e^x is 0 or infinite, e^x - 1 is -1, erf is 1.
    """

    dtype: DType
    bits: DType
    mantissa: int
    bias: int
    ln2_high: float
    ln2_low: float
    smallest: float
    largest_argument: float
    smallest_argument: float
    minus_one_below: float
    erf_is_one: float
    exp: tuple[float, ...]
    log: tuple[float, ...]
    sin: tuple[float, ...]
    cos: tuple[float, ...]
    erf: tuple[float, ...]

    @property
    def rounder(self) -> float:
        """Adding and subtracting this rounds to an integer; the sum's low bits are that integer."""
        return 1.5 * 2.0**self.mantissa


SINGLE = Format(
    dtype=F32,
    bits=I32,
    mantissa=23,
    bias=127,
    ln2_high=float.fromhex("0x1.62e300p-1"),
    ln2_low=float.fromhex("0x1.2fefa2p-17"),
    smallest=2.0**-126,
    largest_argument=89.0,
    smallest_argument=-104.0,
    minus_one_below=-18.0,
    erf_is_one=3.95,
    exp=_hex("0x1.6da078p-10", "0x1.122e44p-7", "0x1.55547cp-5", "0x1.5554a6p-3", "0x1p-1"),
    log=_hex("0x1.ddde50p-3", "0x1.245bf2p-2", "0x1.9999ecp-2", "0x1.555556p-1"),
    sin=_hex("0x1.6dbd3ep-19", "-0x1.a013a6p-13", "0x1.11110ep-7", "-0x1.555556p-3"),
    cos=_hex("0x1.9bd7f2p-16", "-0x1.6c12d2p-10", "0x1.555554p-5"),
    erf=_hex(
        "0x1.4ae4c6p-14", "-0x1.a485eap-11", "0x1.5419f4p-8", "-0x1.b7fbb4p-6", "0x1.ce2d20p-4", "-0x1.81273ep-2", "0x1.06eba8p-3"
    ),
)  # fmt: skip

DOUBLE = Format(
    dtype=F64,
    bits=I64,
    mantissa=52,
    bias=1023,
    ln2_high=float.fromhex("0x1.62e42feep-1"),
    ln2_low=float.fromhex("0x1.a39ef35793c76p-33"),
    smallest=2.0**-1022,
    largest_argument=710.0,
    smallest_argument=-746.0,
    minus_one_below=-40.0,
    erf_is_one=6.0,
    exp=_hex(
        "0x1.1f8b9579c2386p-29", "0x1.af4e55efe0f19p-26", "0x1.27e4cca2cc09ep-22", "0x1.71de01fd62634p-19", "0x1.a01a01ad0c9bfp-16",
        "0x1.a01a01abf87c7p-13", "0x1.6c16c16c151ccp-10", "0x1.11111111100bdp-7", "0x1.5555555555558p-5", "0x1.5555555555557p-3", "0x1p-1",
    ),
    log=_hex(
        "0x1.2b662a2836b52p-3", "0x1.39fd34150f2adp-3", "0x1.7462be2c0aee8p-3", "0x1.c71c62c218ee6p-3", "0x1.2492492e0f037p-2",
        "0x1.99999999951bfp-2", "0x1.5555555555558p-1",
    ),
    sin=_hex(
        "0x1.5e0a62ed2b329p-33", "-0x1.ae60090c44d47p-26", "0x1.71de3794aecd2p-19", "-0x1.a01a019e82435p-13", "0x1.1111111110badp-7",
        "-0x1.5555555555555p-3",
    ),
    cos=_hex(
        "-0x1.907cea0cf7388p-37", "0x1.1eeb67ea7a39dp-29", "-0x1.27e4fa16e89fbp-22", "0x1.a01a019f4df8fp-16", "-0x1.6c16c16c16964p-10",
        "0x1.5555555555555p-5",
    ),
    erf=_hex(
        "-0x1.acdffb70cff6bp-31", "0x1.d78491d332943p-27", "-0x1.5c16e26efb92dp-23", "0x1.b9827aead18cfp-20", "-0x1.f4ca949221a0dp-17",
        "0x1.f9a2bf7351a56p-14", "-0x1.c02db072eb41bp-11", "0x1.565bccfa9a389p-8", "-0x1.b82ce31206290p-6", "0x1.ce2f21a041017p-4",
        "-0x1.812746b0379c2p-2", "0x1.06eba8214db68p-3",
    ),
)  # fmt: skip

FORMATS = {F32: SINGLE, F64: DOUBLE}

# log(erfc(x)) on [1, 3.95]
LOG_ERFC = _hex(
    "0x1.852afap-13", "-0x1.814b7cp-9", "0x1.65417ap-6", "-0x1.a60a2ep-4", "-0x1.46c590p-1", "-0x1.2085aep+0", "-0x1.72f33cp-12",
)  # fmt: skip
# exp(x^2) erfc(x) on [1, 6], in (x - 3) / (x + 3)
SCALED_ERFC = _hex(
    "-0x1.1b63de31b8662p-17", "-0x1.90eb1d4e3daadp-17", "0x1.0f11e9e1b7f3cp-14", "0x1.7b7e5eaf15491p-15", "-0x1.391577489ad0bp-11",
    "0x1.730d7665607cdp-11", "0x1.17c84d3a29250p-8", "-0x1.8fa58ca713b38p-6", "0x1.258b13b2e06cap-4", "-0x1.336ffbf0c4bfcp-3",
    "0x1.f6ff2040d94dbp-3", "-0x1.4e102b9cf7a8dp-2", "0x1.6e9827d22a087p-3",
)  # fmt: skip
# (2 atanh(s) - 2s - 2/3 s^3) / s^5 in s^2
LOG_TAIL = _hex(
    "0x1.b8eb5aa0418e3p-4", "0x1.ac47e72f4e8e3p-4", "0x1.e1f8199bcc8c1p-4", "0x1.1110df4d521eep-3", "0x1.3b13b1bdbb551p-3",
    "0x1.745d174511012p-3", "0x1.c71c71c71cffbp-3", "0x1.2492492492491p-2", "0x1.999999999999ap-2",
)  # fmt: skip
TWO_THIRDS = _hex("0x1.5555555555555p-1", "0x1.5555555555555p-55")
HALF_PI = _hex("0x1.921fb544p+0", "0x1.0b4611a6p-34", "0x1.3198a2e037073p-69")
TANH_LIMIT = 7.98
TANH_ABOVE = (1.4248920266e-8, 2.1235626264e-5, 3.5330520477e-3, 0.13412411511, 1.0)
TANH_BELOW = (8.1365948290e-7, 3.3472978976e-4, 0.026018999517, 0.46745735407, 1.0)
