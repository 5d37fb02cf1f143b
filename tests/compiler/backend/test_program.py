"""A program gives the same bits on any number of threads, in one call or a whole epoch, and stops at a fault.

The kernels come from a generator of plain scalar loops written here, so that what is tested is how they are put together.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from ranvier.compiler.backend import program as backend
from ranvier.compiler.backend import schedule
from ranvier.compiler.backend.canonical import Canonical
from ranvier.compiler.backend.program import Native, build
from ranvier.compiler.backend.target import Target, host
from ranvier.compiler.backend.text import Emitted, Grid, Text, Value, i64
from ranvier.compiler.ir.types import BATCH, F32, I32
from ranvier.compiler.kernels import model
from ranvier.compiler.kernels.model import Access, Apply, Axis, Constant, Fold, Index, Load, Nest, Store
from ranvier.compiler.kernels.program import Buffer, Gather, Launch, Program
from ranvier.runtime.team import shared_team

Array = np.ndarray[Any, np.dtype[Any]]
CAPACITY, WIDTH = 24, 5
OPS = {"add": "fadd", "mul": "fmul"}


# --- scalar loops -------------------------------------------------------------------------------------------------------------------


def emit(bare: Canonical, target: Target, capacity: int, threads: int, *, loop: bool = False) -> Emitted:
    """The first axis is the grid, the others are loops; folds are sums over all `over` axes, held in scratch."""
    kernel = bare.kernel
    assert isinstance(kernel, Nest)
    text = Text(target)
    text.begin("entry")
    names = model.buffers(kernel)
    first = kernel.axes[0] if kernel.axes else Axis("none", 1)
    with text.loop(Value("i64", "%hi"), Value("i64", "%lo")) as loop:
        nest(text, kernel, list(kernel.axes[1:]), {first.name: loop.index})
    text.do("ret void")
    head = f"define internal void @KERNEL({', '.join(f'ptr %{n}' for n in names)}, i64 %rows, i64 %lo, i64 %hi, ptr %scratch) #0 {{"
    rows = first.extent == BATCH
    grid = Grid(1 if rows else int(first.extent), rows, 1)  # type: ignore[arg-type]
    return Emitted("\n".join([head, *text.lines, "}", ""]), names, grid, 4, tuple(text.needs.items()))


def nest(text: Text, kernel: Nest, axes: list[Axis], at: dict[str, Value]) -> None:
    if axes:
        with text.loop(extent(axes[0])) as loop:
            nest(text, kernel, axes[1:], {**at, axes[0].name: loop.index})
        return
    if kernel.over:
        text.do("store float 0.0, ptr %scratch")
        with text.loop(extent(kernel.over[0])) as loop:
            inside = {**at, kernel.over[0].name: loop.index}
            fold = next(n for n, i in enumerate(kernel.body) if isinstance(i, Fold))
            values = evaluate(text, kernel.body[:fold], inside)
            sum_ = text.op("float", "load float, ptr %scratch")
            more = text.op("float", f"fadd {sum_}, {values[kernel.body[fold].arg].name}")  # type: ignore[union-attr]
            text.do(f"store {more}, ptr %scratch")
    values = evaluate(text, kernel.body, at)
    for store in kernel.stores:
        text.do(f"store {values[store.value]}, {address(text, store.access, at)}")


def extent(axis: Axis) -> Value:
    return Value("i64", "%rows") if axis.extent == BATCH else i64(int(axis.extent))  # type: ignore[arg-type]


def address(text: Text, access: Access, at: Mapping[str, Value]) -> Value:
    position = i64(access.offset)
    for name, stride in access.strides:
        position = text.add(position, text.mul(at.get(name, i64(0)), stride))
    return text.at(Value("ptr", f"%{access.buffer}"), "float", position)


def evaluate(text: Text, body: tuple[model.Instruction, ...], at: Mapping[str, Value]) -> list[Value]:
    values: list[Value] = []
    for each in body:
        match each:
            case Load(access):
                scalar = "float" if access.dtype == F32 else "i32"
                values.append(text.op(scalar, f"load {scalar}, {address(text, access, at)}"))
            case Constant(value, _):
                values.append(Value("float", f"{float(value)}"))
            case Index():
                values.append(text.op("i32", f"trunc {at[each.strides[0][0]]} to i32"))
            case Fold():
                values.append(text.op("float", "load float, ptr %scratch"))
            case Apply("large", (arg,), _):  # 17 where the value exceeds 100, else 0
                over = text.op("i1", f"fcmp ogt {values[arg]}, 100.0")
                values.append(text.op("i32", f"select {over}, i32 17, i32 0"))
            case Apply(op, (a, b), _):
                values.append(text.op("float", f"{OPS[op]} {values[a]}, {values[b].name}"))
    return values


# --- a program that learns ------------------------------------------------------------------------------------------------------------


def rows(name: str, width: int = WIDTH) -> Access:
    return Access(name, F32, (("r", width), ("c", 1)))


def vector(name: str) -> Access:
    return Access(name, F32, (("c", 1),))


R, C = Axis("r", BATCH), Axis("c", WIDTH)
STRIDE = 8  # of the input's rows, in elements
INPUT = rows("x", STRIDE)
CHECK = Nest(
    (),
    (Axis("r", BATCH),),
    (Load(Access("x", F32, (("r", STRIDE),))), Fold("sum", 0, F32), Apply("large", (1,), I32)),
    (Store(Access("fault", I32), 2),),
)
SCALE = Nest((R, C), (), (Load(INPUT), Load(vector("w")), Apply("mul", (0, 1), F32)), (Store(rows("h"), 2),))
SHIFT = Nest((R, C), (), (Load(rows("h")), Constant(0.5, F32), Apply("add", (0, 1), F32)), (Store(rows("g"), 2),))
SHIFT_BACK = Nest((R, C), (), (Load(rows("g")), Constant(0.5, F32), Apply("add", (0, 1), F32)), (Store(rows("h"), 2),))
TOTAL = Nest((C,), (R,), (Load(rows("h")), Fold("sum", 0, F32)), (Store(vector("t"), 1),))
LEARN = Nest(
    (C,),
    (),
    (Load(vector("w")), Load(vector("t")), Constant(-0.0078125, F32), Apply("mul", (1, 2), F32), Apply("add", (0, 3), F32)),
    (Store(vector("w"), 4),),
)
LABELS = ("check", "scale", "shift", "shift back", "total", "learn")
KERNELS = (CHECK, SCALE, SHIFT, SHIFT_BACK, TOTAL, LEARN)
SPACES = {"inputs": 4096, "arena": 4096, "params": 512}
BUFFERS = {
    b.name: b
    for b in (
        Buffer("x", F32, CAPACITY * STRIDE, "inputs", 64),
        Buffer("h", F32, CAPACITY * WIDTH, "arena", 0),
        Buffer("g", F32, CAPACITY * WIDTH, "arena", 512),
        Buffer("t", F32, WIDTH, "arena", 1024),
        Buffer("fault", I32, 1, "arena", 1088),
        Buffer("w", F32, WIDTH, "params", 128),
    )
}
PROGRAM = Program(
    "train step!",
    CAPACITY,
    BUFFERS,
    SPACES,
    tuple(Launch(kernel, label) for kernel, label in zip(KERNELS, LABELS, strict=True)),
    1,
    "fault",
    (Gather("x", WIDTH * 4, STRIDE * 4),),
)


def reference(w: Array, x: Array) -> Array:
    """One step in NumPy, in the order of the kernels' sums."""
    h = x * w + np.float32(0.5) + np.float32(0.5)
    total = np.zeros(WIDTH, np.float32)
    for row in h:
        total = total + row
    return w + total * np.float32(-0.0078125)


