"""Loops are made cheap and stay what they are: the same numbers before and after, and inside only what must be done time after time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from loops import arrays_of, elman, lstm
from native_graph import run_natively
from random_loops import LoopCase, Plan, case_of, plans, smooth_sum
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph, Node
from ranvier.compiler.ir.loop_writer import LoopWriter
from ranvier.compiler.ir.op import Array
from ranvier.compiler.ir.ops import Concat, Contract, Source
from ranvier.compiler.ir.scan import Scan, final, stack
from ranvier.compiler.ir.types import BATCH, F64, I32, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.passes.autodiff import differentiate
from ranvier.compiler.passes.dce import dce
from ranvier.compiler.passes.loops import hoist, in_bodies, sink, tidy
from ranvier.compiler.passes.pipeline import loops, settled
from ranvier.compiler.passes.simplify import simplify

ROWS = 3
STEPS: dict[str, Callable[[Graph], Graph]] = {
    "tidy": tidy, "hoist": hoist, "sink": sink, "all": loops, "settled": settled,
    "in bodies": lambda graph: in_bodies(graph, lambda body, _: settled(body)),
}  # fmt: skip


def assert_the_same(graph: Graph, other: Graph, arrays: dict[str, Array]) -> None:
    """Every output has the same numbers, but for the order of sums."""
    verify(other, "the pass")
    expected, found = (evaluate(g, arrays, rows=ROWS) for g in (graph, other))
    assert list(expected) == list(found)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("step", STEPS)
@settings(max_examples=40, deadline=None)
@given(plans())
def test_random_loops_and_their_gradients(step: str, plan: Plan) -> None:
    case: LoopCase = case_of(plan, ROWS)
    assert_the_same(case.graph, STEPS[step](case.graph), case.arrays)


@pytest.mark.parametrize("step", ["tidy", "hoist", "sink", "all"])
def test_a_graph_without_loops_is_the_very_same(step: str) -> None:
    graph = Graph()
    build = Build(graph, F64)
    graph.outputs = {"y": build.exp(build.add_op(Source("input", "x", TensorType(F64, (BATCH, 2)))))}
    assert STEPS[step](graph) is graph


# --- what is left inside


def bodies(graph: Graph) -> list[Scan]:
    live = graph.live()
    return [n.op for n in graph if n.id in live and isinstance(n.op, Scan)]


def contractions(graph: Graph) -> list[Node]:
    live = graph.live()
    return [n for n in graph if n.id in live and isinstance(n.op, Contract)]


def with_gradient(graph: Graph, output: str, wanted: tuple[str, ...]) -> Graph:
    build = Build(graph, F64)
    sources = {n.op.label: n.id for n in graph if isinstance(n.op, Source)}
    found = differentiate(build, smooth_sum(build, [graph.outputs[output]]), [sources[name] for name in wanted])
    graph.outputs |= {f"d{name}": value for name, value in zip(wanted, found, strict=True)}
    return graph


def test_the_product_of_the_input_leaves_the_loop() -> None:
    graph = lstm(5, 4, 3)
    after = loops(graph)
    (body,) = bodies(after)
    assert [after.type(n.id).shape for n in contractions(after)] == [(BATCH, 5, 12)]
    assert [body.body.type(n.id).shape for n in contractions(body.body)] == [(BATCH, 12)]
    assert_the_same(graph, after, arrays_of(graph, ROWS))


def test_weight_gradients_are_one_product_behind_the_loop() -> None:
    """h U forth and its transpose back stay inside; x W, both weight gradients and the gradient of x are one product each, outside."""
    graph = with_gradient(lstm(5, 4, 3), "h", ("x", "w", "u", "b"))
    after = settled(graph)
    forth, back = bodies(after)
    assert [len(contractions(loop.body)) for loop in (forth, back)] == [1, 1]
    assert sorted(str(after.type(n.id).shape) for n in contractions(after)) == sorted(
        str(shape) for shape in ((BATCH, 5, 12), (BATCH, 5, 4), (4, 12), (3, 12))
    )
    assert back.carries == 2
    assert_the_same(graph, after, arrays_of(graph, ROWS))


def test_the_gradient_of_slices_is_one_join() -> None:
    """Each of the four gates gives the gradient of its own quarter; no sum of arrays of zeros is left."""
    graph = with_gradient(lstm(5, 4, 3), "h", ("u",))
    _, back = bodies(settled(graph))
    joins = [n for n in back.body if isinstance(n.op, Concat)]
    assert [len(n.inputs) for n in joins] == [4]
    assert not [n for n in back.body if n.op.name == "pad"]


def two_cells(wanted: str) -> Graph:
    """Two plain cells side by side in one loop; h1 also has a counter that nothing reads."""
    graph = Graph("two")
    build = Build(graph, F64)
    x = build.add_op(Source("input", "x", TensorType(F64, (BATCH, 4, 2))))
    y = build.add_op(Source("input", "y", TensorType(F64, (BATCH, 4, 2))))
    zero = build.zeros_like(build.reshape(build.slice_axis(x, 1, 0, 1), (BATCH, 2)))
    writer = LoopWriter(graph)
    inside = Build(writer.body, F64)
    one, two, idle = (writer.carry(zero) for _ in range(3))
    following = [inside.apply("tanh", inside.add(h, writer.step(s))) for h, s in ((one, x), (two, y))]
    loop = writer.write([*following, idle], 4, reverse=False)
    op = graph[loop].op
    assert isinstance(op, Scan)
    results = {"first": final(op, 0), "second": stack(op, following[1]), "idle": final(op, 2), "idle at all": stack(op, idle)}
    graph.outputs = {wanted: build.add_op(results[wanted], loop)}
    return graph


@pytest.mark.parametrize("wanted", ["first", "second"])
def test_what_nobody_wants_is_not_carried(wanted: str) -> None:
    graph = two_cells(wanted)
    after = dce(tidy(graph))
    (op,) = bodies(after)
    assert (op.carries, op.steps) == (1, 1)
    assert_the_same(graph, after, arrays_of(graph, ROWS))


@pytest.mark.parametrize("wanted", ["idle", "idle at all"])
def test_what_never_changes_needs_no_loop(wanted: str) -> None:
    graph = two_cells(wanted)
    after = tidy(graph)
    assert bodies(after) == []
    assert_the_same(graph, after, arrays_of(graph, ROWS))


def mixed() -> Graph:
    """h = h * exp(o) + x * (g U): exp(o) and the product g U are the same at all times; x is stacked as it is."""
    graph = Graph("mixed")
    build = Build(graph, F64)
    shapes = {"x": (BATCH, 4, 3), "o": (BATCH, 3), "g": (2, 3), "u": (3, 3), "h": (BATCH, 3)}
    x, o, g, u, h = (build.add_op(Source("input", name, TensorType(F64, shape))) for name, shape in shapes.items())  # type: ignore[arg-type]
    writer = LoopWriter(graph)
    inside = Build(writer.body, F64)
    fixed = inside.sum(inside.matmul(writer.outer(g), writer.outer(u)), [0])
    carried = writer.carry(h)
    new = inside.add(inside.mul(carried, inside.exp(writer.outer(o))), inside.mul(writer.step(x), fixed))
    loop = writer.write([new], 4, reverse=True)
    op = graph[loop].op
    assert isinstance(op, Scan)
    graph.outputs = {"y": build.add_op(stack(op, new), loop), "x": build.add_op(stack(op, op.body.sources()["step:0"]), loop)}
    return graph


def test_what_is_the_same_at_all_times_is_made_once() -> None:
    graph = mixed()
    after = dce(loops(graph))
    (op,) = bodies(after)
    names = {n.op.name for n in op.body}
    assert not names & {"exp", "contract", "reduce"}
    assert after.outputs["x"] == next(n.id for n in after if isinstance(n.op, Source) and n.op.label == "x")
    assert_the_same(graph, after, arrays_of(graph, ROWS))


def test_cheap_elementwise_work_on_steps_stays_inside() -> None:
    """x * v in the loop reads x once; outside it would be one array more."""
    after = loops(mixed())
    (op,) = bodies(after)
    assert [n.op.name for n in op.body].count("mul") == 2
    assert op.steps == 1


def counted() -> Graph:
    """Whole numbers carried beside floats: a counter that h is scaled by, and what no gradient flows into."""
    graph = Graph("counted")
    build = Build(graph, F64)
    x = build.add_op(Source("input", "x", TensorType(F64, (BATCH, 4, 3))))
    zero = build.zeros_like(build.reshape(build.slice_axis(x, 1, 0, 1), (BATCH, 3)))
    writer = LoopWriter(graph)
    inside = Build(writer.body, F64)
    n, h = writer.carry(build.constant(0, I32)), writer.carry(zero)
    number = inside.add(n, inside.constant(1, I32))
    new = inside.apply("tanh", inside.add(h, inside.mul(writer.step(x), inside.cast(number, F64))))
    loop = writer.write([number, new], 4, reverse=False)
    op = graph[loop].op
    assert isinstance(op, Scan)
    graph.outputs = {"n": build.add_op(final(op, 0), loop), "y": build.add_op(stack(op, new), loop)}
    return with_gradient(graph, "y", ("x",))


@pytest.mark.parametrize("step", STEPS)
def test_whole_numbers_are_carried_too(step: str) -> None:
    graph = counted()
    arrays = arrays_of(graph, ROWS)
    assert evaluate(graph, arrays, rows=ROWS)["n"] == 4
    assert_the_same(graph, STEPS[step](graph), arrays)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 6])
def test_whole_cells_with_their_gradients(length: int, reverse: bool) -> None:
    for graph, output in ((lstm(length, 3, 2, reverse=reverse), "c"), (elman(length, 3, 2, reverse=reverse), "y")):
        wanted = tuple(n.op.label for n in graph if isinstance(n.op, Source))
        whole = with_gradient(graph, output, wanted)
        assert_the_same(whole, settled(whole), arrays_of(whole, ROWS))


# --- joins


def joined(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[Graph, dict[str, Array]]:
    """The sum of two joins of 6 columns: a part of so many columns each, negative ones being zeros."""
    graph = Graph("joins")
    build, arrays = Build(graph, F64), dict[str, Array]()
    wholes = []
    for side, sizes in (("a", left), ("b", right)):
        parts = []
        for number, size in enumerate(sizes):
            if size < 0:
                parts.append(build.broadcast(build.constant(0.0), (BATCH, -size), ()))
                continue
            name = f"{side}{number}"
            parts.append(build.add_op(Source("input", name, TensorType(F64, (BATCH, size)))))
            arrays[name] = np.arange(ROWS * size, dtype=np.float64).reshape(ROWS, size) + 10 * len(arrays)
        wholes.append(build.concat(parts, 1))
    graph.outputs = {"y": build.add(*wholes)}
    return graph, arrays


@pytest.mark.parametrize(
    ("left", "right", "parts"),
    [
        ((2, -4), (-2, 4), 2),
        ((2, -4), (-2, 1, -3), 3),
        ((-3, 3), (3, -3), 2),
        ((2, -2, 2), (-2, 2, -2), 3),
        ((-1, 2, -3), (-4, 1, -1), 5),
    ],
)
def test_parts_that_meet_zeros_are_one_join(left: tuple[int, ...], right: tuple[int, ...], parts: int) -> None:
    graph, arrays = joined(left, right)
    after = dce(simplify(graph))
    assert [len(n.inputs) for n in after if isinstance(n.op, Concat)] == [parts]
    assert not [n for n in after if n.op.name == "add"]
    assert_the_same(graph, after, arrays)


@pytest.mark.parametrize(("left", "right"), [((2, -4), (-1, 5)), ((2, 4), (-2, 4)), ((3, -3), (-2, 2, -2))])
def test_parts_that_meet_each_other_are_added(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    graph, arrays = joined(left, right)
    after = dce(simplify(graph))
    assert [n for n in after if n.op.name == "add"]
    assert_the_same(graph, after, arrays)


def test_a_loop_that_needs_nothing() -> None:
    """A value that is the same at all times and made from numbers alone: the loop around it has no operands."""
    graph = Graph("nothing")
    writer = LoopWriter(graph)
    three = Build(writer.body, F64).constant(3.0)
    loop = writer.write([], 4, reverse=False)
    op = graph[loop].op
    assert isinstance(op, Scan)
    graph.outputs = {"y": graph.add(stack(op, three), [loop])}
    np.testing.assert_array_equal(run_natively(settled(graph), {}, ROWS)["y"], [3.0] * 4)
