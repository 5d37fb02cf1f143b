"""Simplification says the same with less: every rule, what must stay, and that it comes to an end."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from random_graphs import Sample, assert_same, samples
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph, Where
from ranvier.compiler.ir.ops import Concat, Position, Reduce, Source
from ranvier.compiler.ir.printer import print_graph
from ranvier.compiler.ir.types import BATCH, BOOL, F32, F64, I32, U8, U32, DType, Shape, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.ir.views import Broadcast, Slice
from ranvier.compiler.passes.cse import cse
from ranvier.compiler.passes.dce import dce
from ranvier.compiler.passes.simplify import simplify
from ranvier.compiler.source import Source as Text
from ranvier.compiler.source import Span

Make = Callable[[Build, int], int]


def graph_of(make: Make, shape: Shape = (2, 3), dtype: DType = F32) -> Graph:
    graph = Graph("simplify")
    build = Build(graph, F32)
    graph.outputs = {"y": make(build, build.add_op(Source("input", "x", TensorType(dtype, shape))))}
    return graph


def names(graph: Graph) -> list[str]:
    """The operations of a graph, without its source."""
    return [n.op.name for n in graph if n.op.name != "source"]


@settings(max_examples=200, deadline=None)
@given(samples(steps=25))
def test_same_numbers_and_a_second_time_nothing_changes(sample: Sample) -> None:
    simple = verify(simplify(sample.graph), "simplify")
    assert_same(sample, simple)
    assert print_graph(simplify(simple)) == print_graph(simple)
    assert len(simple) <= 2 * len(sample.graph)


@settings(max_examples=80, deadline=None)
@given(samples(steps=25))
def test_all_clean_up_passes_together(sample: Sample) -> None:
    clean = verify(dce(cse(simplify(sample.graph))), "the clean-up passes")
    assert_same(sample, clean)
    assert len(clean) == len(clean.live())


def like(value: float, build: Build, x: int) -> int:
    return build.constant_like(value, x)


GONE: dict[str, Make] = {
    "x + 0": lambda b, x: b.add(x, like(0, b, x)),
    "0 + x": lambda b, x: b.add(like(0, b, x), x),
    "x - 0": lambda b, x: b.sub(x, like(0, b, x)),
    "x * 1": lambda b, x: b.mul(x, like(1, b, x)),
    "1 * x": lambda b, x: b.mul(like(1, b, x), x),
    "x / 1": lambda b, x: b.div(x, like(1, b, x)),
    "x ^ 1": lambda b, x: b.pow(x, like(1, b, x)),
    "neg neg": lambda b, x: b.neg(b.neg(x)),
    "0 - x * -1": lambda b, x: b.sub(like(0, b, x), b.mul(x, like(-1, b, x))),
    "stop_gradient": lambda b, x: b.stop_gradient(x),
    "select true": lambda b, x: b.select(b.constant(True, BOOL), x, b.exp(x)),
    "select false": lambda b, x: b.select(b.constant(False, BOOL), b.exp(x), x),
    "select same": lambda b, x: b.select(b.gt(x, like(0, b, x)), x, x),
    "cast there and back": lambda b, x: b.cast(b.cast(x, F64), F32),
    "reshape there and back": lambda b, x: b.reshape(b.reshape(x, (6,)), (2, 3)),
    "transpose there and back": lambda b, x: b.transpose(b.transpose(x, (1, 0)), (1, 0)),
    "whole slice": lambda b, x: b.slice_axis(x, 1, 0, 3),
    "own broadcast": lambda b, x: b.add_op(Broadcast((2, 3), (0, 1)), x),
    "concat of one": lambda b, x: b.add_op(Concat(0), x),
}


@pytest.mark.parametrize("name", GONE)
def test_gone(name: str) -> None:
    simple = simplify(graph_of(GONE[name]))
    assert names(simple) == []


BECOMES: dict[str, tuple[Make, list[str]]] = {
    "0 - x": (lambda b, x: b.sub(like(0, b, x), x), ["neg"]),
    "x * -1": (lambda b, x: b.mul(x, like(-1, b, x)), ["neg"]),
    "x / 4": (lambda b, x: b.div(x, like(4, b, x)), ["constant", "broadcast", "mul"]),
    "x / -1": (lambda b, x: b.div(x, like(-1, b, x)), ["neg"]),
    "x / 3 stays": (lambda b, x: b.div(x, like(3, b, x)), ["constant", "broadcast", "div"]),
    "x / 2^-149 stays": (lambda b, x: b.div(x, like(2.0**-149, b, x)), ["constant", "broadcast", "div"]),
    "x * 0 stays": (lambda b, x: b.mul(x, like(0, b, x)), ["constant", "broadcast", "mul"]),
    "x - x stays": (lambda b, x: b.sub(x, x), ["sub"]),
    "x ^ 2": (lambda b, x: b.pow(x, like(2, b, x)), ["mul"]),
    "x ^ 3": (lambda b, x: b.pow(x, like(3, b, x)), ["mul", "mul"]),
    "x ^ 0.5": (lambda b, x: b.pow(x, like(0.5, b, x)), ["sqrt"]),
    "x ^ -0.5": (lambda b, x: b.pow(x, like(-0.5, b, x)), ["rsqrt"]),
    "x ^ -1": (lambda b, x: b.pow(x, like(-1, b, x)), ["constant", "broadcast", "div"]),
    "x ^ 0": (lambda b, x: b.pow(x, like(0, b, x)), ["constant", "broadcast"]),
    "x ^ 4 stays": (lambda b, x: b.pow(x, like(4, b, x)), ["constant", "broadcast", "pow"]),
    "not not": (lambda b, x: b.apply("not", b.apply("not", b.gt(x, like(2, b, x)))), ["constant", "broadcast", "gt"]),
    "a cast that loses": (lambda b, x: b.cast(b.cast(x, I32), F32), ["cast", "cast"]),
    "a cast that may not fit": (lambda b, x: b.cast(b.cast(x, F64), I32), ["cast", "cast"]),
    "slices merge": (lambda b, x: b.slice_axis(b.slice_axis(x, 1, 1, 3), 1, 1, 2), ["slice"]),
    "reshapes merge": (lambda b, x: b.reshape(b.reshape(x, (6,)), (3, 2)), ["reshape"]),
    "broadcasts merge": (lambda b, x: b.broadcast(b.broadcast(x, (4, 2, 3), (1, 2)), (4, 5, 2, 3), (0, 2, 3)), ["broadcast"]),
    "sum over one": (lambda b, x: b.sum(b.reshape(x, (2, 1, 3)), [1]), []),
    "argmax over one": (lambda b, x: b.add_op(Reduce("argmax", (1,)), b.reshape(x, (6, 1))), ["constant", "broadcast"]),
    "sum of the repeated": (lambda b, x: b.sum(b.broadcast(x, (4, 2, 3), (1, 2)), [0]), ["constant", "broadcast", "mul"]),
    "max of the repeated": (lambda b, x: b.reduce("max", b.broadcast(x, (4, 2, 3), (1, 2)), [0]), ["broadcast", "max"]),
    "lifted": (lambda b, x: b.exp(b.broadcast(x, (4, 2, 3), (1, 2))), ["exp", "broadcast"]),
    "lifted cast": (lambda b, x: b.cast(b.broadcast(x, (4, 2, 3), (1, 2)), F64), ["cast", "broadcast"]),
    "spread in two ways": (
        lambda b, x: b.add(b.broadcast(x, (2, 3, 2, 3), (0, 1)), b.broadcast(x, (2, 3, 2, 3), (2, 3))), ["broadcast", "broadcast", "add"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BECOMES)
def test_becomes(name: str) -> None:
    make, expected = BECOMES[name]
    graph = graph_of(make)
    simple = verify(simplify(graph), "simplify")
    assert names(simple) == expected
    x = np.array([[1.5, 2.25, 0.3], [4.0, 7.0, 0.01]], dtype=np.float32)
    np.testing.assert_allclose(evaluate(simple, {"x": x})["y"], evaluate(graph, {"x": x})["y"], rtol=3e-7)


@pytest.mark.parametrize("divisor", [2.0**k for k in range(-126, 127, 11)] + [-8.0])
def test_division_by_a_power_of_two_is_exact(divisor: float) -> None:
    graph = graph_of(lambda b, x: b.div(x, like(divisor, b, x)), (40,))
    x = np.ldexp(np.random.default_rng(1).standard_normal(40), np.arange(-120, 120, 6)).astype(np.float32)
    simple = simplify(graph)
    assert names(simple)[-1] == "mul"
    np.testing.assert_array_equal(evaluate(simple, {"x": x})["y"], evaluate(graph, {"x": x})["y"])


def test_not_a_number_times_zero_stays_one() -> None:
    graph = graph_of(lambda b, x: b.mul(x, like(0, b, x)), (2,))
    assert np.isnan(evaluate(simplify(graph), {"x": [np.nan, np.inf]})["y"]).all()


@pytest.mark.parametrize(("source", "middle", "target", "merges"), [
    (U8, I32, F32, True), (U8, F32, I32, True), (BOOL, F32, U8, True), (U32, F64, I32, False), (I32, F32, F64, False),
    (I32, F64, F32, True), (F32, F64, BOOL, True), (F32, F64, F32, True), (F32, I32, F64, False), (I32, U8, I32, False),
])  # fmt: skip
def test_casts_merge_only_through_a_type_that_holds_every_number(source: DType, middle: DType, target: DType, merges: bool) -> None:
    graph = graph_of(lambda b, x: b.cast(b.cast(x, middle), target), (5,), source)
    simple = simplify(graph)
    assert names(simple).count("cast") == (int(source != target) if merges else 2)
    x = np.array([0, 1, 200, 3, 255]).astype(source.numpy)
    np.testing.assert_array_equal(evaluate(simple, {"x": x})["y"], evaluate(graph, {"x": x})["y"])


def test_an_unsigned_number_has_no_negative() -> None:
    simple = simplify(graph_of(lambda b, x: b.apply("sub", like(0, b, x), x), dtype=U32))
    assert "neg" not in names(simple)


def test_sum_over_the_batch_counts_its_rows() -> None:
    graph = graph_of(lambda b, x: b.sum(b.broadcast(x, (BATCH, 2, 3, 4), (1, 2)), [0, 2, 3]))
    simple = simplify(graph)
    assert "extent" in names(simple)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(evaluate(simple, {"x": x}, rows=7)["y"], x.sum(1) * 28)


@pytest.mark.parametrize("start", [0, 1, 2])
@pytest.mark.parametrize(("step", "again"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_slices_of_slices(start: int, step: int, again: int) -> None:
    graph = graph_of(lambda b, x: b.slice_axis(b.slice_axis(x, 1, start, 11, step), 1, 1, 4, again), (BATCH, 12))
    simple = simplify(graph)
    assert names(simple) == ["slice"]
    assert isinstance(simple[1].op, Slice)
    x = np.arange(24, dtype=np.float32).reshape(2, 12)
    np.testing.assert_array_equal(evaluate(simple, {"x": x}, rows=2)["y"], x[:, start:11:step][:, 1:4:again])


def image_chain(build: Build, x: int) -> int:
    """Standardized, dropped out and flattened, as the standard library writes it."""
    mean = build.add_op(Source("state", "mean", TensorType(F32, (4, 4, 1))))
    spread = build.add_op(Source("state", "spread", TensorType(F32, (4, 4, 1))))
    scaled = build.div(build.sub(build.cast(x, F32), mean), build.apply("max", spread, build.constant(1e-8)))
    shape = build.type(scaled).shape
    position = build.add_op(Position(shape, (16, 4, 1, 1), U32))
    bits = build.apply("random_bits", position, build.constant(1, U32), build.constant(7, U32))
    kept = build.gt(build.cast(bits, F32), build.constant_like(2.0**31, scaled))
    return build.reshape(build.select(kept, scaled, build.zeros_like(scaled)), (BATCH, 16))


def test_flatten_after_arithmetic_on_an_input_is_a_view_of_the_input() -> None:
    graph = graph_of(image_chain, (BATCH, 4, 4, 1), U8)
    simple = verify(simplify(graph), "simplify")
    reshaped = [simple[n.inputs[0]].op.name for n in simple if n.op.name == "reshape"]
    assert reshaped == ["source"] * 3
    random = np.random.default_rng(0)
    data = {"x": random.integers(0, 255, (3, 4, 4, 1)), "mean": random.random((4, 4, 1)), "spread": random.random((4, 4, 1))}
    np.testing.assert_array_equal(evaluate(simple, data, rows=3)["y"], evaluate(graph, data, rows=3)["y"])


def test_arithmetic_on_a_contraction_keeps_its_shape() -> None:
    def make(build: Build, x: int) -> int:
        y = build.matmul(x, build.add_op(Source("parameter", "w", TensorType(F32, (4, 6)))))
        return build.reshape(build.exp(y), (BATCH, 2, 3))

    assert names(simplify(graph_of(make, (BATCH, 4)))) == ["contract", "exp", "reshape"]


def test_arithmetic_used_in_two_shapes_is_done_once() -> None:
    graph = graph_of(lambda b, x: b.exp(x), (BATCH, 2, 3))
    build = Build(graph, F32)
    graph.outputs["flat"] = build.reshape(graph.outputs["y"], (BATCH, 6))
    assert names(simplify(graph)) == ["exp", "reshape"]


def test_a_channel_wise_number_cannot_be_flattened() -> None:
    def make(build: Build, x: int) -> int:
        gain = build.add_op(Source("parameter", "gain", TensorType(F32, (3,))))
        return build.reshape(build.mul(x, gain), (BATCH, 6))

    assert names(simplify(graph_of(make, (BATCH, 2, 3)))) == ["broadcast", "mul", "reshape"]


def test_places_are_kept() -> None:
    graph = Graph()
    text = Text("a.nn", "flatten(x / 4)")
    build = Build(graph, F32)
    x = build.add_op(Source("input", "x", TensorType(F32, (BATCH, 2, 2))))
    build.where = Where(Span(text, 8, 13), "scale_1")
    halved = build.div(x, build.constant_like(4, x))
    build.where = Where(Span(text, 0, 14), "flatten_1")
    graph.outputs = {"y": build.reshape(halved, (BATCH, 4))}
    layers = {n.op.name: n.where.layer for n in simplify(graph)}
    assert layers["mul"] == "scale_1"


def test_long_chains_need_no_deep_recursion() -> None:
    def make(build: Build, x: int) -> int:
        for _ in range(3000):
            x = build.neg(build.exp(build.reshape(x, (3, 2))))
            x = build.add(build.reshape(x, (6,)), build.constant_like(0, build.reshape(x, (6,))))
        return x

    simple = verify(simplify(graph_of(make)), "simplify")
    assert names(simple) == ["reshape"] + ["exp", "neg"] * 3000


GOLDEN: dict[str, tuple[Make, Shape, DType]] = {
    "flatten": (image_chain, (BATCH, 4, 4, 1), U8),
    "lift": (lambda b, x: b.div(b.broadcast(b.sum(x, [1]), (BATCH, 3), (0,)), b.constant_like(3, x)), (BATCH, 3), F32),
    "power": (lambda b, x: b.add(b.pow(x, like(3, b, x)), b.pow(x, like(-0.5, b, x))), (2, 3), F32),
    "sum_of_repeated": (lambda b, x: b.sum(b.broadcast(x, (BATCH, 2, 3, 4), (1, 2)), [0, 2, 3]), (2, 3), F32),
    "slice": (lambda b, x: b.slice_axis(b.slice_axis(x, 1, 2, 11, 2), 1, 1, 4, 1), (BATCH, 12), F32),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str, golden: Callable[[str, str], None]) -> None:
    graph = graph_of(*GOLDEN[name])
    golden(f"passes/simplify_{name}", print_graph(graph) + "\n" + print_graph(simplify(graph)))
