"""HTML from values: what is not marked as HTML already is escaped, so that no name in anybody's data can become part of the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


class Markup(str):
    """Text that is HTML already."""


Child = str | Iterable["Child"]
VOID = {"br", "img", "meta"}


def joined(children: Child) -> str:
    """Children one after the other, text escaped."""
    if isinstance(children, Markup):
        return str(children)
    if isinstance(children, str):
        return escape(children)
    return "".join(map(joined, children))


def tag(name: str, /, *children: Child, **attributes: str | None) -> Markup:
    """An element; `class_` and `aria_label` stand for `class` and `aria-label`, and what is None is left out."""
    given = "".join(f' {k.rstrip("_").replace("_", "-")}="{escape(v)}"' for k, v in attributes.items() if v is not None)
    return Markup(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{joined(children)}</{name}>")


def section(anchor: str, title: str, *children: Child) -> Markup:
    """A part of the page under a heading that can be linked to."""
    return tag("section", tag("h2", title, id=f"{anchor}-title"), *children, id=anchor, aria_labelledby=f"{anchor}-title")


def table(caption: str, heads: Sequence[Child], rows: Iterable[Sequence[Child]], *, numbers: int = 0) -> Markup:
    """A table in a box that scrolls by itself; the first cell of a row is its head, the last `numbers` columns stand right."""
    first = len(heads) - numbers
    side = ["num" if n >= first else None for n in range(len(heads))]
    head = tag("tr", [tag("th", h, scope="col", class_=s) for h, s in zip(heads, side, strict=True)])
    body = [_row(row, side) for row in rows]
    inner = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body))
    return scrolling(caption, inner)


def _row(cells: Sequence[Child], side: Sequence[str | None]) -> Markup:
    first = tag("th", cells[0], scope="row", class_=side[0])
    return tag("tr", first, [tag("td", cell, class_=s) for cell, s in zip(cells[1:], side[1:], strict=True)])


def scrolling(label: str, inner: Child) -> Markup:
    """A box that scrolls sideways, by the keyboard too."""
    return tag("div", inner, class_="scroll", role="region", aria_label=label, tabindex="0")


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names and values side by side."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs], class_="facts")
