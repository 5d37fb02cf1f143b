"""Learning curves at the end of a training: in characters where somebody looks, and as a picture where one is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..model import Model

SUFFIXES = (".svg", ".png")
MOST_PANELS = 2
LEAST_EPOCHS = 3


def _picture(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Better said now than after hours of training."""
    if value is not None and value.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"a picture is written to a file that ends in .svg or .png, not {value.suffix or 'no suffix'}", ctx, param)
    if value is not None and not value.absolute().parent.is_dir():
        raise click.BadParameter(f"the folder {value.absolute().parent} does not exist", ctx, param)
    if value is not None and value.suffix.lower() == ".png":
        from ..show.learning_curves import require_matplotlib

        require_matplotlib()
    return value


def curves_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Where the picture goes."""
    text = "Write the learning curves to FILE.svg, or FILE.png with matplotlib."
    return click.option("--curves", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), callback=_picture, help=text)


def show_curves(model: Model, output: Path | None) -> None:
    """What the model's history tells."""
    from ..atomic import write_atomic
    from ..show.learning_curves import curve_lines, curves_png, curves_svg, panels_of

    history, standing = model.standing.history, model.standing
    best = standing.best_epoch if standing.stopped else 0
    if len(history) >= LEAST_EPOCHS and sys.stdout.isatty():
        for panel in panels_of(history, best)[:MOST_PANELS]:
            click.echo("\n" + "\n".join(curve_lines(panel)))
        click.echo()
    if output is None:
        return
    name = model.blueprint.unit.model.name.id
    drawn = curves_png(name, history, best) if output.suffix.lower() == ".png" else curves_svg(name, history, best).encode()
    write_atomic(output, drawn)
    click.echo(f"wrote {output}")
