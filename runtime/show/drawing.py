"""A picture laid out in rows and written as SVG, after Sugiyama, Tagawa and Toda (1981): ranks, dummies on long arrows, barycentres."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

from .picture import Box, Picture

CHARACTER, LINE = 7.3, 17.0
PADDING, GAP, RISE, MARGIN = 12.0, 28.0, 46.0, 20.0
SWEEPS = 8
FILLS = {"input": "#dbeafe", "target": "#fde2e4", "layer": "#e8f5e9", "step": "#f5f5f5", "output": "#fff4d6"}


@dataclass
class Place:
    """Where a box (or a bend of a long arrow, with no size) lies: its rank, centre and size in pixels."""

    rank: int
    width: float = 0.0
    height: float = 0.0
    x: float = 0.0
    y: float = 0.0


@dataclass
class Layout:
    """Places of boxes and bends, the chain of places that each arrow runs through, and the neighbours of each place."""

    places: list[Place]
    chains: list[list[int]]
    above: dict[int, list[int]] = field(default_factory=dict)
    below: dict[int, list[int]] = field(default_factory=dict)


def svg_text(picture: Picture) -> str:
    """The picture as a standalone SVG."""
    layout = _lay_out(picture)
    width = max((p.x + p.width / 2 for p in layout.places), default=0) + MARGIN
    height = max((p.y + p.height / 2 for p in layout.places), default=0) + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"',
        '  font-family="ui-monospace, monospace" font-size="12">',
        f"<title>{escape(picture.title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#666"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>',
    ]
    for arrow, chain in zip(picture.arrows, layout.chains, strict=True):
        lines += _arrow([layout.places[n] for n in chain], arrow.label)
    for box, place in zip(picture.boxes, layout.places, strict=False):
        lines += _box(box, place)
    return "\n".join([*lines, "</svg>", ""])


# --- where everything lies


def _lay_out(picture: Picture) -> Layout:
    layout = _ranked(picture)
    rows = _ordered(layout)
    _set_across(layout, rows)
    _set_down(layout, rows)
    return layout


def _ranked(picture: Picture) -> Layout:
    """Every box below all it depends on; an arrow over several ranks bends once in each, so that it meets no box."""
    ranks = [0] * len(picture.boxes)
    for number in range(len(picture.boxes)):
        ranks[number] = max((ranks[a.start] + 1 for a in picture.arrows if a.end == number), default=0)
    for number, box in enumerate(picture.boxes):
        users = [ranks[a.end] for a in picture.arrows if a.start == number]
        if box.kind in ("input", "target") and users:
            ranks[number] = min(users) - 1
    places = [Place(rank, *_size(box)) for rank, box in zip(ranks, picture.boxes, strict=True)]
    layout = Layout(places, [])
    for arrow in picture.arrows:
        bends = range(ranks[arrow.start] + 1, ranks[arrow.end])
        layout.chains.append([arrow.start, *range(len(places), len(places) + len(bends)), arrow.end])
        places += [Place(rank) for rank in bends]
    for chain in layout.chains:
        for upper, lower in itertools.pairwise(chain):
            layout.below.setdefault(upper, []).append(lower)
            layout.above.setdefault(lower, []).append(upper)
    return layout


def _size(box: Box) -> tuple[float, float]:
    widest = max(len(box.title), len(box.detail))
    return widest * CHARACTER + 2 * PADDING, LINE * (2 if box.detail else 1) + PADDING


def _ordered(layout: Layout) -> list[list[int]]:
    """The places of each rank from left to right; sweeps down and up put each near the mean of its neighbours."""
    rows: list[list[int]] = [[] for _ in range(max((p.rank for p in layout.places), default=-1) + 1)]
    for number, place in enumerate(layout.places):
        rows[place.rank].append(number)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = layout.above if down else layout.below
        for row in rows if down else reversed(rows):
            position = {n: float(i) for each in rows for i, n in enumerate(each)}
            row.sort(key=lambda n: (_mean((position[m] for m in neighbours.get(n, [])), position[n]), n))
    return rows


def _mean(values: Iterable[float], otherwise: float) -> float:
    found = list(values)
    return sum(found) / len(found) if found else otherwise


def _set_across(layout: Layout, rows: list[list[int]]) -> None:
    """Centres from left to right: packed, then drawn towards the mean of the neighbours as far as the row allows."""
    for row in rows:
        _pack(layout, row, dict.fromkeys(row, 0.0))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = layout.above if down else layout.below
        for row in rows if down else reversed(rows):
            _pack(layout, row, {n: _mean((layout.places[m].x for m in neighbours.get(n, [])), layout.places[n].x) for n in row})
    left = min((p.x - p.width / 2 for p in layout.places), default=0.0)
    for place in layout.places:
        place.x += MARGIN - left


def _pack(layout: Layout, row: list[int], wanted: dict[int, float]) -> None:
    """Centres without overlap, near the wanted ones: pushed right where they crowd, then the whole row moved back by the mean push."""
    edge = float("-inf")
    for number in row:
        place = layout.places[number]
        place.x = max(wanted[number], edge + place.width / 2)
        edge = place.x + place.width / 2 + GAP
    shift = _mean((layout.places[n].x - wanted[n] for n in row), 0.0)
    for number in row:
        layout.places[number].x -= shift


def _set_down(layout: Layout, rows: list[list[int]]) -> None:
    top = MARGIN
    for row in rows:
        height = max((layout.places[n].height for n in row), default=0.0)
        for number in row:
            layout.places[number].y = top + height / 2
        top += height + RISE


# --- how it looks


def _box(box: Box, place: Place) -> list[str]:
    x, y = place.x - place.width / 2, place.y - place.height / 2
    round_ = place.height / 2 if box.kind in ("input", "target", "output") else 4
    size = f'width="{place.width:.1f}" height="{place.height:.1f}" rx="{round_:.1f}"'
    lines = [f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{FILLS[box.kind]}" stroke="#888"/>']
    title = place.y + 4 - (LINE / 2 if box.detail else 0)
    lines.append(f'<text x="{place.x:.1f}" y="{title:.1f}" text-anchor="middle" font-weight="bold">{escape(box.title)}</text>')
    if box.detail:
        lines.append(f'<text x="{place.x:.1f}" y="{title + LINE:.1f}" text-anchor="middle" fill="#555">{escape(box.detail)}</text>')
    return lines


def _arrow(places: list[Place], label: str) -> list[str]:
    """A smooth curve through the bends of an arrow, its label beside its beginning."""
    start, end = places[0], places[-1]
    points = [(start.x, start.y + start.height / 2), *((p.x, p.y) for p in places[1:-1]), (end.x, end.y - end.height / 2)]
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (y0 + y1) / 2
        path += f" C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    x, y = points[0][0] * 0.7 + points[1][0] * 0.3, points[0][1] + 16
    return [
        f'<path d="{path}" fill="none" stroke="#666" marker-end="url(#tip)"/>',
        f'<text x="{x + 5:.1f}" y="{y:.1f}" font-size="10" fill="#777">{escape(label)}</text>',
    ]
