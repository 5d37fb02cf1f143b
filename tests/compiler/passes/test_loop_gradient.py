"""The gradient of a loop against finite differences: if these fail, a recurrent network learns from a gradient that is not its own."""

from __future__ import annotations

import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from loops import arrays_of, elman, lstm, numpy_elman
from random_loops import Plan, numbers_for, plans, smooth_sum, write
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.scan import STACK, Result, Scan
from ranvier.compiler.ir.types import BATCH, F64
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.passes.autodiff import differentiate

ROWS = 2


def check(plan: Plan) -> None:
    """All gradients of a random loop."""
    arrays = numbers_for(plan, ROWS)
    batched = [name for name, shape in plan.shapes.items() if shape[:1] == (BATCH,)]

    def make(build: Build, *sources: int) -> int:
        return smooth_sum(build, write(build, plan, dict(zip(plan.shapes, sources, strict=True))))

    check_gradients(make, arrays, rows=ROWS, batched=batched)


@settings(max_examples=60, deadline=None)
@given(plans())
def test_random_bodies(plan: Plan) -> None:
    check(plan)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5])
@pytest.mark.parametrize("finals", [(0,), (1, 2), (0, 1, 2)])
def test_carried_values_of_both_kinds(length: int, finals: tuple[int, ...], reverse: bool) -> None:
    """What is carried for every sample, and what all samples share: h by a product, c by a gate, k by a sum over the batch."""
    moves = (("product", 5, 0), ("add", 0, 3), ("sigmoid", 0, 0), ("mul", 0, 7))
    check(Plan(length, 3, reverse, moves, (1, 0, 2), (0, 2), finals))


@pytest.mark.parametrize("stacked", [(), (9, 8, 7), (9, 9)])
def test_stacks_of_what_is_carried_and_of_what_is_given(stacked: tuple[int, ...]) -> None:
    """A stack of a step is the sequence, one of a carried value its history; the same stack wanted twice is one value."""
    check(Plan(3, 3, False, (("wide", 3, 5), ("choose", 0, 1)), (0, 1, 2), stacked, (0,)))


def gradient(graph: Graph, output: str, wanted: tuple[str, ...]) -> Graph:
    """The graph with the gradients of a smooth sum of one of its outputs as outputs."""
    build = Build(graph, F64)
    sources = {n.op.label: n.id for n in graph if isinstance(n.op, Source)}
    found = differentiate(build, smooth_sum(build, [graph.outputs[output]]), [sources[name] for name in wanted])
    graph.outputs = {f"d{name}": value for name, value in zip(wanted, found, strict=True)}
    verify(graph, "differentiate")
    return graph


def loops_of(graph: Graph) -> list[tuple[int, Scan]]:
    return [(n.id, n.op) for n in graph if isinstance(n.op, Scan)]


def test_it_is_one_loop_in_the_other_direction() -> None:
    for reverse in (False, True):
        forth, back = loops_of(gradient(lstm(4, 3, 2, reverse=reverse), "h", ("x", "w", "u", "b")))
        assert [(op.length, op.reverse) for _, op in (forth, back)] == [(4, reverse), (4, not reverse)]


def test_nothing_is_done_for_what_is_not_asked_for() -> None:
    """Without the gradient of x the product with w is not made; without that of w its sum is not carried."""
    (*_, (_, few)), (*_, (_, many)) = (loops_of(gradient(lstm(4, 3, 2), "h", w)) for w in (("u",), ("x", "w", "u", "b")))
    assert (few.carries, many.carries) == (3, 5)
    assert len(few.body) < len(many.body)


def test_a_value_that_is_cheap_to_make_again_is_not_stacked() -> None:
    """The derivative of tanh is made from its value, which lies there as what was carried: sums and slopes are not kept."""
    graph = gradient(elman(4, 3, 2), "y", ("x", "w", "u", "h"))
    (loop, op), _ = loops_of(graph)
    live = graph.live()
    stacks = {n.op.number for n in graph if n.id in live and isinstance(n.op, Result) and n.op.kind == STACK and n.inputs[0] == loop}
    assert stacks == {op.following(0), op.body.sources()["carry:0"]}


def test_the_gradient_of_a_last_state_alone() -> None:
    """Nothing flows in but at the end: the loop begins with it and takes no sequence of cotangents."""
    graph = gradient(elman(4, 3, 2), "h", ("u",))
    arrays = arrays_of(graph, ROWS)
    found, step = evaluate(graph, arrays, rows=ROWS)["du"], 1e-6
    for index in np.ndindex(found.shape):
        up, down = (
            {**arrays, "u": arrays["u"] + sign * step * (np.indices(found.shape) == np.reshape(index, (2, 1, 1))).all(0)}
            for sign in (1, -1)
        )
        expected = (np.sin(2 * numpy_elman(up)[1]).sum() - np.sin(2 * numpy_elman(down)[1]).sum()) / (2 * step)
        np.testing.assert_allclose(found[index], expected, rtol=1e-6, atol=1e-8)
    (_, forth), (_, back) = loops_of(graph)
    assert back.steps <= forth.steps + 2
