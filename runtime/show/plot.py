"""Plots of numbers as SVG: lines over epochs and points of pairs, in panels side by side, with axes at round values; light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 40, 44
TICKS = 5
WIDE = 100.0
"""Positive values that differ by more than this factor are drawn by their logarithm."""
MOST_POINTS = 2000

STYLE = """
.plot text { fill: #333; font: 12px system-ui, sans-serif }
.plot .title { font-weight: bold; font-size: 13px }
.plot .paper { fill: #fff }
.plot .rule { stroke: #e3e3e3 }
.plot .s0 { stroke: #1d4ed8; fill: #1d4ed8 }
.plot .s1 { stroke: #c2410c; fill: #c2410c; stroke-dasharray: 5 3 }
.plot .s2 { stroke: #15803d; fill: #15803d }
.plot .s3 { stroke: #7e22ce; fill: #7e22ce }
.plot .s4 { stroke: #a16207; fill: #a16207 }
.plot .s5 { stroke: #be185d; fill: #be185d }
.plot .line { fill: none; stroke-width: 2 }
.plot .dot { stroke: none; fill-opacity: 0.45 }
.plot .mark { stroke: #777; stroke-dasharray: 2 3 }
"""
DARK = """
.plot text { fill: #ddd }
.plot .paper { fill: #16181d }
.plot .rule { stroke: #33363d }
.plot .s0 { stroke: #7aa7ff; fill: #7aa7ff }
.plot .s1 { stroke: #ffa270; fill: #ffa270 }
.plot .s2 { stroke: #5fd08a; fill: #5fd08a }
.plot .s3 { stroke: #c58bff; fill: #c58bff }
.plot .s4 { stroke: #e2b93b; fill: #e2b93b }
.plot .s5 { stroke: #ff8ab8; fill: #ff8ab8 }
.plot .line { fill: none }
.plot .mark { stroke: #999 }
"""


@dataclass(frozen=True)
class Series:
    """Values at places `x`; what is not finite is a gap. `points` draws dots instead of a line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    points: bool = False


@dataclass(frozen=True)
class Panel:
    """One plot: a title, names of the axes, its series, and marked places on the x axis with their words."""

    title: str
    x_name: str
    y_name: str
    series: tuple[Series, ...]
    marks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Axis:
    """A range of values on a stretch of pixels, from `start` to `end`; by logarithms, or of `whole` numbers."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    whole: bool = False

    def place(self, value: float) -> float:
        """Where a value lies in pixels."""
        value = math.log10(value) if self.log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values in the range."""
        if self.log:
            powers = range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)
            return [10.0**p for p in powers][:: max(1, len(powers) // TICKS)]
        step = max(round_step((self.high - self.low) / TICKS), float(self.whole))
        return [n * step for n in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least as large."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= rough * (1 - 1e-9))


def plots_text(title: str, panels: Sequence[Panel], *, columns: int = 2) -> str:
    """The panels as a standalone SVG, dark where the reader's screen is."""
    style = f"<style>{STYLE}@media (prefers-color-scheme: dark) {{{DARK}}}</style>"
    across, down = min(columns, len(panels)), -(-len(panels) // columns)
    inner = [f'<g transform="translate({n % columns * WIDTH},{n // columns * HEIGHT})">{panel_text(p)}</g>' for n, p in enumerate(panels)]
    return _document(title, across * WIDTH, down * HEIGHT, [style, *inner]) + "\n"


def plot_text(panel: Panel) -> str:
    """One panel as an SVG to be put into a page that has `STYLE`."""
    return _document(panel.title, WIDTH, HEIGHT, [panel_text(panel)])


def _document(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    )
    paper = f'<rect class="paper" width="{width}" height="{height}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", paper, *parts, "</svg>"])


def panel_text(panel: Panel) -> str:
    """The elements of one panel, its upper left corner at 0."""
    x = _axis([v for s in panel.series for v in s.x], LEFT, WIDTH - RIGHT, tight=not any(s.points for s in panel.series))
    y = _axis([v for s in panel.series for v in s.y], HEIGHT - BOTTOM, TOP, log=not any(s.points for s in panel.series))
    lines = [text(LEFT, 20, panel.title, "start", "title"), *_frame(panel, x, y)]
    for place, words in panel.marks:
        lines += [_rule(x.place(place), TOP, x.place(place), HEIGHT - BOTTOM, "mark"), text(x.place(place) - 4, TOP + 12, words, "end")]
    for number, each in enumerate(panel.series):
        lines += _dots(each, x, y, number) if each.points else _line(each, x, y, number)
    return "\n".join([*lines, *_legend(panel)])


def _axis(values: Iterable[float], start: float, end: float, *, tight: bool = False, log: bool = False) -> Axis:
    """All finite values with a little room around; by logarithms where they are positive and far apart."""
    found = [v for v in values if math.isfinite(v)]
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    log = log and low > 0 and high / low > WIDE
    if log:
        low, high = math.log10(low), math.log10(high)
    room = 0.0 if tight else 0.06 * (high - low)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-30):
        room = 0.5 * abs(low) or 0.5
    return Axis(low - room, high + room, start, end, log, all(v == round(v) for v in found))


def _frame(panel: Panel, x: Axis, y: Axis) -> list[str]:
    lines = []
    for value in y.ticks():
        lines += [_rule(LEFT, y.place(value), WIDTH - RIGHT, y.place(value)), text(LEFT - 6, y.place(value) + 4, f"{value:.4g}", "end")]
    for value in x.ticks():
        lines.append(text(x.place(value), HEIGHT - BOTTOM + 16, f"{value:.4g}", "middle"))
    lines.append(_rule(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM))
    lines.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, panel.x_name, "middle"))
    if panel.y_name:
        middle = (TOP + HEIGHT - BOTTOM) / 2
        lines.append(f'<text text-anchor="middle" transform="translate(14 {middle:.0f}) rotate(-90)">{escape(panel.y_name)}</text>')
    return lines


def _line(series: Series, x: Axis, y: Axis, number: int) -> list[str]:
    """A line with a gap where there is no value; a value alone between gaps is a dot."""
    lines, piece = [], list[tuple[float, float]]()
    for place, value in [*zip(series.x, series.y, strict=True), (math.nan, math.nan)]:
        if math.isfinite(value):
            piece.append((x.place(place), y.place(value)))
            continue
        if len(piece) == 1:
            lines.append(f'<circle class="s{number}" cx="{piece[0][0]:.1f}" cy="{piece[0][1]:.1f}" r="3"/>')
        elif piece:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in piece)
            lines.append(f'<polyline class="s{number} line" points="{path}"/>')
        piece = []
    return lines


def _dots(series: Series, x: Axis, y: Axis, number: int) -> list[str]:
    """At most some points, evenly chosen."""
    pairs = [(a, b) for a, b in zip(series.x, series.y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    pairs = pairs[:: -(-len(pairs) // MOST_POINTS) or 1]
    return [f'<circle class="s{number} dot" cx="{x.place(a):.1f}" cy="{y.place(b):.1f}" r="2.5"/>' for a, b in pairs]


def _legend(panel: Panel) -> list[str]:
    """Names of the series, at the upper right."""
    lines, right = [], float(WIDTH - RIGHT)
    for number, each in reversed(list(enumerate(panel.series))):
        if not each.name:
            continue
        lines.append(text(right, 20, each.name, "end"))
        right -= 7 * len(each.name) + 6
        lines.append(f'<line class="s{number}" x1="{right - 22:.0f}" y1="16" x2="{right:.0f}" y2="16" stroke-width="2"/>')
        right -= 34
    return lines


def _rule(x0: float, y0: float, x1: float, y1: float, name: str = "rule") -> str:
    return f'<line class="{name}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>'


def text(x: float, y: float, words: str, anchor: str, name: str = "") -> str:
    """Words at a place."""
    style = f' class="{name}"' if name else ""
    return f'<text{style} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
