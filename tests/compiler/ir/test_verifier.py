"""The verifier finds every way in which a pass could break a graph, and says which pass and where."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from random_graphs import Sample, samples
from ranvier.compiler.ir import verifier
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.elementwise import Elementwise
from ranvier.compiler.ir.graph import Graph, Node
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import BATCH, F32, F64, TensorType
from ranvier.compiler.ir.verifier import VerificationError, verify
from ranvier.compiler.ir.views import Broadcast


def sound() -> Graph:
    graph = Graph()
    build = Build(graph, F32)
    x = build.add_op(Source("input", "x", TensorType(F32, (BATCH, 2))))
    graph.outputs = {"y": build.add(build.exp(x), x)}
    return graph


def broken(number: int, change: Callable[[Node], Node]) -> Graph:
    """A graph with one node tampered with, which no function of the compiler would do."""
    graph = sound()
    graph._nodes[number] = change(graph[number])
    return graph


@settings(max_examples=50, deadline=None)
@given(samples())
def test_sound_graphs_pass(sample: Sample) -> None:
    assert verify(sample.graph, "building") is sample.graph


BROKEN: dict[str, tuple[int, Callable[[Node], Node], str]] = {
    "operand from later": (1, lambda n: replace(n, inputs=(2,)), "an operand is not made before its user"),
    "operand of itself": (1, lambda n: replace(n, inputs=(1,)), "an operand is not made before its user"),
    "operand that is none": (2, lambda n: replace(n, inputs=(0, -1)), "an operand is not made before its user"),
    "wrong type": (1, lambda n: replace(n, type=TensorType(F64, (BATCH, 2))), "the recorded type is not what the operation infers"),
    "wrong operands": (2, lambda n: replace(n, inputs=(0,)), "`add` takes 2 operands, not 1"),
    "wrong operation": (1, lambda n: replace(n, op=Elementwise("not")), "`not` is not defined on f32"),
    "batch behind": (0, lambda n: _source(n, TensorType(F32, (2, BATCH))), "the batch axis is not in front"),
    "empty axis": (0, lambda n: _source(n, TensorType(F32, (BATCH, 0))), "an axis has no elements"),
    "too large": (0, lambda n: _source(n, TensorType(F32, (2**16, 2**16))), "4294967296 elements exceed 2147483647"),
}  # fmt: skip


def _source(node: Node, kind: TensorType) -> Node:
    return replace(node, op=Source("input", "x", kind), type=kind)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_graphs_do_not(name: str) -> None:
    number, change, problem = BROKEN[name]
    with pytest.raises(VerificationError) as caught:
        verify(broken(number, change), "a pass")
    first = str(caught.value).splitlines()[0]
    assert first == f"after a pass: {problem}"
    assert f"%{number} = " in str(caught.value)


def test_the_message_shows_the_operands() -> None:
    with pytest.raises(VerificationError) as caught:
        verify(broken(1, lambda n: replace(n, op=Broadcast((3,), (0,)), type=TensorType(F32, (3,)))), "cse")
    assert str(caught.value) == (
        "after cse: f32[batch, 2] does not broadcast to [3]\n"
        "  %1 = broadcast(%0, shape=[3], axes=[0]) : f32[3]\n"
        "  operands:\n"
        "    %0 = source(kind=input, label=x) : f32[batch, 2]"
    )


def test_an_output_is_a_node() -> None:
    graph = sound()
    graph.outputs["z"] = 3
    with pytest.raises(VerificationError, match="after dce: output z is no node"):
        verify(graph, "dce")


def test_a_graph_has_a_bounded_number_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "MAXIMUM_NODES", 2)
    with pytest.raises(VerificationError, match="after autodiff: 3 nodes"):
        verify(sound(), "autodiff")
