"""Constants are worked out at compile time, to the number that NumPy gives, and never become arrays."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs import Sample, assert_same, samples
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.elementwise import ROWS
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Trait
from ranvier.compiler.ir.ops import Constant
from ranvier.compiler.ir.printer import print_graph
from ranvier.compiler.ir.types import BATCH, BOOL, F32, I32, U32, DType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.ir.views import Broadcast
from ranvier.compiler.passes.dce import dce
from ranvier.compiler.passes.fold import fold

DTYPE_OF = {"f": F32, "i": I32, "u": U32, "b": BOOL}
NUMBERS: dict[str, st.SearchStrategy[float]] = {
    "f": st.floats(width=32),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "b": st.booleans(),
}


def elementwise_on_constants(graph: Graph) -> list[int]:
    def constant(number: int) -> bool:
        node = graph[number]
        return isinstance(node.op, Constant) or (isinstance(node.op, Broadcast) and isinstance(graph[node.inputs[0]].op, Constant))

    return [n.id for n in graph if n.op.has(Trait.ELEMENTWISE) and all(constant(i) for i in n.inputs)]


@settings(max_examples=150, deadline=None)
@given(samples())
def test_same_numbers_and_no_arithmetic_on_constants_left(sample: Sample) -> None:
    folded = verify(fold(sample.graph), "fold")
    assert_same(sample, folded)
    assert not elementwise_on_constants(dce(folded))
    assert print_graph(fold(folded)) == print_graph(folded)


@pytest.mark.parametrize("row", ROWS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_every_row_folds_to_what_numpy_gives(row: str, data: st.DataObject) -> None:
    kind = ROWS[row].domain[0]
    graph = Graph()
    build = Build(graph, F32)
    numbers = [build.constant(data.draw(NUMBERS[kind]), DTYPE_OF[kind]) for _ in range(ROWS[row].arity)]
    graph.outputs = {
        "scalar": build.apply(row, *numbers),
        "spread": build.apply(row, *(build.broadcast(n, (BATCH, 2), ()) for n in numbers)),
    }
    folded = dce(verify(fold(graph), "fold"))
    assert all(isinstance(n.op, Constant | Broadcast) for n in folded)
    expected, found = evaluate(graph, {}, rows=2)["scalar"], evaluate(folded, {}, rows=2)
    np.testing.assert_array_equal(found["scalar"], expected)
    np.testing.assert_array_equal(found["spread"], np.full((2, 2), expected))


CASES: dict[str, tuple[Callable[[Build], int], float, DType]] = {
    "overflow is infinite": (lambda b: b.exp(b.constant(100.0, F32)), math.inf, F32),
    "rounds in its own type": (lambda b: b.add(b.constant(16777216.0, F32), b.constant(1.0, F32)), 16777216.0, F32),
    "whole numbers wrap": (lambda b: b.add(b.constant(2**31 - 1, I32), b.constant(1, I32)), -(2**31), I32),
    "a cast rounds": (lambda b: b.cast(b.constant(0.1), F32), float(np.float32(0.1)), F32),
    "a select chooses": (lambda b: b.select(b.constant(False, BOOL), b.constant(1, I32), b.constant(2, I32)), 2, I32),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers(name: str) -> None:
    make, value, dtype = CASES[name]
    graph = Graph()
    graph.outputs = {"y": make(Build(graph, F32))}
    folded = dce(fold(graph))
    assert [n.op for n in folded] == [Constant(value, dtype)]


def test_not_a_number_stays_one() -> None:
    graph = Graph()
    build = Build(graph, F32)
    graph.outputs = {"y": build.log(build.constant(-1.0, F32))}
    (node,) = dce(fold(graph))
    assert isinstance(node.op, Constant)
    assert math.isnan(node.op.value)


def test_golden(golden: Callable[[str, str], None]) -> None:
    graph = Graph("fold")
    build = Build(graph, F32)
    two = build.broadcast(build.constant(2.0, F32), (BATCH, 4), ())
    graph.outputs = {"y": build.mul(two, build.add(two, build.constant_like(1, two)))}
    golden("passes/fold_spread", print_graph(graph) + "\n" + print_graph(dce(fold(graph))))
