"""`ranvier train`: a file and its data to a saved model; interrupted at any moment, it goes on where it was."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import blueprint_of, data_option, file_argument, part_option, parts_given, set_option, threads_option

if TYPE_CHECKING:
    from ..feeding import Split
    from ..model import Model
    from ..training import Progress
    from .display import Display

SAVE_SECONDS = 30.0
INTERRUPTED = 130


class InterruptedTrainingError(Exception):
    """The user asked to stop; the model stands between two steps."""


@dataclass
class Watch:
    """Shows progress, saves now and then, and ends the training when the user asked for it."""

    model: Model
    output: Path
    display: Display
    asked: threading.Event
    saved: float = field(default_factory=time.monotonic)

    def __call__(self, progress: Progress) -> None:
        """Told by the training loop about ten times a second."""
        self.display(progress)
        if self.asked.is_set():
            raise InterruptedTrainingError
        if time.monotonic() - self.saved > SAVE_SECONDS:
            self.model.save(self.output)
            self.saved = time.monotonic()


@click.command("train")
@file_argument()
@data_option("Rows to train on: .npz, .npy, .csv, .tsv, .parquet, IDX or a folder.  [default: the source of the data block]")
@click.option(
    "-o", "output", metavar="MODEL", type=click.Path(path_type=Path, dir_okay=False), help="Where to save.  [default: NAME.safetensors]"
)
@part_option("test", "Rows for the test at the end: a share such as 20%, or a file of their own.")
@part_option("validate", "Rows to watch while training: a share of the training rows, or a file of their own.")
@set_option()
@click.option("--resume", is_flag=True, help="Go on from the saved model; the result is the same, to the bit, as without the interruption.")
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
    resume: bool,
    threads: int | None,
    seed: int | None,
) -> None:
    """Train a model and save it.

    Ctrl-C saves the model as it is and leaves with status 130; --resume goes on from there. While training runs, the model is saved about
    every half a minute.
    """
    from ..feeding import Given, data_path, make_room, read_split
    from ..model import Model

    shares, files = parts_given(test=test, validate=validate)
    blueprint = blueprint_of(file, (*settings, *shares), seed)
    path = data_path(blueprint, data)
    target = output or Path(f"{blueprint.unit.model.name.id}.safetensors")
    _require_writable(target)
    model = Model(make_room(blueprint, path), threads=threads)
    going_on = resume and _take_up(model, target)
    split = read_split(model, Given(path, files.get("test"), files.get("validate")))
    _fit(model, split, target, resume=going_on)
    _finish(model, split, target)


def _require_writable(target: Path) -> None:
    """Better now than after hours of training."""
    if not target.absolute().parent.is_dir():
        raise click.UsageError(f"the folder {target.absolute().parent} of the output does not exist")


def _take_up(model: Model, target: Path) -> bool:
    """Put the saved training into the model; False when there is none yet."""
    from ..checkpoint import load_model
    from ..saving import restore

    if not target.exists():
        click.echo(f"{target} does not exist yet: training begins anew", err=True)
        return False
    saved = load_model(target)
    model.seed = int(saved.progress.get("seed", model.seed))
    model.set_runtime(seed=model.seed)
    restore(model, saved, target)
    click.echo(f"going on from {target} after {model.standing.epochs} epochs", err=True)
    return True


def _fit(model: Model, split: Split, target: Path, *, resume: bool) -> None:
    from .display import open_display

    with _interruption() as asked, open_display() as display:
        watch = Watch(model, target, display, asked)
        try:
            model.fit(split.training, validation=0 if split.validation is None else split.validation, report=watch, resume=resume)
        except InterruptedTrainingError:
            model.save(target)
            ended = True
        else:
            ended = False
    if ended:
        where = f"in epoch {model.standing.epochs + 1}" if model.standing.position else f"after epoch {model.standing.epochs}"
        click.echo(f"interrupted {where}: saved {target}; --resume goes on from there", err=True)
        click.get_current_context().exit(INTERRUPTED)


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Within, the first Ctrl-C sets the event, so that training ends between two steps; the second one interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _finish(model: Model, split: Split, target: Path) -> None:
    """Save, and tell how the model does on the rows it has not seen."""
    from ..streaming import row_count
    from .evaluate import spell_scores

    model.save(target)
    if model.standing.stopped:
        click.echo(f"stopped after epoch {model.standing.epochs}: the model is that of epoch {model.standing.best_epoch}, its best")
    if split.test is not None:
        rows = row_count(split.test)
        click.echo(f"test ({rows:,} rows)  {spell_scores(model.evaluate_arrays(split.test))}")
    click.echo(f"saved {target}")
