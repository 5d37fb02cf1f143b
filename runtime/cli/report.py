"""`ranvier report`: one page about a saved model that a person can read, send and print."""

from __future__ import annotations

from pathlib import Path

import click

from .options import allow_nonfinite_option, data_option, model_argument, threads_option


@click.command("report")
@model_argument()
@click.option(
    "-o", "output", metavar="FILE.html", type=click.Path(path_type=Path, dir_okay=False), help="Where to write.  [default: MODEL.html]"
)
@data_option("Rows with targets: for figures, classes and the worst examples.")
@click.option("--test", is_flag=True, help="Of the data, only the rows that the data block keeps for the test, apart as in training.")
@allow_nonfinite_option()
@threads_option()
def command(model: Path, output: Path | None, data: Path | None, test: bool, allow_nonfinite: bool, threads: int | None) -> None:
    """Write a report on a saved model: one HTML file that needs no network and runs no script.

    It holds the learning curves, the graph, layers, settings and text of the model; with --data also its figures, the confusion
    matrix, predictions beside the truth, and the rows that cost it most.
    """
    from ..atomic import write_atomic
    from ..checkpoint import ranvier_version
    from ..report.evidence import gather
    from ..report.page import page
    from ..saving import load

    if test and data is None:
        raise click.UsageError("--test needs --data PATH: the rows that it keeps a part of")
    target = output or model.with_suffix(".html")
    if not target.absolute().parent.is_dir():
        raise click.UsageError(f"the folder {target.absolute().parent} of the report does not exist")
    loaded = load(model, threads=threads, allow_nonfinite=allow_nonfinite)
    evidence = gather(loaded, data, test=test) if data is not None else None
    write_atomic(target, page(loaded, evidence, version=ranvier_version()).encode())
    click.echo(f"wrote {target}")
