"""Dead code elimination keeps what outputs need, in order, and nothing else."""

from hypothesis import given, settings
from random_graphs import Sample, assert_same, samples
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.elementwise import ROWS
from ranvier.compiler.ir.graph import Graph, Where
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.printer import print_graph
from ranvier.compiler.ir.types import F32, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.passes.dce import dce
from ranvier.compiler.source import Source as Text
from ranvier.compiler.source import Span


@settings(max_examples=100, deadline=None)
@given(samples(rows=tuple(ROWS)))
def test_same_numbers_and_only_live_nodes(sample: Sample) -> None:
    clean = verify(dce(sample.graph), "dce")
    assert_same(sample, clean)
    assert clean.live() == set(range(len(clean)))
    assert print_graph(dce(clean)) == print_graph(clean)
    assert [n.op for n in clean] == [n.op for n in sample.graph if n.id in sample.graph.live()]


def test_a_dead_source_goes_and_places_stay() -> None:
    graph = Graph()
    place = Where(Span(Text("a.nn", "exp(x)"), 0, 6), "layer_1")
    build = Build(graph, F32, place)
    build.add_op(Source("input", "unused", TensorType(F32, (2,))))
    x = build.add_op(Source("input", "x", TensorType(F32, (2,))))
    graph.outputs = {"y": build.exp(x)}
    clean = dce(graph)
    assert [n.op.name for n in clean] == ["source", "exp"]
    assert {n.where for n in clean} == {place}


def test_a_graph_without_outputs_becomes_empty() -> None:
    graph = Graph()
    Build(graph, F32).constant(1.0)
    assert len(dce(graph)) == 0
