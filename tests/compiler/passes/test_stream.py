"""Whole-set values from batches: a metric or statistic must not depend on how the rows were cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import BATCH, F64, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.passes.stream import Stage, split_stream


def streamed(stages: list[Stage], x: np.ndarray, batch: int) -> dict[str, Any]:
    """Run the passes over batches with the reference evaluator."""
    known: dict[str, Any] = {}
    for stage in stages:
        sums = {f"accumulator:{a.label}": np.full([d for d in a.type.shape if isinstance(d, int)], a.start) for a in stage.accumulators}
        for start in range(0, len(x), batch):
            part = x[start : start + batch]
            sums = evaluate(stage.batch, {**known, **sums, "x": part}, rows=len(part))
        known |= {f"fit:{k}": v for k, v in evaluate(stage.final, {**known, **sums, "runtime:rows": len(x)}).items()}
    return {k.removeprefix("fit:"): v for k, v in known.items() if "value:" not in k}


def statistics() -> tuple[Graph, dict[str, int]]:
    build = Build(Graph("statistics"), F64)
    x = build.add_op(Source("input", "x", TensorType(F64, (BATCH, 3))))
    mean = build.div(build.sum(x, [0]), build.extent(BATCH))
    centred = build.sub(x, build.broadcast(mean, (BATCH, 3), [1]))
    variance = build.div(build.sum(build.mul(centred, centred), [0]), build.extent(BATCH))
    return build.graph, {
        "mean": mean,
        "std": build.apply("sqrt", variance),
        "most": build.reduce("max", x, [0]),
        "least": build.reduce("min", x, [0]),
    }


@pytest.mark.parametrize("batch", [1, 7, 50, 64])
def test_mean_and_spread_over_batches(batch: int) -> None:
    graph, results = statistics()
    stages = split_stream(graph, results)
    assert len(stages) == 2  # the spread needs the mean, and so a second pass
    for stage in stages:
        verify(stage.batch, "stream")
        verify(stage.final, "stream")
    x = np.random.default_rng(0).standard_normal((50, 3)) + 100
    found = streamed(stages, x, batch)
    np.testing.assert_allclose(found["mean"], x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(found["std"], x.std(0), rtol=1e-12)
    np.testing.assert_array_equal(found["most"], x.max(0))
    np.testing.assert_array_equal(found["least"], x.min(0))


def test_values_of_each_pass_are_given_once() -> None:
    graph, results = statistics()
    first, second = split_stream(graph, results)
    assert set(first.final.outputs) >= {"mean", "most", "least"}
    assert "std" in second.final.outputs
    assert [a.kind for a in first.accumulators] == ["sum", "max", "min"]
