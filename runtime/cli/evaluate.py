"""`ranvier eval`: loss and metrics of a saved model on data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from .options import data_option, model_argument, threads_option


@click.command("eval")
@model_argument()
@data_option("Rows with targets: .npz, .npy, .csv, .tsv, .parquet, IDX or a folder.", required=True)
@threads_option()
def command(model: Path, data: Path, threads: int | None) -> None:
    """Loss and metrics of a saved model over all rows of the data; of a folder that keeps a test part, over that part."""
    from ..feeding import rows_to_judge
    from ..saving import load
    from ..streaming import row_count

    loaded = load(model, threads=threads)
    rows = rows_to_judge(loaded, data)
    scores = loaded.evaluate(rows)
    click.echo(f"{row_count(rows):,} rows  {spell_scores(scores)}")
    for name, value in scores.items():
        if not isinstance(value, float):
            click.echo(f"{name}\n{value}")


def spell_scores(scores: Mapping[str, Any]) -> str:
    """The figures that are single numbers, the loss first."""
    from .display import spell_figures

    single = {name: value for name, value in scores.items() if isinstance(value, float)}
    return spell_figures(dict(sorted(single.items(), key=lambda pair: pair[0] != "loss")))
