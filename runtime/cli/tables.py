"""Tables on the terminal: drawn by rich where somebody looks, plain columns in a file or a pipe."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field


@dataclass
class Table:
    """Columns with a head and a side each (`<` left, `>` right), and rows of text."""

    heads: tuple[str, ...]
    sides: str
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """One more row."""
        self.rows.append(cells)


def render(table: Table, *, wide: bool = False) -> str:
    """The text of a table; `wide` (for a file) never cuts it to a terminal's width."""
    return _plain(table) if wide or not sys.stdout.isatty() else _drawn(table)


def _plain(table: Table) -> str:
    lines = [table.heads, *table.rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(table.heads))]
    return "\n".join("  ".join(f"{c:{side}{w}}" for c, side, w in zip(line, table.sides, widths, strict=True)).rstrip() for line in lines)


def _drawn(table: Table) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=SIMPLE_HEAD, pad_edge=False)
    for head, side in zip(table.heads, table.sides, strict=True):
        drawn.add_column(head, justify="left" if side == "<" else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    console = Console()
    with console.capture() as capture:
        console.print(drawn)
    return capture.get().rstrip()
