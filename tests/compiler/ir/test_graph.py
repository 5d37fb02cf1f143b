"""The graph: numbering, users, what is live, what depends on what, and rewriting node by node."""

from hypothesis import given, settings
from random_graphs import Sample, assert_same, samples
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.elementwise import Elementwise
from ranvier.compiler.ir.graph import Graph, Node, Where, rewrite
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import F32, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.source import Source as Text
from ranvier.compiler.source import Span

TEXT = Text("a.nn", "x * x + y")
PLACE = Where(Span(TEXT, 0, 5), "layer_1", (Span(TEXT, 4, 5), Span(TEXT, 0, 9)))


def diamond() -> Graph:
    """x * x, and its exp and neg added; y is beside it."""
    graph = Graph("diamond")
    build = Build(graph, F32, PLACE)
    x, _ = (build.add_op(Source("input", k, TensorType(F32, (2,)))) for k in "xy")
    square = build.mul(x, x)
    graph.outputs = {"z": build.add(build.exp(square), build.neg(square))}
    return graph


def test_users_are_each_named_once_in_order_and_grow_with_the_graph() -> None:
    graph = diamond()
    assert graph.users(0) == (2,)
    assert graph.users(2) == (3, 4)
    assert graph.users(1) == ()
    late = graph.add(Elementwise("mul"), [1, 2])
    assert graph.users(1) == (late,)
    assert graph.users(2) == (3, 4, late)


def test_what_depends_on_what() -> None:
    graph = diamond()
    assert graph.live() == {0, 2, 3, 4, 5}
    assert graph.ancestors([3]) == {0, 2, 3}
    assert graph.ancestors([]) == set()
    assert graph.descendants([2]) == {2, 3, 4, 5}
    assert graph.descendants([1]) == {1}
    assert graph.descendants([]) == set()


@settings(max_examples=50, deadline=None)
@given(samples())
def test_ancestors_and_descendants_are_two_sides_of_one_thing(sample: Sample) -> None:
    graph = sample.graph
    for node in graph:
        below = graph.descendants([node.id])
        assert all(node.id in graph.ancestors([other.id]) for other in graph if other.id in below)
        assert set(graph.users(node.id)) <= below


@settings(max_examples=50, deadline=None)
@given(samples())
def test_rewriting_by_no_rule_is_a_copy(sample: Sample) -> None:
    copy = rewrite(sample.graph, lambda new, node, operands: None)
    assert list(copy) == list(sample.graph)
    assert copy.outputs == sample.graph.outputs
    assert_same(sample, copy)


def test_rewriting_replaces_drops_and_keeps_places() -> None:
    graph = diamond()

    def without_neg(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        return operands[0] if node.op == Elementwise("neg") else None

    new = rewrite(graph, without_neg, keep=graph.live())
    assert [n.op.name for n in new] == ["source", "mul", "exp", "add"]
    assert new[3].inputs == (2, 1)
    assert new.outputs == {"z": 3}
    assert {n.where for n in new} == {PLACE}
    assert len(graph) == 6


def test_users_of_a_value_of_another_type_get_their_types_anew() -> None:
    wide = TensorType(F32, (3, 2))

    def widened(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        return new.add(Source("input", node.op.label, wide)) if isinstance(node.op, Source) else None

    new = rewrite(diamond(), widened)
    assert {node.type for node in new} == {wide}
    assert verify(new, "the test") is new


def test_places() -> None:
    assert str(PLACE) == "a.nn:1:1"
    assert str(Where()) == "-"
    assert PLACE.user_span == Span(TEXT, 0, 9)
    assert Where(Span(TEXT, 4, 5)).user_span == Span(TEXT, 4, 5)
    assert Where().user_span is None
