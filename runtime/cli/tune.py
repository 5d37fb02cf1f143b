"""`ranvier tune`: the tune block searched, the best settings trained on all rows and saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import blueprint_of, data_option, file_argument, set_option, threads_option

if TYPE_CHECKING:
    from ...compiler.driver import Blueprint
    from ...compiler.frontend.search import TuneSettings
    from ..feeding import Split
    from ..model import Model
    from ..tuning import Attempts, Bench, Study, Trial

SHOWN = 10
"""Trials in the table at the end."""


@click.command("tune")
@file_argument()
@data_option("Rows to search with: .npz, .npy, .csv, .tsv, IDX or a folder of IDX files.  [default: the source of the data block]")
@click.option(
    "-o", "output", metavar="MODEL", type=click.Path(path_type=Path, dir_okay=False), help="Where to save.  [default: NAME.safetensors]"
)
@set_option()
@click.option("--trials", type=click.IntRange(1), help="How many trials there are to be.  [default: the tune block]")
@click.option("--folds", type=click.IntRange(2), help="Parts of the rows that each trial is judged by.  [default: the tune block]")
@click.option("--resume", is_flag=True, help="Go on with the study beside the output (NAME.study.json) instead of beginning anew.")
@click.option("--picture", metavar="FILE.svg", type=click.Path(path_type=Path, dir_okay=False), help="Draw the trials by each setting.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Trials at once, each in a process of its own.")
@threads_option()
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Decides what is tried, and each training.  [default: the train block]")
def command(
    file: Path,
    data: Path | None,
    output: Path | None,
    settings: tuple[tuple[str, str], ...],
    trials: int | None,
    folds: int | None,
    resume: bool,
    picture: Path | None,
    jobs: int,
    threads: int | None,
    seed: int | None,
) -> None:
    """Search the tune block; train the best settings on all rows and save the model, which says how it was chosen.

    Every trial is written to NAME.study.json as it ends, so that nothing is lost when the search is interrupted. Rows of the test part are
    looked at once, at the end.
    """
    from dataclasses import replace

    from ..parallel_trials import InProcesses, Recipe
    from ..tuning import Bench, InTurn, tune_settings

    blueprint = blueprint_of(file, settings, seed)
    wanted = tune_settings(blueprint)
    wanted = replace(wanted, trials=trials or wanted.trials, folds=folds or wanted.folds)
    target = output or Path(f"{blueprint.unit.model.name.id}.safetensors")
    model, split = rows_of(blueprint, data, threads)
    bench = Bench(model.blueprint, split.training, wanted.folds, threads=threads, vocabularies=model.vocabularies)
    attempts = InProcesses(Recipe(file, settings, seed, data, wanted.folds), jobs) if jobs > 1 else InTurn(bench)
    study = _search(attempts, wanted, target.with_suffix(".study.json"), resume, blueprint.train_settings.seed)
    click.echo(_table(study))
    click.echo(f"{len(study.trials)} trials" + (f", {len(bench.models)} compiled" if bench.models else ""))
    if picture is not None:
        from ..show.study import draw_study

        picture.write_text(draw_study(study), encoding="utf-8")
        click.echo(f"drew {picture}")
    _finish(bench, study, split, target)


def rows_of(blueprint: Blueprint, data: Path | None, threads: int | None) -> tuple[Model, Split]:
    """A model that knows the names of classes, and the rows."""
    from ..feeding import data_path, make_room, read_split
    from ..model import Model

    path = data_path(blueprint, data)
    model = Model(make_room(blueprint, path), threads=threads, initialise=False)
    return model, read_split(model, path)


def _search(attempts: Attempts, wanted: TuneSettings, keep: Path, resume: bool, seed: int) -> Study:
    from ..tuning import Study, read_study, search, spell_score, spell_settings

    study = read_study(keep, wanted) if resume and keep.exists() else Study(wanted)

    def tell(trial: Trial) -> None:
        click.echo(f"trial {trial.number + 1}/{wanted.trials}  {spell_score(trial, wanted.figure)}  {spell_settings(trial)}")

    return search(study, attempts, seed, wanted.trials, keep=keep, tell=tell)


def _table(study: Study) -> str:
    """The best trials."""
    from ..cross_validation import Validation
    from ..tuning import spell_setting
    from .tables import Table, render

    names, figure = list(study.settings.space), study.settings.figure
    table = Table(("trial", f"val.{figure}", "±", *names), ">>>" + "<" * len(names))
    for trial in study.whole[:SHOWN]:
        found = Validation(trial.folds)
        spread = f"{found.spread(figure):.4f}" if len(trial.folds) > 1 else ""
        table.add(str(trial.number + 1), f"{found.mean(figure):.4f}", spread, *map(spell_setting, trial.settings.values()))
    return render(table)


def _finish(bench: Bench, study: Study, split: Split, target: Path) -> None:
    """Train the best settings on all rows, tell how they do on the test rows, save."""
    from ..tuning import train_best
    from .evaluate import spell_scores

    model = train_best(bench, study)
    if split.test is not None:
        rows = len(next(iter(split.test.values())))
        click.echo(f"test ({rows:,} rows)  {spell_scores(model.evaluate_arrays(split.test))}")
    model.save(target)
    click.echo(f"saved {target}: {model.origin}")
