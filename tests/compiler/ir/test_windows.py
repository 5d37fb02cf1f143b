"""Padding, windows, their adjoint and the other walks over axes against plain loops. A class without a case fails.

If these fail, a convolution adds up other pixels than its kernel lies on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from ranvier.compiler.ir import windows
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Array, Op, ShapeError
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.printer import print_graph
from ranvier.compiler.ir.types import BATCH, F32, F64, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.ir.windows import OverlapAdd, Pad, Reverse, Skew, Sliding, Weave, Window

ROWS = 2


@dataclass(frozen=True)
class Case:
    """An operation, arrays for its operands and what it should give; the first axis of all of them is the batch."""

    op: Op
    inputs: tuple[Array, ...]
    expected: Array


def distinct(shape: Sequence[int]) -> Array:
    """Numbers in no order, no two alike."""
    count = int(np.prod(shape))
    return (np.random.default_rng(count).permutation(count).reshape(shape) + 0.25) / 3 - 1


@st.composite
def slidings(draw: st.DrawFn) -> Sliding:
    """Windows over one or two axes: neighbours or with an axis between them."""
    axes = draw(st.sampled_from([(1,), (2,), (1, 2), (1, 3), (2, 3)]))
    size, stride, dilation = (tuple(draw(st.integers(1, most)) for _ in axes) for most in (3, 4, 3))
    return Sliding(axes, size, stride, dilation)


@st.composite
def pads(draw: st.DrawFn) -> Case:
    x = distinct((ROWS, *draw(st.lists(st.integers(1, 3), max_size=3))))
    before, after = ((0, *(draw(st.integers(0, 3)) for _ in x.shape[1:])) for _ in range(2))
    number = draw(st.sampled_from([0.0, -1.5, float("inf"), float("-inf")]))
    expected = np.full([b + n + a for b, n, a in zip(before, x.shape, after, strict=True)], number)
    for place in np.ndindex(x.shape):
        expected[tuple(p + b for p, b in zip(place, before, strict=True))] = x[place]
    return Case(Pad(before, after, number), (x,), expected)


def shape_around(draw: st.DrawFn, sliding: Sliding, counts: Sequence[int]) -> list[int]:
    """Extents of a value with `counts` windows along the axes, and some elements more that no window reaches."""
    shape = [ROWS, *(draw(st.integers(1, 2)) for _ in range(4))]
    for n, (axis, count) in enumerate(zip(sliding.axes, counts, strict=True)):
        shape[axis] = sliding.stride[n] * (count - 1) + sliding.reach(n) + draw(st.integers(0, sliding.stride[n] - 1))
    return shape[: draw(st.integers(sliding.axes[-1] + 1, 5))]


def joined(sliding: Sliding, outer: Sequence[int], inside: Sequence[int]) -> tuple[int, ...]:
    """An index of a value of windows: `inside` stands behind the last windowed axis."""
    first = sliding.inside[0]
    return (*outer[:first], *inside, *outer[first:])


def read_from(sliding: Sliding, outer: Sequence[int], inside: Sequence[int]) -> tuple[int, ...]:
    """The element that a place of a window is."""
    place = list(outer)
    for n, axis in enumerate(sliding.axes):
        place[axis] = sliding.stride[n] * outer[axis] + sliding.dilation[n] * inside[n]
    return tuple(place)


@st.composite
def windowings(draw: st.DrawFn) -> Case:
    sliding = draw(slidings())
    counts = [draw(st.integers(1, 3)) for _ in sliding.axes]
    x = distinct(shape_around(draw, sliding, counts))
    outer = list(x.shape)
    for axis, count in zip(sliding.axes, counts, strict=True):
        outer[axis] = count
    expected = np.zeros(joined(sliding, outer, sliding.size))
    for at in np.ndindex(*outer):
        for inside in np.ndindex(*sliding.size):
            expected[joined(sliding, at, inside)] = x[read_from(sliding, at, inside)]
    return Case(Window(sliding), (x,), expected)


@st.composite
def overlaps(draw: st.DrawFn) -> Case:
    """Parts of the covered stretch and stretches beyond it, also ones that no window touches."""
    sliding = draw(slidings())
    outer = [ROWS, *(draw(st.integers(1, 3)) for _ in range(draw(st.integers(sliding.axes[-1], 4))))]
    x = distinct(joined(sliding, outer, sliding.size))
    offset = tuple(draw(st.integers(0, 4)) for _ in sliding.axes)
    lengths = tuple(draw(st.integers(1, 12)) for _ in sliding.axes)
    shape = list(outer)
    for axis, length in zip(sliding.axes, lengths, strict=True):
        shape[axis] = length
    expected = np.zeros(shape)
    for at in np.ndindex(*outer):
        for inside in np.ndindex(*sliding.size):
            place = list(read_from(sliding, at, inside))
            for n, axis in enumerate(sliding.axes):
                place[axis] -= offset[n]
            if all(0 <= place[axis] < shape[axis] for axis in sliding.axes):
                expected[tuple(place)] += x[joined(sliding, at, inside)]
    return Case(OverlapAdd(sliding, lengths, offset), (x,), expected)


@st.composite
def weaves(draw: st.DrawFn) -> Case:
    """Also with strides longer than the axis, of which fewer operands are woven."""
    axes = draw(st.sampled_from([(1,), (2,), (1, 2), (1, 3)]))
    stride = tuple(draw(st.integers(1, 3)) for _ in axes)
    whole = distinct((ROWS, *(draw(st.integers(1, 5)) for _ in range(draw(st.integers(axes[-1], 3))))))
    lengths = tuple(whole.shape[a] for a in axes)
    parts = []
    for remainders in np.ndindex(*(min(s, n) for s, n in zip(stride, lengths, strict=True))):
        turns = [list(range(n)) for n in whole.shape]
        for axis, by, first in zip(axes, stride, remainders, strict=True):
            turns[axis] = [p for p in turns[axis] if p % by == first]
        parts.append(whole[np.ix_(*turns)])
    return Case(Weave(axes, stride, lengths), tuple(parts), whole)


@st.composite
def reversals(draw: st.DrawFn) -> Case:
    x = distinct((ROWS, *(draw(st.integers(1, 4)) for _ in range(draw(st.integers(1, 3))))))
    axes = tuple(sorted(draw(st.sets(st.integers(1, x.ndim - 1), min_size=1))))
    expected = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        expected[tuple(x.shape[n] - 1 - p if n in axes else p for n, p in enumerate(place))] = x[place]
    return Case(Reverse(axes), (x,), expected)


@st.composite
def skews(draw: st.DrawFn) -> Case:
    axes, inside = draw(st.sampled_from([((1,), (2,)), ((1,), (3,)), ((1, 2), (3, 4))]))
    dilation = tuple(draw(st.integers(1, 3)) for _ in axes)
    shape = [ROWS, *(draw(st.integers(1, 3)) for _ in range(inside[-1]))]
    kept = list(shape)
    for axis, place, by in zip(axes, inside, dilation, strict=True):
        shape[axis] = kept[axis] + by * (shape[place] - 1)
    x = distinct(shape)
    expected = np.zeros(kept)
    for at in np.ndindex(*kept):
        source = list(at)
        for axis, place, by in zip(axes, inside, dilation, strict=True):
            source[axis] = at[axis] + by * (shape[place] - 1 - at[place])
        expected[at] = x[tuple(source)]
    return Case(Skew(axes, inside, dilation), (x,), expected)


CASES: dict[type[Op], st.SearchStrategy[Case]] = {
    Pad: pads(),
    Window: windowings(),
    OverlapAdd: overlaps(),
    Weave: weaves(),
    Reverse: reversals(),
    Skew: skews(),
}


def test_every_class_has_a_case() -> None:
    own = {c for c in vars(windows).values() if isinstance(c, type) and c.__module__ == windows.__name__}
    assert {c for c in own if issubclass(c, Op)} == set(CASES)


def graph_of(case: Case) -> Graph:
    graph = Graph("windows")
    kinds = [TensorType(F64, (BATCH, *array.shape[1:])) for array in case.inputs]
    graph.outputs = {"y": graph.add(case.op, [graph.add(Source("input", f"x{n}", kind)) for n, kind in enumerate(kinds)])}
    return graph


@pytest.mark.parametrize("kind", CASES, ids=lambda c: c.__name__)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_meaning_and_type(kind: type[Op], data: st.DataObject) -> None:
    case = data.draw(CASES[kind])
    graph = verify(graph_of(case), "test")
    found = evaluate(graph, {f"x{n}": array for n, array in enumerate(case.inputs)}, rows=ROWS)["y"]
    assert found.shape == (ROWS, *graph.type(graph.outputs["y"]).shape[1:])
    np.testing.assert_allclose(found, case.expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind is not Skew], ids=lambda c: c.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_gradient(kind: type[Op], data: st.DataObject) -> None:
    """Not of Skew, which is made after differentiation. A frame of infinities has no finite weighted sum."""
    case = data.draw(CASES[kind].filter(lambda c: bool(np.isfinite(c.expected).all() and c.expected.any())))
    named = {f"x{n}": array for n, array in enumerate(case.inputs)}
    check_gradients(lambda build, *values: build.add_op(case.op, *values), named, rows=ROWS, batched=True)


def test_gradient_of_sums_of_no_window() -> None:
    """All that is held lies beyond the last window: the result is 0, and so is what flows back."""
    x = np.ones((ROWS, 3, 2))
    check_gradients(lambda build, value: build.add_op(OverlapAdd(over(1), (2,), (6,)), value), {"x": x}, rows=ROWS, batched=True)


@pytest.mark.parametrize(("op", "line"), [
    (Window(Sliding((1,), (2,), (1,), (1,))), "window(%0, axes=[1], size=[2])"),
    (Window(Sliding((1,), (2,), (2,), (3,))), "window(%0, axes=[1], size=[2], stride=[2], dilation=[3])"),
    (OverlapAdd(Sliding((1,), (3,), (1,), (1,)), (9,), (0,)), "overlap_add(%0, axes=[1], size=[3], lengths=[9])"),
    (OverlapAdd(Sliding((1,), (3,), (2,), (1,)), (9,), (4,)), "overlap_add(%0, axes=[1], size=[3], stride=[2], lengths=[9], offset=[4])"),
])  # fmt: skip
def test_only_what_is_unusual_is_printed(op: Op, line: str) -> None:
    assert line in print_graph(graph_of(Case(op, (np.zeros((1, 7, 3)),), np.zeros(0))))


def f32(*shape: object) -> TensorType:
    return TensorType(F32, shape)  # type: ignore[arg-type]


def over(*axes: int, size: int = 2, stride: int = 1, dilation: int = 1) -> Sliding:
    return Sliding(axes, *((number,) * len(axes) for number in (size, stride, dilation)))


ALONG_NOTHING = "windows slide along at least one axis, with sizes, strides and dilations of at least 1"

REFUSED: list[tuple[Op, tuple[TensorType, ...], str, tuple[int, ...]]] = [
    (Pad((1,), (1,), 0.0), (f32(2, 3),), "padding by [1] and [1] does not fit f32[2, 3]", (0,)),
    (Pad((0, 1), (0,), 0.0), (f32(2, 3),), "padding by [0, 1] and [0] does not fit f32[2, 3]", (0,)),
    (Pad((0, -1), (0, 0), 0.0), (f32(2, 3),), "padding by [0, -1] and [0, 0] does not fit f32[2, 3]", (0,)),
    (Pad((0, 0), (1, 0), 0.0), (f32(BATCH, 3),), "the axis batch of f32[batch, 3] is not padded", (0,)),
    (Window(Sliding((), (), (), ())), (f32(5),), ALONG_NOTHING, ()),
    (Window(over(0, size=0)), (f32(5),), ALONG_NOTHING, ()),
    (Window(over(0, stride=0)), (f32(5),), ALONG_NOTHING, ()),
    (Window(over(0, dilation=0)), (f32(5),), ALONG_NOTHING, ()),
    (Window(Sliding((0, 1), (2,), (1, 1), (1, 1))), (f32(5, 5),), ALONG_NOTHING, ()),
    (Window(over(1, 0)), (f32(5, 5),), "axes [1, 0] are not in order, each once, of a value with 2", (0,)),
    (Window(over(1, 1)), (f32(5, 5),), "axes [1, 1] are not in order, each once, of a value with 2", (0,)),
    (Window(over(2)), (f32(5, 5),), "axes [2] are not in order, each once, of a value with 2", (0,)),
    (Window(over(-1)), (f32(5, 5),), "axes [-1] are not in order, each once, of a value with 2", (0,)),
    (Window(over(0, size=6)), (f32(5),), "a window of 6 does not fit an axis of 5", (0,)),
    (Window(over(0, size=3, dilation=3)), (f32(6),), "a window of 7 does not fit an axis of 6", (0,)),
    (Window(over(0)), (f32(BATCH, 5),), "a window of 2 does not fit an axis of batch", (0,)),
    (OverlapAdd(over(0), (5,), (0,)), (f32(4, 3),), "f32[4, 3] are not windows of [2]", (0,)),
    (OverlapAdd(over(0), (0,), (0,)), (f32(4, 2),), "f32[4, 2] are not windows of [2]", (0,)),
    (OverlapAdd(over(0), (5,), (-1,)), (f32(4, 2),), "f32[4, 2] are not windows of [2]", (0,)),
    (OverlapAdd(over(1), (5,), (0,)), (f32(4, 2),), "axes [1] are not in order, each once, of a value with 1", (0,)),
    (Weave((0,), (2,), (5,)), (f32(3),), "2 values are woven, not 1", ()),
    (Weave((0,), (2,), (5,)), (f32(3), f32(3)), "f32[3] cannot be woven, [2] is wanted", (1,)),
    (Weave((0,), (2,), (4,)), (f32(2, 3), f32(2, 4)), "f32[2, 4] cannot be woven, [2, 3] is wanted", (1,)),
    (Reverse((2,)), (f32(2, 3),), "axes [2] of f32[2, 3] cannot be reversed", (0,)),
    (Reverse((-1,)), (f32(2, 3),), "axes [-1] of f32[2, 3] cannot be reversed", (0,)),
    (Reverse((0,)), (f32(BATCH, 3),), "axes [0] of f32[batch, 3] cannot be reversed", (0,)),
    (Skew((0,), (1,), (2,)), (f32(4, 3),), "f32[4, 3] is too short to be skewed", (0,)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "types", "message", "guilty"), REFUSED, ids=[f"{n}-{row[0].name}" for n, row in enumerate(REFUSED)])
def test_message_and_guilty_operands(op: Op, types: tuple[TensorType, ...], message: str, guilty: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        op.infer(*types)
    assert str(caught.value) == message
    assert caught.value.operands == guilty
