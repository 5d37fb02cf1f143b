"""Common subexpressions become one node, and nothing else does."""

from hypothesis import given, settings
from random_graphs import Sample, assert_same, samples
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.elementwise import ROWS
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.printer import print_graph
from ranvier.compiler.ir.types import F32, I32, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.passes.cse import cse, identity


@settings(max_examples=150, deadline=None)
@given(samples(rows=tuple(ROWS)))
def test_same_numbers_and_no_two_equal_nodes(sample: Sample) -> None:
    merged = verify(cse(sample.graph), "cse")
    assert_same(sample, merged)
    keys = [identity(n.op, n.inputs) for n in merged]
    assert len(set(keys)) == len(keys)
    assert print_graph(cse(merged)) == print_graph(merged)


def sources(build: Build) -> tuple[int, int]:
    kind = TensorType(F32, (2,))
    return build.add_op(Source("input", "x", kind)), build.add_op(Source("input", "y", kind))


def test_order_of_operands_matters_only_where_it_does() -> None:
    graph = Graph()
    build = Build(graph, F32)
    x, y = sources(build)
    graph.outputs = {"a": build.mul(x, y), "b": build.mul(y, x), "c": build.sub(x, y), "d": build.sub(y, x)}
    merged = cse(graph)
    assert merged.outputs["a"] == merged.outputs["b"]
    assert merged.outputs["c"] != merged.outputs["d"]


def test_zeros_of_different_sign_and_equal_numbers_of_different_types_are_different() -> None:
    graph = Graph()
    build = Build(graph, F32)
    graph.outputs = {
        "plus": build.constant(0.0, F32),
        "minus": build.constant(-0.0, F32),
        "whole": build.constant(0, I32),
        "again": build.constant(0, F32),
        "nan": build.constant(float("nan"), F32),
        "nan again": build.constant(float("nan"), F32),
    }
    out = cse(graph).outputs
    assert len({out["plus"], out["minus"], out["whole"]}) == 3
    assert out["again"] == out["plus"]
    assert out["nan again"] == out["nan"]


def test_chains_merge_from_the_sources_on() -> None:
    graph = Graph()
    build = Build(graph, F32)
    x, y = sources(build)
    graph.outputs = {"a": build.exp(build.add(x, y)), "b": build.exp(build.add(y, x))}
    merged = cse(graph)
    assert len(merged) == 4
    assert merged.outputs["a"] == merged.outputs["b"]
