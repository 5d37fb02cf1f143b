"""The command `ranvier`: its verbs, and what becomes of errors.

Exit status: 0 done; 1 the user's file or data is wrong (or over a limit); 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ...compiler.errors import RanvierError, RanvierWarning

INTERRUPTED = 130

VERBS = {
    "new": ("new", "Begin: a folder with a model, its data and a short guide."),
    "data": ("data", "What a file of rows holds, and a .nn file to begin with."),
    "check": ("check", "Parse, check types and shapes, report every mistake; makes no code."),
    "show": ("show", "What a file becomes: layers, picture, graphs, kernels, code, memory."),
    "train": ("train", "Train a model and save it."),
    "tune": ("tune", "Search the tune block and train the best settings."),
    "eval": ("evaluate", "Loss and metrics of a saved model on data."),
    "report": ("report", "A page about a saved model: figures, curves, classes, graph, worst examples."),
    "predict": ("predict", "Predictions of a saved model for data."),
    "sample": ("sample", "Text drawn from a saved model of symbols."),
    "fmt": ("format", "Write files the one canonical way."),
    "compile": ("compile", "A model as a library for C, C++ and Python, ahead of time."),
    "bench": ("bench", "Time of each kernel, its share of the machine's peak, by source line."),
}

VARIABLES = {
    "RANVIER_THREADS": "threads of a model, 1 to 256 (default: the processors of this process)",
    "RANVIER_CACHE_DIR": "folder of compiled code (default: ranvier in $XDG_CACHE_HOME or ~/.cache)",
    "RANVIER_CACHE": "`off`: keep no compiled kernels",
    "RANVIER_DEBUG": "`1`: show tracebacks",
}


class Verbs(click.Group):
    """A group that imports a verb when it is called, and turns errors into messages and an exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order a person meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of a verb."""
        if name not in VERBS:
            return None
        module = importlib.import_module(f".{VERBS[name][0]}", __package__)
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a hint for a verb that is misspelt."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from ...compiler.diagnostics import did_you_mean

            hint = did_you_mean(args[0], VERBS) or f"the commands are {', '.join(VERBS)}"
            raise click.UsageError(f"there is no command `{args[0]}`; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs with a line each, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The environment variables."""
        with formatter.section("Environment"):
            formatter.write_dl(list(VARIABLES.items()))

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run the command line and leave with its status, as click does by itself.

        But whoever presses Ctrl-C while an earlier one is being answered, outside of any verb, has interrupted, too; click says 1.
        """
        alone = options.pop("standalone_mode", True)
        run = functools.partial(super().main, *arguments, **options)
        if not alone:
            return run(standalone_mode=False)
        try:
            status: object = run(standalone_mode=False)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)

    def invoke(self, ctx: click.Context) -> object:
        """Run a verb; see the module for the exit statuses."""
        try:
            with plain_warnings():
                return super().invoke(ctx)
        except (RanvierError, OSError, MemoryError) as error:
            if isinstance(error, BrokenPipeError):
                _silence()
                ctx.exit(1)
            if os.environ.get("RANVIER_DEBUG") == "1":
                raise
            click.echo(_message(error), err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Within, a warning of ours is one line on the standard error stream, each time it comes."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RanvierWarning)
        other = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, RanvierWarning):
                click.echo(f"warning: {message}", err=True)
            else:
                other(message, category, *place, **more)

        warnings.showwarning = show
        yield


def _message(error: BaseException) -> str:
    from ...compiler.errors import NonFiniteError, SourceError
    from ..visible import visible

    if isinstance(error, SourceError | NonFiniteError):
        return str(error)
    if isinstance(error, MemoryError):
        return "error: not enough memory"
    return visible(f"error: {error}", keep="\n")


def _silence() -> None:
    """The reader of a pipe went away: nothing more can be written, not even by the interpreter when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="ranvier", prog_name="ranvier")
def application() -> None:
    """Ranvier compiles neural networks: one .nn file becomes native code that trains and predicts.

    \b
      ranvier new digits && cd digits
      ranvier train digits.nn
      ranvier eval digits.safetensors --data data/digits.npz
    """
