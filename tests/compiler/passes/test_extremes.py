"""Masks of pooled activations are made of the windows' extremes: the same gradient, without the un-pooled values.

If these fail, a pooled activation learns from a gradient that is not its own, or training reads all of an image again for nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import BATCH, F64, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.ir.windows import Sliding, Window
from ranvier.compiler.passes.autodiff import differentiate
from ranvier.compiler.passes.dce import dce
from ranvier.compiler.passes.extremes import compare_extremes
from ranvier.compiler.passes.simplify import simplify

ROWS, SIDE, CHANNELS = 2, 7, 2
NEVER = float("-inf")


def source(build: Build, name: str, *shape: int) -> int:
    return build.add_op(Source("input", name, TensorType(F64, (BATCH, *shape))))


def pooled(sliding: Sliding, frame: tuple[int, int], kind: str, activation: str) -> tuple[Graph, int]:
    """The gradient of max(x, 0) (or of 0.1 x below 0) pooled, with respect to x; and the number of windows along an axis."""
    build = Build(Graph("pooled"), F64)
    x = source(build, "x", SIDE, SIDE, CHANNELS)
    zero = build.zeros_like(x)
    y = build.apply("max", x, zero) if activation == "relu" else build.select(build.gt(x, zero), x, build.scale(x, 0.1))
    for axis in (1, 2):
        y = build.frame(y, axis, *frame, NEVER if kind == "max" else -NEVER) if any(frame) else y
    z = build.reduce(kind, build.add_op(Window(sliding), y), sliding.inside)
    count = (SIDE + sum(frame) - sliding.reach(0)) // sliding.stride[0] + 1
    total = build.sum(build.mul(z, source(build, "g", count, count, CHANNELS)), (0, 1, 2, 3))
    build.graph.outputs = {"dx": differentiate(build, total, [x])[0]}
    return simplify(dce(build.graph)), count


def full_comparisons(graph: Graph) -> list[int]:
    return [n.id for n in graph if n.op.name == "gt" and n.type.shape == (BATCH, SIDE, SIDE, CHANNELS)]


def arrays(count: int, seed: int, ties: bool) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((ROWS, SIDE, SIDE, CHANNELS))
    return {"x": np.round(x) if ties else x, "g": generator.integers(1, 9, (ROWS, count, count, CHANNELS)).astype(np.float64)}


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 2), st.sampled_from([(0, 0), (1, 0), (1, 1), (0, 2)]), st.data())
def test_relu_before_pooling(size: int, stride: int, dilation: int, frame: tuple[int, int], data: st.DataObject) -> None:
    sliding = Sliding((1, 2), (size, size), (stride, stride), (dilation, dilation))
    assume(max(frame) < sliding.reach(0))
    kind, ties = data.draw(st.sampled_from(["max", "min"])), data.draw(st.booleans())
    graph, count = pooled(sliding, frame, kind, "relu")
    after = dce(verify(compare_extremes(graph), "extremes"))
    given_arrays = arrays(count, size + 4 * stride, ties)
    np.testing.assert_array_equal(evaluate(after, given_arrays, rows=ROWS)["dx"], evaluate(graph, given_arrays, rows=ROWS)["dx"])
    if size > 1 and count != SIDE:  # else there is no extreme left, or as many extremes as elements
        assert full_comparisons(graph)
        assert not full_comparisons(after)


def test_other_uses_of_the_elements_stay() -> None:
    graph, count = pooled(Sliding((1, 2), (2, 2), (2, 2), (1, 1)), (0, 0), "max", "leaky")
    after = dce(verify(compare_extremes(graph), "extremes"))
    given_arrays = arrays(count, 0, False)
    np.testing.assert_allclose(evaluate(after, given_arrays, rows=ROWS)["dx"], evaluate(graph, given_arrays, rows=ROWS)["dx"], rtol=1e-14)


@pytest.mark.parametrize("value", [np.nan, -0.0, np.inf, -np.inf])
def test_values_that_are_no_ordinary_numbers(value: float) -> None:
    graph, count = pooled(Sliding((1, 2), (2, 2), (2, 2), (1, 1)), (0, 0), "max", "relu")
    given_arrays = arrays(count, 1, False)
    given_arrays["x"][:, ::3, ::2] = value
    before, after = (evaluate(g, given_arrays, rows=ROWS)["dx"] for g in (graph, compare_extremes(graph)))
    np.testing.assert_array_equal(after, before)


def test_a_graph_without_windows_is_left_alone() -> None:
    build = Build(Graph("plain"), F64)
    x = source(build, "x", 3)
    build.graph.outputs = {"y": build.select(build.gt(x, build.zeros_like(x)), x, build.zeros_like(x))}
    assert compare_extremes(build.graph) is build.graph
