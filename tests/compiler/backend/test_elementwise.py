"""Every row of the elementwise table against NumPy, at every vector width, on ordinary and on awkward numbers."""

from __future__ import annotations

import warnings

import native
import numpy as np
import pytest
from ranvier.compiler.backend.elementwise import EMITTERS, apply
from ranvier.compiler.backend.target import preset
from ranvier.compiler.backend.text import Emitted, Grid, Text, Value
from ranvier.compiler.backend.vectors import load, store
from ranvier.compiler.ir.random import philox2x32
from ranvier.compiler.ir.types import BOOL, DTYPES, F32, F64, I32, I64, U8, U32, DType
from rowwise import emit_rowwise, run

TARGETS = native.runnable()
WIDTHS = [(lanes, name) for lanes, name in ((4, "x86-64"), (1, "x86-64-v3"), (16, "x86-64-v4")) if name in TARGETS]


def numbers(dtype: DType, count: int, seed: int) -> np.ndarray:
    """Random numbers with all the awkward ones mixed in, in another order for every seed."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, count).astype(bool)
    if dtype.is_float:
        special = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, np.inf, -np.inf, np.nan, 3e38, -3e38, 8388609.0, -4503599627370497.0]
        many = np.concatenate([rng.normal(size=count) * 10 ** rng.uniform(-3, 6, count), rng.integers(-9, 9, count)])
    else:
        info = np.iinfo(dtype.numpy)
        special = [0, 1, 2, info.min, info.max, info.max - 1, info.min + 1] + ([-1, -2, -7] if dtype.kind == "i" else [])
        many = np.concatenate([rng.integers(info.min, info.max, count, dtype.numpy, endpoint=True), rng.integers(0, 9, count)])
    chosen = rng.choice(np.array(special, dtype.numpy), count)
    return np.where(rng.random(count) < 0.5, chosen, rng.choice(many.astype(dtype.numpy), count))


def check(op: str, reference, operands: list[DType], dtype: DType, lanes: int, name: str, count: int = 3000) -> None:
    arrays = [numbers(t, count, seed) for seed, t in enumerate(operands)]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        wanted = reference(*arrays)
    got = run(op, arrays, operands, dtype, lanes, name)
    assert got.dtype == wanted.dtype
    np.testing.assert_array_equal(got, wanted)


FLOAT_EXACT = {
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: (1 / np.sqrt(x)).astype(x.dtype),
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
}
INTEGER = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.floor_divide,
    "mod": np.mod,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}
COMPARISON = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal}
ARITY_ONE = {"neg", "abs", "sign", "floor", "ceil", "round", "sqrt", "rsqrt", "not"}


@pytest.mark.parametrize(("lanes", "name"), WIDTHS)
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("op", FLOAT_EXACT)
def test_float_rows_equal_numpy(op, dtype, lanes, name):
    check(op, FLOAT_EXACT[op], [dtype] * (1 if op in ARITY_ONE else 2), dtype, lanes, name)


@pytest.mark.parametrize(("lanes", "name"), WIDTHS)
@pytest.mark.parametrize("dtype", [I32, I64, U8, U32], ids=str)
def test_integer_rows_equal_numpy(dtype, lanes, name):
    for op, reference in INTEGER.items():
        check(op, reference, [dtype, dtype], dtype, lanes, name)
    if dtype.kind == "i":
        check("neg", np.negative, [dtype], dtype, lanes, name)
        check("abs", np.abs, [dtype], dtype, lanes, name)
        check("sign", np.sign, [dtype], dtype, lanes, name)


@pytest.mark.parametrize(("lanes", "name"), WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_comparisons_equal_numpy(dtype, lanes, name):
    for op, reference in COMPARISON.items():
        check(op, reference, [dtype, dtype], BOOL, lanes, name)


@pytest.mark.parametrize(("lanes", "name"), WIDTHS)
def test_logic_shifts_and_select(lanes, name):
    for op, reference in {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}.items():
        check(op, reference, [BOOL, BOOL], BOOL, lanes, name)
    check("not", np.logical_not, [BOOL], BOOL, lanes, name)
    check("shift_left", np.left_shift, [U32, U32], U32, lanes, name)
    check("shift_right", np.right_shift, [U32, U32], U32, lanes, name)
    for dtype in DTYPES.values():
        check("select", np.where, [BOOL, dtype, dtype], dtype, lanes, name)


@pytest.mark.parametrize(("lanes", "name"), WIDTHS)
def test_modulo_of_floats(lanes, name):
    rng = np.random.default_rng(3)
    for dtype in (F32, F64):
        a = (rng.normal(size=4000) * 10 ** rng.uniform(-6, 6, 4000)).astype(dtype.numpy)
        b = (rng.normal(size=4000) * 10 ** rng.uniform(-2, 2, 4000)).astype(dtype.numpy)
        a = np.concatenate([a, b * 7, b * -3, [5, -5, 0, -0.0, 6, 6, -6, 5, np.inf, np.nan, 5, -1e-20]]).astype(dtype.numpy)
        b = np.concatenate([b, b, b, [np.inf, np.inf, 3, 3, 3, -3, 3, 0, 2, 2, np.nan, 1]]).astype(dtype.numpy)
        with np.errstate(all="ignore"):
            wanted = np.mod(a, b)
        np.testing.assert_array_equal(run("mod", [a, b], [dtype, dtype], dtype, lanes, name), wanted)
    huge = run("mod", [np.array([1e30, -1e30]), np.array([1e-3, 1e-3])], [F32, F32], F32, lanes, name)
    np.testing.assert_array_equal(huge, [0, 0])


@pytest.mark.parametrize(("lanes", "name"), WIDTHS)
@pytest.mark.parametrize("source", DTYPES.values(), ids=str)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_casts_equal_numpy_where_numpy_defines_them(source, dtype, lanes, name):
    values = numbers(source, 2000, 5)
    if source.is_float and not dtype.is_float and dtype.kind != "b":
        info = np.iinfo(dtype.numpy)
        values = values[np.isfinite(values)]
        values = values[(values.astype(np.float64) > float(info.min) - 0.5) & (values.astype(np.float64) < float(info.max))]
    with np.errstate(all="ignore"):
        wanted = values.astype(dtype.numpy)
    np.testing.assert_array_equal(run("cast", [values], [source], dtype, lanes, name), wanted)


@pytest.mark.parametrize("name", TARGETS)
def test_casts_out_of_range_take_the_nearest_integer(name):
    values = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30], np.float32)
    np.testing.assert_array_equal(run("cast", [values], [F32], I32, 4, name), [0, 2**31 - 1, -(2**31), 2**31 - 1, -(2**31)])
    np.testing.assert_array_equal(run("cast", [values], [F32], U8, 4, name), [0, 255, 0, 255, 0])


@pytest.mark.parametrize(("lanes", "name"), WIDTHS)
def test_random_bits_are_philox(lanes, name):
    arrays = [numbers(U32, 3000, seed) for seed in range(3)]
    wanted = philox2x32(*arrays)
    np.testing.assert_array_equal(run("random_bits", arrays, [U32] * 3, U32, lanes, name), wanted)


def test_philox_known_answers():
    """From the test vectors that the generator's authors publish with it (Random123, kat_vectors)."""
    assert philox2x32(0, 0, 0) == 0xFF1DAE59
    assert philox2x32(0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF) == 0x2C3F628B
    assert philox2x32(0x243F6A88, 0x85A308D3, 0x13198A2E) == 0xDD7CE038


