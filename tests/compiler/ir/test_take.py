"""Rows of a table: NumPy's indexing, its gradient by differences, and the native code on odd sizes with any number of threads."""

import numpy as np
import pytest
from native_graph import run_natively
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Array, ShapeError
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.take import ScatterAdd, Take
from ranvier.compiler.ir.types import BATCH, F32, F64, I32, U8, DType, Shape, TensorType
from ranvier.compiler.passes.autodiff import differentiate
from ranvier.compiler.passes.pipeline import settled

SIZES: tuple[tuple[int, int, Shape], ...] = (
    (1, 1, (BATCH,)),
    (7, 17, (BATCH, 5)),
    (100, 64, (BATCH, 3, 4)),
    (5, 33, (6,)),
    (9, 300, (BATCH,)),
)


def lookup(entries: int, features: int, shape: Shape, real: DType = F64, index: DType = I32) -> Graph:
    """The squares of rows that are taken, their sum, and its gradient for the table."""
    graph = Graph("lookup")
    build = Build(graph, real)
    table = build.add_op(Source("parameter", "table", TensorType(real, (entries, features))))
    rows = build.add_op(Take(), table, build.add_op(Source("input", "index", TensorType(index, shape))))
    loss = build.sum(build.mul(rows, rows), range(len(shape) + 1))
    graph.outputs = {"rows": rows, "loss": loss, "table": differentiate(build, loss, [table])[0]}
    return graph


def arrays(entries: int, features: int, shape: Shape, rows: int, beyond: int = 0) -> dict[str, Array]:
    random = np.random.default_rng(rows)
    index = random.integers(-beyond, entries + beyond, [d if isinstance(d, int) else rows for d in shape])
    return {"table": random.normal(size=(entries, features)), "index": index}


def test_rows_are_those_of_numpy_and_numbers_outside_the_nearest_inside() -> None:
    data = arrays(7, 3, (BATCH, 5), 4, beyond=3)
    found = evaluate(lookup(7, 3, (BATCH, 5)), data, rows=4)
    np.testing.assert_array_equal(found["rows"], data["table"][data["index"].clip(0, 6)])


def test_the_gradient_by_differences() -> None:
    data, graph = arrays(4, 3, (BATCH, 5), 2), lookup(4, 3, (BATCH, 5))
    gradient = evaluate(graph, data, rows=2)["table"]
    for place in np.ndindex(4, 3):
        ends = []
        for step in (1e-6, -1e-6):
            moved = {**data, "table": data["table"].copy()}
            moved["table"][place] += step
            ends.append(evaluate(graph, moved, rows=2)["loss"])
        assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


def test_adding_rows_is_the_reverse_of_taking_them() -> None:
    """The gradient of a gradient: what flows to a row of the table flows to everything that was added to it."""
    graph = Graph("scatter")
    build = Build(graph, F64)
    index, values = (build.add_op(Source("input", k, TensorType(t, s))) for k, t, s in (("i", I32, (6,)), ("v", F64, (6, 2))))
    table = build.add_op(ScatterAdd(3), index, values)
    loss = build.sum(build.mul(table, table), [0, 1])
    graph.outputs = {"table": table, "d": differentiate(build, loss, [values])[0]}
    data = {"i": np.array([0, 2, 2, 0, 1, 2]), "v": np.arange(12.0).reshape(6, 2)}
    found = evaluate(graph, data)
    np.testing.assert_array_equal(found["table"], [[6, 8], [8, 9], [16, 19]])
    np.testing.assert_array_equal(found["d"], 2 * found["table"][data["i"]])


@pytest.mark.parametrize("real", [F32, F64])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_native_code_for_any_number_of_threads(size: tuple[int, int, Shape], real: DType) -> None:
    graph = settled(lookup(*size, real))
    for rows in (0, 1, 9):
        data = arrays(*size, rows, beyond=2)
        wanted, first = evaluate(graph, data, rows=rows), None
        for threads in (1, 2, 3):
            found = run_natively(graph, data, rows, capacity=11, threads=threads)
            first = first or found
            for name, value in wanted.items():
                np.testing.assert_allclose(found[name], value, rtol=1e-5 if real is F32 else 1e-12, atol=1e-5 if real is F32 else 1e-12)
                np.testing.assert_array_equal(found[name], first[name])


def test_bytes_number_rows_too() -> None:
    data = arrays(200, 8, (BATCH, 3), 5)
    graph = settled(lookup(200, 8, (BATCH, 3), F64, U8))
    np.testing.assert_array_equal(run_natively(graph, data, 5)["rows"], data["table"][data["index"]])


@pytest.mark.parametrize(("table", "index"), [((3,), I32), ((3, 4), F64)])
def test_what_does_not_fit(table: Shape, index: DType) -> None:
    with pytest.raises(ShapeError):
        Take().infer(TensorType(F64, table), TensorType(index, (2,)))
