"""The contraction generator against NumPy in double precision: forms, shapes, layouts, ranges, bodies, and the assembly it leads to."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from assembly import innermost, module
from hypothesis import given, settings
from hypothesis import strategies as st
from native import Native, compile_native, runnable
from ranvier.compiler.backend import jit, tile_plan, tiling
from ranvier.compiler.backend.contract import emit_contract
from ranvier.compiler.backend.target import Target, host, preset
from ranvier.compiler.backend.tile_plan import DOT, SLIVERS
from ranvier.compiler.ir.elementwise import ROWS
from ranvier.compiler.ir.types import BATCH, BOOL, F32, F64, I32, U8, DType
from ranvier.compiler.kernels.model import (
    Access,
    Accumulator,
    Apply,
    Axis,
    Constant,
    Contract,
    Extents,
    Index,
    Instruction,
    Load,
    Store,
    extent,
    loads,
    stores,
)

MARGIN = 64
SIZES = st.sampled_from([1, 2, 3, 5, 7, 11, 13, 16, 17, 23, 31, 32, 33, 47, 61, 64, 70, 97])
FORMS = st.sampled_from(["a b", "panels", "at b", "a bt", "neither"])
FAST = re.compile(r"\b(fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b")


def indices(axes: Sequence[Axis], rows: int) -> dict[str, np.ndarray]:
    """The index of every axis at all points, flattened; split axes also by digit."""
    sizes = [extent(a, {"batch": rows}) for a in axes]
    grids = [g.reshape(-1) for g in np.indices(sizes)] if axes else []
    found: dict[str, np.ndarray] = {"": np.zeros(math.prod(sizes), np.int64)}
    for axis, grid in zip(axes, grids, strict=True):
        found[axis.name] = grid % axis.split if axis.split else grid
        if axis.split:
            found[axis.name + "/"] = grid // axis.split
    return found


def where(strides: tuple[tuple[str, int], ...], offset: int, point: dict[str, np.ndarray], n: Axis) -> np.ndarray:
    """Element numbers of an access at points."""
    table = dict(strides)
    if n.split and n.name in table:
        table.setdefault(n.name + "/", n.split * table[n.name])
    return offset + point[""] + sum((s * point[name] for name, s in table.items() if name in point), np.int64(0))


def everywhere(kernel: Contract, access: Access, rows: int) -> np.ndarray:
    """All elements that an access may touch."""
    axes = (*kernel.batch, *kernel.m, kernel.n, *kernel.k)
    used = [a for a in axes if a.name in dict(access.strides) or a.name + "/" in dict(access.strides)]
    return where(access.strides, access.offset, indices(used, rows), kernel.n)


def make_buffers(kernel: Contract, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Buffers with margins: NaN (or 77) wherever no access goes, zero in the padding of a blocked b."""
    rng, arrays = np.random.default_rng(seed), {}
    every = [*loads(kernel), *stores(kernel)]
    for name in dict.fromkeys(a.buffer for a in every):
        mine = [a for a in every if a.buffer == name]
        spots = np.concatenate([everywhere(kernel, a, rows) for a in mine])
        size = int(spots.max(initial=0)) + 1 + kernel.n.split
        dtype = mine[0].dtype.numpy
        array = np.full(size + 2 * MARGIN, np.nan if dtype.kind == "f" else 77 % 2 if dtype.kind == "b" else 77).astype(dtype)
        if name == kernel.b.buffer and kernel.n.split:
            array[MARGIN:-MARGIN] = 0
        fill = rng.uniform(-1, 1, len(spots)) if dtype.kind == "f" else rng.integers(0, 2 if dtype.kind == "b" else 100, len(spots))
        array[MARGIN + spots] = fill.astype(dtype)
        arrays[name] = array
    return arrays


