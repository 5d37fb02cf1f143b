"""Every row of the elementwise table: its meaning, its types and its derivative. The tests walk the table, so a new row is tested too."""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.elementwise import ROWS, Cast, Elementwise, Select, StopGradient
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Array
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import BATCH, BOOL, DTYPES, F32, F64, I32, U8, U32, DType, TensorType
from ranvier.compiler.ir.verifier import verify

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, max_side=4)


def philox(index: int, counter: int, key: int) -> int:
    """Philox2x32-10 in whole numbers, after the paper."""
    left, right = index, counter
    for number in range(10):
        product = 0xD256D193 * left
        left, right = (product >> 32) ^ ((key + number * 0x9E3779B9) % 2**32) ^ right, product % 2**32
    return left


# What a row means for Python numbers, where neither `math` nor `operator` has a function of its name.
MEANING: dict[str, Callable[..., Any]] = {
    "div": lambda x, y: x // y if isinstance(x, int) else x / y,
    "mod": lambda x, y: x - y * math.floor(x / y),
    "max": max,
    "min": min,
    "sign": lambda x: math.copysign(1.0, x) if x else 0.0,
    "round": round,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "and": operator.and_,
    "or": operator.or_,
    "not": operator.not_,
    "shift_left": operator.lshift,
    "shift_right": operator.rshift,
    "random_bits": philox,
}


def meaning(row: str) -> Callable[..., Any]:
    found = MEANING.get(row) or getattr(math, row, None) or getattr(operator, row, None)
    assert found, f"say in MEANING what `{row}` does to Python numbers"
    return found


# Operands on which the row is defined and smooth: by default off every whole and half number and never equal to each other.
FLOATS = {"default": (-2.5, 2.5), "sqrt": (0.1, 4.0), "rsqrt": (0.1, 4.0), "log": (0.1, 4.0), "log1p": (-0.9, 4.0), "pow": (0.2, 2.5)}
APART = (0.037, 0.081, 0.063)
DIVISORS = {("div", 1), ("mod", 1)}
SHIFTS = {("shift_left", 1), ("shift_right", 1)}


def floats(row: str, position: int, shape: tuple[int, ...], dtype: DType) -> st.SearchStrategy[Array]:
    low, high = FLOATS.get(row, FLOATS["default"])
    whole = st.integers(math.ceil(low * 10), math.floor(high * 10) - 1)
    if (row, position) in DIVISORS:
        whole = whole.filter(lambda n: abs(n) > 5)
    return arrays.arrays(np.int64, shape, elements=whole).map(lambda a: (a * 0.1 + APART[position]).astype(dtype.numpy))


def operands(row: str, position: int, shape: tuple[int, ...], dtype: DType) -> st.SearchStrategy[Array]:
    if dtype.is_float:
        return floats(row, position, shape, dtype)
    low, high = {BOOL: (0, 1), I32: (-(2**15), 2**15), U8: (0, 255), U32: (0, 2**32 - 1)}[dtype]
    if (row, position) in DIVISORS:
        low, high = 1, min(high, 100)
    if (row, position) in SHIFTS:
        high = 31
    return arrays.arrays(np.int64, shape, elements=st.integers(low, high)).map(lambda a: a.astype(dtype.numpy))


def dtypes(row: str) -> list[DType]:
    kinds = {"f": [F32, F64], "i": [I32], "u": [U32] if ROWS[row].domain == "u" else [U8, U32], "b": [BOOL]}
    return [dtype for kind in ROWS[row].domain for dtype in kinds[kind]]


CASES = [pytest.param(row, dtype, id=f"{row}-{dtype}") for row in ROWS for dtype in dtypes(row)]


@pytest.mark.parametrize(("row", "dtype"), CASES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_meaning_and_type(row: str, dtype: DType, data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    inputs = [data.draw(operands(row, n, shape, dtype)) for n in range(ROWS[row].arity)]
    graph = Graph()
    sources = [graph.add(Source("input", f"x{n}", TensorType(dtype, shape))) for n in range(len(inputs))]
    graph.outputs = {"y": graph.add(Elementwise(row), sources)}
    kind = verify(graph, "test").type(graph.outputs["y"])
    assert kind == TensorType(BOOL if ROWS[row].boolean else dtype, shape)
    found = evaluate(graph, {f"x{n}": a for n, a in enumerate(inputs)})["y"]
    exact = [meaning(row)(*(a[index].item() for a in inputs)) for index in np.ndindex(shape)]
    assert found.dtype == kind.dtype.numpy
    if kind.dtype.is_float:
        tolerance = {F32: 1e-6, F64: 1e-13}[dtype]
        np.testing.assert_allclose(found, np.array(exact).reshape(shape), rtol=tolerance, atol=tolerance)
    else:
        expected = np.array([int(v) % 2**kind.dtype.bits for v in exact], dtype=np.uint64).astype(kind.dtype.numpy)
        np.testing.assert_array_equal(found, expected.reshape(shape))


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if "f" in row.domain and not row.boolean])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_derivative(row: str, data: st.DataObject) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=0, max_dims=2, max_side=3))
    inputs = {f"x{n}": data.draw(floats(row, n, shape, F64)) for n in range(ROWS[row].arity)}
    check_gradients(lambda build, *values: build.apply(row, *values), inputs)


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if row.arity == 2 and "f" in row.domain and not row.boolean])
def test_derivative_for_equal_operands_and_broadcast_ones(row: str) -> None:
    values = {"x": np.array([[0.7, 1.9, 2.3], [1.1, 0.4, 0.9]]), "y": np.array([1.3, 0.6, 1.7])}
    check_gradients(lambda build, x, y: build.apply(row, x, y), values)
    if row not in ("max", "min", "mod"):
        check_gradients(lambda build, x: build.apply(row, x, x), {"x": values["x"]})


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if row.commutative])
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_commutative_rows_commute(row: str, data: st.DataObject) -> None:
    dtype = dtypes(row)[0]
    x, y = (data.draw(operands(row, n, (5,), dtype)) for n in range(2))
    np.testing.assert_array_equal(ROWS[row].reference(x, y), ROWS[row].reference(y, x))


