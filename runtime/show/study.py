"""The trials of a search as a picture: for each setting the score of every trial over its value, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from ...compiler.frontend.search import Choices, Range
from ..tuning import Study, Trial

WIDTH, HEIGHT, MARGIN = 360, 220, 46
TEXT, LINE, BEST = "#444", "#ccc", "#d1495b"
STYLE = 'font-family="sans-serif" font-size="11"'


def draw_study(study: Study) -> str:
    """An SVG with one plot a setting, side by side; the best trial is marked."""
    trials, names = study.whole, list(study.settings.space)
    values = [trial.value(study.settings.figure) for trial in trials]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    width, height = WIDTH * len(names), HEIGHT + MARGIN
    title = f"val.{study.settings.figure} of {len(trials)} trials"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {STYLE} role="img"><title>{escape(title)}</title>'
    plots = [_plot(study, trials, name, n * WIDTH, (low, high if high > low else low + 1)) for n, name in enumerate(names)]
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *plots, "</svg>", ""])


def _plot(study: Study, trials: Sequence[Trial], name: str, left: int, reach: tuple[float, float]) -> str:
    domain, (low, high) = study.settings.space[name], reach
    lines = [f'<g transform="translate({left},0)">']
    inner, bottom = WIDTH - 2 * MARGIN, HEIGHT - MARGIN // 2
    lines.append(f'<rect x="{MARGIN}" y="{MARGIN // 2}" width="{inner}" height="{bottom - MARGIN // 2}" fill="none" stroke="{LINE}"/>')
    for share, text in _ticks(domain):
        lines.append(_label(MARGIN + share * inner, bottom + 16, text, "middle"))
    for value in (low, high):
        y = bottom - (value - low) / (high - low) * (bottom - MARGIN // 2)
        lines.append(_label(MARGIN - 5, y + 4, f"{value:.4g}", "end"))
    for number, trial in reversed(list(enumerate(trials))):
        x = MARGIN + _share(domain, trial.settings[name]) * inner
        y = bottom - (trial.value(study.settings.figure) - low) / (high - low) * (bottom - MARGIN // 2)
        radius, fill = (5, BEST) if number == 0 else (3, TEXT)
        hint = f"<title>trial {trial.number + 1}</title>"
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" fill-opacity="0.7">{hint}</circle>')
    lines.append(_label(MARGIN + inner / 2, bottom + 36, name, "middle"))
    return "\n".join([*lines, "</g>"])


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{TEXT}">{escape(text)}</text>'


def _share(domain: Choices | Range, value: object) -> float:
    """Where a value lies in its domain, from 0 to 1."""
    if isinstance(domain, Choices):
        return (domain.values.index(value) + 0.5) / len(domain.values)
    low, high, place = domain.low, domain.high, float(str(value))
    if domain.log:
        low, high, place = math.log(low), math.log(high), math.log(place)
    return (place - low) / (high - low)


def _ticks(domain: Choices | Range) -> list[tuple[float, str]]:
    if isinstance(domain, Choices):
        return [(_share(domain, value), str(value)) for value in domain.values]
    return [(0.0, f"{domain.low:g}"), (1.0, f"{domain.high:g}")]