@dataclass
class Machine:
    """A native program with its memory."""

    native: Native
    threads: int

    def __post_init__(self) -> None:
        self.memory = {name: np.zeros(size // 4, np.float32) for name, size in SPACES.items()}
        self.scratch = np.zeros(self.native.scratch_stride * self.threads + 128, np.uint8)
        self.context = np.zeros(self.native.layout.words, np.int64)
        self.context[self.native.layout.scratch] = -(-self.scratch.ctypes.data // 128) * 128
        for name, memory in self.memory.items():
            self.context[self.native.layout.space(name)] = memory.ctypes.data

    def view(self, name: str) -> Array:
        found = BUFFERS[name]
        return self.memory[found.space][found.offset // 4 : found.offset // 4 + found.elements]

    def run(self, address: int) -> int:
        return shared_team(self.threads).run(address, self.context.ctypes.data, self.native.parallel)

    def step(self, x: Array) -> int:
        self.context[self.native.layout.rows] = len(x)
        self.view("x").reshape(CAPACITY, STRIDE)[: len(x), :WIDTH] = x
        return self.run(self.native.body)

    def epoch(self, data: Array, order: Array, batch: int, begin: int = 0) -> int:
        layout = self.native.layout
        self.context[layout.order], self.context[layout.data(0)] = order.ctypes.data, data.ctypes.data
        self.context[layout.begin], self.context[layout.end], self.context[layout.batch] = begin, len(order), batch
        return self.run(self.native.epoch)


@pytest.fixture(autouse=True)
def _scalar_loops(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "generated" not in request.node.name:
        monkeypatch.setattr(backend, "emit", emit)
    for name in ("SMALL", "BARRIER", "WAKING"):
        monkeypatch.setattr(schedule, name, 0)


def machine(threads: int, program: Program = PROGRAM, planned: int = 4) -> Machine:
    made = Machine(build(program, host(), planned), threads)
    made.view("w")[:] = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)
    return made


def samples(count: int) -> Array:
    return np.random.default_rng(5).standard_normal((count, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_steps_give_the_same_bits_on_any_number_of_threads(threads: int) -> None:
    made = machine(threads)
    assert made.native.parallel
    assert {s.mode for s in made.native.steps} == {"serial", "rows", "grid"}
    expected = made.view("w").copy()
    for count in (CAPACITY, 1, 7, CAPACITY - 1, 0, 13) * 20:
        x = samples(count)
        assert made.step(x) == 0
        expected = reference(expected, x)
        assert made.view("w").tobytes() == expected.tobytes()


def test_a_program_planned_for_one_thread_is_right_on_several() -> None:
    made = machine(3, planned=1)
    assert not made.native.parallel
    x = samples(CAPACITY)
    made.context[made.native.layout.rows] = CAPACITY
    made.view("x").reshape(CAPACITY, STRIDE)[:, :WIDTH] = x
    expected = reference(made.view("w").copy(), x)
    assert shared_team(3).run(made.native.body, made.context.ctypes.data, True) == 0
    assert made.view("w").tobytes() == expected.tobytes()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_rows_of_the_first_block_serve_all_blocks(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made and used up within a stretch stays where it is in the cache; what is read later does not."""
    monkeypatch.setattr(schedule, "BLOCK_BYTES", 2 * 4 * (STRIDE + 2 * WIDTH))
    made = machine(threads)
    inside = made.native.steps[1:4]
    assert {(s.stretch != 0, s.block, s.local) for s in inside} == {(True, 2, (("g", 4 * WIDTH),))}
    expected = made.view("w").copy()
    for count in (CAPACITY, 1, 7, 0, 13):
        x = samples(count)
        assert made.step(x) == 0
        expected = reference(expected, x)
        assert made.view("w").tobytes() == expected.tobytes()
        if count == CAPACITY:
            written = made.view("g").reshape(CAPACITY, WIDTH).any(axis=1).sum()
            assert written == 2 * min(threads, CAPACITY // schedule.ROW_BLOCK)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("count", "batch"), [(50, 24), (48, 24), (5, 24), (10, 1), (60, 1000), (0, 24)])
def test_an_epoch_equals_its_steps(threads: int, count: int, batch: int) -> None:
    """A last partial batch is smaller, a batch beyond the capacity is cut to it."""
    data = samples(80)
    order = np.random.default_rng(1).permutation(80)[:count].astype(np.int64)
    whole, single = machine(threads), machine(1)
    assert whole.epoch(data, order, batch) == 0
    size = min(batch, CAPACITY)
    for at in range(0, count, size):
        single.step(data[order[at : at + size]])
    assert whole.view("w").tobytes() == single.view("w").tobytes()
    if count:
        assert whole.context[whole.native.layout.position] == (count - 1) // size * size
        assert whole.context[whole.native.layout.rows] == count - (count - 1) // size * size


def test_an_epoch_may_begin_in_the_middle() -> None:
    data, order = samples(60), np.arange(60, dtype=np.int64)
    whole, rest = machine(2), machine(2)
    whole.epoch(data, order, 20)
    rest.epoch(data, order[:40], 20)
    rest.epoch(data, order, 20, begin=40)
    assert whole.view("w").tobytes() == rest.view("w").tobytes()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_fault_stops_before_anything_else_is_touched(threads: int) -> None:
    made = machine(threads)
    before = made.view("w").copy()
    x = samples(CAPACITY)
    x[5, 0] = 1000
    assert made.step(x) == 17
    assert made.view("w").tobytes() == before.tobytes()
    assert not made.view("h").any()
    assert made.step(samples(CAPACITY)) == 0, "the fault is not remembered"


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_an_epoch_stops_at_a_fault_and_says_where(threads: int) -> None:
    data, order = samples(100), np.arange(100, dtype=np.int64)
    data[50, 0] = 1000
    made, single = machine(threads), machine(1)
    assert made.epoch(data, order, 20) == 17
    assert made.context[made.native.layout.position] == 40
    single.epoch(data, order[:40], 20)
    assert made.view("w").tobytes() == single.view("w").tobytes()


def test_equal_kernels_are_compiled_once() -> None:
    native = build(PROGRAM, host(), 2)
    assert [k.launches for k in native.kernels] == [(0,), (1,), (2, 3), (4,), (5,)]
    assert native.calls[2].function == native.calls[3].function
    assert "shift, shift back" in native.text()
    for text in (native.text(), native.assembly()):
        assert all(f"{k.name}" in text for k in native.kernels)
        assert "train_step__body" in text
        assert "train_step__epoch" in text


@pytest.mark.parametrize("threads", [1, 3])
def test_launches_one_by_one_equal_the_body(threads: int) -> None:
    whole, pieces = machine(threads), machine(threads)
    x = samples(CAPACITY)
    whole.step(x)
    pieces.context[pieces.native.layout.rows] = CAPACITY
    pieces.view("x").reshape(CAPACITY, STRIDE)[:, :WIDTH] = x
    for n in range(len(KERNELS)):
        assert pieces.run(pieces.native.launches[f"launch_{n}"]) == 0
    assert pieces.view("w").tobytes() == whole.view("w").tobytes()


def dense_program() -> Program:
    """h = x w + b; s = h + h; gradient = x^T s, over rows of a batch: products cut both ways, a map between them."""
    r, o, i = Axis("r", BATCH), Axis("o", 40), Axis("i", 24)
    x, w, h, s = (
        Access(n, F32, ((a, width), (b, 1)))
        for n, a, width, b in (("x", "r", 24, "i"), ("w", "i", 40, "o"), ("h", "r", 40, "o"), ("s", "r", 40, "o"))
    )
    body = (model.Accumulator(F32), Load(Access("b", F32, (("o", 1),))), Apply("add", (0, 1), F32))
    forward = model.Contract((), (r,), o, (i,), x, w, body, (Store(h, 2),), F32)
    double = Nest((r, o), (), (Load(h), Apply("add", (0, 0), F32)), (Store(s, 1),))
    backward = model.Contract((), (i,), o, (r,), x, s, body[:1], (Store(Access("g", F32, (("i", 40), ("o", 1))), 0),), F32)
    sizes = {"x": 64 * 24, "w": 24 * 40, "b": 40, "h": 64 * 40, "s": 64 * 40, "g": 24 * 40}
    ends = dict(zip(sizes, np.cumsum([size * 4 // 64 * 64 + 64 for size in sizes.values()]), strict=True))
    places = {n: Buffer(n, F32, size, "arena", int(ends[n]) - (size * 4 // 64 * 64 + 64)) for n, size in sizes.items()}
    launches = tuple(Launch(k, n) for k, n in ((forward, "forward"), (double, "double"), (backward, "backward")))
    return Program("dense", 64, places, {"arena": int(max(ends.values()))}, launches)


@pytest.mark.parametrize("count", [64, 1, 37])
def test_generated_kernels_give_the_same_bits_on_any_number_of_threads(count: int) -> None:
    program = dense_program()
    native = build(program, host(), 2)
    found = []
    for threads in (1, 2, 3, 7):
        memory, scratch = np.zeros(program.spaces["arena"] // 4, np.float32), np.zeros(native.scratch_stride * threads + 64, np.uint8)
        views = {n: memory[b.offset // 4 : b.offset // 4 + b.elements] for n, b in program.buffers.items()}
        numbers = np.random.default_rng(3)
        for name in ("x", "w", "b"):
            views[name][:] = numbers.standard_normal(len(views[name]))
        context = np.array([count, -(-scratch.ctypes.data // 64) * 64, memory.ctypes.data, *[0] * (native.layout.words - 3)], np.int64)
        shared_team(threads).run(native.body, context.ctypes.data, True)
        x, w = views["x"].reshape(64, 24)[:count].astype(np.float64), views["w"].reshape(24, 40)
        h = x @ w + views["b"]
        np.testing.assert_allclose(views["h"].reshape(64, 40)[:count], h, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(views["g"].reshape(24, 40), x.T @ (2 * h), rtol=1e-4, atol=1e-4)
        found.append(memory.tobytes())
    assert len(set(found)) == 1


def test_a_program_without_gathers_has_no_epoch() -> None:
    assert build(replace(PROGRAM, gathers=()), host()).epoch == 0


def test_checks_need_a_place_for_the_fault() -> None:
    with pytest.raises(ValueError, match="fault"):
        build(replace(PROGRAM, fault=None), host())


def test_an_empty_program_runs() -> None:
    native = build(Program("empty", 4, {}, {}, ()), host())
    context = np.zeros(native.layout.words, np.int64)
    assert shared_team(1).run(native.body, context.ctypes.data, native.parallel) == 0
    assert ctypes.sizeof(ctypes.c_int64) == context.itemsize


def test_the_layout_is_what_the_runtime_fills() -> None:
    layout = build(PROGRAM, host()).layout
    words = [
        layout.rows,
        layout.scratch,
        *(layout.space(s) for s in SPACES),
        layout.order,
        layout.begin,
        layout.end,
        layout.batch,
        layout.position,
        layout.data(0),
    ]
    assert words == list(range(layout.words))
