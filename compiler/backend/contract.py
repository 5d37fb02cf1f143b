"""One generator for every contraction: matrix products, convolutions, their gradients, recurrent and attention products.

The order of the loops: points of batch; blocks of rows that stay in the second-level cache; panels of n; blocks of k (when b is copied
or very long); register tiles of rows; k itself. One or two rows alone take several panels side by side instead, because then the stream
of b is the bound. `tiling.py` decides, `tile_plan.py` holds what is decided, `panel.py` does one panel, `tile.py` holds the innermost
loops, `strip.py` copies, `epilogue.py` writes the stores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence, Set

from ..kernels import model
from ..kernels.model import Contract
from .epilogue import Frame, write_from_scratch
from .panel import Panels, Range, copy_whole, few_rest, few_rows, whole_panels, whole_steps
from .target import Target
from .text import Emitted, Grid, Text, Value, i64
from .tile_plan import Column, Plan, Span
from .tiling import make_plan


def emit_contract(kernel: Contract, target: Target, *, partition: str = "auto", fresh: Set[str] = frozenset()) -> Emitted:
    """The function that computes a contraction.

    `partition` says what lo and hi count: `m` rows (the m axes flattened) or lines of them, `n` panels of `grid.grain` columns,
    `batch` points of the batch axes flattened, or `auto`. `fresh` buffers are of a loop that goes on to another part of them each time.
    """
    plan = make_plan(kernel, target, partition, fresh)
    names = model.buffers(kernel)
    pointers = {name: Value("ptr", f"%b{number}") for number, name in enumerate(names)}
    text = Text(target)
    text.begin("entry")
    frame = Frame(plan, text, pointers, Value("i64", "%rows"), Value("ptr", "%scratch"))
    _batches(frame)
    text.do("ret void")
    body = "\n".join([_head(kernel, names), *text.lines, "}"]) + "\n"
    return Emitted(body, names, _grid(plan), plan.scratch, tuple(text.needs.items()))


def _head(kernel: Contract, names: Sequence[str]) -> str:
    """The first line: buffers that are both read and written may not be promised apart."""
    shared = {a.buffer for a in model.loads(kernel)} & {a.buffer for a in model.stores(kernel)}
    pointers = [f"ptr {'' if name in shared else 'noalias '}%b{number}" for number, name in enumerate(names)]
    return f"define internal void @KERNEL({', '.join(pointers)}, i64 %rows, i64 %lo, i64 %hi, ptr noalias %scratch) #0 {{"


def _grid(plan: Plan) -> Grid:
    """What lo and hi count."""
    if plan.partition == "n":
        return Grid(plan.columns, False, plan.width)
    spans = plan.batch if plan.partition == "batch" else plan.m
    units = math.prod(s.factor for s in spans) // plan.unit
    return Grid(units, any(s.rows for s in spans), 1)


def _batches(frame: Frame) -> None:
    """Loop over the points of the batch axes."""
    plan, text = frame.plan, frame.text
    if not plan.batch and plan.partition != "batch":
        _products(frame)
        return
    points = _range(frame, "batch", plan.batch)
    with text.loop(points.stop, points.start) as loop:
        frame.batch = frame.digits(loop.index, plan.batch)
        _products(frame)


def _range(frame: Frame, kind: str, spans: Sequence[Span]) -> Range:
    """The points of some axes that this call is to do."""
    if frame.plan.partition == kind:
        low, high = (frame.text.mul(Value("i64", name), frame.plan.unit) for name in ("%lo", "%hi"))
        return Range(low, high)
    count = frame.plan.fixed(spans)
    return Range(i64(0), i64(count) if count is not None else frame.points(spans), count)


def _products(frame: Frame) -> None:
    """One product: a form of its own for few rows, blocks of rows for more."""
    plan, text = frame.plan, frame.text
    rows = _range(frame, "m", plan.m)
    if rows.count is not None:
        groups = dict(plan.wide).get(rows.count)
        if groups:
            _few(frame, rows, rows.count, groups)
            _few_bodies(frame, rows)
        else:
            _row_blocks(frame, rows)
        return
    if not plan.wide:
        _row_blocks(frame, rows)
        return
    count = text.op("i64", f"sub {rows.stop}, {rows.start.name}")
    for height, groups in plan.wide:
        with text.when(text.op("i1", f"icmp eq {count}, {height}")):
            _few(frame, rows, height, groups)
    with text.when(text.op("i1", f"icmp sle {count}, {plan.few_most}")):
        _few_bodies(frame, rows)
    with text.when(text.op("i1", f"icmp sgt {count}, {plan.few_most}")):
        _row_blocks(frame, rows)


def _few(frame: Frame, rows: Range, height: int, groups: int) -> None:
    """All panels for few rows, several side by side."""
    _panels(frame, lambda panel, columns: few_rows(frame, panel, columns, rows.start, height), groups)


def _few_bodies(frame: Frame, rows: Range) -> None:
    """The long body of few rows, whose sums rest in scratch."""
    if not frame.plan.long_body:
        return

    def each(panel: Value, columns: Sequence[Column]) -> None:
        write_from_scratch(frame, panel, columns, rows.start, rows.stop, few_rest(frame, panel))

    _panels(frame, each)


def _row_blocks(frame: Frame, rows: Range) -> None:
    """Rows in blocks that stay in cache while all panels pass over them."""
    plan, text = frame.plan, frame.text
    if rows.count is not None and rows.count <= plan.m_block:
        _row_block(frame, rows)
        return
    with text.loop(rows.stop, rows.start, plan.m_block) as loop:
        stop = text.call("i64", "llvm.smin.i64", text.add(loop.index, i64(plan.m_block)), rows.stop)
        _row_block(frame, Range(loop.index, stop))


def _row_block(frame: Frame, rows: Range) -> None:
    """One block of rows, all panels, those of a group in turn at each block of k."""
    plan, text = frame.plan, frame.text
    copy_whole(frame, rows)
    start, stop = _full_panels(frame)
    columns = plan.side_by_side(1)
    if plan.full_panels and plan.group >= plan.full_panels:
        whole_panels(frame, Panels(start, stop), columns, rows)
    elif plan.full_panels:
        with text.loop(stop, start, plan.group) as loop:
            end = text.call("i64", "llvm.smin.i64", text.add(loop.index, i64(plan.group)), stop) if plan.group > 1 else None
            whole_panels(frame, Panels(loop.index, end), columns, rows)
    _last_panel(frame, lambda panel, columns: whole_panels(frame, Panels(panel), columns, rows))
    frame.copied_from = None


def _panels(frame: Frame, each: Callable[[Value, Sequence[Column]], None], sides: int = 1) -> None:
    """Run `each` on the full panels, `sides` of them side by side while there are so many, and on the one that is not full."""
    plan, text = frame.plan, frame.text
    start, stop = _full_panels(frame)
    for side in dict.fromkeys((sides, 1)):
        end = whole_steps(text, start, stop, side)
        if plan.full_panels and end != start:
            with text.loop(end, start, side) as loop:
                each(loop.index, plan.side_by_side(side))
        start = end
    _last_panel(frame, each)


def _full_panels(frame: Frame) -> tuple[Value, Value]:
    """The first of the full panels that this call is to do, and the one after the last."""
    full = i64(frame.plan.full_panels)
    if frame.plan.partition != "n":
        return i64(0), full
    return Value("i64", "%lo"), frame.text.call("i64", "llvm.smin.i64", Value("i64", "%hi"), full)


def _last_panel(frame: Frame, each: Callable[[Value, Sequence[Column]], None]) -> None:
    """Run `each` on the panel that is not full, if there is one and it is this call's."""
    plan, text = frame.plan, frame.text
    full, last = plan.full_panels, plan.last()
    if last and plan.partition == "n":
        before = text.op("i1", f"icmp sle i64 %lo, {full}")
        after = text.op("i1", f"icmp sgt i64 %hi, {full}")
        with text.when(text.op("i1", f"and {before}, {after.name}")):
            each(i64(full), last)
    elif last:
        each(i64(full), last)
