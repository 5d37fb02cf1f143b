"""The stated error bounds of the vector maths, against 80-bit floats, the C library or mpmath; and the values at the edges."""

from __future__ import annotations

import functools
import math

import native
import numpy as np
import pytest
from ranvier.compiler.ir.types import F32, F64, DType
from rowwise import emit_rowwise, run

TARGETS = native.runnable()
COUNT = {F32: 1 << 20, F64: 1 << 17}
LANES = {"x86-64": 4, "x86-64-v3": 8, "x86-64-v4": 16}
WIDE = np.longdouble

# function: (bound in units in the last place of f32, of f64, range of f32, range of f64)
BOUNDS = {
    "exp": (1, 1, (-87.3, 88.7), (-708, 709.7)),
    "expm1": (2, 2, (-30, 88.7), (-50, 709.7)),
    "log": (1, 1, None, None),
    "log1p": (2, 2, None, None),
    "tanh": (5, 3, (-12, 12), (-25, 25)),
    "sigmoid": (3, 3, (-87, 100), (-700, 700)),
    "sin": (2, 1, (-1e4, 1e4), (-1e4, 1e4)),
    "cos": (2, 1, (-1e4, 1e4), (-1e4, 1e4)),
}
REFERENCE = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "sin": np.sin,
    "cos": np.cos,
}
WITHOUT_FMA = 0.6


def ulps(got: np.ndarray, wanted: np.ndarray, dtype: DType) -> np.ndarray:
    """Errors in units in the last place of the exact result; results below the smallest normal number are left out."""
    size = np.maximum(np.abs(wanted), np.finfo(dtype.numpy).tiny).astype(dtype.numpy)
    unit = np.spacing(size).astype(WIDE)
    return np.where(np.abs(wanted) < np.finfo(dtype.numpy).tiny, 0, np.abs(got.astype(WIDE) - wanted) / unit)


@functools.cache
def exact(op: str, dtype: DType) -> np.ndarray:
    """The reference at all points."""
    return REFERENCE[op](points(op, dtype).astype(WIDE))


@functools.cache
def points(op: str, dtype: DType) -> np.ndarray:
    """Half spread evenly over the range, half over the exponents; for the logarithms over all positive numbers, dense round 1."""
    rng = np.random.default_rng(7)
    count = COUNT[dtype] // 4
    if op in ("log", "log1p"):
        near = np.exp(rng.normal(size=2 * count) * 0.5)
        top = 38 if dtype == F32 else 307
        far = 10 ** rng.uniform(-top + (1 if op == "log" else top - 7), top, 2 * count)
        x = np.concatenate([near, far])
        return (x if op == "log" else np.concatenate([near - 1, far, -rng.random(count)])).astype(dtype.numpy)
    low, high = BOUNDS[op][2 if dtype == F32 else 3]
    small = 10 ** rng.uniform(-8, 0, 2 * count) * rng.choice([-1, 1], 2 * count)
    return np.concatenate([rng.uniform(low, high, 2 * count), small]).astype(dtype.numpy)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("op", BOUNDS)
def test_error_bounds(op, dtype, name):
    x = points(op, dtype)
    error = ulps(run(op, [x], [dtype], dtype, LANES[name], name), exact(op, dtype), dtype)
    bound = BOUNDS[op][0 if dtype == F32 else 1] + (WITHOUT_FMA if name == "x86-64" else 0)
    assert error.max() <= bound, f"{op}({x[error.argmax()]!r}) is {error.max():.2f} units off"


