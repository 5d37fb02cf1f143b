"""Products side by side: one product at each time where that beats a long one before the loop, with the same numbers and gradients."""

from __future__ import annotations

import numpy as np
import pytest
from loops import arrays_of, elman, lstm
from native_graph import run_natively
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Concat, Contract, Source
from ranvier.compiler.ir.scan import Scan
from ranvier.compiler.ir.types import BATCH, F64, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.passes import products
from ranvier.compiler.passes.autodiff import differentiate
from ranvier.compiler.passes.parts import take_parts
from ranvier.compiler.passes.pipeline import settled
from ranvier.compiler.passes.products import join_products

ROWS, TIMES = 19, 5


@pytest.fixture(autouse=True)
def every_size_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "CACHED_BYTES", 0)


def bodies(graph: Graph) -> list[Graph]:
    live = graph.live()
    return [n.op.body for n in graph if n.id in live and isinstance(n.op, Scan)]


def products_of(graph: Graph) -> list[tuple[object, ...]]:
    live = graph.live()
    return [tuple(graph.type(i).shape for i in n.inputs) for n in graph if n.id in live and isinstance(n.op, Contract)]


def with_gradients(graph: Graph) -> Graph:
    """The gradients of the sum of squares of all outputs for all that is given."""
    build = Build(graph, F64)
    ends = [build.mul(v, v) for v in graph.outputs.values()]
    total = None
    for end in ends:
        part = build.sum(end, range(len(build.type(end).shape)))
        total = part if total is None else build.add(total, part)
    assert total is not None
    given = {n.op.label: n.id for n in graph if isinstance(n.op, Source)}
    graph.outputs |= {f"d{name}": d for name, d in zip(given, differentiate(build, total, list(given.values())), strict=True)}
    return graph


@pytest.mark.parametrize("make", [elman, lstm])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_same_numbers_and_gradients(make: object, reverse: bool) -> None:
    plain, joined = (f(make(TIMES, 4, 3, reverse=reverse)) for f in (lambda g: g, lambda g: join_products(g, ROWS)))  # type: ignore[operator]
    (body,) = bodies(joined)
    assert products_of(body) == [((BATCH, 7), (7, 12 if make is lstm else 3))]
    arrays = arrays_of(plain, ROWS)
    wanted = evaluate(with_gradients(plain), arrays, rows=ROWS)
    after = settled(with_gradients(verify(joined, "joined")))
    one = run_natively(after, arrays, ROWS)
    for name, array in wanted.items():
        np.testing.assert_allclose(evaluate(after, arrays, rows=ROWS)[name], array, rtol=1e-10, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(one[name], array, rtol=1e-9, atol=1e-11, err_msg=name)
        for threads in (2, 3):
            np.testing.assert_array_equal(run_natively(after, arrays, ROWS, threads=threads)[name], one[name])


def test_the_gradient_of_what_is_carried_does_not_go_through_the_steps() -> None:
    """The input's gradient is not wanted: back goes the carried part alone, and the weights' gradients are one product behind the loop."""
    graph = join_products(lstm(TIMES, 4, 3), ROWS)
    build = Build(graph, F64)
    loss = build.sum(graph.outputs["c"], (0, 1))
    given = {n.op.label: n.id for n in graph if isinstance(n.op, Source)}
    graph.outputs = dict(zip("wu", differentiate(build, loss, [given["w"], given["u"]]), strict=True))
    after = settled(graph)
    forth, back = bodies(after)
    assert products_of(back) == [((BATCH, 12), (3, 12))]
    assert products_of(forth) == [((BATCH, 7), (7, 12))]
    assert products_of(after) == [((BATCH, TIMES, 7), (BATCH, TIMES, 12))]
    assert not any(isinstance(n.op, Concat) for n in back if n.type.shape == (BATCH, 7)), "the forward loop keeps what lies side by side"


def test_few_rows_and_what_a_cache_holds_are_hoisted(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = lstm(TIMES, 4, 3)
    assert join_products(graph, products.LEAST_ROWS - 1) is graph
    monkeypatch.setattr(products, "CACHED_BYTES", ROWS * TIMES * 12 * 8)
    assert len(products_of(bodies(join_products(graph, ROWS))[0])) == 2


def test_parts_that_nobody_wants_are_not_made() -> None:
    graph = Graph("parts")
    build = Build(graph, F64)
    x, a, b = (build.add_op(Source("input", n, TensorType(F64, s))) for n, s in (("x", (BATCH, 3)), ("a", (3, 2)), ("b", (3, 5))))
    product = build.matmul(x, build.concat([a, b], 1))
    graph.outputs = {"y": build.slice_axis(product, 1, 2, 7)}
    assert products_of(take_parts(graph)) == [((BATCH, 3), (3, 5))]
    arrays = arrays_of(graph, ROWS)
    np.testing.assert_allclose(evaluate(take_parts(graph), arrays, rows=ROWS)["y"], arrays["x"] @ arrays["b"], rtol=1e-12)
    for start, stop in ((1, 7), (2, 6)):
        graph.outputs = {"y": build.slice_axis(product, 1, start, stop)}
        assert take_parts(graph) is graph, "a slice across parts, or less than one"
    graph.outputs = {"y": build.slice_axis(product, 1, 2, 7), "z": build.slice_axis(product, 1, 0, 2)}
    assert take_parts(graph) is graph, "all of it is wanted"
