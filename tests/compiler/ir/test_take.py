"""Rows taken from a table and added into one, against NumPy and finite differences: if these fail, an embedding learns another word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from native_graph import run_natively
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import ShapeError
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.printer import print_graph
from ranvier.compiler.ir.take import ScatterAdd, Take
from ranvier.compiler.ir.types import BATCH, BOOL, F32, F64, I32, I64, U8, DType, TensorType
from ranvier.compiler.ir.verifier import verify


def graph_of(entries: int, features: int, shape: tuple[Any, ...], real: DType, index: DType = I32) -> Graph:
    """Both operations: rows of a table at indices, and values added into a table there."""
    graph = Graph("lookups")
    build = Build(graph, real)
    table = build.add_op(Source("input", "table", TensorType(real, (entries, features))))
    indices = build.add_op(Source("input", "indices", TensorType(index, shape)))
    values = build.add_op(Source("input", "values", TensorType(real, (*shape, features))))
    graph.outputs = {"taken": build.add_op(Take(), table, indices), "added": build.add_op(ScatterAdd(entries), indices, values)}
    verify(graph, "test")
    return graph


def arrays_of(entries: int, features: int, shape: tuple[int, ...], real: DType, index: DType = I32, *, beyond: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(entries * 100 + features)
    low = -beyond if index.kind == "i" else 0
    return {
        "table": random.normal(size=(entries, features)).astype(real.numpy),
        "indices": random.integers(low, entries + beyond, shape).astype(index.numpy),
        "values": random.normal(size=(*shape, features)).astype(real.numpy),
    }


def expected(arrays: dict[str, Any]) -> dict[str, Any]:
    """One index after the other."""
    table, values = arrays["table"], arrays["values"]
    taken, added = np.zeros_like(values), np.zeros_like(table)
    for place, given_ in np.ndenumerate(arrays["indices"]):
        row = min(max(int(given_), 0), len(table) - 1)
        taken[place] = table[row]
        added[row] += values[place]
    return {"taken": taken, "added": added}


@st.composite
def lookups(draw: st.DrawFn) -> tuple[int, int, tuple[Any, ...], int, DType, DType, int]:
    """Entries, features, the indices' shape, rows of the batch, types, how far indices may lie outside."""
    entries = draw(st.sampled_from([1, 2, 3, 7, 40]))
    features = draw(st.sampled_from([1, 2, 3, 8, 16, 17, 31, 64, 300]))
    inside = tuple(draw(st.lists(st.integers(1, 4), max_size=2)))
    shape = (BATCH, *inside) if draw(st.booleans()) else inside
    real = draw(st.sampled_from([F32, F64]))
    return entries, features, shape, draw(st.integers(1, 9)), real, draw(st.sampled_from([I32, U8])), draw(st.sampled_from([0, 5]))


@settings(max_examples=25, deadline=None)
@given(lookups())
def test_against_numpy_and_natively_with_the_same_bits(case: tuple[Any, ...]) -> None:
    """The reference evaluator and the compiled code, for one, two and three threads."""
    entries, features, shape, rows, real, index, beyond = case
    graph = graph_of(entries, features, shape, real, index)
    arrays = arrays_of(entries, features, tuple(rows if d == BATCH else d for d in shape), real, index, beyond=beyond)
    wanted = expected(arrays)
    runs = [evaluate(graph, arrays, rows=rows), *(run_natively(graph, arrays, rows, threads=threads) for threads in (1, 2, 3))]
    for found in runs:
        for name, array in wanted.items():
            assert found[name].tobytes() == array.tobytes(), name


def test_most_and_least_numbers_reach_no_other_memory() -> None:
    graph = graph_of(3, 5, (BATCH,), F32)
    arrays = arrays_of(3, 5, (4,), F32) | {"indices": np.array([-(2**31), 2**31 - 1, -1, 3], np.int32)}
    found = run_natively(graph, arrays, 4)
    np.testing.assert_array_equal(found["taken"], arrays["table"][[0, 2, 0, 2]])
    np.testing.assert_array_equal(found["added"], expected(arrays)["added"])


def test_a_batch_without_rows_leaves_zeros() -> None:
    graph = graph_of(3, 5, (BATCH, 2), F32)
    found = run_natively(graph, arrays_of(3, 5, (0, 2), F32), 0, capacity=4)
    assert found["taken"].shape == (0, 2, 5)
    assert not found["added"].any()


def test_sums_are_in_the_order_of_the_indices() -> None:
    """1e30 and -1e30 first: 1 is left, in any number of threads, where another order would lose it."""
    values = np.repeat(np.array([1e30, -1e30, 1.0, 0.0], np.float32)[:, None], 70, axis=1)
    arrays = arrays_of(2, 70, (4,), F32) | {"indices": np.zeros(4, np.int32), "values": values}
    graph = graph_of(2, 70, (BATCH,), F32)
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(run_natively(graph, arrays, 4, threads=threads)["added"], [[1.0] * 70, [0.0] * 70])


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("entries", [1, 4])
def test_gradients_by_finite_differences(entries: int, shape: tuple[int, ...]) -> None:
    """Of rows that are taken, and of values that are added up: indices stand more than once and outside."""
    numbers = np.resize(np.array([0, 3, 3, 9, -1, 1]), shape or (1,)).reshape(shape).astype(np.int32)

    def indices(build: Build) -> int:
        flat = [build.reshape(build.constant(int(n), I32), (1,)) for n in numbers.reshape(-1)]
        return build.reshape(build.concat(flat, 0) if len(flat) > 1 else flat[0], shape)

    table, values = (np.random.default_rng(1).normal(size=(*lead, 5)) for lead in ((entries,), shape))
    check_gradients(lambda build, t: build.add_op(Take(), t, indices(build)), {"table": table})
    check_gradients(lambda build, v: build.add_op(ScatterAdd(entries), indices(build), v), {"values": values})


def refused(op: Take | ScatterAdd, *types: TensorType) -> str:
    with pytest.raises(ShapeError) as caught:
        op.infer(*types)
    return str(caught.value)


def test_what_is_no_table_or_no_number_is_refused() -> None:
    table, indices = TensorType(F32, (4, 3)), TensorType(I32, (BATCH,))
    assert Take().infer(table, indices) == TensorType(F32, (BATCH, 3))
    assert Take().infer(TensorType(F64, (4, 3)), TensorType(I64, ())) == TensorType(F64, (3,))
    assert ScatterAdd(4).infer(indices, TensorType(F32, (BATCH, 3))) == table
    assert "a table of floats" in refused(Take(), TensorType(F32, (4,)), indices)
    assert "a table of floats" in refused(Take(), TensorType(I32, (4, 3)), indices)
    assert "whole numbers" in refused(Take(), table, TensorType(F32, (BATCH,)))
    assert "whole numbers" in refused(Take(), table, TensorType(BOOL, (BATCH,)))
    assert "one row for each" in refused(ScatterAdd(4), indices, TensorType(F32, (7, 3)))
    assert "one row for each" in refused(ScatterAdd(4), TensorType(F32, (BATCH,)), TensorType(F32, (BATCH, 3)))


def test_they_are_printed() -> None:
    text = print_graph(graph_of(4, 3, (BATCH,), F32))
    assert "take" in text
    assert "scatter_add" in text