@pytest.mark.parametrize("name", TARGETS)
def test_error_of_erf(name):
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.uniform(-5, 5, COUNT[F32] // 4), 10 ** rng.uniform(-8, 0, COUNT[F32] // 8)]).astype(np.float32)
    wanted = np.frompyfunc(math.erf, 1, 1)(x.astype(np.float64)).astype(np.float64)
    assert ulps(run("erf", [x], [F32], F32, LANES[name], name), wanted.astype(WIDE), F32).max() <= 2
    mpmath = pytest.importorskip("mpmath")
    y = np.concatenate([rng.uniform(-6.5, 6.5, 4000), 10 ** rng.uniform(-8, 0, 1000)])
    with mpmath.workdps(30):
        wanted = np.array([WIDE(mpmath.nstr(mpmath.erf(mpmath.mpf(float(v))), 25)) for v in y])
    assert ulps(run("erf", [y], [F64], F64, LANES[name], name), wanted, F64).max() <= 2


@pytest.mark.parametrize("name", TARGETS)
def test_error_of_power(name):
    rng = np.random.default_rng(7)
    x = np.exp(np.clip(rng.normal(size=COUNT[F32]) * rng.choice([0.01, 1, 20], COUNT[F32]), -80, 80)).astype(np.float32)
    y = (rng.uniform(-80, 80, COUNT[F32]) / np.maximum(np.abs(np.log(x.astype(np.float64))), 1e-3)).astype(np.float32)
    got = run("pow", [x, y], [F32, F32], F32, LANES[name], name)
    assert ulps(got, np.power(x.astype(WIDE), y.astype(WIDE)), F32).max() <= 1
    mpmath = pytest.importorskip("mpmath")
    x, y = x[:6000].astype(np.float64), y[:6000].astype(np.float64) * 8
    with mpmath.workdps(40):
        wanted = np.array([WIDE(mpmath.nstr(mpmath.mpf(float(a)) ** float(b), 25)) for a, b in zip(x, y, strict=True)])
    assert ulps(run("pow", [x, y], [F64, F64], F64, LANES[name], name), wanted, F64).max() <= 1 + (WITHOUT_FMA if name == "x86-64" else 0)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_the_edges(dtype, name):
    inf, nan = np.inf, np.nan
    cases = {
        "exp": ([0, -0.0, inf, -inf, nan, 1e4, -1e4], [1, 1, inf, 0, nan, inf, 0]),
        "expm1": ([0, inf, -inf, nan, 1e4, -1e4], [0, inf, -1, nan, inf, -1]),
        "log": ([1, 0, -0.0, inf, -1, -inf, nan], [0, -inf, -inf, inf, nan, nan, nan]),
        "log1p": ([0, -1, inf, -2, -inf, nan, 1e-30], [0, -inf, inf, nan, nan, nan, 1e-30]),
        "tanh": ([0, inf, -inf, nan, 50, -50], [0, 1, -1, nan, 1, -1]),
        "sigmoid": ([0, inf, -inf, nan, 1e4, -1e4], [0.5, 1, 0, nan, 1, 0]),
        "erf": ([0, inf, -inf, nan, 50, -50], [0, 1, -1, nan, 1, -1]),
        "sin": ([0, inf, -inf, nan], [0, nan, nan, nan]),
        "cos": ([0, inf, -inf, nan], [1, nan, nan, nan]),
    }
    for op, (x, wanted) in cases.items():
        got = run(op, [np.array(x)], [dtype], dtype, LANES[name], name)
        np.testing.assert_allclose(got, np.array(wanted, dtype.numpy), rtol=3e-7 if op == "tanh" else 0, err_msg=op)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_power_at_the_edges_is_numpys(dtype, name):
    values = np.array([0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30], dtype.numpy)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        wanted = np.power(x, y)
    np.testing.assert_allclose(run("pow", [x, y], [dtype, dtype], dtype, LANES[name], name), wanted, rtol=5e-7 if dtype == F32 else 3e-16)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_denormal_arguments(dtype, name):
    tiny = np.finfo(dtype.numpy).smallest_subnormal * np.array([1, 3, 1000], dtype.numpy)
    np.testing.assert_allclose(
        run("log", [tiny], [dtype], dtype, LANES[name], name), np.log(tiny.astype(WIDE)).astype(dtype.numpy), rtol=3e-7
    )
    for op in ("tanh", "erf", "sin", "expm1", "log1p"):
        assert np.all(np.abs(run(op, [tiny], [dtype], dtype, LANES[name], name)) <= 2 * tiny), op


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_bounded_functions_stay_within_their_bounds(dtype, name):
    x = np.concatenate([np.linspace(-20, 20, 200_001), np.linspace(7.9, 8.1, 100_001)]).astype(dtype.numpy)
    for op, low in (("tanh", -1), ("erf", -1), ("sigmoid", 0)):
        got = run(op, [x], [dtype], dtype, LANES[name], name)
        assert got.min() >= low, op
        assert got.max() <= 1, op


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_every_width_gives_the_same_bits(dtype, name):
    x = np.random.default_rng(1).normal(size=999).astype(dtype.numpy) * 3
    for op in REFERENCE:
        scalar = run(op, [x], [dtype], dtype, 1, name)
        np.testing.assert_array_equal(run(op, [x], [dtype], dtype, 16, name), scalar, err_msg=op)


def test_no_call_leaves_the_code():
    for op in [*BOUNDS, "erf", "pow", "floor", "round"]:
        for dtype in (F32, F64):
            for name in (*TARGETS, "aarch64"):
                operands = [dtype] * (2 if op == "pow" else 1)
                code = native.compiles(emit_rowwise(op, operands, dtype, 4, name), name)
                words = code.replace("@PLT", "").split()
                calls = {
                    words[n + 1] for n, word in enumerate(words[:-1]) if word in ("call", "callq", "bl", "jmp") and words[n + 1][0] != "."
                }
                assert calls <= {"kernel"}, f"{op} {dtype} {name}: {calls}"
