"""The map/reduce generator against NumPy: odd shapes, layouts and types, any cut of the grid, nothing touched that is not stored."""

from __future__ import annotations

import functools
import itertools

import native
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nests import Body, access, reference
from ranvier.compiler.backend.nest import emit_nest
from ranvier.compiler.backend.normal_form import Multiple, Ragged, normalise
from ranvier.compiler.backend.target import preset
from ranvier.compiler.ir.types import BATCH, BOOL, F32, F64, I32, I64, U8, U32, DType
from ranvier.compiler.kernels.model import Access, Axis, Extents, Index, Nest, extent, stores

TARGETS = native.runnable()
PARTS = (1, 2, 3, 8)
EXTENTS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 13, 15, 16, 17, 31, 33, 40])
ROWS = st.sampled_from([0, 1, 2, 3, 5, 8, 17])


@functools.lru_cache(maxsize=256)
def compiled(kernel: Nest, name: str) -> native.Native:
    return native.compile_native(emit_nest(kernel, preset(name)), preset(name))


def check(kernel: Nest, arrays: dict[str, np.ndarray], rows: int = 0, rtol: float = 1e-5, atol: float = 1e-5) -> dict[str, np.ndarray]:
    """Run on every target that this machine has, whole and cut, between walls; compare everything that the buffers hold."""
    wanted = reference(kernel, arrays, rows)
    written = {a.buffer for a in stores(kernel)}
    found: dict[str, np.ndarray] = {}
    for name in TARGETS:
        run = compiled(kernel, name)
        for parts in PARTS:
            given_arrays = {b: native.guarded(a) for b, a in arrays.items()}
            run(given_arrays, rows, parts)
            for buffer in written:
                if parts == 1:
                    found[buffer] = given_arrays[buffer].copy()
                    np.testing.assert_allclose(found[buffer], wanted[buffer], rtol=rtol, atol=atol, err_msg=f"{name} {buffer}")
                    assert found[buffer].dtype == wanted[buffer].dtype
                np.testing.assert_array_equal(given_arrays[buffer], found[buffer], err_msg=f"{name}: {parts} parts change {buffer}")
    return found


def numbers(dtype: DType, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, count).astype(bool)
    if dtype.is_float:
        return rng.normal(size=count).astype(dtype.numpy)
    return rng.integers(0, 100, count).astype(dtype.numpy)


