"""Options that several verbs share, and how `--set` is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...compiler.errors import RanvierError
from ..every import DEFAULT_EVERY, read_every

if TYPE_CHECKING:
    from ...compiler.driver import Blueprint

MOST_THREADS = 256
INTERRUPTED = 130
"""The exit status after Ctrl-C."""

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _assignments(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Names and texts of `NAME=VALUE`, the values written as in a `.nn` file."""
    pairs = [value.partition("=") for value in values]
    for value, (name, sign, text) in zip(values, pairs, strict=True):
        if not sign or not name.strip() or not text.strip():
            raise click.BadParameter(f"{value!r} is not NAME=VALUE, such as hidden=64 or train.optimizer.lr=1e-3", ctx, param)
    return tuple((name.strip(), text.strip()) for name, _, text in pairs)


def file_argument() -> Decorator:
    """The `.nn` file of a verb."""
    return click.argument("file", metavar="FILE.nn", type=click.Path(path_type=Path))


def model_argument() -> Decorator:
    """The saved model of a verb."""
    return click.argument("model", metavar="MODEL.safetensors", type=click.Path(path_type=Path))


def set_option() -> Decorator:
    """Settings of the model and of its blocks."""
    text = "Set a value of the file: hidden=64, train.epochs=3, train.optimizer.lr=1e-3. May be repeated."
    return click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, callback=_assignments, help=text)


def threads_option() -> Decorator:
    """The size of the team."""
    text = "Threads to use; results are the same for any number.  [default: RANVIER_THREADS, else all processors]"
    return click.option("--threads", type=click.IntRange(1, MOST_THREADS), help=text)


def allow_nonfinite_option() -> Decorator:
    """For a saved model that holds what no sound training gives."""
    return click.option(
        "--allow-nonfinite", is_flag=True, help="Take a saved model although it holds NaN, an infinity, or counters out of range."
    )


def _checked_every(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        read_every(value)
    except RanvierError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return value


def every_option() -> Decorator:
    """How often a training writes checkpoints."""
    text = "Write the model while it trains: every `30s`, `5m`, `2h`, `1000 steps`, `epoch` or `5 epochs`."
    return click.option(
        "--checkpoint-every", "every", metavar="TIME", default=DEFAULT_EVERY, show_default=True, callback=_checked_every, help=text
    )


def data_option(text: str, *, required: bool = False) -> Decorator:
    """A file of rows."""
    return click.option("--data", metavar="PATH", type=click.Path(path_type=Path), required=required, help=text)


def part_option(name: str, text: str) -> Decorator:
    """Rows that are set apart."""
    return click.option(f"--{name}", metavar="SHARE|PATH", help=f"{text}  [default: the data block]")


def parts_given(**parts: str | None) -> tuple[tuple[tuple[str, str], ...], dict[str, Path]]:
    """Settings of the data block for the parts that are shares, and the paths of those that are files."""
    from ..opening import is_share

    given = {name: text for name, text in parts.items() if text is not None}
    shares = tuple((f"data.{name}", text) for name, text in given.items() if is_share(text))
    return shares, {name: Path(text) for name, text in given.items() if not is_share(text)}


def blueprint_of(file: Path, settings: tuple[tuple[str, str], ...], seed: int | None = None) -> Blueprint:
    """The blueprint of a file with the settings of the command line."""
    from ..opening import open_blueprint, split_settings

    own, overrides = split_settings(dict(settings))
    if seed is not None:
        overrides["train.seed"] = seed
    return open_blueprint(file, settings=own, overrides=overrides)


def require_writable(target: Path) -> None:
    """Better now than after hours of training."""
    if not target.absolute().parent.is_dir():
        raise click.UsageError(f"the folder {target.absolute().parent} of the output does not exist")
