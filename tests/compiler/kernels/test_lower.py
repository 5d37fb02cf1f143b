"""Lowered graphs give what the reference gives: if this fails, compiled models compute something else than their files say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, settings
from native_graph import run_natively
from random_graphs import ROWS_EXTENT, Sample, samples
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import BATCH, F64, TensorType
from ranvier.compiler.passes.columns import give_columns
from ranvier.compiler.passes.fusion import fuse, print_fusion
from ranvier.compiler.passes.pipeline import PASSES


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(samples(steps=14))
def test_random_graphs_natively(sample: Sample) -> None:
    graph = sample.graph
    for _, run in PASSES:
        graph = run(graph)
    note(print_fusion(fuse(graph)))
    expected, found = sample.run(), run_natively(graph, sample.arrays, ROWS_EXTENT)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(samples(steps=10))
def test_random_graphs_without_clean_up(sample: Sample) -> None:
    """Lowering stands alone: what clean-up would have removed is lowered too."""
    expected, found = sample.run(), run_natively(give_columns(sample.graph), sample.arrays, ROWS_EXTENT)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def perceptron() -> tuple[Graph, dict[str, np.ndarray]]:
    """Two layers and a softmax, with both of its uses stored."""
    build = Build(Graph("perceptron"), F64)
    generator = np.random.default_rng(0)
    shapes = {"x": (BATCH, 37), "w": (37, 19), "v": (19, 5)}
    nodes = {k: build.add_op(Source("input" if k == "x" else "parameter", k, TensorType(F64, s))) for k, s in shapes.items()}
    h = build.apply("tanh", build.matmul(nodes["x"], nodes["w"]))
    z = build.matmul(h, nodes["v"])
    e = build.exp(build.sub(z, build.broadcast(build.reduce("max", z, [1]), (BATCH, 5), [0])))
    total = build.sum(e, [1])
    build.graph.outputs = {"p": build.div(e, build.broadcast(total, (BATCH, 5), [0])), "total": total, "h": build.sum(h, [0])}
    arrays = {k: generator.standard_normal([d if isinstance(d, int) else 61 for d in s]) for k, s in shapes.items()}
    return build.graph, arrays


@pytest.mark.parametrize("rows", [1, 2, 13, 60, 61])
def test_rows_below_the_capacity(rows: int) -> None:
    graph, arrays = perceptron()
    arrays["x"] = arrays["x"][:rows]
    expected = evaluate(graph, arrays, rows=rows)
    found = run_natively(graph, arrays, rows, capacity=61)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-13, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_change_no_bit(threads: int) -> None:
    graph, arrays = perceptron()
    one, many = (run_natively(graph, arrays, 61, threads=n) for n in (1, threads))
    for name, array in one.items():
        assert array.tobytes() == many[name].tobytes(), name