def buffer_size(used: list[Access], axes: list[Axis], rows: int) -> int:
    """Elements up to the last one that an access reaches, and a margin."""
    last = 0
    for a in used:
        top = a.offset
        for axis in axes:
            n = extent(axis, {"batch": max(rows, 1)})
            if axis.split:
                lane = min(axis.split, n) - 1
                top += max(lane * a.stride(axis) + ((n - 1) // axis.split) * a.panel_stride(axis), 0)
            else:
                top += a.stride(axis) * (n - 1)
        last = max(last, top)
    return last + 1


@st.composite
def domains(draw, most: int = 3):
    """Axes with distinct names, at most one of them the rows."""
    count = draw(st.integers(1, most))
    axes = [Axis(name, draw(EXTENTS), draw(st.sampled_from([0, 0, 0, 4, 8]))) for name in "abcd"[:count]]
    if draw(st.booleans()):
        place = draw(st.integers(0, count - 1))
        axes[place] = Axis(axes[place].name, BATCH)
    return axes, draw(ROWS)


def layout(draw, buffer: str, dtype: DType, axes: list[Axis], rows: int) -> Access:
    """An access whose elements are all distinct: axes and panels in any order, padded, from any offset."""
    stride, strides = draw(st.sampled_from([1, 1, 1, 2])), {}
    digits = [(a.name, a.split or extent(a, {"batch": max(rows, 1)})) for a in axes]
    digits += [(f"{a.name}/", a.panels) for a in axes if a.split]
    for name, size in draw(st.permutations(digits)):
        strides[name] = stride
        stride = stride * size + draw(st.sampled_from([0, 0, 3]))
    return Access(buffer, dtype, tuple(strides.items()), draw(st.sampled_from([0, 0, 5])))


def arguments(kernel: Nest, rows: int, seed: int) -> dict[str, np.ndarray]:
    used: dict[str, list[Access]] = {}
    for instruction in kernel.body:
        if hasattr(instruction, "access"):
            used.setdefault(instruction.access.buffer, []).append(instruction.access)
    for store in kernel.stores:
        used.setdefault(store.access.buffer, []).append(store.access)
    axes = [*kernel.axes, *kernel.over]
    return {b: numbers(a[0].dtype, buffer_size(a, axes, rows), seed + n) for n, (b, a) in enumerate(used.items())}


@st.composite
def maps(draw):
    """An elementwise kernel over loads of several types and layouts, some of which miss axes."""
    axes, rows = draw(domains())
    body = Body()
    total = None
    for n in range(draw(st.integers(1, 3))):
        dtype = draw(st.sampled_from([F32, F32, F32, U8, I32, BOOL, F64]))
        seen = [a for a in axes if draw(st.integers(0, 3))]
        value = body.cast(body.load(layout(draw, f"x{n}", dtype, seen, rows)), F32)
        value = body.apply(draw(st.sampled_from(["neg", "abs", "exp", "tanh", "floor"])), value) if draw(st.booleans()) else value
        total = value if total is None else body.apply(draw(st.sampled_from(["add", "mul", "max", "sub"])), total, value)
    if draw(st.booleans()):
        steps = tuple((a.name, 3 * n + 1) for n, a in enumerate(axes))
        total = body.apply("add", total, body.cast(body.add(Index(steps, 2, I32)), F32))
    kind = draw(st.sampled_from([F32, F32, F64, BOOL]))
    last = body.apply("gt", total, body.constant(0, F32)) if kind == BOOL else body.cast(total, kind) if kind == F64 else total
    return body.nest(axes, [], (layout(draw, "y", kind, axes, rows), last)), rows


@settings(max_examples=40, deadline=None, derandomize=True)
@given(maps(), st.integers(0, 99))
def test_maps(case, seed):
    kernel, rows = case
    check(kernel, arguments(kernel, rows, seed), rows, rtol=1e-5, atol=1e-5)


@st.composite
def reductions(draw):
    """One fold, or two of which the second depends on the first; stored per point or per element."""
    domain, rows = draw(domains())
    count = draw(st.integers(0, len(domain) - 1))
    axes, over = domain[:count], domain[count:]
    body = Body()
    dtype = draw(st.sampled_from([F32, F32, F32, F64, I32, U8]))
    x = body.load(layout(draw, "x", dtype, domain, rows))
    kind = draw(st.sampled_from(["sum", "max", "min", "argmax", "argmin", "any", "all"]))
    value = body.cast(x, {U8: I32}.get(dtype, dtype))
    if kind in ("any", "all"):
        value = body.apply("gt", value, body.constant(1, body.dtype(value)))
    if kind in ("argmax", "argmin") and over[0].extent != BATCH and BATCH in [a.extent for a in over]:
        kind = "max"
    first = body.fold(kind, value, I32 if kind in ("argmax", "argmin") else None)
    out = layout(draw, "y", body.dtype(first), axes, rows)
    if not body.dtype(first).is_float or draw(st.booleans()):
        return body.nest(axes, over, (out, first)), rows
    scaled = body.apply("mul", body.apply("sub", value, first), body.constant(0.125, body.dtype(value)))
    energy = body.apply(draw(st.sampled_from(["tanh", "abs", "neg"])), scaled)
    second = body.fold("sum", energy)
    each = layout(draw, "z", body.dtype(first), domain, rows)
    return body.nest(axes, over, (out, second), (each, body.apply("add", energy, second))), rows


@settings(max_examples=50, deadline=None, derandomize=True)
@given(reductions(), st.integers(0, 99))
def test_reductions(case, seed):
    kernel, rows = case
    check(kernel, arguments(kernel, rows, seed), rows, rtol=2e-4, atol=2e-3)


@settings(max_examples=24, deadline=None, derandomize=True)
@given(st.sampled_from([1, 5, 16, 33, 50]), st.sampled_from([1, 7, 24, 32, 40, 70]), st.sampled_from([8, 16, 32]), st.integers(0, 5))
def test_panels_are_packed_and_unpacked(inputs, outputs, panel, kind):
    """[o/P][i][P] against row-major and against [i/P][o][P], in both directions: lanes past the extent stay as they are."""
    rows, columns = Axis("i", inputs, panel), Axis("o", outputs, panel)
    plain = {"i": outputs, "o": 1}
    by_output = {"o": 1, "i": panel, "o/": inputs * panel, "i/": panel * panel}
    by_input = {"i": 1, "o": panel, "i/": outputs * panel, "o/": panel * panel}
    pairs = list(itertools.permutations([plain, by_output, by_input], 2))
    source, goal = pairs[kind % len(pairs)]
    body = Body()
    x = body.load(Access("x", F32, tuple(source.items())))
    kernel = body.nest([rows, columns], [], (Access("y", F32, tuple(goal.items())), body.apply("neg", x)))
    check(kernel, arguments(kernel, 0, 3), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [F32, F64, U8, I64], ids=str)
@pytest.mark.parametrize("shape", [(64, 48), (100, 33), (17, 16), (3, 200), (16, 5)])
def test_transpose(shape, dtype):
    body = Body()
    x = body.load(access("x", dtype, i=shape[1], j=1))
    kernel = body.nest([Axis("i", shape[0]), Axis("j", shape[1])], [], (access("y", dtype, i=1, j=shape[0]), x))
    check(kernel, arguments(kernel, 0, 1), rtol=0, atol=0)


@pytest.mark.parametrize("classes", [2, 3, 10, 16, 17, 37, 100, 1000])
@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
def test_softmax_cross_entropy_forward_and_backward(classes, dtype):
    """Loss and gradient of the logits, which take the place of the logits, in one kernel."""
    rows, body = 19, Body()
    logits = access("x", dtype, r=classes, c=1)
    x, target = body.load(logits), body.load(access("t", I32, r=1))
    shifted = body.apply("sub", x, body.fold("max", x))
    energy = body.apply("exp", shifted)
    total = body.fold("sum", energy)
    hit = body.apply("eq", body.add(Index((("c", 1),), 0, I32)), target)
    chosen = body.fold("sum", body.apply("select", hit, shifted, body.constant(0, dtype)))
    loss = body.apply("sub", body.apply("log", total), chosen)
    one = body.apply("select", hit, body.constant(1, dtype), body.constant(0, dtype))
    count = body.add(Extents(BATCH, dtype))
    slope = body.apply("div", body.apply("sub", body.apply("div", energy, total), one), count)
    kernel = body.nest([Axis("r", BATCH)], [Axis("c", classes)], (access("loss", dtype, r=1), loss), (logits, slope))
    rng = np.random.default_rng(classes)
    x0, t0 = rng.normal(size=(rows, classes)) * 5, rng.integers(0, classes, rows)
    arrays = {"x": x0.astype(dtype.numpy).ravel(), "t": t0.astype(np.int32), "loss": np.zeros(rows + 3, dtype.numpy)}
    exact = 1e-12 if dtype == F64 else 3e-6
    found = check(kernel, arrays, rows, rtol=exact, atol=exact)
    p = np.exp(x0 - x0.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(found["loss"][:rows], -np.log(p[np.arange(rows), t0]), rtol=3e-5, atol=3e-5)
    np.testing.assert_allclose(found["x"].reshape(rows, classes), (p - np.eye(classes)[t0]) / rows, rtol=3e-4, atol=1e-6)


@pytest.mark.parametrize("features", [1, 5, 16, 64, 100, 768])
def test_layer_norm(features):
    rows, body = 7, Body()
    x = body.load(access("x", F32, r=features, c=1))
    scale = body.constant(1 / features, F32)
    mean = body.apply("mul", body.fold("sum", x), scale)
    centred = body.apply("sub", x, mean)
    variance = body.apply("mul", body.fold("sum", body.apply("mul", centred, centred)), scale)
    inverse = body.apply("rsqrt", body.apply("add", variance, body.constant(1e-5, F32)))
    scaled = body.apply("mul", body.apply("mul", centred, inverse), body.load(access("gain", F32, c=1)))
    result = body.apply("add", scaled, body.load(access("shift", F32, c=1)))
    kernel = body.nest(
        [Axis("r", BATCH)], [Axis("c", features)], (access("y", F32, r=features, c=1), result), (access("rstd", F32, r=1), inverse)
    )
    check(kernel, arguments(kernel, rows, 4), rows)


@pytest.mark.parametrize("channels", [1, 3, 16, 70])
@pytest.mark.parametrize("rows", [0, 1, 700])
def test_batch_norm_statistics_and_normalisation(channels, rows):
    """Columns over a symbolic axis, two folds one after the other, and a store of every element."""
    body = Body()
    x = body.load(access("x", F32, r=channels * 2, h=channels, c=1))
    count = body.apply("mul", body.add(Extents(BATCH, F32)), body.constant(2, F32))
    mean = body.apply("div", body.fold("sum", x), count)
    centred = body.apply("sub", x, mean)
    variance = body.apply("div", body.fold("sum", body.apply("mul", centred, centred)), count)
    y = body.apply("mul", centred, body.apply("rsqrt", body.apply("add", variance, body.constant(1e-3, F32))))
    out = access("y", F32, r=channels * 2, h=channels, c=1)
    kernel = body.nest([Axis("c", channels)], [Axis("r", BATCH), Axis("h", 2)], (access("mean", F32, c=1), mean), (out, y))
    check(kernel, arguments(kernel, rows, 4), rows, atol=1e-4)


def test_argmax_takes_the_first_of_equals_and_nan_as_numpy_does():
    for classes, layout_ in itertools.product([3, 16, 40, 300], ["rows", "columns"]):
        body, rows = Body(), 9
        strides = {"r": classes, "c": 1} if layout_ == "rows" else {"r": 1, "c": 16}
        x = body.load(access("x", F32, **strides))
        places = [body.fold(kind, x, I32) for kind in ("argmax", "argmin")]
        results = [(access(f"y{n}", I32, r=1), place) for n, place in enumerate(places)]
        kernel = body.nest([Axis("r", BATCH)], [Axis("c", classes)], *results)
        arrays = arguments(kernel, rows, 0)
        arrays["x"] = np.round(arrays["x"])
        arrays["x"][::97] = np.nan
        arrays["x"][: classes if layout_ == "rows" else 1] = -np.inf
        check(kernel, arrays, rows, rtol=0, atol=0)


@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 1003])
def test_a_full_reduction_is_one_unit_of_work(rows):
    body = Body()
    x = body.load(access("x", F32, r=1))
    mean = body.apply("div", body.fold("sum", x), body.apply("max", body.add(Extents(BATCH, F32)), body.constant(1, F32)))
    kernel = body.nest([], [Axis("r", BATCH)], (access("y", F32), mean), (access("most", F32), body.fold("max", x)))
    check(kernel, arguments(kernel, rows, 0), rows)
    assert compiled(kernel, TARGETS[0]).units(rows) == 1


def test_an_optimizer_step_in_place():
    """Adam on a flat buffer: the bias corrections are made once, in f64, from a step that another kernel counts."""
    body, n = Body(), 1000
    step = body.load(access("step", F64))
    w, g, m, v = (body.load(access(b, F32, p=1)) for b in "wgmv")
    decay = [body.constant(b, F32) for b in (0.9, 0.999)]
    rest = [body.constant(1 - b, F32) for b in (0.9, 0.999)]
    m2 = body.apply("add", body.apply("mul", decay[0], m), body.apply("mul", rest[0], g))
    v2 = body.apply("add", body.apply("mul", decay[1], v), body.apply("mul", body.apply("mul", rest[1], g), g))
    one = body.constant(1, F64)
    corrections = [body.cast(body.apply("sub", one, body.apply("pow", body.constant(b, F64), step)), F32) for b in (0.9, 0.999)]
    root = body.apply("add", body.apply("sqrt", body.apply("div", body.apply("abs", v2), corrections[1])), body.constant(1e-8, F32))
    change = body.apply("div", body.apply("mul", body.constant(1e-3, F32), body.apply("div", m2, corrections[0])), root)
    targets = {"w": body.apply("sub", w, change), "m": m2, "v": v2}
    kernel = body.nest([Axis("p", n)], [], *((access(b, F32, p=1), value) for b, value in targets.items()))
    arrays = arguments(kernel, 0, 0)
    arrays["v"] = np.abs(arrays["v"])
    arrays["step"] = np.array([3.0])
    check(kernel, arrays)
    text = emit_nest(kernel, preset("x86-64-v4")).text
    body_start = text.index("loop")
    assert "double" not in text[body_start:], "the bias corrections are made in the loop"
    assert text.count("noalias") == 2


def test_counting_a_step_needs_no_axis():
    body = Body()
    step = access("step", F64)
    kernel = body.nest([], [], (step, body.apply("add", body.load(step), body.constant(1, F64))))
    assert check(kernel, {"step": np.array([4.0])})["step"] == 5


@pytest.mark.parametrize("shape", [(3, 5), (4, 64), (2, 1000)])
def test_dropout_is_the_same_however_it_is_computed(shape):
    """Random bits depend on the element alone: whatever the vectors and the threads, they are NumPy's."""
    rows, width = shape
    body = Body()
    place = body.add(Index((("r", width), ("c", 1)), 0, U32))
    bits = body.apply("random_bits", place, body.load(access("counter", U32)), body.constant(99, U32))
    kept = body.apply("lt", bits, body.constant(1 << 31, U32))
    x = body.load(access("x", F32, r=width, c=1))
    kernel = body.nest(
        [Axis("r", BATCH), Axis("c", width)],
        [],
        (access("y", F32, r=width, c=1), body.apply("select", kept, x, body.constant(0, F32))),
        (access("mask", BOOL, r=width, c=1), kept),
    )
    check(kernel, arguments(kernel, rows, 2), rows, rtol=0, atol=0)


@pytest.mark.parametrize("channels", [1, 3, 16, 40])
def test_max_pooling_and_where_the_maximum_was(channels):
    rows, size, body = 3, 6, Body()
    x = body.load(access("x", F32, r=size * size * channels, y=2 * size * channels, x=2 * channels, kh=size * channels, kw=channels, c=1))
    best, place = body.fold("max", x), body.fold("argmax", x, I32)
    axes = [Axis("r", BATCH), Axis("y", 3), Axis("x", 3), Axis("c", channels)]
    out = {"r": 9 * channels, "y": 3 * channels, "x": channels, "c": 1}
    kernel = body.nest(
        axes, [Axis("kh", 2), Axis("kw", 2)], (access("y", F32, **out), best), (access("i", U8, **out), body.cast(place, U8))
    )
    check(kernel, arguments(kernel, rows, 1), rows, rtol=0, atol=0)


def test_images_of_bytes_are_scaled():
    rows, body = 5, Body()
    x = body.cast(body.load(access("x", U8, r=785, p=1)), F32)
    kernel = body.nest(
        [Axis("r", BATCH), Axis("p", 784)], [], (access("y", F32, r=784, p=1), body.apply("div", x, body.constant(255, F32)))
    )
    check(kernel, arguments(kernel, rows, 1), rows, rtol=0, atol=0)


def test_long_sums_stay_accurate():
    """A column of a million equal numbers that a single chain of additions would get wrong in the third digit."""
    body = Body()
    kernel = body.nest(
        [Axis("c", 2)], [Axis("r", 1 << 20)], (access("y", F32, c=1), body.fold("sum", body.load(access("x", F32, r=2, c=1))))
    )
    wanted = np.float64(np.float32(0.1)) * (1 << 20)
    for name in TARGETS:
        y = np.zeros(2, np.float32)
        compiled(kernel, name)({"x": np.full(2 << 20, 0.1, np.float32), "y": y})
        np.testing.assert_allclose(y, wanted, rtol=1e-4)


def test_every_kernel_compiles_for_another_architecture():
    for kernel in _samples():
        assert "kernel" in native.compiles(emit_nest(kernel, preset("aarch64")))


def _samples() -> list[Nest]:
    body = Body()
    x = body.load(access("x", F32, r=100, c=1))
    energy = body.apply("exp", body.apply("sub", x, body.fold("max", x)))
    softmax = body.nest(
        [Axis("r", BATCH)], [Axis("c", 100)], (access("y", F32, r=100, c=1), body.apply("div", energy, body.fold("sum", energy)))
    )
    body = Body()
    turned = body.nest([Axis("i", 50), Axis("j", 70)], [], (access("y", F32, i=1, j=50), body.load(access("x", F32, i=70, j=1))))
    body = Body()
    sums = body.nest([Axis("c", 37)], [Axis("r", BATCH)], (access("y", F32, c=1), body.fold("sum", body.load(access("x", F32, r=37, c=1)))))
    return [softmax, turned, sums]


def test_the_order_of_a_sum_does_not_depend_on_the_cut():
    """Rows of different lengths of ranges: the same bits for any division, also of a merged axis."""
    body = Body()
    x = body.load(access("x", F32, r=50, c=1))
    kernel = body.nest([Axis("r", BATCH)], [Axis("c", 50)], (access("y", F32, r=1), body.fold("sum", body.apply("exp", x))))
    arrays = arguments(kernel, 13, 0)
    for name in TARGETS:
        whole, pieces = dict(arrays), {b: a.copy() for b, a in arrays.items()}
        compiled(kernel, name)(whole, 13)
        for lo, hi in ((0, 0), (0, 5), (5, 5), (5, 6), (6, 13), (13, 13)):
            compiled(kernel, name).range(pieces, 13, lo, hi)
        np.testing.assert_array_equal(whole["y"], pieces["y"])


def test_normal_form_merges_neighbours_and_rows():
    body = Body()
    x = body.load(access("x", F32, r=12, h=4, w=1))
    kernel = body.nest([Axis("r", BATCH), Axis("h", 3), Axis("one", 1), Axis("w", 4)], [], (access("y", F32, r=12, h=4, w=1, one=7), x))
    assert normalise(kernel).axes == (Axis("w", Multiple("batch", 12)),)
    assert normalise(kernel).stores[0].access.strides == (("w", 1),)


def test_normal_form_keeps_apart_what_is_not_consecutive():
    body = Body()
    x = body.load(access("x", F32, h=5, w=1))
    padded = body.nest([Axis("h", 3), Axis("w", 4)], [], (access("y", F32, h=4, w=1), x))
    assert normalise(padded) == padded
    body = Body()
    place = body.cast(body.add(Index((("h", 10), ("w", 1)), 0, I32)), F32)
    counted = body.nest([Axis("h", 3), Axis("w", 4)], [], (access("y", F32, h=4, w=1), place))
    assert normalise(counted).axes == counted.axes


def test_normal_form_puts_the_contiguous_axis_last():
    body = Body()
    x = body.load(access("x", F32, c=1, r=8))
    kernel = body.nest([Axis("c", 5), Axis("r", BATCH)], [], (access("y", F32, c=1, r=9), x))
    assert [a.name for a in normalise(kernel).axes] == ["r", "c"]


def test_normal_form_of_panels():
    def store(extent_: int, panel: int) -> Nest:
        body = Body()
        return body.nest(
            [Axis("o", extent_, panel), Axis("i", 6)], [], (access("y", F32, o=1, i=panel, o__=6 * panel), body.constant(1, F32))
        )

    ragged = normalise(store(70, 32)).axes
    assert [(a.name, a.extent) for a in ragged] == [("o/", 3), ("i", 6), ("o", Ragged("o/", 70, 32))]
    assert [a.extent for a in normalise(store(64, 32)).axes] == [64 * 6]
    assert [a.extent for a in normalise(store(20, 32)).axes] == [6, 20]
    body = Body()
    consecutive = body.nest([Axis("o", 70, 32)], [], (access("y", F32, o=1), body.constant(1, F32)))
    assert normalise(consecutive).axes == (Axis("o", 70),)


def test_counting_folds_keep_their_order():
    body = Body()
    place = body.fold("argmax", body.load(access("x", F32, h=1, w=3)), I32)
    kernel = body.nest([], [Axis("h", 3), Axis("w", 4)], (access("y", I32), place))
    assert [a.name for a in normalise(kernel).over] == ["h", "w"]
    check(kernel, arguments(kernel, 0, 5), rtol=0, atol=0)
