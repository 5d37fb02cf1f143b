"""`ranvier eval`: loss and metrics of a saved model on data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import allow_nonfinite_option, data_option, model_argument, threads_option

if TYPE_CHECKING:
    from ..model import Model
    from ..streaming import Rows


@click.command("eval")
@model_argument()
@data_option("Rows with targets: .npz, .npy, .csv, .tsv, .parquet, IDX or a folder.", required=True)
@allow_nonfinite_option()
@threads_option()
def command(model: Path, data: Path, allow_nonfinite: bool, threads: int | None) -> None:
    """Loss and metrics of a saved model over all rows of the data; of a folder that keeps a test part, over that part.

    Where the model tells classes: the figures of each class, and which are taken for which.
    """
    from ..feeding import rows_to_judge
    from ..saving import load

    loaded = load(model, threads=threads, allow_nonfinite=allow_nonfinite)
    show_scores(loaded, rows_to_judge(loaded, data))


def show_scores(model: Model, rows: Rows, what: str = "") -> None:
    """Loss and metrics over rows that fit already on one line, and below what is said of each class."""
    from ..streaming import row_count
    from .class_tables import class_report

    count, scores = row_count(rows), model.evaluate_arrays(rows)
    click.echo(f"{what}({count:,} rows)  {spell_scores(scores)}" if what else f"{count:,} rows  {spell_scores(scores)}")
    report = class_report(model, rows, scores)
    if report:
        click.echo(f"\n{report}\n")


def spell_scores(scores: Mapping[str, Any]) -> str:
    """The figures that are single numbers, the loss first."""
    from .display import spell_figures

    single = {name: value for name, value in scores.items() if isinstance(value, float)}
    return spell_figures(dict(sorted(single.items(), key=lambda pair: pair[0] != "loss")))
