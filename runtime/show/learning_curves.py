"""Learning curves: how loss and metrics went from epoch to epoch, as SVG, as PNG by matplotlib, or in characters for a terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from importlib.util import find_spec

from ...compiler.errors import RanvierError
from ..history import History, series
from .plot import Panel, Series, plots_text

COLUMNS, ROWS = 60, 8
TRAINING, HELD_OUT = "training", "validation"


def panels_of(history: History, best_epoch: int = 0) -> list[Panel]:
    """A panel for each figure, the loss first; the best epoch is marked where training was to choose one."""
    epochs = [float(n + 1) for n in range(len(history))]
    marks = ((float(best_epoch), "best"),) if 0 < best_epoch < len(history) else ()
    found = []
    for name, pair in series(history).items():
        both = [Series(label, epochs, y) for label, y in zip((TRAINING, HELD_OUT), pair, strict=True) if any(map(math.isfinite, y))]
        if both:
            found.append(Panel(name, "epoch", "", tuple(both), marks))
    return found


def curves_svg(name: str, history: History, best_epoch: int = 0) -> str:
    """All figures over the epochs as one SVG."""
    return plots_text(f"{name}: learning curves", panels_of(history, best_epoch))


def curves_png(name: str, history: History, best_epoch: int = 0) -> bytes:
    """The same as a PNG. Raises RanvierError without matplotlib."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = panels_of(history, best_epoch)
    across, down = min(2, len(panels)), -(-len(panels) // 2)
    figure = Figure(figsize=(5.5 * across, 3.6 * down), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{name}: learning curves")
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(down, across, number + 1, title=panel.title, xlabel=panel.x_name)
        for style, each in zip(("-", "--"), panel.series, strict=False):
            axes.plot(each.x, each.y, style, marker="." if len(each.x) == 1 else None, label=each.name)
        for place, words in panel.marks:
            axes.axvline(place, color="0.5", linestyle=":", label=words)
        axes.grid(alpha=0.3)
        axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    return stream.getvalue()


def require_matplotlib() -> None:
    """RanvierError says what to install."""
    if find_spec("matplotlib") is None:
        raise RanvierError("a PNG is drawn by matplotlib, which is not installed: `pip install 'ranvier[pictures]'`, or take a .svg")


def curve_lines(panel: Panel) -> list[str]:
    """A panel in characters: `.` training, `o` validation, `@` both."""
    finite = [v for s in panel.series for v in s.y if math.isfinite(v)]
    low, high = min(finite), max(finite)
    log = low > 0 and high / low > 100
    cells = [[" "] * min(COLUMNS, len(panel.series[0].x)) for _ in range(ROWS)]
    for each, sign in zip(panel.series, ".o", strict=False):
        for column, value in enumerate(_columns(each.y, len(cells[0]))):
            if math.isfinite(value):
                row = ROWS - 1 - round(_share(value, low, high, log=log) * (ROWS - 1))
                cells[row][column] = sign if cells[row][column] == " " else "@"
    heads = [f"{high:.4g}", *[""] * (ROWS - 2), f"{low:.4g}"]
    width = max(map(len, heads))
    signs = "  ".join(f"{sign} {each.name}" for each, sign in zip(panel.series, ".o", strict=False))
    body = [f"{head:>{width}} |{''.join(cell).rstrip()}" for head, cell in zip(heads, cells, strict=True)]
    foot = f"{'':>{width}} +{'-' * len(cells[0])} epoch {len(panel.series[0].x)}"
    return [f"{panel.title}  ({signs}{', logarithmic' if log else ''})", *body, foot]


def _columns(values: Sequence[float], count: int) -> list[float]:
    """The values at as many places, the last one of each stretch."""
    return [values[(n + 1) * len(values) // count - 1] for n in range(count)]


def _share(value: float, low: float, high: float, *, log: bool) -> float:
    if high <= low:
        return 0.5
    if log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)