def wide(array: np.ndarray) -> np.ndarray:
    """Floats in double precision."""
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def reference(kernel: Contract, arrays: dict[str, np.ndarray], rows: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The buffers after the kernel, in double precision; and the sums of magnitudes, which bound rounding errors."""
    outer, n, k = indices((*kernel.batch, *kernel.m), rows), indices((kernel.n,), rows), indices(kernel.k, rows)

    def read(access: Access, *points: dict[str, np.ndarray]) -> np.ndarray:
        """An operand over the outer product of point sets."""
        total = np.int64(0)
        for at, point in enumerate(points):
            place = where(access.strides, access.offset if not at else 0, point, kernel.n)
            total = total + place.reshape([-1 if d == at else 1 for d in range(len(points))])
        return wide(arrays[access.buffer][MARGIN + total])

    shape = (len(outer[""]), len(n[""]))
    a, b = read(kernel.a, outer, k), read(kernel.b, outer, n, k) if kernel.batch else read(kernel.b, n, k)[None]
    sums = np.einsum("mk,mnk->mn", a, np.broadcast_to(b, (shape[0], *b.shape[1:])))
    bound = np.einsum("mk,mnk->mn", abs(a), np.broadcast_to(abs(b), (shape[0], *b.shape[1:])))
    values: list[np.ndarray] = []
    for instruction in kernel.body:
        values.append(np.broadcast_to(evaluate(kernel, instruction, values, sums, read, (outer, n), rows), shape))
    after = {name: wide(array).copy() for name, array in arrays.items()}
    for store in kernel.stores:
        rows_at = where(store.access.strides, store.access.offset, outer, kernel.n)[:, None]
        spot = rows_at + where(store.access.strides, 0, n, kernel.n)[None]
        after[store.access.buffer][MARGIN + spot] = values[store.value]
    return after, bound


def evaluate(kernel: Contract, instruction: Instruction, values, sums, read, points, rows: int) -> np.ndarray:
    """One instruction of the body at all points."""
    match instruction:
        case Accumulator():
            return sums
        case Load(access):
            return read(access, *points)
        case Constant(value, dtype):
            return np.asarray(value, np.float64 if dtype.is_float else dtype.numpy)
        case Extents(_, dtype):
            return np.asarray(rows, np.float64 if dtype.is_float else dtype.numpy)
        case Index(strides, offset, _):
            return where(strides, offset, points[0], kernel.n)[:, None] + where(strides, 0, points[1], kernel.n)[None]
        case Apply("cast", (arg,), dtype):
            return values[arg].astype(np.float64 if dtype.is_float else dtype.numpy)
        case Apply("select", args, _):
            return np.where(*(values[a] for a in args))
        case Apply(op, args, _):
            return ROWS[op].reference(*(values[a] for a in args))
    raise AssertionError(instruction)


class Views(dict[str, np.ndarray]):
    """Buffers as the kernel sees them, without the margin before them."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        super().__init__({name: array[MARGIN:] for name, array in arrays.items()})


def check(kernel: Contract, rows: int, goal: Target | None = None, partition: str = "auto", parts: int = 1) -> Native:
    """Compile, run, compare every element of every buffer, written or not."""
    native = compile_native(emit_contract(kernel, goal or host(), partition=partition), goal or host())
    arrays = make_buffers(kernel, rows)
    expected, bound = reference(kernel, arrays, rows)
    written = {s.access.buffer for s in kernel.stores}
    native(Views(arrays), rows, parts)
    epsilon = 4 * float(np.finfo(kernel.dtype.numpy).eps)
    for name, array in arrays.items():
        near = (epsilon, epsilon * (float(bound.max(initial=0)) + 4)) if name in written else (0, 0)
        np.testing.assert_allclose(wide(array), expected[name], rtol=near[0], atol=near[1], err_msg=name)
    return native


def results(kernel: Contract, rows: int, partition: str, parts: int, goal: Target | None = None) -> dict[str, np.ndarray]:
    """The bits a kernel leaves in its buffers."""
    native = compile_native(emit_contract(kernel, goal or host(), partition=partition), goal or host())
    arrays = make_buffers(kernel, rows)
    native(Views(arrays), rows, parts)
    return arrays


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether all buffers are the same bit for bit."""
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def product(
    form: str, m: int, n: int, k: int, dtype: DType = F32, symbol: str = "m", panel: int = 32, blocked_store: bool = False
) -> Contract:
    """acc[m, n] = sum_k a b in one of the forms, with the run-time rows along m or k, or nowhere."""
    am, ak = ("m", k + 1), ("k", 1)
    bn, bk, split = ("n", 1), ("k", n + 2), 0
    b: tuple[tuple[str, int], ...] = (bn, bk)
    match form:
        case "at b":
            am, ak = ("m", 1), ("k", m + 3)
        case "a bt":
            b = (("n", k + 1), ("k", 1))
        case "neither":
            b = (("n", 3), ("k", 3 * n))
        case "panels":
            b, split = (("n", 1), ("n/", k * panel), ("k", panel)), panel
    store = (("m", panel), ("n", 1), ("n/", m * panel)) if blocked_store else (("m", n + 1), ("n", 1))
    axes = [Axis("m", BATCH if symbol == "m" else m), Axis("k", BATCH if symbol == "k" else k)]
    return Contract(
        (),
        (axes[0],),
        Axis("n", n, panel if blocked_store else split),
        (axes[1],),
        Access("a", dtype, (am, ak), 2),
        Access("b", dtype, b, 1 if not split else 0),
        (Accumulator(dtype),),
        (Store(Access("c", dtype, store, 3), 0),),
        dtype,
    )


@settings(max_examples=40, deadline=None)
@given(
    form=FORMS,
    m=SIZES,
    n=SIZES,
    k=SIZES,
    dtype=st.sampled_from([F32, F64]),
    symbol=st.sampled_from(["m", "k", "none"]),
    level=st.sampled_from(runnable()),
    partition=st.sampled_from(["auto", "m", "n"]),
    parts=st.sampled_from([1, 2, 3]),
)
def test_products_of_any_form_and_shape(form, m, n, k, dtype, symbol, level, partition, parts):
    goal = preset(level)
    kernel = product(form, m, n, k, dtype, symbol, goal.panel(dtype))
    check(kernel, {"m": m, "k": k}.get(symbol, 0), goal, partition, parts)


@pytest.mark.parametrize("form", ["a b", "panels", "at b", "a bt", "neither"])
@pytest.mark.parametrize("symbol", ["m", "k"])
def test_no_rows_at_all(form, symbol):
    check(product(form, 13, 37, 11, F32, symbol, host().panel(F32)), 0)


@pytest.mark.parametrize("form", ["a b", "panels", "at b", "a bt", "neither"])
@pytest.mark.parametrize("n", [7, 230])
def test_neither_ranges_nor_partition_change_a_bit(form, n):
    kernel = product(form, 61, n, 83, panel=host().panel(F32))
    whole = results(kernel, 61, "m", 1)
    for partition in ("m", "n", "batch"):
        native = compile_native(emit_contract(kernel, host(), partition=partition), host())
        for parts in (1, 2, 3, 8):
            arrays = make_buffers(kernel, 61)
            native(Views(arrays), 61, parts)
            assert same(whole, arrays), (partition, parts)


@pytest.mark.parametrize("form", ["a b", "panels", "at b", "a bt"])
def test_a_row_is_the_same_bits_alone_and_among_others(form):
    kernel = product(form, 40, 300, 70, panel=host().panel(F32))
    native = compile_native(emit_contract(kernel, host(), partition="m"), host())
    whole, pieces = make_buffers(kernel, 40), make_buffers(kernel, 40)
    native(Views(whole), 40)
    for lo, hi in ((0, 1), (1, 3), (3, 6), (6, 40), (9, 9)):
        native.range(Views(pieces), 40, lo, hi)
    assert same(whole, pieces)


@pytest.mark.parametrize("symbol", ["m", "k"])
@pytest.mark.parametrize("n", [10, 64, 70])
def test_stores_in_panels_leave_the_rest_of_the_last_panel(symbol, n):
    panel = host().panel(F32)
    kernel = product("at b" if symbol == "k" else "a b", 29, n, 31, symbol=symbol, panel=panel, blocked_store=True)
    check(kernel, 29 if symbol == "m" else 31)


@pytest.mark.parametrize("panel", [4, 8, 12, 48, 64])
def test_panels_of_any_width(panel):
    check(product("panels", 15, 130, 9, panel=panel), 15)


@pytest.mark.parametrize("form", ["a b", "panels", "at b", "a bt", "neither"])
@pytest.mark.parametrize("symbol", ["m", "k"])
def test_long_sums_are_cut_without_changing_the_chain(form, symbol, monkeypatch):
    kernel = product(form, 60, 75, 700, symbol=symbol, panel=host().panel(F32))
    rows = 60 if symbol == "m" else 700
    uncut = results(kernel, rows, "m", 1)
    monkeypatch.setattr(tiling, "PANEL_BYTES", 8 << 10)
    plan = tiling.make_plan(kernel, host())
    assert plan.blocked == (-1 if form == "panels" and symbol == "k" else 0)
    check(kernel, rows)
    assert same(uncut, results(kernel, rows, "m", 3))


@pytest.mark.parametrize("steps", [2048, 128])
def test_rows_that_would_alias_are_copied_apart(steps, monkeypatch):
    monkeypatch.setattr(tiling, "PACKED_STEPS", {tile_plan.APART: steps, SLIVERS: steps})
    kernel = product("panels", 30, 230, 1023, panel=host().panel(F32))
    plan = tiling.make_plan(kernel, host())
    assert (plan.pack, plan.blocked) == (tile_plan.APART, 0 if steps < 1023 else -1)
    check(kernel, 30)
    check(kernel, 30, partition="n", parts=3)


def narrow(monkeypatch) -> None:
    """Blocks so small that products of some hundred rows and columns have many of each kind."""
    monkeypatch.setattr(tiling, "PACKED_STEPS", {tile_plan.APART: 48, SLIVERS: 40})
    monkeypatch.setattr(tiling, "PACKED_BYTES", 5 << 10)
    monkeypatch.setattr(tiling, "GROUP_BYTES", 6 << 10)
    monkeypatch.setattr(tiling, "WORTH_COPYING", 1)


@pytest.mark.parametrize("symbol", ["m", "k", "none"])
@pytest.mark.parametrize("form", ["a b", "panels", "at b", "a bt", "neither"])
def test_copies_of_a_change_no_bit(form, symbol, monkeypatch):
    kernel = product(form, 83, 530, 1111, symbol=symbol, panel=host().panel(F32))
    rows = {"m": 83, "k": 1111}.get(symbol, 0)
    plain = results(kernel, rows, "m", 1)
    narrow(monkeypatch)
    plan = tiling.make_plan(kernel, host())
    expected = SLIVERS if form == "at b" else "" if symbol == "k" else tile_plan.APART
    assert plan.pack == expected
    assert (plan.group > 1) == bool(expected)
    check(kernel, rows)
    for partition, parts in (("m", 1), ("m", 3), ("n", 2)):
        assert same(plain, results(kernel, rows, partition, parts)), partition


@pytest.mark.parametrize("columns", [100, 530])
def test_there_is_scratch_for_the_panels_of_a_product_and_no_more(columns):
    kernel = product("at b", 40, columns, 3000, symbol="k")
    plan = tiling.make_plan(kernel, host())
    assert plan.blocked == 0
    assert plan.group == columns // plan.width
    assert plan.sums_bytes == plan.m_block * plan.group * plan.width * 4
    check(kernel, 700)


@pytest.mark.parametrize("rows", [0, 1, 3, 17, 40, 41, 130])
@pytest.mark.parametrize("columns", [200, 530])
def test_few_rows_of_many_times_are_summed_in_blocks_of_several_times(rows, columns, monkeypatch):
    """The gradient of a recurrent weight: sums over times, and the rows of each, which are as many as there are."""
    capacity, inputs, times = 130, 70, 9
    a = Access("a", F32, (("m", 1), ("t", capacity * inputs), ("r", inputs)), 2)
    b = Access("b", F32, (("n", 1), ("t", capacity * columns), ("r", columns)), 1)
    store = Store(Access("c", F32, (("m", columns), ("n", 1)), 3), 0)
    k = (Axis("t", times), Axis("r", BATCH))
    kernel = Contract((), (Axis("m", inputs),), Axis("n", columns), k, a, b, (Accumulator(F32),), (store,), F32)
    narrow(monkeypatch)
    plan = tiling.make_plan(kernel, host())
    assert (plan.pack, plan.blocked, plan.joined) == (SLIVERS, 1, True)
    check(kernel, rows)
    copied = results(kernel, rows, "m", 2)
    monkeypatch.setattr(tiling, "FAR_BYTES", 1 << 30)
    assert not tiling.make_plan(kernel, host()).pack
    assert same(copied, results(kernel, rows, "n", 3))


@pytest.mark.parametrize(("m", "n", "k"), [(1, 37, 300), (3, 70, 261), (8, 9, 256), (40, 1, 300), (40, 2, 512)])
@pytest.mark.parametrize("level", runnable())
def test_dot_form(m, n, k, level):
    kernel = product("a bt", m, n, k, symbol="none")
    assert tiling.make_plan(kernel, preset(level)).form == DOT
    check(kernel, 0, preset(level), "m", 2)
    assert same(results(kernel, 0, "m", 1), results(kernel, 0, "n", 2))


def convolution(size: int, channels: int, outputs: int, stride: int, gradient: bool) -> Contract:
    """A 3x3 convolution over haloed, channels-last images; or the gradient of its weights (blocked)."""
    panel, out = host().panel(F32), (size - 3) // stride + 1
    run, k = 3 * channels, 9 * channels
    image = (("image", size * size * channels), ("y", stride * size * channels), ("x", stride * channels))
    window = (("kh", size * channels), ("kwc", 1))
    pixels = (Axis("image", BATCH), Axis("y", out), Axis("x", out))
    taps = (Axis("kh", 3), Axis("kwc", run))
    weights = (("kh", run * panel), ("kwc", panel), ("n", 1), ("n/", k * panel))
    result = (("image", out * out * outputs), ("y", out * outputs), ("x", outputs), ("n", 1))
    a = Access("input", F32, image + window)
    n = Axis("n", outputs, panel)
    body = (Accumulator(F32),)
    if gradient:
        return Contract((), taps, n, pixels, a, Access("dy", F32, result), body, (Store(Access("dw", F32, weights), 0),), F32)
    return Contract((), pixels, n, taps, a, Access("w", F32, weights), body, (Store(Access("y", F32, result), 0),), F32)


@pytest.mark.parametrize(("size", "channels", "outputs", "stride"), [(10, 4, 32, 1), (9, 3, 10, 2), (7, 1, 37, 1), (5, 16, 64, 1)])
@pytest.mark.parametrize("gradient", [False, True])
def test_convolutions(size, channels, outputs, stride, gradient):
    kernel = convolution(size, channels, outputs, stride, gradient)
    for partition in ("m", "n"):
        check(kernel, 5, partition=partition, parts=3)
    check(kernel, 0)
    assert same(results(kernel, 5, "m", 1), results(kernel, 5, "m", 8))


def test_weight_gradient_with_blocks_of_pixels(monkeypatch):
    monkeypatch.setattr(tiling, "PANEL_BYTES", 2 << 10)
    kernel = convolution(10, 4, 32, 1, True)
    plan = tiling.make_plan(kernel, host())
    assert (plan.blocked, plan.block) != (0, 1)
    check(kernel, 5, parts=2)
    check(kernel, 0)


@pytest.mark.parametrize("time", [5, 20])
@pytest.mark.parametrize("transposed", [False, True])
def test_attention_products(time, transposed):
    """Queries by keys (both along the feature), and weights by values."""
    heads, size = 3, 16
    row = ("row", time * heads * size)
    q = Access("q", F32, (row, ("head", size), ("t", heads * size), ("d", 1)))
    s = (("row", heads * time * time), ("head", time * time), ("t", time), ("u", 1))
    batch, m, d, u = (Axis("row", BATCH), Axis("head", heads)), (Axis("t", time),), Axis("d", size), Axis("u", time)
    body = (Accumulator(F32),)
    if transposed:
        b = Access("v", F32, (row, ("head", size), ("u", heads * size), ("d", 1)))
        kernel = Contract(batch, m, d, (u,), Access("s", F32, s), b, body, (Store(replace(q, buffer="o"), 0),), F32)
    else:
        b = Access("key", F32, (row, ("head", size), ("u", heads * size), ("d", 1)))
        kernel = Contract(batch, m, u, (d,), q, b, body, (Store(Access("s", F32, s), 0),), F32)
    emitted = emit_contract(kernel, host())
    assert (emitted.grid.extent, emitted.grid.rows) == (heads, True)
    check(kernel, 4, parts=3)
    check(kernel, 0)
    assert same(results(kernel, 4, "batch", 2), results(kernel, 4, "n", 1))


def with_body(body: tuple[Instruction, ...], stores_: tuple[Store, ...], m: int, n: int, panel: int = 0) -> Contract:
    """A product over 21 steps with a body."""
    kernel = product("panels" if panel else "a b", m, n, 21, panel=panel)
    return replace(kernel, body=body, stores=stores_)


@pytest.mark.parametrize("level", runnable())
@pytest.mark.parametrize("n", [5, 37, 64])
def test_bias_and_activation(level, n):
    body = (
        Accumulator(F32),
        Load(Access("bias", F32, (("n", 1),))),
        Apply("add", (0, 1), F32),
        Constant(0.0, F32),
        Apply("max", (2, 3), F32),
    )
    out = Store(Access("c", F32, (("m", n), ("n", 1))), 4)
    check(with_body(body, (out,), 27, n, preset(level).panel(F32)), 27, preset(level))


@pytest.mark.parametrize("level", runnable())
@pytest.mark.parametrize("n", [5, 39])
def test_a_body_of_all_kinds(level, n):
    """In place, by row, bytes, booleans, strided across, indices, the number of rows; two stores, one transposed, one of another type."""
    body = (
        Accumulator(F32),
        Load(Access("c", F32, (("m", n), ("n", 1)))),
        Load(Access("scale", F32, (("m", 1),))),
        Load(Access("bytes", U8, (("m", n), ("n", 1)))),
        Apply("cast", (3,), F32),
        Load(Access("mask", BOOL, (("n", 1),))),
        Load(Access("across", F32, (("n", 29), ("m", 1)))),
        Index((("m", 100), ("n", 1)), 5, I32),
        Apply("cast", (7,), F32),
        Extents(BATCH, F32),
        Apply("mul", (0, 2), F32),
        Apply("add", (10, 1), F32),
        Apply("select", (5, 11, 4), F32),
        Apply("add", (12, 6), F32),
        Apply("div", (8, 9), F32),
        Apply("add", (13, 14), F32),
        Apply("gt", (13, 6), BOOL),
    )
    kernel = with_body(
        body,
        (
            Store(Access("c", F32, (("m", n), ("n", 1))), 15),
            Store(Access("t", F32, (("n", 27), ("m", 1))), 0),
            Store(Access("flag", BOOL, (("m", n), ("n", 1))), 16),
            Store(Access("number", I32, (("m", n), ("n", 1))), 7),
        ),
        27,
        n,
    )
    emitted = emit_contract(kernel, preset(level))
    assert f"ptr %b{emitted.buffers.index('c')}" in emitted.text
    assert f"ptr noalias %b{emitted.buffers.index('t')}" in emitted.text
    check(kernel, 27, preset(level), parts=2)


@pytest.mark.parametrize("rows", [1, 2, 3, 27])
def test_long_bodies_are_looped_and_equal(rows, monkeypatch):
    n = 150
    body: tuple[Instruction, ...] = (Accumulator(F32), Load(Access("bias", F32, (("n", 1),))), Apply("add", (0, 1), F32))
    for _ in range(3):
        body = (*body, Apply("tanh", (len(body) - 1,), F32))
    kernel = with_body(body, (Store(Access("c", F32, (("m", n), ("n", 1))), len(body) - 1),), 27, n)
    assert tiling.make_plan(kernel, host()).long_body
    check(kernel, rows)
    looped = results(kernel, rows, "m", 1)
    lines = emit_contract(kernel, host()).text.count("\n")
    monkeypatch.setattr(tiling, "LONG_BODY", 10**6)
    assert same(looped, results(kernel, rows, "m", 1))
    assert lines < emit_contract(kernel, host()).text.count("\n") / 2


@pytest.mark.parametrize("swap", [False, True])
def test_bytes_as_an_operand(swap):
    kernel = product("a b", 20, 40, 30)
    operand = "b" if swap else "a"
    check(replace(kernel, **{operand: replace(getattr(kernel, operand), dtype=U8)}), 20)


@pytest.mark.parametrize("form", ["a b", "panels", "at b", "a bt"])
def test_scratch_is_not_overrun(form, monkeypatch):
    monkeypatch.setattr(tiling, "PANEL_BYTES", 4 << 10)
    monkeypatch.setattr(tiling, "LONG_BODY", -1)
    kernel = product(form, 90, 200, 1023, panel=host().panel(F32))
    native = compile_native(emit_contract(kernel, host()), host())
    arrays = Views(make_buffers(kernel, 90))
    scratch = np.full(native.emitted.scratch + 256, 91, np.uint8)
    start = -scratch.ctypes.data % 64 + 64
    table = (ctypes.c_void_p * len(native.emitted.buffers))(*(arrays[b].ctypes.data for b in native.emitted.buffers))
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    door = ctypes.CFUNCTYPE(None, pointer, word, word, word, pointer)(native.linked["door"])
    door(ctypes.addressof(table), 90, 0, native.units(90), scratch.ctypes.data + start)
    assert (scratch[:start] == 91).all()
    assert (scratch[start + native.emitted.scratch :] == 91).all()


@pytest.mark.parametrize("level", ["x86-64", "x86-64-v3", "x86-64-v4", "aarch64"])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_inner_loops_keep_everything_in_registers(level, dtype):
    goal, tallest = preset(level), 0
    kernels = [product(form, 64, 75, 64, dtype, panel=goal.panel(dtype)) for form in ("a b", "panels", "at b", "a bt")]
    kernels += [product("panels", 64, 256, 64, dtype, panel=goal.panel(dtype)), product("a bt", 4, 16, 512, dtype, "none")]
    if dtype == F32 and level == "x86-64-v4":
        kernels += [convolution(12, 16, 64, 1, gradient) for gradient in (False, True)]
    for kernel in kernels:
        text = emit_contract(kernel, goal).text
        assembly = jit.assembly(module(emit_contract(kernel, goal)), goal)
        assert not FAST.search(text)
        for loop in innermost(assembly):
            steps = sum(bool(re.search(r"fmadd|fmla|v?mulp[sd]|v?muls[sd]", line)) for line in loop)
            tallest = max(tallest, steps)
            assert not steps or not any("(%rsp)" in line or "[sp" in line for line in loop), "\n".join(loop)
    rows, vectors = goal.tile
    assert tallest == rows * vectors * goal.unrolled


def test_equal_kernels_have_equal_text():
    kernel = product("panels", 64, 75, 64)
    renamed = replace(kernel, a=replace(kernel.a, buffer="x"), stores=(Store(replace(kernel.stores[0].access, buffer="y"), 0),))
    first, second = emit_contract(kernel, host()), emit_contract(renamed, host())
    assert first.text == second.text
    assert second.buffers == ("x", "b", "y")
