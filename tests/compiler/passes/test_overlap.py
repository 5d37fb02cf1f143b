"""Sums of overlapping windows gathered by phases: the same numbers as scattering them, whatever the sizes, strides and dilations.

If these fail, a network with convolution or pooling learns from a gradient that is not its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from native_graph import run_natively
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Array
from ranvier.compiler.ir.ops import Contract, Position, Reduce, Source
from ranvier.compiler.ir.printer import print_graph
from ranvier.compiler.ir.types import BATCH, F64, I32, Shape, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.ir.windows import OverlapAdd, Sliding, Window
from ranvier.compiler.passes.autodiff import differentiate
from ranvier.compiler.passes.overlap import gather_overlaps
from ranvier.compiler.passes.pipeline import PASSES
from ranvier.compiler.passes.simplify import simplify

ROWS = 2


@dataclass(frozen=True)
class Case:
    """Windows of `counts` along axes 1, …, each with `channels`; a stretch of their sum is asked for."""

    sliding: Sliding
    counts: tuple[int, ...]
    channels: int
    lengths: tuple[int, ...]
    offset: tuple[int, ...]

    @property
    def shape(self) -> Shape:
        """All windows: the batch, the counts, the places, the channels."""
        return (BATCH, *self.counts, *self.sliding.size, self.channels)

    @property
    def covered(self) -> tuple[int, ...]:
        """Elements that the windows lie on."""
        counted = zip(self.counts, self.sliding.stride, strict=True)
        return tuple(stride * (count - 1) + self.sliding.reach(n) for n, (count, stride) in enumerate(counted))

    @property
    def counting(self) -> tuple[int, ...]:
        """The axes that count windows, and those of the batch and the channels."""
        return (0, *self.sliding.axes, len(self.shape) - 1)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Whole sums mostly; stretches of them, and stretches beyond the last window too."""
    rank = draw(st.integers(1, 2))
    counts, size, dilation = (tuple(draw(st.integers(1, 3)) for _ in range(rank)) for _ in range(3))
    stride = tuple(draw(st.integers(1, 4)) for _ in range(rank))
    sliding = Sliding(tuple(range(1, rank + 1)), size, stride, dilation)
    whole = Case(sliding, counts, draw(st.integers(1, 2)), (), ())
    if draw(st.booleans()):
        return Case(sliding, counts, whole.channels, whole.covered, (0,) * rank)
    offset = tuple(draw(st.integers(0, n)) for n in whole.covered)
    return Case(sliding, counts, whole.channels, tuple(draw(st.integers(1, n + 2)) for n in whole.covered), offset)


Make = Callable[[Build, Case], int]


def source(build: Build, name: str, shape: Shape) -> int:
    return build.add_op(Source("input", name, TensorType(F64, shape)))


def small(case: Case, shape: Shape, seed: int) -> Array:
    """Whole numbers from 1 to 3, so that sums and products are exact in any order and nothing divides by 0."""
    extents = tuple(d if isinstance(d, int) else ROWS for d in shape)
    return np.random.default_rng(seed + math.prod(extents)).integers(1, 4, extents).astype(np.float64)


def overlapping(case: Case, make: Make) -> tuple[Graph, dict[str, Array]]:
    """The graph that adds up what `make` makes, and arrays for its sources."""
    graph = Graph("overlap")
    build = Build(graph, F64)
    graph.outputs = {"y": build.add_op(OverlapAdd(case.sliding, case.lengths, case.offset), make(build, case))}
    arrays = {node.op.label: small(case, node.type.shape, n) for n, node in enumerate(graph) if isinstance(node.op, Source)}
    return verify(graph, "test"), arrays


def names(graph: Graph) -> set[str]:
    return {node.op.name for node in graph}


def assert_gathered(case: Case, make: Make, **given: Array) -> Graph:
    """The gathered graph, which holds no scattering sum and gives the same numbers (on `given` arrays)."""
    graph, arrays = overlapping(case, make)
    arrays |= given
    gathered = verify(gather_overlaps(graph), "overlap")
    assert "overlap_add" not in names(gathered)
    expected, found = (evaluate(g, arrays, rows=ROWS)["y"] for g in (graph, gathered))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-10)
    return gathered


# --- contractions


