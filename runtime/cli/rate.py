"""`ranvier train --find-lr`: which learning rate to begin with, as a table, a picture and the setting to write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .tables import Table, render

if TYPE_CHECKING:
    from ...compiler.driver import Blueprint
    from ..rate_finding import Finding

A_DECADE = 2


def show_rate(blueprint: Blueprint, data: Path, output: Path | None, threads: int | None) -> None:
    """Look for a learning rate, nothing saved but the picture."""
    from ..atomic import write_atomic
    from ..feeding import make_room, read_split
    from ..model import Model
    from ..rate_finding import find_rate, finding_blueprint
    from ..show.curve import Curve, curve_text

    name = blueprint.unit.model.name.id
    target = output or Path(f"{name}.lr.svg")
    model = Model(make_room(finding_blueprint(blueprint), data), threads=threads)
    finding = find_rate(model, read_split(model, data).training)
    marks = [(finding.steepest, f"falls fastest at {finding.steepest:.2g}"), (finding.least, f"least at {finding.least:.2g}")]
    x, points, line = finding.rates.tolist(), finding.losses.tolist(), finding.smooth.tolist()
    curve = Curve(f"{name}: loss while the learning rate rises", "learning rate", "loss of an update", x, points, line, marks)
    write_atomic(target, curve_text(curve).encode())
    click.echo(render(_table(finding)))
    click.echo(f"the loss falls fastest at {finding.steepest:.2g} and is least at {finding.least:.2g}")
    click.echo(f"begin with --set train.optimizer.lr={finding.suggestion:.2g}")
    click.echo(f"saved {target}")


def _table(finding: Finding) -> Table:
    """A few rows for each power of ten."""
    table = Table(("rate", "loss", "smoothed", ""), ">>><")
    shown = -float("inf")
    for rate, loss, smooth in zip(finding.rates.tolist(), finding.losses.tolist(), finding.smooth.tolist(), strict=True):
        words = [word for place, word in ((finding.steepest, "falls fastest"), (finding.least, "least")) if rate == place]
        if rate < shown and not words:
            continue
        if rate >= shown:
            shown = rate * 10 ** (1 / A_DECADE)
        table.add(f"{rate:.1e}", f"{loss:.4f}", f"{smooth:.4f}", ", ".join(words))
    return table
