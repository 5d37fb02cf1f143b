"""The trials of a search as a picture: the scores in their order with the best so far, then over each setting, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from ...compiler.frontend.search import Choices, Range
from ..tuning.importance import importances
from ..tuning.study import Study, Trial, spell_score, spell_settings

WIDTH, HEIGHT, MARGIN, ACROSS = 360, 230, 52, 3
TEXT, LINE, BEST = "#444", "#ccc", "#d1495b"
STYLE = 'font-family="sans-serif" font-size="11"'
GOLDEN = (5**0.5 - 1) / 2
FENCE = 3.0
"""Scores worse than the upper quartile by more than so many interquartile ranges stand at the edge (Tukey's outer fence)."""

Place = Callable[[Trial], float]
"""Where a trial stands along the bottom of a plot, from 0 to 1."""


@dataclass(frozen=True)
class Scale:
    """The scores that a plot shows; what lies outside stands at its edge."""

    low: float
    high: float

    def y(self, value: float) -> float:
        """The place of a score from the top of a plot."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return HEIGHT - MARGIN / 2 - share * (HEIGHT - MARGIN)


def draw_study(study: Study) -> str:
    """An SVG: one plot of the trials in their order, and one a setting with what it explains; bars are the spread over the folds."""
    plots = [_in_order(study), *(_by_setting(study, name) for name in study.settings.space)]
    width, height = WIDTH * min(len(plots), ACROSS), (HEIGHT + MARGIN // 2) * -(-len(plots) // ACROSS)
    title = f"val.{study.settings.figure} of {len(study.whole)} trials"
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {STYLE} role="img"><title>{escape(title)}</title>']
    lines.append(f'<rect width="{width}" height="{height}" fill="white"/>')
    for number, plot in enumerate(plots):
        across, down = number % ACROSS * WIDTH, number // ACROSS * (HEIGHT + MARGIN // 2)
        lines += [f'<g transform="translate({across},{down})">', *plot, "</g>"]
    return "\n".join([*lines, "</svg>", ""])


def _scale(study: Study) -> Scale:
    """From the best score and its spread to the worst that is not far out."""
    values = np.array([study.settings.sign * trial.value(study.settings.figure) for trial in study.whole])
    if not values.size:
        return Scale(0.0, 1.0)
    lower, upper = np.quantile(values, [0.25, 0.75])
    worst = float(values[values <= upper + FENCE * (upper - lower)].max())
    ends = sorted((study.settings.sign * (float(values.min()) - study.best.spread(study.settings.figure)), study.settings.sign * worst))
    margin = 0.05 * (ends[1] - ends[0]) or 0.05 * abs(ends[0]) or 1.0
    return Scale(ends[0] - margin, ends[1] + margin)


def _in_order(study: Study) -> Iterator[str]:
    """The trials as they came, under a line at the best so far."""
    count, scale = max(len(study.trials), 1), _scale(study)

    def place(trial: Trial) -> float:
        return (trial.number + 0.5) / count

    yield from _frame(scale, f"trial (val.{study.settings.figure})", [(0.5 / count, "1"), (1 - 0.5 / count, str(count))])
    yield _best_so_far(study, scale, place)
    yield from _points(study, scale, place)


def _best_so_far(study: Study, scale: Scale, place: Place) -> str:
    steps, best, sign = list[str](), math.inf, study.settings.sign
    for trial in sorted(study.whole, key=lambda trial: trial.number):
        value = sign * trial.value(study.settings.figure)
        x = _x(place(trial))
        if value < best:
            steps += [f"{x:.1f},{scale.y(sign * best):.1f}"] * math.isfinite(best)
            best = value
        steps.append(f"{x:.1f},{scale.y(sign * best):.1f}")
    return f'<polyline points="{" ".join(steps)}" fill="none" stroke="{BEST}" stroke-opacity="0.5"/>'


def _by_setting(study: Study, name: str) -> Iterator[str]:
    """The scores over the values of a setting."""
    domain, scale = study.settings.space[name], _scale(study)
    share = importances(study).get(name)
    yield from _frame(scale, name if share is None else f"{name} (explains {share:.0%})", _ticks(domain))
    yield from _points(study, scale, lambda trial: _share(domain, trial.settings[name]) + _aside(domain, trial))


def _frame(scale: Scale, name: str, ticks: Sequence[tuple[float, str]]) -> Iterator[str]:
    inner, bottom = WIDTH - 2 * MARGIN, HEIGHT - MARGIN // 2
    yield f'<rect x="{MARGIN}" y="{MARGIN // 2}" width="{inner}" height="{bottom - MARGIN // 2}" fill="none" stroke="{LINE}"/>'
    for share, text in ticks:
        yield _label(_x(share), bottom + 15, text, "middle")
    for value in (scale.low, scale.high):
        yield _label(MARGIN - 5, scale.y(value) + 4, f"{value:.4g}", "end")
    yield _label(MARGIN + inner / 2, bottom + 32, name, "middle")


def _points(study: Study, scale: Scale, place: Place) -> Iterator[str]:
    """A circle a trial, the best on top; those given up are hollow, at what they had come to."""
    figure = study.settings.figure
    for trial in (t for t in study.trials if t.pruned and math.isfinite(t.rungs[-1])):
        yield _circle(trial, figure, _x(place(trial)), scale.y(trial.rungs[-1]), f'r="3" fill="none" stroke="{TEXT}" stroke-opacity="0.5"')
    for number, trial in reversed(list(enumerate(study.whole))):
        x, value, spread = _x(place(trial)), trial.value(figure), trial.spread(figure)
        colour = TEXT if number else BEST
        if spread:
            ends = f'y1="{scale.y(value - spread):.1f}" y2="{scale.y(value + spread):.1f}"'
            yield f'<line x1="{x:.1f}" x2="{x:.1f}" {ends} stroke="{colour}" stroke-opacity="0.35"/>'
        yield _circle(trial, figure, x, scale.y(value), f'r="{3 if number else 5}" fill="{colour}" fill-opacity="0.7"')


def _circle(trial: Trial, figure: str, x: float, y: float, look: str) -> str:
    hint = escape(f"trial {trial.number + 1}: {spell_score(trial, figure)}, {spell_settings(trial)}")
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" {look}><title>{hint}</title></circle>'


def _x(share: float) -> float:
    return MARGIN + share * (WIDTH - 2 * MARGIN)


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


def _aside(domain: Choices | Range, trial: Trial) -> float:
    """How far a trial stands from its value in a list, so that it hides no other: multiples of the golden section fill a stretch evenly."""
    return ((trial.number * GOLDEN) % 1 - 0.5) / (2 * len(domain.values)) if isinstance(domain, Choices) else 0.0


def _ticks(domain: Choices | Range) -> list[tuple[float, str]]:
    if isinstance(domain, Choices):
        return [(_share(domain, value), str(value)) for value in domain.values]
    return [(0.0, f"{domain.low:g}"), (1.0, f"{domain.high:g}")]