def convolution(build: Build, case: Case, *, swapped: bool = False, groups: int = 0) -> int:
    """The windows that a convolution's data gradient adds up: of 3 channels for each of the result's (in each group)."""
    rank = len(case.counts)
    counts, places = range(1, rank + 1), range(rank + 1, 2 * rank + 1)
    channel, inner, group = 2 * rank + 1, 2 * rank + 2, 2 * rank + 3
    shared, extent = ((group,), (groups,)) if groups else ((), ())
    given_labels, weight_labels = (0, *counts, *shared, inner), (*places, channel, *shared, inner)
    out = (0, *counts, *places, *shared, channel)
    values = [source(build, "g", (BATCH, *case.counts, *extent, 3)), source(build, "w", (*case.sliding.size, case.channels, *extent, 3))]
    if swapped:
        return build.add_op(Contract(weight_labels, given_labels, out), values[1], values[0])
    return build.add_op(Contract(given_labels, weight_labels, out), *values)


@settings(max_examples=150, deadline=None)
@given(cases(), st.booleans(), st.sampled_from([0, 2]))
def test_a_contraction_stays_one(case: Case, swapped: bool, groups: int) -> None:
    gathered = assert_gathered(case, lambda build, c: convolution(build, c, swapped=swapped, groups=groups))
    assert names(gathered) <= {"source", "window", "pad", "slice", "reverse", "contract", "weave", "constant", "broadcast", "reshape"}
    for node in gathered:
        assert node.op.name != "broadcast" or gathered[node.inputs[0]].op.name == "constant"


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 3))
def test_contractions_that_mix_windows_and_places(case: Case, form: int) -> None:
    """Factors that share a counted axis or a place, that hold the counts apart or in another order: none has windows of its own."""
    rank = len(case.counts)
    counts, places = tuple(range(1, rank + 1)), tuple(range(rank + 1, 2 * rank + 1))
    channel, inner = 2 * rank + 1, 2 * rank + 2
    left, right = (
        ((0, *counts, inner), (counts[0], *places, channel, inner)),
        ((0, *counts, *places, inner), (channel, inner)),
        ((0, *reversed(counts), inner), (*places, channel, inner)),
        ((0, counts[0], inner, *counts[1:]), (*reversed(places), inner, channel)),
    )[form]
    extent = dict(enumerate((BATCH, *case.counts, *case.sliding.size, case.channels, 2)))

    def make(build: Build, c: Case) -> int:
        factors = [source(build, name, tuple(extent[x] for x in labels)) for name, labels in (("g", left), ("w", right))]
        return build.add_op(Contract(left, right, (0, *counts, *places, channel)), *factors)

    assert_gathered(case, make)


# --- elementwise work


def spread(build: Build, case: Case, name: str, axes: tuple[int, ...]) -> int:
    return build.broadcast(source(build, name, tuple(case.shape[a] for a in axes)), case.shape, axes)


def windows(build: Build, case: Case) -> int:
    return build.add_op(Window(case.sliding), source(build, "x", (BATCH, *case.covered, case.channels)))


def largest(build: Build, case: Case) -> int:
    """The gradient of max pooling: what is given goes to every element equal to the largest of its window."""
    values = windows(build, case)
    most = build.broadcast(build.reduce("max", values, case.sliding.inside), case.shape, case.counting)
    given = spread(build, case, "g", case.counting)
    return build.select(build.eq(values, most), given, build.zeros_like(given))


def first_largest(build: Build, case: Case) -> int:
    """The same, to the first such element alone: places are compared."""
    inside = case.sliding.inside
    place = build.broadcast(build.add_op(Reduce("argmax", inside), windows(build, case)), case.shape, case.counting)
    strides = [0] * len(case.shape)
    for n, axis in enumerate(inside):
        strides[axis] = math.prod(case.sliding.size[n + 1 :])
    counter = build.add_op(Position(case.shape, tuple(strides), I32))
    given = spread(build, case, "g", case.counting)
    return build.select(build.eq(counter, place), given, build.zeros_like(given))


def mean(build: Build, case: Case) -> int:
    given = spread(build, case, "g", case.counting)
    return build.scale(given, 0.25)


def depthwise(build: Build, case: Case) -> int:
    places = (*case.sliding.inside, len(case.shape) - 1)
    return build.mul(spread(build, case, "g", case.counting), spread(build, case, "w", places))


