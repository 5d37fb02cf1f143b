"""The entries of a program in LLVM text: the body that runs its steps, the epoch that runs the body on batch after batch.

Both are jobs of the team, `i64 entry(ptr context, i64 thread, i64 threads, ptr team)`; every thread runs all of it. The context is an
array of 64-bit words (`Layout`). An entry returns the program's fault, 0 for none.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..kernels.program import Buffer, Gather, Loop, Program
from .canonical import Place
from .schedule import BY_ROWS, ROW_BLOCK, SERIAL, Step
from .target import Target
from .text import Grid, Text, Value, i64

PARAMETERS = "ptr %context, i64 %thread, i64 %threads, ptr %team"
START = i64(0)
CONTEXT, THREAD, THREADS = Value("ptr", "%context"), Value("i64", "%thread"), Value("i64", "%threads")


@dataclass(frozen=True)
class Layout:
    """Positions of the words of a context.

    0 rows of this batch; 1 address of the scratch (`scratch_stride` bytes for each thread); then the address of every space, in order;
    then, for the epoch: the address of the order (i64 row numbers of the data set), the position in it to begin at, the position to end
    before, rows of a batch, the position of the batch that was begun last (written by the epoch); then the address of the data set's rows
    for every gather.
    """

    spaces: tuple[str, ...]
    gathers: int
    rows: int = 0
    scratch: int = 1

    def space(self, name: str) -> int:
        """The word that holds the address of a space."""
        return 2 + self.spaces.index(name)

    @property
    def order(self) -> int:
        """The word that holds the address of the order."""
        return 2 + len(self.spaces)

    @property
    def begin(self) -> int:
        """The first position of the order."""
        return self.order + 1

    @property
    def end(self) -> int:
        """The position of the order to stop before."""
        return self.order + 2

    @property
    def batch(self) -> int:
        """Rows of a full batch, at most the capacity."""
        return self.order + 3

    @property
    def position(self) -> int:
        """Where the batch begun last starts in the order."""
        return self.order + 4

    def data(self, gather: int) -> int:
        """The word that holds the address of the rows for gather number `gather`."""
        return self.order + 5 + gather

    @property
    def words(self) -> int:
        """Number of words."""
        return self.data(self.gathers)


@dataclass(frozen=True)
class Call:
    """One launch ready to be written: the kernel's symbol and grid, its pointer arguments, how threads share it.

    `units` are the units of the grid in a row of the batch, when shared by rows. Neighbours with the same `loop` (not 0) are run in turn,
    time after time. `reused` are the bytes between rows for every pointer whose first rows serve all blocks of a stretch, else 0.
    """

    function: str
    places: tuple[Place, ...]
    grid: Grid
    units: int
    step: Step
    loop: int = 0
    reused: tuple[int, ...] = ()


@dataclass(frozen=True)
class Frame:
    """What the steps of a body use: the text being written, addresses of spaces, this thread's scratch and rows, the time in a loop."""

    text: Text
    rows: Value
    spaces: dict[str, Value]
    scratch: Value
    first: Value
    last: Value
    ranges: dict[tuple[str, Grid, int], tuple[Value, Value]]
    time: Value = START


def body_text(name: str, calls: Sequence[Call], program: Program, layout: Layout, scratch_stride: int, target: Target) -> Text:
    """The function `name` that runs `calls`, which begin with the checks of the program."""
    frame = _enter(layout, scratch_stride, target)
    text = frame.text
    head = text.lines
    if program.checks and program.fault is not None:
        _check(frame, calls[: program.checks], program.buffers[program.fault])
    for loop, some in itertools.groupby(calls[program.checks :], lambda call: call.loop):
        if loop:
            _run_loop(frame, list(some), program.loops[loop])
        else:
            _run(frame, list(some))
    text.do("ret i64 0")
    text.lines = [f"define i64 @{name}({PARAMETERS}) #0 {{", *head, "}", ""]
    return text


def _enter(layout: Layout, scratch_stride: int, target: Target) -> Frame:
    """Read the context and find this thread's scratch and range of rows."""
    text = Text(target)
    text.begin("entry")
    rows = _word(text, layout.rows)
    spaces = {space: _word(text, layout.space(space), "ptr") for space in layout.spaces}
    scratch = text.at(_word(text, layout.scratch, "ptr"), "i8", text.mul(THREAD, scratch_stride))
    blocks = text.op("i64", f"udiv {text.add(rows, i64(ROW_BLOCK - 1))}, {ROW_BLOCK}")
    cuts = [text.mul(cut, ROW_BLOCK) for cut in _share(text, blocks)]
    first, last = (text.call("i64", "llvm.smin.i64", cut, rows) for cut in cuts)
    return Frame(text, rows, spaces, scratch, first, last, {})


