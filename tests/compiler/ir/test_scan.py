"""The loop of the op graph against loops in NumPy, and what it refuses: if these fail, no recurrent network means what its file says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from loops import arrays_of, elman, lstm, numpy_elman, numpy_lstm, scan_of
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.loop_writer import LoopWriter
from ranvier.compiler.ir.op import ShapeError
from ranvier.compiler.ir.ops import Constant, Source
from ranvier.compiler.ir.printer import print_graph
from ranvier.compiler.ir.scan import Scan, at_one_time, final, over_time, stack
from ranvier.compiler.ir.types import BATCH, F64, I32, TensorType
from ranvier.compiler.ir.verifier import verify

ROWS = 3


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_plain_cell(length: int, reverse: bool) -> None:
    graph = elman(length, 4, 3, reverse=reverse)
    verify(graph, "the test")
    arrays = arrays_of(graph, ROWS)
    found, (y, h) = evaluate(graph, arrays, rows=ROWS), numpy_elman(arrays, reverse=reverse)
    np.testing.assert_allclose(found["y"], y, rtol=1e-13)
    np.testing.assert_allclose(found["h"], h, rtol=1e-13)
    np.testing.assert_array_equal(found["h"], found["y"][:, 0 if reverse else -1])


@pytest.mark.parametrize("reverse", [False, True])
def test_an_lstm(reverse: bool) -> None:
    graph = lstm(5, 4, 3, reverse=reverse)
    arrays = arrays_of(graph, ROWS)
    found, (h, c) = evaluate(graph, arrays, rows=ROWS), numpy_lstm(arrays, reverse=reverse)
    np.testing.assert_allclose(found["h"], h, rtol=1e-13)
    np.testing.assert_allclose(found["c"], c, rtol=1e-13)


def running_sum() -> Graph:
    """Sums over time of a sequence that all samples share, and of the sums; with both kinds of every result."""
    graph = Graph("sums")
    build = Build(graph, F64)
    x = build.add_op(Source("input", "x", TensorType(F64, (4, 2))))
    zero = build.broadcast(build.constant(0.0), (2,), ())
    writer = LoopWriter(graph)
    inside = Build(writer.body, F64)
    one, two = writer.carry(zero), writer.carry(zero)
    nodes = {"one": inside.add(one, writer.step(x)), "before": one}
    nodes["two"] = inside.add(two, nodes["one"])
    loop = writer.write([nodes["one"], nodes["two"]], 4, reverse=False)
    op = scan_of(graph, loop)
    graph.outputs = {"last": build.add_op(final(op, 1), loop)}
    graph.outputs |= {name: build.add_op(stack(op, node), loop) for name, node in nodes.items()}
    graph.outputs["step"] = build.add_op(stack(op, op.body.sources()["step:0"]), loop)
    return graph


def test_values_that_all_samples_share() -> None:
    """No batch axis: time is the first; a carried value before and after, and a step, can be stacked too."""
    x = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]])
    found = evaluate(running_sum(), {"x": x})
    np.testing.assert_array_equal(found["one"], x.cumsum(0))
    np.testing.assert_array_equal(found["two"], x.cumsum(0).cumsum(0))
    np.testing.assert_array_equal(found["before"], x.cumsum(0) - x)
    np.testing.assert_array_equal(found["step"], x)
    np.testing.assert_array_equal(found["last"], x.cumsum(0).cumsum(0)[-1])


def test_time_comes_right_after_the_batch() -> None:
    for shape, timed in (((BATCH, 3), (BATCH, 5, 3)), ((3,), (5, 3)), ((), (5,)), ((BATCH,), (BATCH, 5))):
        kind = TensorType(F64, shape)
        assert over_time(kind, 5).shape == timed
        assert at_one_time(over_time(kind, 5)) == kind


# --- what it refuses


def written(first: tuple[object, ...] = (BATCH, 2), steps: int = 4, following: Callable[[Build, int, int], int] | None = None) -> Graph:
    """A loop of 4 times over a sequence of `steps`, carrying a value whose first has a shape."""
    graph = Graph("wrong")
    build = Build(graph, F64)
    x = build.add_op(Source("input", "x", TensorType(F64, (BATCH, steps, 2))))
    h = build.add_op(Source("input", "h", TensorType(F64, first)))  # type: ignore[arg-type]
    writer = LoopWriter(graph)
    inside = Build(writer.body, F64)
    carried, step = writer.carry(h), writer.step(x)
    writer.write([following(inside, carried, step) if following else inside.add(carried, step)], 4, reverse=False)
    return graph


def test_a_sequence_has_the_length_of_the_loop() -> None:
    written()
    with pytest.raises(ShapeError, match=r"the loop takes f64\[batch, 4, 2\] as step:0, and this is f64\[batch, 5, 2\]"):
        written(steps=5)


def test_what_is_carried_keeps_its_type() -> None:
    with pytest.raises(ShapeError, match="the loop carries on"):
        written(following=lambda build, carried, step: build.concat([carried, step], 1))
    with pytest.raises(ShapeError, match="the loop carries on"):
        written(following=lambda build, carried, step: build.cast(carried, I32))


def test_operands_have_the_types_of_the_body() -> None:
    graph = elman(4, 3, 2)
    node = next(n for n in graph if isinstance(n.op, Scan))
    assert isinstance(node.op, Scan)
    types = [graph.type(i) for i in node.inputs]
    node.op.infer(*types)
    for position, kind in enumerate(types):
        with pytest.raises(ShapeError):
            node.op.infer(*types[:position], kind.with_shape((*kind.shape, 1)), *types[position + 1 :])


# --- which loops are the same


def loop_of(graph: Graph) -> Scan:
    return next(n.op for n in graph if isinstance(n.op, Scan))


def test_loops_are_the_same_when_they_do_the_same() -> None:
    one, other = loop_of(elman(4, 3, 2)), loop_of(elman(4, 3, 2))
    assert one is not other
    assert one == other
    assert hash(one) == hash(other)


def test_loops_differ_by_length_direction_and_body() -> None:
    found = [elman(4, 3, 2), elman(5, 3, 2), elman(4, 3, 2, reverse=True), lstm(4, 3, 2), elman(4, 3, 3)]
    assert len({loop_of(graph) for graph in found}) == 5
    assert loop_of(found[0]) != "loop"


def test_loops_differ_by_the_sign_of_a_zero() -> None:
    """0 and -0 are equal as numbers; a loop that divides by them is not the same."""

    def dividing(number: float) -> Scan:
        return loop_of(written(following=lambda build, carried, step: build.div(build.add(carried, step), build.constant(number))))

    assert Constant(0.0, F64) == Constant(-0.0, F64)
    assert dividing(0.0) == dividing(0.0)
    assert dividing(0.0) != dividing(-0.0)


def test_a_loop_is_printed_with_its_body() -> None:
    text = print_graph(elman(4, 3, 2))
    assert "length=4" in text
    assert "tanh(" in text
    assert "next:0" in text
