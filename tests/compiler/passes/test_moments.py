"""Sums over the batch that wait for other sums over the batch: fewer passes, the same value.

If these fail, a normalisation over the batch has another variance or gradient, or costs a pass over all rows more than it needs.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Reduce, Source
from ranvier.compiler.ir.types import BATCH, F32, F64, DType, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.passes.dce import dce
from ranvier.compiler.passes.linear import combine_sums
from ranvier.compiler.passes.moments import sum_about_samples

ROWS, SIDE, CHANNELS = 5, 4, 3
SHAPE = (BATCH, SIDE, SIDE, CHANNELS)


def source(build: Build, name: str, *shape: object) -> int:
    return build.add_op(Source("input", name, TensorType(build.real, shape or SHAPE)))  # type: ignore[arg-type]


def squares(real: DType = F64) -> Graph:
    """The sum of squares about a mean over batch and places, of channels."""
    build = Build(Graph("variance"), real)
    x = source(build, "x")
    mean = build.scale(build.sum(x, (0, 1, 2)), 1 / (ROWS * SIDE * SIDE))
    apart = build.sub(x, build.broadcast(mean, SHAPE, (3,)))
    build.graph.outputs = {"squares": build.sum(build.mul(apart, apart), (0, 1, 2))}
    return verify(build.graph, "made")


def images(offset: float = 0.0) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(3).standard_normal((ROWS, SIDE, SIDE, CHANNELS)) + offset}


def passes_over(graph: Graph, rank: int = 4) -> list[set[int]]:
    """For every reduction of a whole image: the reductions over the batch that it waits for."""
    behind: dict[int, set[int]] = {}
    found = []
    for node in graph:
        own = set().union(*(behind[i] for i in node.inputs)) if node.inputs else set()
        if isinstance(node.op, Reduce) and graph.type(node.inputs[0]).rank == rank:
            found.append(set(own))
        if isinstance(node.op, Reduce) and 0 in node.op.axes and graph.type(node.inputs[0]).shape[0] == BATCH:
            own.add(node.id)
        behind[node.id] = own
    return found


def test_squares_about_a_mean_of_the_batch_wait_for_no_other_sample() -> None:
    graph = squares()
    after = dce(verify(sum_about_samples(graph), "moments"))
    wanted = ((images()["x"] - images()["x"].mean(axis=(0, 1, 2))) ** 2).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(evaluate(after, images(), rows=ROWS)["squares"], wanted, rtol=1e-13)
    assert any(passes_over(graph))
    assert not any(passes_over(after))


def test_no_digits_cancel_far_from_zero() -> None:
    """Values about 10,000 with a spread of 1: squares less the square of the mean would keep no digit in f32."""
    data = {"x": images(1e4)["x"].astype(np.float32)}
    exact = data["x"].astype(np.float64)
    wanted = ((exact - exact.mean(axis=(0, 1, 2))) ** 2).sum(axis=(0, 1, 2))
    before, after = (evaluate(g, data, rows=ROWS)["squares"] for g in (squares(F32), sum_about_samples(squares(F32))))
    np.testing.assert_allclose(after, wanted, rtol=2e-3)
    assert np.abs(after - wanted).max() <= np.abs(before - wanted).max() + 1e-3 * wanted.max()


def test_squares_about_something_else_are_left_alone() -> None:
    build = Build(Graph("plain"), F64)
    x, centre = source(build, "x"), source(build, "c", CHANNELS)
    apart = build.sub(x, build.broadcast(centre, SHAPE, (3,)))
    build.graph.outputs = {"squares": build.sum(build.mul(apart, apart), (0, 1, 2))}
    assert sum_about_samples(build.graph) is build.graph


@pytest.mark.parametrize("turned", [False, True])
def test_a_factor_of_a_batch_sum_leaves_the_sum(turned: bool) -> None:
    """sum(x y spread c) with c from a sum over the batch is c sum(x y), however the product is written."""
    build = Build(Graph("scaled"), F64)
    x, y = source(build, "x"), source(build, "y")
    factor = build.broadcast(build.sum(y, (0, 1, 2)), SHAPE, (3,))
    product = build.mul(x, build.mul(factor, y)) if turned else build.mul(build.mul(x, y), factor)
    build.graph.outputs = {"s": build.sum(product, (0, 1, 2))}
    after = dce(verify(combine_sums(build.graph), "linear"))
    data = {**images(), "y": images(0.5)["x"]}
    wanted = (data["x"] * data["y"]).sum(axis=(0, 1, 2)) * data["y"].sum(axis=(0, 1, 2))
    np.testing.assert_allclose(evaluate(after, data, rows=ROWS)["s"], wanted, rtol=1e-12)
    assert any(passes_over(build.graph))
    assert not any(passes_over(after))


def test_differences_stay_whole() -> None:
    """sum(x - spread mean) is not the difference of two sums: their digits would cancel."""
    build = Build(Graph("difference"), F64)
    x = source(build, "x")
    mean = build.broadcast(build.scale(build.sum(x, (0, 1, 2)), 1 / (ROWS * SIDE * SIDE)), SHAPE, (3,))
    build.graph.outputs = {"s": build.sum(build.sub(x, mean), (0, 1, 2))}
    after = combine_sums(build.graph)
    assert any(n.op.name == "sub" and n.type.shape == SHAPE for n in dce(after))
