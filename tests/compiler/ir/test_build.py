"""Building: how shapes meet, element types promote, and what is not built because it would do nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from ranvier.compiler.ir.build import Build, aligned_axes, common_shape, promote
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import ShapeError
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import BATCH, BOOL, F32, F64, I32, U8, U32, DType, Shape, TensorType
from ranvier.compiler.ir.verifier import verify


@settings(max_examples=100, deadline=None)
@given(arrays.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3))
def test_broadcasting_is_numpys(shapes: arrays.BroadcastableShapes) -> None:
    graph = Graph()
    build = Build(graph, F64)
    data = [np.arange(np.prod(s), dtype=np.float64).reshape(s) for s in shapes.input_shapes]
    sources = [build.add_op(Source("input", f"x{n}", TensorType(F64, s))) for n, s in enumerate(shapes.input_shapes)]
    graph.outputs = {"y": build.sub(*sources)}
    verify(graph, "test")
    found = evaluate(graph, {f"x{n}": a for n, a in enumerate(data)})["y"]
    assert found.shape == shapes.result_shape
    np.testing.assert_array_equal(found, data[0] - data[1])


@pytest.mark.parametrize(("shapes", "expected"), [
    ([(BATCH, 3), (3,)], (BATCH, 3)),
    ([(BATCH,), (4, 3)], (BATCH, 4, 3)),
    ([(), (BATCH, 1), (2,)], (BATCH, 2)),
    ([(1, 3), (2, 1)], (2, 3)),
])  # fmt: skip
def test_common_shape(shapes: list[Shape], expected: Shape) -> None:
    assert common_shape(shapes) == expected


@pytest.mark.parametrize("shapes", [[(2,), (3,)], [(BATCH, 2), (3,)]])
def test_shapes_that_do_not_meet(shapes: list[Shape]) -> None:
    with pytest.raises(ShapeError, match="do not broadcast"):
        common_shape(shapes)


def test_the_batch_meets_the_batch_and_the_rest_aligns_at_the_end() -> None:
    assert aligned_axes((BATCH, 3), (BATCH, 2, 3)) == [0, 2]
    assert aligned_axes((3,), (BATCH, 2, 3)) == [2]
    assert aligned_axes((BATCH,), (BATCH, 2)) == [0]


@pytest.mark.parametrize(("types", "expected"), [
    ([TensorType(F64), TensorType(F64)], F64),
    ([TensorType(F64), TensorType(F32, (2,))], F32),
    ([TensorType(F64), TensorType(I32, (2,))], F32),
    ([TensorType(F64, (2,)), TensorType(F32, (2,))], F64),
    ([TensorType(I32), TensorType(F32)], F32),
    ([TensorType(U8), TensorType(I32)], I32),
    ([TensorType(BOOL), TensorType(U8)], U8),
    ([TensorType(U32), TensorType(I32)], U32),
])  # fmt: skip
def test_promotion_weak_scalars_take_the_others_type(types: list[TensorType], expected: DType) -> None:
    assert promote(types, F32) == expected
    assert promote(types[::-1], F32) == expected


def test_arithmetic_on_bytes_is_done_in_floats() -> None:
    build = Build(Graph(), F32)
    x = build.add_op(Source("input", "x", TensorType(U8, (2,))))
    assert build.type(build.sub(x, x)).dtype == F32
    assert build.type(build.exp(x)).dtype == F32
    assert build.type(build.gt(x, x)).dtype == BOOL


def test_what_does_nothing_is_not_built() -> None:
    graph = Graph()
    build = Build(graph, F32)
    x = build.add_op(Source("input", "x", TensorType(F32, (2, 3))))
    same = [
        build.cast(x, F32), build.reshape(x, (2, 3)), build.transpose(x, (0, 1)), build.broadcast(x, (2, 3), (0, 1)),
        build.broadcast_to(x, (2, 3)), build.sum(x, []), build.concat([x], 0), build.pad(x, 0, 0, 0),
    ]  # fmt: skip
    assert same == [x] * 8
    assert len(graph) == 1


def test_pad_select_and_extent() -> None:
    graph = Graph()
    build = Build(graph, F32)
    x = build.add_op(Source("input", "x", TensorType(F32, (BATCH, 2))))
    graph.outputs = {
        "pad": build.pad(x, 1, 1, 2),
        "chosen": build.select(build.gt(x, build.constant(1.0)), x, build.constant(0.0)),
        "rows": build.extent(BATCH),
        "two": build.extent(2),
        "column": build.position((BATCH, 2), 1),
    }
    verify(graph, "test")
    found = evaluate(graph, {"x": [[1, 2], [3, 0.5]]}, rows=2)
    assert found["pad"].tolist() == [[0, 1, 2, 0, 0], [0, 3, 0.5, 0, 0]]
    assert found["chosen"].tolist() == [[0, 2], [3, 0]]
    assert (found["rows"], found["two"]) == (2, 2)
    assert found["column"].tolist() == [[0, 1], [0, 1]]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([((2, 3), (3, 4)), ((3,), (3, 4)), ((2, 3), (3,)), ((3,), (3,)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4))]))
def test_matmul_is_numpys(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    graph = Graph()
    build = Build(graph, F64)
    data = [np.arange(np.prod(s), dtype=np.float64).reshape(s) for s in shapes]
    sources = [build.add_op(Source("input", f"x{n}", TensorType(F64, s))) for n, s in enumerate(shapes)]
    graph.outputs = {"y": build.matmul(*sources)}
    np.testing.assert_array_equal(evaluate(graph, {f"x{n}": a for n, a in enumerate(data)})["y"], data[0] @ data[1])