def _word(text: Text, number: int, type_: str = "i64") -> Value:
    return text.op(type_, f"load {type_}, ptr {text.at(CONTEXT, 'i64', number).name}, align 8")


def _share(text: Text, total: Value) -> tuple[Value, Value]:
    """The part [total * thread / threads, total * (thread + 1) / threads) of this thread."""
    ends = []
    for number in (THREAD, text.add(THREAD, i64(1))):
        product = text.op("i64", f"mul {total}, {number.name}")
        ends.append(text.op("i64", f"udiv {product}, {THREADS.name}"))
    return ends[0], ends[1]


def barrier(text: Text) -> None:
    """Wait for the whole team."""
    text.need("team_barrier", "declare void @team_barrier(ptr, i64)")
    text.do("call void @team_barrier(ptr %team, i64 %threads)")


def _check(frame: Frame, checks: Sequence[Call], fault: Buffer) -> None:
    """Run the checks on thread 0; all threads leave with the fault if there is one."""
    text = frame.text
    at = text.at(frame.spaces[fault.space], "i8", fault.offset)
    with text.when(_is_first(text)):
        text.do(f"store i32 0, {at}, align 4")
    _run(frame, checks)
    barrier(text)
    code = text.op("i64", f"sext i32 {text.op('i32', f'load i32, {at}, align 4').name} to i64")
    with text.when(text.op("i1", f"icmp ne {code}, 0")):
        text.do(f"ret {code}")
        text.begin(text.fresh("unreached"))


def _is_first(text: Text) -> Value:
    return text.op("i1", f"icmp eq {THREAD}, 0")


def _run(frame: Frame, calls: Sequence[Call]) -> None:
    """Write the calls; those that share a range stand under one condition, so that threads without work pass quickly."""
    barriers = itertools.accumulate(call.step.barrier for call in calls)
    for _, group in itertools.groupby(zip(barriers, calls, strict=True), lambda pair: (pair[0], _range_key(pair[1]))):
        _run_together(frame, [call for _, call in group])


def _run_loop(frame: Frame, calls: Sequence[Call], loop: Loop) -> None:
    """The calls of a loop, time after time."""
    for call in calls:
        _range(frame, call)  # the same at all times
    with frame.text.loop(loop.turns) as turn:
        time = frame.text.op("i64", f"sub {i64(loop.turns - 1)}, {turn.index.name}") if loop.reverse else turn.index
        _run(replace(frame, time=time), calls)


def _run_together(frame: Frame, calls: Sequence[Call]) -> None:
    """Calls between the same barriers on the same range, where this thread has any of it."""
    if calls[0].step.barrier:
        barrier(frame.text)
    condition = _has_work(frame, calls[0])
    for call in calls:
        _range(frame, call)  # computed before the condition, so that later calls may use it too
    with frame.text.when(condition):
        for stretch, some in itertools.groupby(calls, lambda call: call.step.stretch):
            run = _run_in_blocks if stretch else _run_one_by_one
            run(frame, list(some))


def _has_work(frame: Frame, call: Call) -> Value:
    """Whether this thread takes part in a call."""
    first, last = _range(frame, call)
    return _is_first(frame.text) if call.step.mode == SERIAL else frame.text.op("i1", f"icmp slt {first}, {last.name}")


def _run_one_by_one(frame: Frame, calls: Sequence[Call]) -> None:
    """Each kernel on all of this thread's range."""
    for call in calls:
        _call(frame, call, *_range(frame, call))


def _run_in_blocks(frame: Frame, calls: Sequence[Call]) -> None:
    """A stretch: blocks of this thread's rows, each through all kernels."""
    text, step = frame.text, calls[0].step
    first, last = (i64(0), frame.rows) if step.mode == SERIAL else (frame.first, frame.last)
    with text.loop(last, first, step.block) as loop:
        stop = text.call("i64", "llvm.smin.i64", text.add(loop.index, i64(step.block)), last)
        before = text.op("i64", f"sub {first}, {loop.index.name}")
        for call in calls:
            _call(frame, call, text.mul(loop.index, call.units), text.mul(stop, call.units), before)


def _range_key(call: Call) -> object:
    """Calls with equal keys may stand under one condition."""
    return call.step.mode if call.step.mode in (SERIAL, BY_ROWS) else call.grid


def _range(frame: Frame, call: Call) -> tuple[Value, Value]:
    """The units of work of this thread, computed once for equal grids."""
    known = (call.step.mode, call.grid, call.units)
    if known not in frame.ranges:
        frame.ranges[known] = _new_range(frame, call)
    return frame.ranges[known]


def _new_range(frame: Frame, call: Call) -> tuple[Value, Value]:
    if call.step.mode == BY_ROWS:
        return frame.text.mul(frame.first, call.units), frame.text.mul(frame.last, call.units)
    total = _total(frame, call.grid)
    return (i64(0), total) if call.step.mode == SERIAL else _share(frame.text, total)


