"""Decides how a contraction is cut: which loops merge, the register tile, panels of n, blocks of m and k, copies of b.

Columns (n) are cut into panels as wide as the register tile. A panel of b is the unit that stays in cache while rows pass over it; where
b does not lie as such a panel in memory (its k stride would alias in the first-level cache, or it has no unit stride along n) the panel
is copied into scratch first. A copied or very long k is cut into blocks; the sums then rest in scratch between blocks, exactly, so that
the chain of each accumulator is the same whatever was chosen here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set

from ..ir.elementwise import ROWS
from ..kernels import model
from ..kernels.model import Access, Axis, Contract, Load
from .target import Target
from .tile_plan import (
    APART,
    CHOOSE,
    COPY,
    COPY_TILES,
    DIRECT,
    DOT,
    GATHER,
    SLIVERS,
    TRANSPOSE,
    Plan,
    Span,
    columns_of,
    power_of_two,
    strides,
)

COPIED = (CHOOSE, COPY, TRANSPOSE, GATHER)
"""The forms that copy b into scratch, at least when there are many rows."""

LONG_BODY = 11
"""Operations of a body beyond which it is looped over sums in scratch rather than written once a register."""

PANEL_BYTES = 64 << 10
"""A panel of b, or a block of its k: with some rows of a it streams from the second-level cache without loss."""

STREAMED_BYTES = 2**23
"""Operands of a body beyond this are prefetched: smaller ones come from the caches by themselves (measured: 8% slower with it)."""

PACKED_STEPS = {APART: 384, SLIVERS: 192}
"""Steps of a block of k where a is copied: a panel of b for so many, and a tile's rows of a, stay in the first-level cache."""

PACKED_BYTES = 384 << 10
"""Copied rows of a for a block of k: they stay in the second-level cache while the panels pass over them."""

GROUP_BYTES = 1 << 20
"""Sums of a block of rows that rest between blocks of k: as many panels as have room in it share one copy of a."""

ROWS_BYTES = 512 << 10
"""Rows of a that stay in the second-level cache while all panels pass over them; twice that where each block of rows copies b anew."""

RESTING_ROWS = 480
"""Rows whose sums may rest in scratch at once."""

STREAMED_STEPS = 256
"""Steps of a block of a long k that is read where it lies: what a tile reads of a and b for so many stays in the first-level cache."""

DENSE_BYTES, SPAN_BYTES = 128, 16 << 10
"""Steps of k of a panel of b that lie no further apart fill the first-level cache evenly; all of them in so few bytes anyhow."""

ALIAS_BYTES = 4096
"""Rows of a this far apart, or a multiple, fall on the same few lines of the first-level cache."""

FAR_BYTES = 256
"""A step of k this far from the next one leaves most of each line of the cache unread by a tile of rows."""

WORTH_COPYING, LIKELY_ROWS = 1024, 64
"""Steps of k times panels from which copying such rows pays; as many rows of the batch are supposed."""

ALIAS_PANELS = 6
"""Panels from which copying such rows apart pays."""

ROWS_TO_SHARE = 96
"""Rows known beforehand from which they are shared out among threads rather than columns."""

LEAST_SUMS = 8
"""Vectors of sums that hide the latency of multiply-add (4 cycles, two a cycle)."""

PART_OF_TILE = 0.85
"""The part of the best height of tiles that those of a shorter line may have."""

DOT_ROWS = 8
"""Rows up to which summing along k within vectors beats transposing b."""


def merge(axes: Sequence[Axis], tables: Sequence[Mapping[str, int]]) -> tuple[Span, ...]:
    """Drop axes of one step and merge neighbours that every access walks as one."""
    spans: list[Span] = []
    for axis in axes:
        span = Span(axis.name, axis.extent) if isinstance(axis.extent, int) else Span(axis.name, 1, rows=True)
        if span.factor == 1 and not span.rows:
            continue
        outer = spans[-1] if spans else None
        if outer and not span.rows and all(t.get(outer.name, 0) == span.factor * t.get(span.name, 0) for t in tables):
            spans[-1] = Span(span.name, outer.factor * span.factor, outer.rows)
        else:
            spans.append(span)
    return tuple(spans)


