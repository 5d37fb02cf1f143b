"""`ranvier compile`: a model as a library that C, C++ and Python call without a compiler."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...compiler.errors import RanvierError
from .options import allow_nonfinite_option, set_option

if TYPE_CHECKING:
    from ..export import Written
    from ..model import Model


@click.command("compile")
@click.argument("model", metavar="MODEL.safetensors|FILE.nn", type=click.Path(path_type=Path))
@click.option("-o", "folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to.")
@click.option("--name", help="Name of the library, and what its functions begin with.  [default: that of the file]")
@click.option("--train", is_flag=True, help="The library can train, too.")
@click.option("--target", default="native", show_default=True, help="CPU: native, x86-64, x86-64-v3, x86-64-v4 or aarch64-linux.")
@click.option("--multiversion", is_flag=True, help="All levels of x86-64 in one library; the best that the CPU has is used.")
@click.option(
    "--weights", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Weights in this file, not in the library."
)
@click.option("--rows", type=click.IntRange(1, 2**24), help="The most rows of one call.  [default: the batch of the model]")
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads for which the work is planned.")
@set_option()
@allow_nonfinite_option()
def command(
    model: Path,
    folder: Path,
    name: str | None,
    train: bool,
    target: str,
    multiversion: bool,
    weights: Path | None,
    rows: int | None,
    threads: int,
    settings: tuple[tuple[str, str], ...],
    allow_nonfinite: bool,
) -> None:
    """Compile a model ahead of time: a shared library, an object file, a header for C and C++, a manifest and a guide.

    A FILE.nn is taken with first values: for a library that trains.
    """
    from ..export import export

    loaded = _model(model, settings, allow_nonfinite=allow_nonfinite)
    own = name or re.sub(r"\W", "_", model.stem, flags=re.ASCII)
    options = {"target": target, "multiversion": multiversion, "train": train, "rows": rows, "threads": threads}
    _report(export(loaded, folder, name=own, weights=weights, **options))  # type: ignore[arg-type]


def _model(path: Path, settings: tuple[tuple[str, str], ...], *, allow_nonfinite: bool) -> Model:
    """A saved model, or that of a file."""
    if path.suffix == ".nn":
        from ..making import compile_model

        return compile_model(path, settings=dict(settings))
    from ..saving import load

    if settings:
        raise RanvierError("a saved model has its settings: `--set` is for a .nn file")
    return load(path, threads=1, allow_nonfinite=allow_nonfinite)


def _report(written: Written) -> None:
    """What was written, and what could not be."""
    for file in written.files:
        click.echo(f"wrote {file} ({file.stat().st_size:,} bytes)")
    fixed, scratch = written.library.workspace
    click.echo(f"workspace: {fixed + scratch:,} bytes, and {scratch:,} more for each further thread")
    if written.missing:
        click.echo(f"no shared library: {written.missing}", err=True)
