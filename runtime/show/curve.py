"""A picture of a figure against a rate: points, a smooth line through them and marked places, over a logarithmic axis, written as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720.0, 420.0
LEFT, RIGHT, TOP, BOTTOM = 80.0, 24.0, 44.0, 56.0
TICKS = 6
CHARACTER = 7.3


@dataclass(frozen=True)
class Curve:
    """What is drawn: names of the axes, places `x` (above 0), values as points and smoothed, and marked places with their words."""

    title: str
    x_name: str
    y_name: str
    x: Sequence[float]
    points: Sequence[float]
    line: Sequence[float]
    marks: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class Frame:
    """Where values lie in the picture, in pixels."""

    low: float
    high: float
    bottom: float
    top: float

    def across(self, x: float) -> float:
        """Pixels from the left, by the logarithm."""
        return LEFT + (math.log10(x) - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)

    def up(self, y: float) -> float:
        """Pixels from the upper edge; what lies outside is drawn at the edge."""
        share = (y - self.bottom) / (self.top - self.bottom)
        return HEIGHT - BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)


def curve_text(curve: Curve) -> str:
    """The picture as a standalone SVG."""
    frame = _frame(curve)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" height="{HEIGHT:.0f}" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}"',
        '  font-family="ui-monospace, monospace" font-size="12">',
        f"<title>{escape(curve.title)}</title>",
        f'<rect width="{WIDTH:.0f}" height="{HEIGHT:.0f}" fill="white"/>',
        _text(WIDTH / 2, 24, curve.title, 'text-anchor="middle" font-weight="bold"'),
        *_grid(curve, frame),
        *(f'<circle cx="{frame.across(x):.1f}" cy="{frame.up(y):.1f}" r="2" fill="#9ec5f8"/>' for x, y in _pairs(curve, curve.points)),
        f'<polyline fill="none" stroke="#1d4ed8" stroke-width="2" points="{_path(frame, _pairs(curve, curve.line))}"/>',
    ]
    for number, (x, words) in enumerate(curve.marks):
        lines += _mark(frame, x, words, number)
    return "\n".join([*lines, "</svg>", ""])


def _pairs(curve: Curve, values: Sequence[float]) -> Iterable[tuple[float, float]]:
    return zip(curve.x, values, strict=True)


def _frame(curve: Curve) -> Frame:
    """The line fills the picture; of what bursts at its end only the beginning is seen."""
    least, first = min(curve.line), curve.line[0]
    top = min(max(curve.line), max(first, least) + 0.5 * abs(first - least) + 1e-12)
    span = max(top - least, 1e-12)
    return Frame(math.log10(curve.x[0]), math.log10(curve.x[-1]) + 1e-9, least - 0.08 * span, top + 0.08 * span)


def _path(frame: Frame, pairs: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{frame.across(x):.1f},{frame.up(y):.1f}" for x, y in pairs)


def _grid(curve: Curve, frame: Frame) -> list[str]:
    """Lines at powers of ten and at round values, with their numbers, and the names of the axes."""
    lines = []
    for power in range(math.ceil(frame.low), math.floor(frame.high) + 1):
        x = frame.across(10.0**power)
        lines.append(_rule(x, TOP, x, HEIGHT - BOTTOM))
        lines.append(_text(x, HEIGHT - BOTTOM + 18, f"1e{power}", 'text-anchor="middle" fill="#555"'))
    step = _round_step((frame.top - frame.bottom) / TICKS)
    for number in range(math.ceil(frame.bottom / step), math.floor(frame.top / step) + 1):
        y = frame.up(number * step)
        lines.append(_rule(LEFT, y, WIDTH - RIGHT, y))
        lines.append(_text(LEFT - 8, y + 4, f"{number * step:.4g}", 'text-anchor="end" fill="#555"'))
    lines.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, curve.x_name, 'text-anchor="middle"'))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    lines.append(_text(18, middle, curve.y_name, f'text-anchor="middle" transform="rotate(-90 18 {middle:.0f})"'))
    return lines


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, at least as large."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(each * power for each in (1, 2, 5, 10) if each * power >= rough)


def _mark(frame: Frame, x: float, words: str, number: int) -> list[str]:
    """A dashed line with its words beside it: those of the first on the left, of others on the right, where there is room."""
    place, y, room = frame.across(x), TOP + 14 + 16 * number, CHARACTER * len(words) + 6
    left = place - room > LEFT and (number == 0 or place + room > WIDTH - RIGHT)
    dashed = _rule(place, TOP, place, HEIGHT - BOTTOM, '#b91c1c" stroke-dasharray="4 3')
    return [dashed, _text(place + (-6 if left else 6), y, words, f'text-anchor="{"end" if left else "start"}" fill="#b91c1c"')]


def _rule(x0: float, y0: float, x1: float, y1: float, stroke: str = "#e5e5e5") -> str:
    return f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{stroke}"/>'


def _text(x: float, y: float, words: str, attributes: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {attributes}>{escape(words)}</text>'
