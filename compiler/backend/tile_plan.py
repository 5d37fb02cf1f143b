"""How a contraction is written, as data: merged loops, the register tile, panels of n, blocks of m and k, the form in which b is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..kernels.model import Access, Axis, Contract

DIRECT, CHOOSE, COPY, TRANSPOSE, GATHER, DOT = "direct", "choose", "copy", "transpose", "gather", "dot"
"""How b is read: where it lies; there or from a copy, by the number of rows; from a copy made by vectors, by transposed squares or element
by element; along k in vectors."""

APART, SLIVERS = "apart", "slivers"
"""How a is copied: row after row, contiguous along k; or tile after tile, the rows of a tile side by side for each step of k."""

COPY_TILES = 4
"""Register tiles of rows from which copying a panel of b pays."""


@dataclass(frozen=True)
class Span:
    """One loop after merging neighbours: `factor` steps, times the run-time rows if `rows`."""

    name: str
    factor: int
    rows: bool = False


@dataclass(frozen=True)
class Column:
    """One vector of a tile: `offset` columns into panel number `panel` of the group, `active` of its `lanes` inside n."""

    panel: int
    offset: int
    lanes: int
    active: int


@dataclass(frozen=True)
class Plan:
    """All decisions about one contraction.

    Rows are tiled within lines of `line` rows, the innermost axis of m or parts of it, if that is not 0; lo and hi then count lines of m.
    `lanes` by `vectors` is a panel; `heights` are the register tile's rows in falling order; `form` is how b is read (the dot form takes
    `dot_columns` columns at once). `blocked` is the position in `k` of the loop that is cut into blocks of `block` steps (-1: none).
    When `joined`, the loop outside the cut one, which is as long as there are rows, is cut with it: a block is then several of its steps.
    `m_block` rows at a time see all panels, `group` of them in turn at each block of k, and their strips of b lie `strip` elements apart
    where they are copied together (not 0). `pack` says how these rows are copied first
    (not at all when it is empty), `pitch` elements for each.
    `wide` are the (rows, panels side by side) of tiles for few rows alone, where the stream of b is the bound.
    `varies` says of each instruction of the body whether it depends on the row (or batch) and on the column; `streamed` are the operands
    of the body that are asked for ahead.
    The scratch holds, in this order and in bytes: the copied strip of b, or strips; resting sums of a block of rows (panel after panel
    of a group); those of few rows; copied rows of a.
    """

    kernel: Contract
    partition: str
    batch: tuple[Span, ...]
    m: tuple[Span, ...]
    k: tuple[Span, ...]
    lanes: int
    vectors: int
    heights: tuple[int, ...]
    form: str
    dot_columns: int
    line: int
    blocked: int
    block: int
    joined: bool
    m_block: int
    group: int
    strip: int
    pack: str
    pitch: int
    wide: tuple[tuple[int, int], ...]
    long_body: bool
    varies: tuple[tuple[bool, bool], ...]
    streamed: tuple[Access, ...]
    strip_bytes: int
    sums_bytes: int
    few_bytes: int
    rows_bytes: int

    @property
    def unit(self) -> int:
        """Points (of the axes that are shared out) to one step of lo and hi."""
        return self.line if self.partition == "m" and self.line else 1

    @property
    def scratch(self) -> int:
        """Bytes of scratch a thread."""
        return self.strip_bytes + self.sums_bytes + self.few_bytes + self.rows_bytes

    @property
    def width(self) -> int:
        """Columns of a panel."""
        return self.lanes * self.vectors

    @property
    def columns(self) -> int:
        """The extent of n."""
        return columns_of(self.kernel)

    @property
    def full_panels(self) -> int:
        """Panels without a remainder."""
        return self.columns // self.width

    @property
    def few_most(self) -> int:
        """The most rows that count as few: they have tiles of their own."""
        return len(self.wide)

    def side_by_side(self, panels: int) -> tuple[Column, ...]:
        """The vectors of `panels` full panels side by side."""
        return tuple(Column(p, v * self.lanes, self.lanes, self.lanes) for p in range(panels) for v in range(self.vectors))

    def last(self) -> tuple[Column, ...]:
        """The vectors of the panel that is not full, no more and no wider than needed."""
        rest = self.columns % self.width
        actives = ((at, min(self.lanes, rest - at)) for at in range(0, rest, self.lanes))
        return tuple(Column(0, at, min(self.lanes, power_of_two(active)), active) for at, active in actives)

    def fixed(self, spans: Sequence[Span]) -> int | None:
        """Number of points of `spans`, None when it is known at run time only."""
        return None if any(s.rows for s in spans) else math.prod(s.factor for s in spans)


def columns_of(kernel: Contract) -> int:
    """The extent of n, which is always known beforehand."""
    assert isinstance(kernel.n.extent, int)
    return kernel.n.extent


def power_of_two(number: int) -> int:
    """The least power of two that is not less."""
    return 1 << (number - 1).bit_length()


def strides(entries: tuple[tuple[str, int], ...], n: Axis) -> dict[str, int]:
    """Strides by axis name, the one between panels of n made explicit."""
    table = dict(entries)
    if n.split and n.name in table:
        table.setdefault(n.name + "/", n.split * table[n.name])
    return {name: stride for name, stride in table.items() if stride}


def balanced(rows: int, most: int) -> tuple[tuple[int, int], ...]:
    """(height, count) of near-equal tiles that cover a number of rows known beforehand."""
    count = -(-rows // most)
    height = -(-rows // count)
    full, rest = divmod(rows, height)
    return tuple((h, c) for h, c in ((height, full), (rest, 1)) if h and c)
