"""How training looks: a live line with a bar where somebody watches, one plain line an epoch where nobody does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..training import Progress


Display = Callable[["Progress"], None]


@contextmanager
def open_display() -> Iterator[Display]:
    """The display for this terminal, or for this lack of one."""
    if not sys.stdout.isatty():
        yield _plain
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = [TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[figures]}", markup=False)]
    with Bars(*columns, console=Console(), transient=True) as bars:
        task = bars.add_task("", total=None, figures="")
        yield lambda progress: _live(bars, task, progress)


def _plain(progress: Progress) -> None:
    if progress.finished:
        click.echo(line(progress))


def _live(bars: Any, task: Any, progress: Progress) -> None:
    """The bar runs over one epoch; what is finished stays above it."""
    width = len(str(progress.epochs))
    done = progress.rows if progress.finished else progress.rows_done
    figures = f"{spell_figures(progress.train)}  {_speed(progress)}  {duration(progress.seconds_left)} left"
    bars.update(
        task, description=f"epoch {progress.epoch:>{width}}/{progress.epochs}", total=progress.rows, completed=done, figures=figures
    )
    if progress.finished:
        bars.console.print(line(progress), markup=False, highlight=False)


def line(progress: Progress) -> str:
    """A finished epoch in one line."""
    width = len(str(progress.epochs))
    parts = [f"epoch {progress.epoch:>{width}}/{progress.epochs}", spell_figures(progress.train)]
    if progress.validation:
        parts.append(f"validation {spell_figures(progress.validation)}")
    return "  ".join([*parts, _speed(progress), f"{duration(progress.seconds_left)} left"])


def spell_figures(figures: Mapping[str, float]) -> str:
    """`loss 0.1234  accuracy 0.987`."""
    return "  ".join(f"{name} {value:.4g}" if abs(value) >= 1 else f"{name} {value:.4f}" for name, value in figures.items())


def _speed(progress: Progress) -> str:
    return f"{progress.rows_per_second:,.0f} rows/s"


def duration(seconds: float) -> str:
    """A time for people: `8s`, `3m 20s`, `2h 05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"
