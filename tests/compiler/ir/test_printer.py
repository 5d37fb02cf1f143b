"""The text of a graph: stable, with types and places."""

from collections.abc import Callable

from hypothesis import given, settings
from random_graphs import Sample, samples
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.graph import Graph, Where, rewrite
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.printer import print_graph, print_node
from ranvier.compiler.ir.types import BATCH, F32, I32, TensorType
from ranvier.compiler.source import Source as Text
from ranvier.compiler.source import Span


def every_kind() -> Graph:
    graph = Graph("every_kind")
    text = Text("model.nn", "x @ w\nsum(y)")
    build = Build(graph, F32, Where(Span(text, 0, 5), "dense_1"))
    x = build.add_op(Source("input", "x", TensorType(F32, (BATCH, 4))))
    y = build.matmul(x, build.add_op(Source("parameter", "w", TensorType(F32, (4, 6)))))
    build.where = Where(Span(text, 6, 12))
    parts = [build.slice_axis(y, 1, 0, 3), build.slice_axis(y, 1, 3, 6)]
    z = build.concat([build.exp(parts[0]), build.cast(build.position((BATCH, 3), 1), F32)], 1)
    z = build.select(build.gt(z, build.constant(0.5)), z, build.zeros_like(z))
    z = build.reshape(build.transpose(build.reshape(z, (BATCH, 2, 3)), (0, 2, 1)), (BATCH, 6))
    graph.outputs = {"total": build.div(build.sum(z, [0, 1]), build.extent(BATCH)), "best": build.reduce("argmax", build.cast(z, I32), [1])}
    return graph


def test_golden(golden: Callable[[str, str], None]) -> None:
    golden("ir/every_kind", print_graph(every_kind()))


def test_places_can_be_left_out() -> None:
    text = print_graph(every_kind(), places=False)
    assert "#" not in text
    assert "%0 = source(kind=input, label=x) : f32[batch, 4]" in text


@settings(max_examples=50, deadline=None)
@given(samples())
def test_a_line_a_node_and_equal_graphs_print_equally(sample: Sample) -> None:
    text = print_graph(sample.graph)
    assert text == print_graph(rewrite(sample.graph, lambda new, node, operands: None))
    assert len(text.splitlines()) == len(sample.graph) + len(sample.graph.outputs) + 2


def test_a_node_by_itself() -> None:
    graph = every_kind()
    assert print_node(graph[2]) == "%2 = contract(%0, %1, form=ab,bc->ac) : f32[batch, 6]  # model.nn:1:1"