def _total(frame: Frame, grid: Grid) -> Value:
    """All units of a grid."""
    if not grid.rows:
        return i64(-(-grid.extent // grid.grain))
    points = frame.text.mul(frame.rows, grid.extent)
    if grid.grain == 1:
        return points
    return frame.text.op("i64", f"udiv {frame.text.add(points, i64(grid.grain - 1))}, {grid.grain}")


def _call(frame: Frame, call: Call, lo: Value, hi: Value, before: Value | None = None) -> None:
    """Call a kernel; rows of what is reused lie `before` rows from where they would (a negative number)."""
    text = frame.text
    pointers = [_pointer(frame, place) for place in call.places]
    if before is not None:
        pointers = [text.at(p, "i8", text.mul(before, size)) if size else p for p, size in zip(pointers, call.reused, strict=True)]
    arguments = [*pointers, frame.rows, lo, hi, frame.scratch]
    text.need(call.function, f"declare void @{call.function}({', '.join(a.type for a in arguments)})")
    text.do(f"call void @{call.function}({', '.join(map(str, arguments))})")


def _pointer(frame: Frame, place: Place) -> Value:
    """The address of a place at this time."""
    text, turn = frame.text, place.turn
    if turn is None:
        return text.at(frame.spaces[place.space], "i8", place.offset)
    slot = text.add(frame.time, i64(turn.phase))
    if turn.slots:
        slot = text.op("i64", f"urem {slot}, {turn.slots}")
    return text.at(frame.spaces[place.space], "i8", text.add(text.mul(slot, turn.bytes), i64(place.offset)))


def epoch_text(name: str, body: str, program: Program, layout: Layout, target: Target) -> Text:
    """The function `name` that gathers each batch from the data set and runs `body` on it, until the order ends or a fault comes."""
    text = Text(target)
    text.begin("entry")
    order = _word(text, layout.order, "ptr")
    begin, end, batch = (_word(text, n) for n in (layout.begin, layout.end, layout.batch))
    most = text.call("i64", "llvm.smin.i64", text.call("i64", "llvm.smax.i64", batch, i64(1)), i64(program.capacity))
    before = text.block
    text.branch("batch")
    text.begin("batch")
    slot = len(text.lines)
    position = Value("i64", "%position")
    more = text.op("i1", f"icmp slt {position}, {end.name}")
    text.branch_if(more, "fill", "done")
    text.begin("fill")
    rows = text.call("i64", "llvm.smin.i64", most, text.op("i64", f"sub {end}, {position.name}"))
    _fill(text, program, layout, order, position, rows)
    barrier(text)
    fault = text.op("i64", f"call i64 @{body}({PARAMETERS})")
    barrier(text)
    following = text.add(position, rows)
    text.lines.insert(slot, f"  %position = phi i64 [ {begin.name}, %{before} ], [ {following.name}, %{text.block} ]")
    text.branch_if(text.op("i1", f"icmp eq {fault}, 0"), "batch", "stop")
    text.begin("stop")
    text.do(f"ret {fault}")
    text.begin("done")
    text.do("ret i64 0")
    text.lines = [f"define i64 @{name}({PARAMETERS}) #0 {{", *text.lines, "}", ""]
    return text


def _fill(text: Text, program: Program, layout: Layout, order: Value, position: Value, rows: Value) -> None:
    """State the rows of the batch and copy them from the data set, each thread its share."""
    with text.when(_is_first(text)):
        text.do(f"store {rows}, {text.at(CONTEXT, 'i64', layout.rows)}, align 8")
        text.do(f"store {position}, {text.at(CONTEXT, 'i64', layout.position)}, align 8")
    first, last = _share(text, rows)
    numbers = text.at(order, "i64", position)
    for n, gather in enumerate(program.gathers):
        _gather(text, gather, program.buffers[gather.buffer], layout, n, numbers, (first, last))


def _gather(text: Text, gather: Gather, buffer: Buffer, layout: Layout, number: int, rows: Value, share: tuple[Value, Value]) -> None:
    """Copy this thread's share of rows for one input."""
    data = _word(text, layout.data(number), "ptr")
    to = text.at(_word(text, layout.space(buffer.space), "ptr"), "i8", buffer.offset)
    text.need("llvm.memcpy.p0.p0.i64", "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    with text.loop(share[1], share[0]) as loop:
        row = text.op("i64", f"load i64, {text.at(rows, 'i64', loop.index)}, align 8")
        source = text.at(data, "i8", text.mul(row, gather.row_bytes))
        target = text.at(to, "i8", text.mul(loop.index, gather.stride or gather.row_bytes))
        text.do(f"call void @llvm.memcpy.p0.p0.i64({target}, {source}, i64 {gather.row_bytes}, i1 false)")
