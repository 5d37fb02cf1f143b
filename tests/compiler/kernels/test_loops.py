"""Loops as native code: what the reference says, and the same bits for any number of threads and any capacity.

If these fail, a recurrent network trains on numbers that are not its own, or a run cannot be repeated.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loops import arrays_of, elman, lstm
from native_graph import run_natively
from random_loops import Plan, case_of, plans, smooth_sum
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Array
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import F32, F64, DType
from ranvier.compiler.passes.autodiff import differentiate
from ranvier.compiler.passes.pipeline import settled

TOLERANCE = {F32: 2e-4, F64: 1e-9}


def with_gradients(graph: Graph, real: DType) -> Graph:
    """The outputs of a cell and the gradients of all its sources, after all passes."""
    build = Build(graph, real)
    sources = {n.op.label: n.id for n in graph if isinstance(n.op, Source)}
    found = differentiate(build, smooth_sum(build, list(graph.outputs.values())), list(sources.values()))
    graph.outputs |= {f"d{name}": value for name, value in zip(sources, found, strict=True)}
    return settled(graph)


def assert_near(found: dict[str, Array], expected: dict[str, Array], tolerance: float) -> None:
    """The same outputs, errors in proportion to the largest number of each."""
    assert list(found) == list(expected)
    for name, array in expected.items():
        scale = max(1.0, float(np.abs(array).max(initial=0.0)))
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance * scale, err_msg=name)


def assert_same_bits(one: dict[str, Array], other: dict[str, Array]) -> None:
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name


@settings(max_examples=25, deadline=None)
@given(plans(units=(1, 3, 8, 17)), st.sampled_from((1, 2, 3, 5)))
def test_random_loops_and_their_gradients(plan: Plan, rows: int) -> None:
    case = case_of(plan, rows)
    expected = evaluate(case.graph, case.arrays, rows=rows)
    one, two, three = (run_natively(settled(case.graph), case.arrays, rows, threads=n) for n in (1, 2, 3))
    assert_near(one, expected, TOLERANCE[F64])
    assert_same_bits(one, two)
    assert_same_bits(one, three)


@pytest.mark.parametrize("real", [F32, F64], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("length", "features", "units", "rows"), [(1, 3, 2, 1), (2, 1, 1, 7), (5, 7, 13, 9), (3, 33, 17, 61)])
def test_cells_of_odd_sizes(length: int, features: int, units: int, rows: int, reverse: bool, real: DType) -> None:
    for make in (elman, lstm):
        graph = with_gradients(make(length, features, units, reverse=reverse, real=real), real)
        arrays = arrays_of(graph, rows)
        one, two, three = (run_natively(graph, arrays, rows, threads=n) for n in (1, 2, 3))
        assert_near(one, evaluate(graph, arrays, rows=rows), TOLERANCE[real])
        assert_same_bits(one, two)
        assert_same_bits(one, three)


@pytest.mark.parametrize("make", [elman, lstm])
def test_threads_that_share_the_work_of_a_time(make: Callable[..., Graph]) -> None:
    """Large enough that every product of the loop is shared, by rows in one network and by units in the other."""
    for features, units, rows in ((16, 128, 64), (16, 192, 4)):
        graph = with_gradients(make(6, features, units, real=F32), F32)
        arrays = arrays_of(graph, rows)
        arrays |= {name: array / 8 for name, array in arrays.items() if name in ("u", "w")}
        found = [run_natively(graph, arrays, rows, threads=n) for n in (1, 2, 3)]
        assert_near(found[0], evaluate(graph, arrays, rows=rows), TOLERANCE[F32])
        assert_same_bits(found[0], found[1])
        assert_same_bits(found[0], found[2])


@pytest.mark.parametrize("reverse", [False, True])
def test_fewer_rows_than_capacity(reverse: bool) -> None:
    """A last batch: the same bits as with no room to spare, whatever lies behind the rows."""
    graph = with_gradients(lstm(4, 5, 6, reverse=reverse), F64)
    arrays = arrays_of(graph, 7)
    expected = run_natively(graph, arrays, 7)
    for capacity, threads in ((8, 1), (64, 2), (61, 3)):
        assert_near(run_natively(graph, arrays, 7, capacity=capacity, threads=threads), expected, 1e-12)


@pytest.mark.parametrize("threads", [1, 2])
def test_no_rows(threads: int) -> None:
    """Nothing is read or written for a sample; sums over the batch are 0."""
    graph = with_gradients(lstm(4, 5, 6), F64)
    found = run_natively(graph, arrays_of(graph, 0), 0, capacity=8, threads=threads)
    assert found["h"].shape == (0, 4, 6)
    for name in ("dw", "du", "db"):
        np.testing.assert_array_equal(found[name], 0)