def make_plan(kernel: Contract, target: Target, partition: str = "auto", fresh: Set[str] = frozenset()) -> Plan:
    """Decide everything about a contraction for a target; `fresh` buffers are met at another part each time the kernel is run."""
    tables = [strides(e, kernel.n) for e in _strided(kernel)]
    batch, m, k = merge(kernel.batch, tables), merge(kernel.m, tables), merge(kernel.k, tables[:2])
    lanes, vectors = _panel(kernel, target)
    width, size = lanes * vectors, kernel.dtype.bytes
    line = _line(m, vectors, target.tile[0])
    tile_rows, dot_columns = _tile_rows(kernel, target, m, line), 0
    form = _form(kernel, m, k, lanes, tile_rows)
    if form == DOT:
        tile_rows, dot_columns = _dot_tile(kernel, target)
    pack = _pack(kernel, form, m, k, width)
    blocked, block, joined = _blocks(form, k, pack, width * size)
    depth = math.prod(s.factor for s in k if not s.rows) if blocked < 0 else block * math.prod(s.factor for s in k[blocked + 1 :])
    long_body = _body_cost(kernel) > LONG_BODY or form == DOT
    resting = blocked >= 0 or long_body
    pitch = _pitch(kernel, pack, depth)
    most = PACKED_BYTES // (pitch * size) if pack else _row_block(form, tile_rows, depth * size, resting)
    m_block = _even(m, most, line or tile_rows)
    group = max(1, min(GROUP_BYTES // (m_block * width * size), columns_of(kernel) // width)) if blocked >= 0 else 1
    strip = depth * width + 64 // size if group > 1 and form in (CHOOSE, COPY) and not kernel.n.split else 0
    wide = _wide(kernel, target, form, lanes, vectors)
    few = len(wide) * -(-columns_of(kernel) // width)
    return Plan(
        kernel=kernel,
        partition=_partition(partition, batch, m, width, kernel),
        batch=batch,
        m=m,
        k=k,
        lanes=lanes,
        vectors=vectors,
        heights=heights(tile_rows),
        form=form,
        dot_columns=dot_columns,
        line=line,
        blocked=blocked,
        block=block,
        joined=joined,
        m_block=m_block,
        group=group,
        strip=strip,
        pack=pack,
        pitch=pitch,
        wide=wide,
        long_body=long_body,
        varies=varies(kernel),
        streamed=_streamed(kernel, m, fresh),
        strip_bytes=_padded((strip * group or depth * width) * size if form in COPIED else 0),
        sums_bytes=_padded(m_block * group * width * size if resting else 0),
        few_bytes=_padded(few * width * size if long_body else 0),
        rows_bytes=_padded(m_block * pitch * size),
    )


def _streamed(kernel: Contract, m: Sequence[Span], fresh: Set[str]) -> tuple[Access, ...]:
    """What the body loads at every point of a result, when that is too large to be in a core's own cache, or a `fresh` part each time."""
    if len(m) != 1 or kernel.n.extent == 1:
        return ()
    loaded = [i.access for i in kernel.body if isinstance(i, Load)]
    wide = tuple(a for a in loaded if a.stride(kernel.n.name) == 1 and a.stride(m[0].name))
    if m[0].rows:
        return tuple(a for a in wide if a.buffer in fresh)
    total = sum(columns_of(kernel) * m[0].factor * a.dtype.bytes for a in wide)
    return wide if total > STREAMED_BYTES else ()


def _row_block(form: str, tile_rows: int, row_bytes: int, resting: bool) -> int:
    """Rows that see all panels before the next ones do; fewer when their sums rest in scratch."""
    budget = ROWS_BYTES if form == DIRECT else 2 * ROWS_BYTES
    rows = max(4 * tile_rows, budget // row_bytes // tile_rows * tile_rows)
    return min(rows, RESTING_ROWS // tile_rows * tile_rows) if resting else rows


def heights(most: int) -> tuple[int, ...]:
    """Rows of the tiles that cover any number of rows known at run time."""
    return (most, *(h for h in (4, 2, 1) if h < most))


def varies(kernel: Contract) -> tuple[tuple[bool, bool], ...]:
    """For each instruction of the body, whether it depends on (m or batch, n)."""
    names = (kernel.n.name, kernel.n.name + "/")
    found: list[tuple[bool, bool]] = []
    for instruction in kernel.body:
        match instruction:
            case model.Accumulator():
                found.append((True, True))
            case model.Apply(_, args, _):
                found.append((any(found[a][0] for a in args), any(found[a][1] for a in args)))
            case model.Load(model.Access(_, _, entries)) | model.Index(entries, _, _):
                walked = strides(entries, kernel.n)
                found.append((any(w not in names for w in walked), any(w in names for w in walked)))
            case _:
                found.append((False, False))
    return tuple(found)


def _padded(size: int) -> int:
    return -(-size // 64) * 64


def _strided(kernel: Contract) -> list[tuple[tuple[str, int], ...]]:
    """The strides of everything that is walked, a and b first."""
    accesses = [a.strides for a in (*model.loads(kernel), *model.stores(kernel))]
    return accesses + [i.strides for i in kernel.body if isinstance(i, model.Index)]


def _body_cost(kernel: Contract) -> int:
    """Operations of the body at one point."""
    applied = [i.op for i in kernel.body if isinstance(i, model.Apply)]
    return sum(ROWS[op].flops if op in ROWS else 1 for op in applied)


def _panel(kernel: Contract, target: Target) -> tuple[int, int]:
    """Lanes and vectors of a panel: the register tile's, less where n or the blocks of its layout are narrower."""
    columns, split = columns_of(kernel), kernel.n.split
    lanes = min(target.lanes(kernel.dtype), power_of_two(columns))
    vectors = target.tile[1]
    if not split:
        return lanes, vectors
    lanes = math.gcd(lanes, split)
    return lanes, max(v for v in range(1, vectors + 1) if (split // lanes) % v == 0)


def _line(m: tuple[Span, ...], vectors: int, most: int) -> int:
    """Rows of a line, when tiles are to be cut from lines: they must hold enough sums to keep the multipliers busy.

    A line is the innermost axis of m; where no rows of the batch are shared out among threads, a part of it that tiles fill nearly as well.
    """
    if len(m) < 2 or m[-1].rows or m[-1].factor * vectors < LEAST_SUMS:
        return 0
    whole = m[-1].factor
    if any(s.rows for s in m):
        return whole
    parts = [d for d in range(1, whole + 1) if whole % d == 0 and d * vectors >= LEAST_SUMS]
    return min(d for d in parts if d / -(-d // most) >= PART_OF_TILE * max(p / -(-p // most) for p in parts))


def _tile_rows(kernel: Contract, target: Target, m: tuple[Span, ...], line: int) -> int:
    """Rows of the tallest tile: a row with a base pointer of its own needs a general register."""
    most = target.tile[0]
    return min(most, target.pointers) if len(m) > 1 and not line else most


def _form(kernel: Contract, m: tuple[Span, ...], k: tuple[Span, ...], lanes: int, tile_rows: int) -> str:
    """How b is read (the module's docstring)."""
    n, b = kernel.n, strides(kernel.b.strides, kernel.n)
    rows = None if any(s.rows for s in m) else math.prod(s.factor for s in m)
    inner = k[-1] if k else None
    along_n = n.extent == 1 or (b.get(n.name, 0) == 1)
    along_k = inner is not None and not inner.rows and b.get(inner.name, 0) == 1
    if along_k and inner is not None and kernel.a.stride(inner.name) == 1 and kernel.a.dtype == kernel.b.dtype == kernel.dtype:
        few = n.extent in (1, 2) or (rows is not None and rows <= DOT_ROWS)
        if few and inner.factor >= 4 * (64 // kernel.dtype.bytes):
            return DOT
    if kernel.b.dtype != kernel.dtype:
        return COPY if along_n else GATHER
    if not along_n:
        return TRANSPOSE if along_k and lanes > 1 else GATHER
    apart = b.get(inner.name, 0) * kernel.dtype.bytes if inner else 0
    if n.extent == 1 or apart <= DENSE_BYTES or apart * _turns(k) <= SPAN_BYTES:
        return DIRECT
    return DIRECT if rows is not None and rows < COPY_TILES * tile_rows else CHOOSE


def _pack(kernel: Contract, form: str, m: tuple[Span, ...], k: tuple[Span, ...], width: int) -> str:
    """How a is copied first: rows, contiguous along k, that would alias or are long; rows side by side, a step of k far from the next."""
    if form == DOT or len(m) != 1 or not k or kernel.a.dtype != kernel.dtype or columns_of(kernel) < ALIAS_PANELS * width:
        return ""
    size, row, step = kernel.dtype.bytes, kernel.a.stride(m[0].name), kernel.a.stride(k[-1].name)
    if row == 1 and step * size >= FAR_BYTES:
        return SLIVERS if _turns(k) * columns_of(kernel) >= WORTH_COPYING * width else ""
    if step != 1 or not row or len(k) > 1 or k[0].rows:
        return ""
    return APART if row * size % ALIAS_BYTES == 0 or k[0].factor > 2 * PACKED_STEPS[APART] else ""


def _turns(k: Sequence[Span]) -> int:
    """Steps of all loops of k, at a likely number of rows."""
    return math.prod(s.factor * (LIKELY_ROWS if s.rows else 1) for s in k)


def _pitch(kernel: Contract, pack: str, depth: int) -> int:
    """Elements that a row of a takes in its copy; whole rows begin on lines of the cache that differ."""
    if pack != APART:
        return depth if pack else 0
    line = 64 // kernel.dtype.bytes
    return (-(-depth // line) | 1) * line


def _even(m: Sequence[Span], most: int, unit: int) -> int:
    """Rows of a block, whole units, at most about `most`; where their number is known, blocks are as good as equal."""
    most = max(unit, most // unit * unit)
    if any(s.rows for s in m):
        return most
    rows = math.prod(s.factor for s in m)
    return -(-rows // -(-rows // most) // unit) * unit


def _dot_tile(kernel: Contract, target: Target) -> tuple[int, int]:
    """Rows and columns of the dot form's tile."""
    columns = min(4, columns_of(kernel))
    rows = {1: 8, 2: 4}.get(columns, 4 if target.registers >= 32 else 2)
    return rows, columns


def _wide(kernel: Contract, target: Target, form: str, lanes: int, vectors: int) -> tuple[tuple[int, int], ...]:
    """(rows, panels side by side) for few rows: the longer the stretches of b, the better it streams."""
    if form not in (DIRECT, CHOOSE) or columns_of(kernel) < 2 * lanes * vectors:
        return ()
    many = target.registers >= 32
    shapes = ((1, 16 if many and form == CHOOSE else 8), (2, 4), *([(3, 4)] if many else []))
    return tuple((rows, across // vectors) for rows, across in shapes if across // vectors > 1)


def _blocks(form: str, k: tuple[Span, ...], pack: str, step_bytes: int) -> tuple[int, int, bool]:
    """The loop of k that is cut, into blocks of how many steps, and whether the loop outside it is cut with it."""
    limit = PACKED_STEPS[pack] if pack else PANEL_BYTES // step_bytes
    if form == DOT or (form == DIRECT and not pack and _turns(k) <= 2 * limit):
        return -1, 0, False
    if not pack and any(s.rows for s in k):
        limit = min(limit, STREAMED_STEPS)
    inside = 1
    for position in range(len(k) - 1, -1, -1):
        span = k[position]
        if span.rows or inside * span.factor > limit:
            block = max(1, limit // inside)
            if pack and not span.rows:
                block = -(-span.factor // -(-span.factor // block) // 16) * 16
            return position, block, span.rows and position > 0
        inside *= span.factor
    return -1, 0, False


def _partition(wanted: str, batch: tuple[Span, ...], m: tuple[Span, ...], width: int, kernel: Contract) -> str:
    """What lo and hi count: `batch` points, `m` rows or `n` panels."""
    if wanted != "auto":
        return wanted
    if any(s.rows for s in batch):
        return "batch"
    if any(s.rows for s in m):
        return "m"
    rows, points = math.prod(s.factor for s in m), math.prod(s.factor for s in batch)
    if rows >= ROWS_TO_SHARE or (points == 1 and columns_of(kernel) <= width):
        return "m"
    return "n" if columns_of(kernel) >= points * width else "batch"
