"""`ranvier tune`: the tune block searched, the best settings trained on all rows and saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import INTERRUPTED, blueprint_of, data_option, file_argument, require_writable, set_option, threads_option

if TYPE_CHECKING:
    from ...compiler.driver import Blueprint
    from ...compiler.frontend.search import TuneSettings
    from ..feeding import Split
    from ..model import Model
    from ..tuning.bench import Bench
    from ..tuning.search import Attempts
    from ..tuning.study import Study, Trial

SHOWN = 10
"""Trials in the table at the end."""


@click.command("tune")
@file_argument()
@data_option("Rows to search with: .npz, .npy, .csv, .tsv, .parquet, IDX or a folder.  [default: the source of the data block]")
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

    Every trial is written to NAME.study.json as it ends, so that nothing is lost when the search is interrupted: --resume goes on from
    there. Rows of the test part are looked at once, at the end.
    """
    from dataclasses import replace

    from ..tuning.bench import Bench
    from ..tuning.search import tune_settings

    blueprint = blueprint_of(file, settings, seed)
    wanted = tune_settings(blueprint)
    wanted = replace(wanted, trials=trials or wanted.trials, folds=folds or wanted.folds)
    target = output or Path(f"{blueprint.unit.model.name.id}.safetensors")
    require_writable(target)
    model, split = rows_of(blueprint, data, threads)
    bench = Bench(model.blueprint, split.seen, wanted.folds, split.keys, threads, model.vocabularies)
    study = _opened(bench, wanted, target.with_suffix(".study.json"), resume)
    _search(bench, study, target.with_suffix(".study.json"), jobs, blueprint.train_settings.seed)
    _show(study, bench)
    if picture is not None:
        from ..atomic import write_atomic
        from ..show.study import draw_study

        write_atomic(picture, draw_study(study).encode())
        click.echo(f"drew {picture}")
    _finish(bench, study, split, target)


def rows_of(blueprint: Blueprint, data: Path | None, threads: int | None) -> tuple[Model, Split]:
    """A model that knows the names of classes, and the rows."""
    from ..feeding import data_path, make_room, read_split
    from ..model import Model

    path = data_path(blueprint, data)
    model = Model(make_room(blueprint, path), threads=threads, initialise=False)
    return model, read_split(model, path)


def _opened(bench: Bench, wanted: TuneSettings, keep: Path, resume: bool) -> Study:
    """The study to go on with, or a new one."""
    from ..tuning.study import digests, opened

    study = opened(keep, wanted, digests(bench.base, wanted, bench.data, bench.keys), resume=resume)
    if resume:
        there = (
            f"going on from {keep} after {len(study.trials)} trials"
            if study.trials
            else f"{keep} has no trials yet: the search begins anew"
        )
        click.echo(there, err=True)
    return study


def _search(bench: Bench, study: Study, keep: Path, jobs: int, seed: int) -> None:
    """Run the trials, telling of each; when interrupted, tell where to go on."""
    from ..tuning.processes import InProcesses
    from ..tuning.search import InTurn, search
    from ..tuning.study import spell_score, spell_settings

    total, figure = study.settings.trials, study.settings.figure

    def tell(trial: Trial) -> None:
        click.echo(f"trial {trial.number + 1}/{total}  {spell_score(trial, figure)}  {spell_settings(trial)}")

    def run(attempts: Attempts) -> None:
        search(study, attempts, seed, total, keep=keep, tell=tell)

    try:
        if jobs == 1:
            run(InTurn(bench))
        else:
            with InProcesses(bench, jobs) as processes:
                run(processes)
    except KeyboardInterrupt:
        kept = f": {keep} has them; --resume goes on from there" if study.trials else ""
        click.echo(f"interrupted after {len(study.trials)} trials{kept}", err=True)
        click.get_current_context().exit(INTERRUPTED)


def _show(study: Study, bench: Bench) -> None:
    """The best trials, and what the search has shown."""
    from ..tuning.importance import importances

    click.echo(_table(study))
    pruned, failed = (sum(map(bool, found)) for found in zip(*((t.pruned, t.failure) for t in study.trials), strict=True))
    counts = [f"{len(study.trials)} trials", f"{pruned} given up" * bool(pruned), f"{failed} failed" * bool(failed)]
    counts.append(f"{len(bench.models)} compiled" * bool(bench.models))
    click.echo(", ".join(filter(None, counts)))
    shares = sorted(importances(study).items(), key=lambda pair: -pair[1])
    if shares:
        click.echo("what decides: " + ", ".join(f"{name} {share:.0%}" for name, share in shares))


def _table(study: Study) -> str:
    """The best trials."""
    from ..tuning.study import spell_setting
    from .tables import Table, render

    names, figure = list(study.settings.space), study.settings.figure
    table = Table(("trial", f"val.{figure}", "±", *names, "time"), ">>>" + "<" * len(names) + ">")
    for trial in study.whole[:SHOWN]:
        spread = f"{trial.spread(figure):.4f}" if len(trial.folds) > 1 else ""
        settings = (spell_setting(trial.settings[name]) for name in names)
        table.add(str(trial.number + 1), f"{trial.value(figure):.4f}", spread, *settings, f"{trial.seconds:.1f}s")
    return render(table)


def _finish(bench: Bench, study: Study, split: Split, target: Path) -> None:
    """Train the best settings on all rows, tell how they do on the test rows, save."""
    from ..streaming import row_count
    from ..tuning.search import train_best
    from .evaluate import spell_scores

    model = train_best(bench, study)
    if split.test is not None:
        rows = row_count(split.test)
        click.echo(f"test ({rows:,} rows)  {spell_scores(model.evaluate_arrays(split.test))}")
    model.save(target)
    click.echo(f"saved {target}: {model.origin}")
