"""`ranvier check`: every mistake of a file in one go, no code made."""

from __future__ import annotations

from pathlib import Path

import click

from .options import set_option


@click.command("check")
@click.argument("files", metavar="FILE.nn...", nargs=-1, required=True, type=click.Path(path_type=Path))
@set_option()
def command(files: tuple[Path, ...], settings: tuple[tuple[str, str], ...]) -> None:
    """Parse files, check names, types and shapes, and report every mistake with its place. Makes no code.

    Leaves with status 1 when a file is wrong.
    """
    from ...compiler.errors import SourceError

    wrong = 0
    for file in files:
        try:
            click.echo(_checked(file, settings))
        except SourceError as error:
            wrong += len(error.diagnostics)
            click.echo(str(error), err=True)
    if wrong:
        click.echo(f"{wrong} {'mistake' if wrong == 1 else 'mistakes'}", err=True)
        raise SystemExit(1)


def _checked(file: Path, settings: tuple[tuple[str, str], ...]) -> str:
    """One line about a file that is right; raises SourceError with all that is wrong."""
    from ..checking import check
    from ..show.summary import count_parameters
    from .options import blueprint_of

    blueprint = blueprint_of(file, settings)
    check(blueprint)
    layers = len(blueprint.inference.layers)
    return f"{file}: correct (model {blueprint.unit.model.name.id}: {layers} layers, {count_parameters(blueprint):,} parameters)"
