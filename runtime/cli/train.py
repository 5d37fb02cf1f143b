"""`ranvier train`: a file and its data to a saved model; interrupted at any moment, it goes on where it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .curves import curves_option
from .options import (
    INTERRUPTED,
    allow_nonfinite_option,
    blueprint_of,
    data_option,
    every_option,
    file_argument,
    part_option,
    parts_given,
    require_writable,
    set_option,
    threads_option,
)

if TYPE_CHECKING:
    from ..checkpoints import Checkpoints
    from ..feeding import Split
    from ..model import Model


@click.command("train")
@file_argument()
@data_option("Rows to train on: .npz, .npy, .csv, .tsv, .parquet, IDX or a folder.  [default: the source of the data block]")
@click.option(
    "-o", "output", metavar="MODEL", type=click.Path(path_type=Path, dir_okay=False), help="Where to save.  [default: NAME.safetensors]"
)
@part_option("test", "Rows for the test at the end: a share such as 20%, or a file of their own.")
@part_option("validate", "Rows to watch while training: a share of the training rows, or a file of their own.")
@set_option()
@click.option("--find-lr", is_flag=True, help="Do not train: look for a learning rate, with a table and a picture (-o, else NAME.lr.svg).")
@click.option("--folds", type=click.IntRange(2), help="Cross-validate first: the scores of as many parts of the rows, each held out once.")
@click.option("--resume", is_flag=True, help="Go on from the saved model; the result is the same, to the bit, as without the interruption.")
@every_option()
@click.option(
    "--trap-nan/--no-trap-nan", default=True, help="At a loss that is not finite, find the step and the operation.  [default: on]"
)
@click.option(
    "--log",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write figures to a folder: log.csv, and event files for TensorBoard.",
)
@curves_option()
@allow_nonfinite_option()
@threads_option()
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), help="Decides first values, order, dropout and splits.  [default: the train block]"
)
def command(
    file: Path,
    data: Path | None,
    test: str | None,
    validate: str | None,
    output: Path | None,
    settings: tuple[tuple[str, str], ...],
    find_lr: bool,
    folds: int | None,
    resume: bool,
    every: str,
    trap_nan: bool,
    log: Path | None,
    curves: Path | None,
    allow_nonfinite: bool,
    threads: int | None,
    seed: int | None,
) -> None:
    """Train a model and save it.

    While it trains, the model is written every half a minute (--checkpoint-every); NAME.previous.safetensors is the one written before,
    NAME.best.safetensors the best so far. Ctrl-C or SIGTERM saves the model as it is and leaves with status 130. --resume goes on from
    there, and after a crash from the last checkpoint.
    """
    from ..checkpoints import open_checkpoints
    from ..feeding import Given, data_path, make_room, read_split
    from ..model import Model

    shares, files = parts_given(test=test, validate=validate)
    blueprint = blueprint_of(file, (*settings, *shares), seed)
    path = data_path(blueprint, data)
    if find_lr:
        from .rate import show_rate

        show_rate(blueprint, path, output, threads)
        return
    target = output or Path(f"{blueprint.unit.model.name.id}.safetensors")
    require_writable(target)
    model = Model(make_room(blueprint, path), threads=threads)
    with open_checkpoints(target, every, allow_nonfinite=allow_nonfinite) as checkpoints:
        going_on = resume and _take_up(model, checkpoints)
        split = read_split(model, Given(path, files.get("test"), files.get("validate")))
        if folds is not None and not going_on:
            _cross_validate(model, split, folds)
        _fit(model, split, checkpoints, resume=going_on, trap_nan=trap_nan, log=log)
    _finish(model, split, target, curves)


def _take_up(model: Model, checkpoints: Checkpoints) -> bool:
    """Put the saved training into the model; False when there is none yet."""
    found = checkpoints.take_up(model)
    if found is None:
        click.echo(f"{checkpoints.path} does not exist yet: training begins anew", err=True)
        return False
    click.echo(f"going on from {found} after {model.standing.epochs} epochs", err=True)
    return True


def _cross_validate(model: Model, split: Split, folds: int) -> None:
    """Tell how models like this one do on rows held out; the model is as new afterwards."""
    from ..cross_validation import cross_validate
    from .tables import Table, render

    found = cross_validate(model, split.seen, folds, split.keys)
    table = Table(("fold", *found.figures), "<" + ">" * len(found.figures))
    for number, scores in enumerate(found.folds, 1):
        table.add(str(number), *(f"{scores[name]:.4f}" for name in found.figures))
    table.add("mean", *(f"{found.mean(name):.4f}" for name in found.figures))
    table.add("±", *(f"{found.spread(name):.4f}" for name in found.figures))
    click.echo(render(table))
    summary = ", ".join(f"{name} {found.mean(name):.4f} ± {found.spread(name):.4f}" for name in found.figures)
    model.origin = f"settings as written, {summary} on {folds} folds"
    model.renew()


def _fit(model: Model, split: Split, checkpoints: Checkpoints, *, resume: bool, trap_nan: bool, log: Path | None) -> None:
    from ..interruption import Interrupted
    from .display import open_display

    watched = 0 if split.validation is None else split.validation
    try:
        with open_display() as display:
            model.fit(
                split.training,
                validation=watched,
                report=display,
                resume=resume,
                checkpoint=checkpoints,
                trap_nan=trap_nan,
                log=log,
            )
    except Interrupted:
        where = f"in epoch {model.standing.epochs + 1}" if model.standing.position else f"after epoch {model.standing.epochs}"
        click.echo(f"interrupted {where}: saved {checkpoints.path}; --resume goes on from there", err=True)
        click.get_current_context().exit(INTERRUPTED)


def _finish(model: Model, split: Split, target: Path, curves: Path | None) -> None:
    """Tell how the training went, and how the model does on rows it has not seen: those of the test, else those held out."""
    from .curves import show_curves
    from .evaluate import show_scores

    if model.standing.stopped:
        click.echo(f"stopped after epoch {model.standing.epochs}: the model is that of epoch {model.standing.best_epoch}, its best")
    show_curves(model, curves)
    if split.test is not None:
        show_scores(model, split.test, "test ")
    elif split.validation is not None:
        show_scores(model, split.validation, "validation ")
    click.echo(f"saved {target}")
