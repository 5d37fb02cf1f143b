"""Values in frames: if a frame does not hold its number, every pixel at an edge is convolved with what happened to lie there before."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_graph import run_natively
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Array
from ranvier.compiler.ir.ops import Contract, Source
from ranvier.compiler.ir.types import BATCH, F64, Shape, Symbol, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.ir.windows import Pad, Reverse, Skew, Sliding, Window
from ranvier.compiler.kernels.lower import Lowered, lower
from ranvier.compiler.kernels.memory import SLACK, lifetimes, plan
from ranvier.compiler.kernels.model import Access, Axis, Load, Nest, Store
from ranvier.compiler.kernels.placement import Frame, Placement, dense, elements, framed, strips, view, with_frame
from ranvier.compiler.kernels.program import Launch
from ranvier.compiler.layout import Layout
from ranvier.compiler.passes.fusion import fuse

import ranvier as rv

ROWS = 3
GONE = -7.0
"""A number that stands for what nobody wrote."""


def extents(shape: Shape, rows: int = ROWS) -> tuple[int, ...]:
    return tuple(rows if isinstance(d, Symbol) else d for d in shape)


def addresses(place: Placement, rows: int = ROWS) -> Array:
    """The element of the buffer where each element of a placed value lies."""
    grids = np.indices(extents(place.shape, rows), sparse=True)
    return np.asarray(place.offset + sum(stride * grid for stride, grid in zip(place.strides, grids, strict=True)))


def frame_addresses(place: Placement, rows: int = ROWS) -> set[int]:
    return {int(a) for strip in strips(place) for a in addresses(strip, rows).flat}


def sided(draw: st.DrawFn, shape: Shape, most: int = 2) -> Frame:
    """Elements before and after each axis but the batch."""
    return tuple((0, 0) if isinstance(d, Symbol) else (draw(st.integers(0, most)), draw(st.integers(0, most))) for d in shape)


@st.composite
def framings(draw: st.DrawFn, batched: bool | None = None) -> tuple[TensorType, Frame]:
    lead = [BATCH] if (draw(st.booleans()) if batched is None else batched) else []
    shape: Shape = (*lead, *(draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 3)))))
    return TensorType(F64, shape), sided(draw, shape)


# --- placements


@given(framings())
def test_a_framed_value_lies_in_the_middle_of_the_whole(framing: tuple[TensorType, Frame]) -> None:
    kind, frame = framing
    place = framed("x", kind, frame, 0.0)
    memory = np.full(elements(place, ROWS), GONE)
    for strip in strips(place):
        memory[addresses(strip)] = 0.5
    memory[addresses(place)] = np.arange(np.prod(extents(kind.shape))).reshape(extents(kind.shape))
    found = with_frame(place, pad_of(frame, 0.0))
    expected = np.pad(memory[addresses(place)], frame, constant_values=0.5)
    if not any(map(any, frame)):
        assert strips(place) == []
    assert found is not None
    assert found.frame == tuple((0, 0) for _ in frame)
    np.testing.assert_array_equal(memory[addresses(found)], expected)


def pad_of(frame: Sequence[tuple[int, int]], number: float) -> Pad:
    return Pad(tuple(b for b, _ in frame), tuple(a for _, a in frame), number)


@given(framings(), st.data())
def test_a_narrower_frame_is_seen_in_a_wider_one(framing: tuple[TensorType, Frame], data: st.DataObject) -> None:
    kind, frame = framing
    place = framed("x", kind, frame, -1.0)
    narrow = tuple((data.draw(st.integers(0, b)), data.draw(st.integers(0, a))) for b, a in frame)
    memory = np.full(elements(place, ROWS), -1.0)
    memory[addresses(place)] = 2.0
    found = with_frame(place, pad_of(narrow, -1.0))
    assert found is not None
    np.testing.assert_array_equal(memory[addresses(found)], np.pad(np.full(extents(kind.shape), 2.0), narrow, constant_values=-1.0))
    rest = with_frame(found, pad_of(found.frame, -1.0))
    assert rest is not None
    assert addresses(rest).size == addresses(with_frame(place, pad_of(frame, -1.0)) or place).size


@pytest.mark.parametrize(("before", "after", "number"), [
    ((0, 2, 0), (0, 1, 0), 0.0),
    ((0, 1, 0), (0, 2, 0), 0.0),
    ((0, 1, 1), (0, 1, 0), 0.0),
    ((0, 1, 0), (0, 1, 0), 1.0),
])  # fmt: skip
def test_a_frame_that_is_too_narrow_or_of_another_number_does_not_do(
    before: tuple[int, ...], after: tuple[int, ...], number: float
) -> None:
    place = framed("x", TensorType(F64, (BATCH, 4, 3)), ((0, 0), (1, 1), (0, 0)), 0.0)
    assert with_frame(place, Pad(before, after, number)) is None
    assert with_frame(dense("x", TensorType(F64, (BATCH, 4, 3))), Pad((0, 1, 0), (0, 1, 0), 0.0)) is None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_views_of_windows_address_what_the_reference_reads(data: st.DataObject) -> None:
    """Chains of padding, windows, reversal and skewing of a framed value, as far as strides express them: all but a wider frame."""
    shape = (2, data.draw(st.integers(2, 5)), data.draw(st.integers(2, 5)), 2)
    build = Build(Graph("views"), F64)
    node = build.add_op(Source("input", "x", TensorType(F64, shape)))
    frame = sided(data.draw, shape)
    place = framed("x", build.type(node), frame, 0.0)
    memory = np.zeros(elements(place, 0))
    memory[addresses(place)] = np.random.default_rng(0).standard_normal(shape)
    arrays = {"x": memory[addresses(place)]}
    for step in data.draw(st.lists(st.sampled_from(["pad", "window", "reverse", "skew", "slice"]), min_size=1, max_size=4)):
        made = stepped(build, node, place, step, data.draw)
        if made is None:
            continue
        found = view(build.graph, made, place)
        assert found is not None
        node, place = made, found
        build.graph.outputs = {"y": node}
        np.testing.assert_array_equal(memory[addresses(place, 0)], evaluate(build.graph, arrays)["y"])


def stepped(build: Build, node: int, place: Placement, step: str, draw: st.DrawFn) -> int | None:
    """A view more, or None where none of the kind fits."""
    shape = [d for d in build.type(node).shape if isinstance(d, int)]
    if step == "pad":
        within = [(draw(st.integers(0, b)), draw(st.integers(0, a))) for b, a in place.frame]
        return build.add_op(pad_of(within, 0.0), node) if any(map(any, within)) else None
    if step == "reverse":
        return build.add_op(Reverse(tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))), node)
    if step == "slice":
        axis = draw(st.integers(0, len(shape) - 1))
        return build.slice_axis(node, axis, draw(st.integers(0, shape[axis] - 1)), shape[axis], draw(st.integers(1, 2)))
    if step == "window":
        axis, dilation = draw(st.integers(0, len(shape) - 1)), draw(st.integers(1, 2))
        size = draw(st.integers(1, (shape[axis] - 1) // dilation + 1))
        return build.add_op(Window(Sliding((axis,), (size,), (draw(st.integers(1, 3)),), (dilation,))), node)
    fitting = [(a, b) for a in range(len(shape)) for b in range(len(shape)) if a != b and shape[a] > shape[b] - 1]
    if not fitting:
        return None
    axis, inside = draw(st.sampled_from(fitting))
    return build.add_op(Skew((axis,), (inside,), (1,)), node)


# --- the memory plan


def copy(source: str, target: str) -> Launch:
    load, store = (Access(name, F64, (("i", 1),)) for name in (source, target))
    return Launch(Nest((Axis("i", 1),), (), (Load(load),), (Store(store, 0),)), "copy")


@st.composite
def temporaries(draw: st.DrawFn) -> dict[str, Placement]:
    """Few geometries, so that some are alike; some without a frame, some in a frame of another number."""
    geometries = draw(st.lists(framings(), min_size=1, max_size=3))
    found = {}
    for n in range(8):
        kind, frame = draw(st.sampled_from(geometries))
        if draw(st.integers(0, 3)) == 0 and isinstance(kind.shape[-1], int):
            kind = kind.with_shape((*kind.shape[:-1], kind.shape[-1] + 1))
        if draw(st.booleans()) and isinstance(kind.shape[0], int):
            kind = kind.with_shape((kind.shape[0] + draw(st.integers(0, 2)), *kind.shape[1:]))
        style = draw(st.sampled_from(["zeros", "zeros", "number", "none"]))
        found[f"t{n}"] = dense(f"t{n}", kind) if style == "none" else framed(f"t{n}", kind, frame, float(style == "number"))
    return found


MOVES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=12)


def assert_frames_stay(launches: Sequence[Launch], places: Mapping[str, Placement], rows: int = ROWS) -> None:
    """Nothing is ever written, by any launch and in any step, where a frame of zeros lies; what lives together lies apart."""
    found, total = plan(launches, places, rows)
    alive = {life.name: life for life in lifetimes(launches, places, rows)}
    zeros = {name: at for name, at in found.items() if any(map(any, places[name].frame)) and not places[name].fill}
    for name, at in zeros.items():
        kept = {at.offset // 8 + a for a in frame_addresses(places[name], rows)}
        for other, there in found.items():
            written = {there.offset // 8 + int(a) for a in addresses(places[other], rows).flat}
            written |= {there.offset // 8 + a for a in frame_addresses(places[other], rows)} if places[other].fill else set()
            assert not kept & written, f"{other} {places[other]} is written into the frame of {name} {places[name]}"
    for a in found.values():
        assert a.offset + a.bytes <= total
        for b in found.values():
            together = alive[a.name].first <= alive[b.name].last and alive[b.name].first <= alive[a.name].last
            assert a.name == b.name or not together or a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset


@settings(max_examples=150, deadline=None)
@given(temporaries(), MOVES)
def test_nobody_writes_into_a_frame_of_zeros(places: dict[str, Placement], moves: list[tuple[int, int]]) -> None:
    launches = [launch for a, b in moves for launch in (copy(f"t{a}", f"t{b}"), *[copy("idle", "idle")] * SLACK)]
    assert_frames_stay(launches, places)


def one_after_the_other(*names: str) -> list[Launch]:
    """Launches that touch one temporary each, `SLACK` others in between: none is needed any more when the next one is made."""
    return [copy(name if turn == 0 else "idle", name if turn == 0 else "idle") for name in names for turn in range(SLACK + 1)]


def test_values_without_a_batch_share_a_frame_only_at_one_length() -> None:
    """Of two parameters in frames, the longer one's last elements lie where the shorter one's frame does."""
    frame = ((1, 1), (0, 0))
    places = {name: framed(name, TensorType(F64, (length, 2)), frame, 0.0) for name, length in (("a", 7), ("b", 5))}
    assert_frames_stay(one_after_the_other("a", "b"), places)


def test_frames_of_one_geometry_share_memory_by_lifetime() -> None:
    kind, frame = TensorType(F64, (BATCH, 4, 2)), ((0, 0), (1, 1), (0, 0))
    places = {f"t{n}": framed(f"t{n}", kind, frame, 0.0) for n in range(3)}
    apart, _ = plan(one_after_the_other("t0", "t1", "t2"), places, ROWS)
    assert len({b.offset for b in apart.values()}) == 1
    together, _ = plan([copy("t0", "t1"), copy("t1", "t2")], places, ROWS)
    assert len({b.offset for b in together.values()}) == 3


@pytest.mark.parametrize("other", [
    dense("b", TensorType(F64, (BATCH, 4, 2))),
    framed("b", TensorType(F64, (BATCH, 4, 2)), ((0, 0), (0, 2), (0, 0)), 0.0),
    framed("b", TensorType(F64, (BATCH, 4, 2)), ((0, 0), (1, 1), (0, 0)), 1.0),
    framed("b", TensorType(F64, (BATCH, 2, 4)), ((0, 0), (1, 1), (0, 0)), 0.0),
    framed("b", TensorType(F64, (BATCH, 3, 2)), ((0, 0), (1, 2), (0, 0)), 0.0),
])  # fmt: skip
def test_another_geometry_lies_elsewhere(other: Placement) -> None:
    one = framed("a", TensorType(F64, (BATCH, 4, 2)), ((0, 0), (1, 1), (0, 0)), 0.0)
    found, _ = plan([copy("a", "a"), copy("b", "b")], {"a": one, "b": replace(other, buffer="b")}, ROWS)
    a, b = found["a"], found["b"]
    assert a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset


# --- lowering


def lowered(graph: Graph) -> Lowered:
    """The launches of a graph, its sources and outputs placed as a model places them."""
    layout, fusion = Layout(16, ROWS), fuse(graph)
    sources = {n.op.key: layout.place(n.op.key, n.type) for n in fusion.graph if isinstance(n.op, Source)}
    outputs = {name: layout.place(f"output:{name}", graph.type(value)) for name, value in fusion.graph.outputs.items()}
    return lower(fusion, sources, outputs, layout.panel, ROWS)


def kernels(graph: Graph) -> list[str]:
    return [launch.label.rpartition(": ")[2] for launch in lowered(graph).launches]


def frames(graph: Graph) -> list[tuple[Frame, float]]:
    return [(place.frame, place.fill) for place in lowered(graph).temporaries.values() if any(map(any, place.frame))]


SHAPE: Shape = (BATCH, 6, 5, 3)


class Sample:
    """A graph with an image `x` and kernels of 3 by 3 pixels, and arrays for its sources."""

    def __init__(self) -> None:
        self.graph = Graph("frames")
        self.build = Build(self.graph, F64)
        self.arrays: dict[str, Array] = {}
        self.x = self.source("x", SHAPE)

    def source(self, name: str, shape: Shape) -> int:
        self.arrays[name] = np.random.default_rng(len(self.arrays)).standard_normal(extents(shape))
        return self.build.add_op(Source("input", name, TensorType(F64, shape)))

    def convolved(self, value: int, size: int = 3) -> int:
        """A contraction of windows over both axes with a kernel of its own, into 3 channels."""
        patches = self.build.add_op(Window(Sliding((1, 2), (size, size), (1, 1), (1, 1))), value)
        weight = self.source(f"w{len(self.arrays)}", (size, size, 3, 3))
        return self.build.add_op(Contract((0, 1, 2, 3, 4, 5), (3, 4, 5, 6), (0, 1, 2, 6)), patches, weight)

    def largest(self, value: int, size: int = 3) -> int:
        return self.build.reduce("max", self.build.add_op(Window(Sliding((1, 2), (size, size), (1, 1), (1, 1))), value), (3, 4))

    def padded(self, value: int, by: int, number: float = 0.0) -> int:
        return self.build.add_op(pad_of(((0, 0), (by, by), (by, by), (0, 0)), number), value)

    def check(self, **outputs: int) -> None:
        self.graph.outputs = outputs
        verify(self.graph, "test")
        expected = evaluate(self.graph, self.arrays, rows=ROWS)
        found = run_natively(self.graph, self.arrays, ROWS)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-12, err_msg=name)


def test_padding_of_a_computed_value_is_where_it_is_placed() -> None:
    s = Sample()
    h = s.build.apply("tanh", s.x)
    s.check(y=s.largest(s.padded(h, 1)))
    assert frames(s.graph) == [(((0, 0), (1, 1), (1, 1), (0, 0)), 0.0)]
    assert "copy" not in kernels(s.graph)


def test_two_widths_around_one_value() -> None:
    s = Sample()
    h = s.build.apply("tanh", s.x)
    s.check(a=s.largest(s.padded(h, 1)), b=s.largest(s.padded(h, 2), 5), c=s.build.sum(h, (1, 2)))
    assert frames(s.graph) == [(((0, 0), (2, 2), (2, 2), (0, 0)), 0.0)]
    assert "copy" not in kernels(s.graph)


def test_widths_that_are_wider_on_different_sides() -> None:
    s = Sample()
    h = s.build.apply("tanh", s.x)
    parts = [s.build.add_op(Pad((0, *before, 0), (0, *after, 0), 0.0), h) for before, after in (((2, 0), (0, 1)), ((0, 1), (3, 0)))]
    s.check(a=s.largest(parts[0]), b=s.largest(parts[1]))
    assert frames(s.graph) == [(((0, 0), (2, 3), (1, 1), (0, 0)), 0.0)]


def test_frames_of_different_numbers_around_one_value() -> None:
    """One of them is where the value is placed, for the other it is copied."""
    s = Sample()
    h = s.build.apply("tanh", s.x)
    s.check(a=s.largest(s.padded(h, 1, -np.inf)), b=s.largest(s.padded(h, 1, 0.0)), c=s.largest(s.padded(h, 1, 0.25)))
    assert sorted(fill for _, fill in frames(s.graph)) == [-np.inf, 0.0, 0.25]


def test_frames_inside_frames() -> None:
    s = Sample()
    h = s.build.apply("tanh", s.x)
    inner = s.padded(h, 1, 2.0)
    s.check(a=s.largest(s.padded(inner, 1, -3.0)), b=s.largest(s.padded(s.padded(h, 1), 2)), c=s.build.sum(inner, (1, 2)))


def test_padding_of_an_input_is_a_copy() -> None:
    s = Sample()
    s.check(a=s.largest(s.padded(s.x, 1)), b=s.largest(s.padded(s.x, 2)))
    assert len(frames(s.graph)) == 2


def test_padding_of_what_a_reshape_reads_too() -> None:
    """The reshape wants it without gaps, the windows in a frame."""
    s = Sample()
    h = s.build.apply("tanh", s.x)
    flat = s.build.reshape(h, (BATCH, 90))
    s.check(a=s.largest(s.padded(h, 1)), b=s.build.matmul(flat, s.source("v", (90, 4))), c=s.build.reduce("max", flat, (1,)))


def test_padding_of_an_output() -> None:
    s = Sample()
    h = s.build.apply("tanh", s.x)
    s.check(h=h, y=s.largest(s.padded(h, 1)))


def test_a_frame_as_an_output() -> None:
    s = Sample()
    h = s.build.apply("tanh", s.x)
    s.check(y=s.padded(h, 1), z=s.padded(h, 1, 3.0), w=s.padded(s.x, 2))


def test_padding_of_parts_joined_and_of_a_part() -> None:
    s = Sample()
    h = s.build.apply("tanh", s.x)
    both = s.build.concat([h, s.build.neg(h)], 3)
    part = s.build.slice_axis(h, 1, 1, 5)
    joined = s.build.concat([s.padded(h, 1), s.padded(s.build.exp(h), 1)], 1)
    s.check(a=s.largest(s.padded(both, 1)), b=s.largest(s.padded(part, 1)), c=joined)


def test_padding_of_the_repeated_and_of_the_reversed() -> None:
    s = Sample()
    row = s.build.apply("tanh", s.source("r", (BATCH, 5)))
    h = s.build.apply("tanh", s.x)
    repeated = s.build.broadcast(row, SHAPE, (0, 2))
    s.check(a=s.largest(s.padded(repeated, 1)), b=s.largest(s.padded(s.build.add_op(Reverse((1, 2)), h), 1, -1.0)))


def test_a_chain_of_convolutions_of_one_shape() -> None:
    """Frames that many values take turns to lie in, of contractions written into the middle of them."""
    s = Sample()
    h = s.x
    for _ in range(5):
        h = s.build.apply("tanh", s.convolved(s.padded(s.build.neg(h), 1)))
    s.check(y=h)


def test_parameters_of_falling_lengths_in_frames() -> None:
    """Values without a batch that live one after the other, each shorter than the one before."""
    s = Sample()
    outputs = {}
    for length in range(12, 2, -1):
        value = s.build.apply("tanh", s.source(f"p{length}", (length, 2)))
        windows = s.build.add_op(Window(Sliding((0,), (3,), (1,), (1,))), s.build.frame(value, 0, 1, 1))
        outputs[f"y{length}"] = s.build.reduce("max", s.build.reduce("min", windows, (1,)), (1,))
    s.check(**outputs)


VIEWS: dict[str, Callable[[Sample, int], int]] = {
    "part": lambda s, h: s.build.slice_axis(h, 2, 1, 4),
    "every other": lambda s, h: s.build.slice_axis(h, 2, 0, 5, 2),
    "transposed": lambda s, h: s.build.transpose(h, (0, 2, 1, 3)),
    "reversed": lambda s, h: s.build.add_op(Reverse((1,)), h),
    "windows": lambda s, h: s.build.add_op(Window(Sliding((1, 2), (3, 2), (1, 2), (1, 1))), h),
    "padded": lambda s, h: s.padded(h, 1),
    "windows of the padded": lambda s, h: s.build.add_op(Window(Sliding((1,), (3,), (1,), (1,))), s.padded(h, 1)),
}


@pytest.mark.parametrize("use", ["factor", "output", "summand", "summed"])
@pytest.mark.parametrize("name", VIEWS)
def test_one_axis_of_a_view_that_strides_cannot_express_as_such(name: str, use: str) -> None:
    """As `x[:, 1:4] -> flatten -> dense(10)` and im2col written by hand ask for."""
    s = Sample()
    shown = VIEWS[name](s, s.build.apply("tanh", s.x))
    size = math.prod(d for d in s.build.type(shown).shape if isinstance(d, int))
    flat = s.build.reshape(shown, (BATCH, size))
    match use:
        case "factor":
            s.check(y=s.build.matmul(flat, s.source("v", (size, 4))))
        case "output":
            s.check(y=flat)
        case "summand":
            s.check(y=s.build.add(flat, s.source("b", (BATCH, size))))
        case _:
            s.check(y=s.build.sum(flat, (1,)))


# --- models


NET = """
model net() {
    input x: f32[7, 6, 2]
    target y: class[3]
    a = x -> conv2d(5) -> tanh
    b = a -> conv2d(5, padding = 2, kernel = 5) -> tanh -> conv2d(5, stride = 2) -> relu
    c = a -> maxpool(3, stride = 2, padding = 1)
    z = (b + c) -> conv2d(4) -> flatten -> dense(3)
    predict softmax(z)
    loss cross_entropy(z, y)
    metric accuracy(z, y)
}
train { optimizer = sgd(lr = 0.05) ; batch = 8 }
"""


def rows(count: int, seed: int = 0) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((count, 7, 6, 2)).astype(np.float32) + 3
    return {"x": x, "y": generator.integers(0, 3, count).astype(np.int32)}


def test_frames_are_still_zero_after_steps_of_different_sizes() -> None:
    """A model that has run anything gives the bits of a fresh one with its parameters."""
    used = rv.compile(NET, threads=2)
    for seed, count in enumerate((8, 3, 8, 1, 5)):
        used.step(rows(count, seed))
        used.predict(rows(2 * count, seed)["x"])
        used.gradients(rows(count, seed))
        used.evaluate(rows(3 * count, seed))
    fresh = rv.compile(NET, threads=2)
    for name in fresh.params:
        fresh.params[name] = used.params[name]
    for count in (8, 2):
        assert used.predict(rows(count)["x"]).tobytes() == fresh.predict(rows(count)["x"]).tobytes()
        expected = fresh.gradients(rows(count))
        for name, gradient in used.gradients(rows(count)).items():
            assert gradient.tobytes() == expected[name].tobytes(), name
    assert used.step(rows(8)) == fresh.step(rows(8))
    for name in fresh.params:
        assert used.params[name].tobytes() == fresh.params[name].tobytes(), name


def test_a_sample_does_not_see_its_neighbours() -> None:
    """The prediction of a row is the same in any company."""
    model, data = rv.compile(NET, threads=1), rows(19)
    together = model.predict(data["x"])
    alone = np.concatenate([model.predict(data["x"][n : n + 1]) for n in range(19)])
    np.testing.assert_allclose(alone, together, atol=1e-6)
    wild = data["x"].copy()
    wild[3] *= 1e6
    found = model.predict(wild)
    assert np.delete(found, 3, 0).tobytes() == np.delete(together, 3, 0).tobytes()
    assert model.predict(data["x"]).tobytes() == together.tobytes()
