"""Fusion: how many kernels a network takes is its speed; that clusters stay acyclic is its correctness."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from random_graphs import Sample, samples
from ranvier.compiler.backend.target import preset
from ranvier.compiler.driver import Blueprint, open_unit
from ranvier.compiler.passes.columns import give_columns
from ranvier.compiler.passes.fusion import Fusion, fuse, print_fusion
from ranvier.compiler.passes.pipeline import optimise
from ranvier.compiler.source import Source

MLP = """
model mlp() {
    input x: f32[20]
    target y: class[4]
    z = x -> dense(16) -> relu -> dense(4)
    predict softmax(z)
    loss cross_entropy(z, y)
    metric accuracy(z, y)
}
"""


def blueprint() -> Blueprint:
    return Blueprint(open_unit(Source("mlp.nn", MLP), lambda name: Source(name, "")), preset("x86-64-v3"), {}, {})


def kinds(fusion: Fusion) -> list[str]:
    return ["contract" if c.contraction is not None else "reduce" if c.over else "map" for c in fusion.clusters]


def test_a_training_step_is_few_kernels() -> None:
    fusion = optimise(blueprint().objective.graph, checked=True)
    assert kinds(fusion).count("contract") == 5  # two forward, one data gradient, two weight gradients with their updates
    assert len(fusion.clusters) <= 13


def test_softmax_cross_entropy_and_its_gradient_are_one_kernel() -> None:
    fusion = optimise(blueprint().gradient_graph(), checked=True)
    graph = fusion.graph
    rows = [c for c in fusion.clusters if any(graph[n].op.name == "exp" for n in c.nodes)]
    assert len(rows) == 1
    names = {graph[n].op.name for n in rows[0].nodes}
    assert {"max", "exp", "sum", "log", "div"} <= names


def test_prediction_of_a_layer_is_one_kernel() -> None:
    assert kinds(optimise(blueprint().predict_graph())) == ["contract", "contract", "reduce"]


def test_golden_text(golden: Callable[[str, str], None]) -> None:
    golden("passes/fusion_gradients", print_fusion(optimise(blueprint().gradient_graph())))


@settings(max_examples=200, deadline=None)
@given(samples())
def test_clusters_run_in_order(sample: Sample) -> None:
    """Every value that a cluster reads from another is stored, and made before."""
    graph = give_columns(sample.graph)
    fusion = fuse(graph)
    position = {c.number: n for n, c in enumerate(fusion.clusters)}
    for cluster in fusion.clusters:
        pending, seen = [i for n in cluster.nodes for i in graph[n].inputs], set()
        while pending:
            value = pending.pop()
            home = None if value in fusion.free else fusion.home.get(value)
            if home is None and value not in seen:
                pending += graph[value].inputs
            elif home is not None and home != cluster.number:
                assert value in fusion.stored
                assert position[home] < position[cluster.number]
            seen.add(value)