MOVED: dict[str, Make] = {"max": largest, "first max": first_largest, "mean": mean, "depthwise": depthwise}


@pytest.mark.parametrize("name", MOVED)
@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_elementwise_work_is_done_on_moved_operands(name: str, case: Case) -> None:
    gathered = assert_gathered(case, MOVED[name])
    assert "skew" not in names(gathered)


SKEWED: dict[str, Make] = {
    "stored windows": lambda b, c: source(b, "y", c.shape),
    "not 0 at the edge": lambda b, c: b.exp(spread(b, c, "g", c.counting)),
    "a quotient": lambda b, c: b.div(spread(b, c, "g", c.counting), spread(b, c, "h", c.counting)),
    "windows of another kind": lambda b, c: b.mul(windows(b, c), source(b, "y", c.shape)),
    "some counts": lambda b, c: b.mul(spread(b, c, "g", (1, len(c.shape) - 1)), spread(b, c, "w", c.sliding.inside)),
    "counters of windows": lambda b, c: b.cast(b.position(c.shape, 1), F64),
}


@pytest.mark.parametrize("name", SKEWED)
@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_what_is_not_moved_is_read_askew(name: str, case: Case) -> None:
    assert_gathered(case, SKEWED[name])


@st.composite
def works(draw: st.DrawFn, depth: int = 3) -> Make:
    """Random elementwise work on values that have all windows, their counts, their places, or neither."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(LEAVES))
    row = draw(st.sampled_from(("add", "sub", "mul", "mul", "max", "div", "neg", "abs", "log", "rsqrt", "select")))
    parts = [draw(works(depth - 1)) for _ in range(1 if row in ("neg", "abs", "log", "rsqrt") else 3 if row == "select" else 2)]

    def make(build: Build, case: Case) -> int:
        values = [part(build, case) for part in parts]
        if row == "select":
            return build.select(build.gt(values[0], build.constant_like(1.5, values[0])), *values[1:])
        return build.apply(row, *values)

    return make


LEAVES: tuple[Make, ...] = (
    lambda b, c: spread(b, c, "g", c.counting),
    lambda b, c: spread(b, c, "h", c.sliding.axes),
    lambda b, c: spread(b, c, "w", (*c.sliding.inside, len(c.shape) - 1)),
    lambda b, c: spread(b, c, "v", c.sliding.inside[:1]),
    lambda b, c: spread(b, c, "s", (0,)),
    windows,
    lambda b, c: b.broadcast(b.constant(0.0), c.shape, ()),
    lambda b, c: b.broadcast(b.constant(2.0), c.shape, ()),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases(), works())
def test_any_elementwise_work(case: Case, work: Make) -> None:
    """Wherever the work is finite: nothing is promised to a model that makes infinities of its own."""
    _graph, arrays = overlapping(case, work)
    values = Graph("values")
    values.outputs = {"y": work(Build(values, F64), case)}
    assume(np.isfinite(evaluate(values, arrays, rows=ROWS)["y"]).all())
    assert_gathered(case, work)


def counted_and_placed(build: Build, case: Case) -> int:
    """A value of all windows that is made of one of their counts and one of their places, and is 0 beyond the edge."""
    return build.mul(spread(build, case, "h", case.sliding.axes), spread(build, case, "w", case.sliding.inside))


INFINITE_AT_ZERO: dict[str, Make] = {
    "quotient": lambda b, c: b.div(
        b.constant_like(1.0, given := spread(b, c, "w", c.sliding.inside)), b.mul(given, counted_and_placed(b, c))
    ),
    "logarithm": lambda b, c: b.log(counted_and_placed(b, c)),
    "reciprocal root": lambda b, c: b.apply("rsqrt", counted_and_placed(b, c)),
    "power": lambda b, c: b.pow(counted_and_placed(b, c), b.constant_like(-1.5, counted_and_placed(b, c))),
}


@pytest.mark.parametrize("name", INFINITE_AT_ZERO)
def test_zero_times_infinity_beyond_the_edge_adds_nothing(name: str) -> None:
    """The zeros that stand beyond the edge are no values of the model: what they are divided by is not a number, and no part of a sum."""
    case = Case(Sliding((1,), (2,), (1,), (1,)), (3,), 1, (4,), (0,))
    assert_gathered(case, lambda build, c: build.mul(spread(build, c, "g", c.counting), INFINITE_AT_ZERO[name](build, c)))


def test_elements_that_no_window_shows_at_a_place_add_nothing_there() -> None:
    """The first element, 1, is never the second of a window: 1 - 3 has no root, and is not asked for one."""
    case = Case(Sliding((1,), (2,), (1,), (1,)), (3,), 1, (4,), (0,))

    def make(build: Build, c: Case) -> int:
        apart = build.sub(windows(build, c), build.scale(build.cast(build.position(c.shape, 2), F64), 3.0))
        return build.mul(spread(build, c, "g", c.counting), build.apply("rsqrt", apart))

    assert_gathered(case, make, x=np.array([[[1.0], [5.0], [6.0], [7.0]]] * ROWS))


# --- the whole


def test_a_graph_without_overlaps_is_left_as_it_is() -> None:
    graph = Graph("overlap")
    build = Build(graph, F64)
    graph.outputs = {"y": build.neg(source(build, "x", (3,)))}
    assert gather_overlaps(graph) is graph


def test_parts_beyond_the_windows_are_zero() -> None:
    case = Case(Sliding((1,), (2,), (1,), (1,)), (3,), 1, (3,), (9,))
    graph, arrays = overlapping(case, convolution)
    found = evaluate(verify(gather_overlaps(graph), "overlap"), arrays, rows=ROWS)["y"]
    np.testing.assert_array_equal(found, np.zeros((ROWS, 3, 1)))


@settings(max_examples=60, deadline=None)
@given(cases(), st.sampled_from([convolution, largest, depthwise, SKEWED["stored windows"]]))
def test_a_stretch_of_a_sum_is_the_sum_of_that_stretch(case: Case, make: Make) -> None:
    """A slice of the result, as padding leaves one behind, moves into the sum."""
    whole = Case(case.sliding, case.counts, case.channels, case.covered, (0,) * len(case.counts))
    graph, arrays = overlapping(whole, make)
    build, value = Build(graph, F64), graph.outputs["y"]
    for axis, length in zip(case.sliding.axes, case.covered, strict=True):
        value = build.slice_axis(value, axis, length // 3, length)
    graph.outputs = {"y": value}
    simple = verify(simplify(graph), "simplify")
    gathered = verify(gather_overlaps(simple), "overlap")
    assert isinstance(simple[simple.outputs["y"]].op, OverlapAdd)
    expected = evaluate(graph, arrays, rows=ROWS)["y"]
    np.testing.assert_allclose(evaluate(gathered, arrays, rows=ROWS)["y"], expected, rtol=1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(cases(), st.sampled_from([convolution, largest, first_largest, depthwise, SKEWED["stored windows"], SKEWED["a quotient"]]))
def test_natively(case: Case, make: Make) -> None:
    """What all passes make of it is what compiled code computes."""
    graph, arrays = overlapping(case, make)
    passed = graph
    for _, run in PASSES:
        passed = run(passed)
    found = run_natively(passed, arrays, ROWS)["y"]
    np.testing.assert_allclose(found, evaluate(graph, arrays, rows=ROWS)["y"], rtol=1e-12, atol=1e-12)


def data_gradient(stride: int) -> Graph:
    """That of a convolution of 5 by 4 pixels of 2 channels by a kernel of 3 by 2, into 3 channels."""
    graph = Graph("convolution")
    build = Build(graph, F64)
    x, w = source(build, "x", (BATCH, 5, 4, 2)), source(build, "w", (3, 2, 2, 3))
    patches = build.add_op(Window(Sliding((1, 2), (3, 2), (stride, stride), (1, 1))), build.frame(x, 1, 1, 1))
    y = build.add_op(Contract((0, 1, 2, 3, 4, 5), (3, 4, 5, 6), (0, 1, 2, 6)), patches, w)
    loss = build.sum(build.mul(y, source(build, "g", build.type(y).shape)), range(4))
    graph.outputs = {"dx": differentiate(build, loss, [x])[0]}
    return simplify(graph)


@pytest.mark.parametrize("stride", [1, 2])
def test_golden(stride: int, golden: Callable[[str, str], None]) -> None:
    graph = data_gradient(stride)
    golden(f"passes/overlap_stride_{stride}", print_graph(graph) + "\n" + print_graph(gather_overlaps(graph)))