def test_at_a_kink_the_gradient_goes_to_one_side() -> None:
    graph = Graph()
    build = Build(graph, F64)
    x, y = (build.add_op(Source("input", k, TensorType(F64, (1,)))) for k in "xy")
    one = build.constant_like(1, x)
    for row in ("max", "min"):
        node = graph[build.apply(row, x, y)]
        left, right = node.op.gradient(build, node, one)
        assert left is not None
        assert right is not None
        graph.outputs = {"left": left, "right": right}
        found = evaluate(graph, {"x": [0.5], "y": [0.5]})
        assert (found["left"][0], found["right"][0]) == (0, 1)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_select(data: st.DataObject) -> None:
    shape = data.draw(SHAPES)
    condition = data.draw(arrays.arrays(np.bool_, shape))
    x, y = (data.draw(floats("select", n, shape, F64)) for n in range(2))
    graph = Graph()
    kinds = (BOOL, F64, F64)
    sources = [graph.add(Source("input", k, TensorType(d, shape))) for k, d in zip("cxy", kinds, strict=True)]
    graph.outputs = {"y": graph.add(Select(), sources)}
    found = evaluate(graph, {"c": condition, "x": x, "y": y})["y"]
    np.testing.assert_array_equal(found[condition], x[condition])
    np.testing.assert_array_equal(found[~condition], y[~condition])


def test_gradient_of_select() -> None:
    def make(build: Build, x: int, y: int) -> int:
        chosen = build.eq(build.position((3,), 0), build.constant(1))
        return build.select(chosen, build.mul(x, x), build.exp(y))

    check_gradients(make, {"x": np.array([0.3, 0.7, 1.1]), "y": np.array([0.2, 0.5, -0.4])})


@pytest.mark.parametrize("target", DTYPES.values(), ids=str)
@pytest.mark.parametrize("source", DTYPES.values(), ids=str)
def test_cast_keeps_what_fits(source: DType, target: DType) -> None:
    graph = Graph()
    x = graph.add(Source("input", "x", TensorType(source, (3,))))
    graph.outputs = {"y": graph.add(Cast(target), [x])}
    values = [0, 1, 1] if BOOL in (source, target) else [0, 1, 100]
    found = verify(graph, "test"), evaluate(graph, {"x": np.array(values).astype(source.numpy)})["y"]
    assert found[0].type(1) == TensorType(target, (3,))
    assert found[1].tolist() == np.array(values).astype(target.numpy).tolist()


def test_a_cast_to_whole_numbers_cuts_and_to_bool_asks_for_zero() -> None:
    graph = Graph()
    x = graph.add(Source("input", "x", TensorType(F32, (4,))))
    graph.outputs = {"i": graph.add(Cast(I32), [x]), "b": graph.add(Cast(BOOL), [x])}
    found = evaluate(graph, {"x": [-1.7, 0.0, 0.5, 2.9]})
    assert found["i"].tolist() == [-1, 0, 0, 2]
    assert found["b"].tolist() == [True, False, True, True]


def test_gradient_through_casts_and_stop_gradient() -> None:
    values = {"x": np.array([0.5, 1.5, -0.25])}
    check_gradients(lambda build, x: build.mul(build.cast(build.cast(x, F64), F64), x), values)
    graph = Graph()
    build = Build(graph, F64)
    x = build.add_op(Source("input", "x", TensorType(F64, (BATCH,))))
    for op, flows in ((StopGradient(), False), (Cast(I32), False), (Cast(F32), True)):
        node = graph[build.add_op(op, x)]
        cotangent = build.constant_like(1, node.id)
        (part,) = node.op.gradient(build, node, cotangent)
        assert (part is not None) == flows
        assert part is None or build.type(part) == build.type(x)