@pytest.mark.parametrize("op", ["min", "max"])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_extreme_with_a_literal_is_one_instruction(op, swapped):
    text = Text(preset("x86-64-v3"))
    args = [load(text, Value("ptr", "%b0"), F32, 8), Value("<8 x float>", "zeroinitializer")]
    store(text, apply(text, op, args[::-1] if swapped else args, [F32, F32], F32, 8), Value("ptr", "%b1"), F32, 8)
    head = "define internal void @KERNEL(ptr %b0, ptr %b1, i64 %rows, i64 %lo, i64 %hi, ptr %scratch) #0 {\nentry:"
    emitted = Emitted("\n".join([head, *text.lines, "  ret void\n}"]), ("x", "y"), Grid(1, False, 1), 0, ())
    code = native.compiles(emitted, "x86-64-v3")
    assert f"v{op}ps" in code
    assert "vcmp" not in code
    assert "vblend" not in code


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_masked_access_touches_nothing_else(name, dtype):
    text = Text(preset(name))
    lanes, active = 8, 5
    mask = Value(f"<{lanes} x i1>", "<" + ", ".join(f"i1 {int(n < active)}" for n in range(lanes)) + ">")
    value = load(text, Value("ptr", "%b0"), dtype, lanes, mask=mask)
    store(text, value, Value("ptr", "%b1"), dtype, lanes, mask=mask)
    store(text, value, Value("ptr", "%b2"), dtype, lanes)
    head = "define internal void @KERNEL(ptr %b0, ptr %b1, ptr %b2, i64 %rows, i64 %lo, i64 %hi, ptr %scratch) #0 {\nentry:"
    body = "\n".join([head, *text.lines, "  ret void\n}"])
    kernel = native.compile_native(Emitted(body, ("x", "y", "z"), Grid(1, False, 1), 0, tuple(text.needs.items())), preset(name))
    x, y, z = np.ones(lanes, dtype.numpy), np.full(lanes, 0, dtype.numpy), np.ones(lanes, dtype.numpy)
    kernel({"x": x, "y": y, "z": z})
    np.testing.assert_array_equal(y, [1] * active + [0] * (lanes - active))
    np.testing.assert_array_equal(z, [1] * active + [0] * (lanes - active))


def test_no_fast_math_flag_is_ever_written():
    for op in EMITTERS:
        for dtype in (F32, F64, I32, U32, BOOL):
            operands = {"select": [BOOL, dtype, dtype], "random_bits": [U32] * 3}.get(op, [dtype] * (1 if op in ONE_OPERAND else 2))
            if not _defined(op, dtype):
                continue
            words = emit_rowwise(op, operands, BOOL if op in COMPARISON else dtype, 8, "x86-64-v3").text.split()
            assert not {"fast", "nnan", "ninf", "nsz", "reassoc", "arcp", "afn", "contract"} & set(words)


ONE_OPERAND = ARITY_ONE | {"exp", "expm1", "log", "log1p", "tanh", "erf", "sigmoid", "sin", "cos"}


def _defined(op: str, dtype: DType) -> bool:
    if dtype.is_float:
        return op not in ("and", "or", "xor", "not", "shift_left", "shift_right", "random_bits")
    if dtype == BOOL:
        return op in COMPARISON or op in ("and", "or", "xor", "not", "select")
    return op in INTEGER or op in COMPARISON or op == "select" or (dtype == U32 and op in ("shift_left", "shift_right", "random_bits"))
