"""`ranvier show`: what a file becomes, at any stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import file_argument, set_option, threads_option

if TYPE_CHECKING:
    from ...compiler.backend.program import Native
    from ...compiler.driver import Blueprint

VIEWS = {
    "layers": "The layers as a table (the default).",
    "graph": "The model as a picture: SVG, or the DOT language when -o ends in .dot.",
    "kernels": "The kernels of a program: loops, costs, bodies.",
    "llvm": "The LLVM IR of a program.",
    "asm": "The assembly of a program.",
    "memory": "The memory plan of a program, by line of source.",
    "resolved": "The file with every setting, default and shape filled in; a .nn file itself.",
}
ENTRIES = ("train", "predict", "gradients", "evaluate", "fit")


def _view_options(function: Callable[..., None]) -> Callable[..., None]:
    """One flag a view; the last one given counts."""
    for name, text in reversed(VIEWS.items()):
        function = click.option(f"--{name}", "view", flag_value=name, help=text)(function)
    return function


@click.command("show")
@file_argument()
@_view_options
@click.option("--after", metavar="PASS", help="The op graph after a pass.")
@click.option("--entry", help=f"The program to show: {', '.join(ENTRIES)}; evaluate.1 is a second pass.  [default: train, else predict]")
@click.option("-o", "output", type=click.Path(path_type=Path, dir_okay=False), help="Write to a file instead of the terminal.")
@set_option()
@threads_option()
def command(
    file: Path,
    view: str | None,
    after: str | None,
    entry: str | None,
    output: Path | None,
    settings: tuple[tuple[str, str], ...],
    threads: int | None,
) -> None:
    """Show what a file becomes on its way to machine code."""
    from .options import blueprint_of

    blueprint = blueprint_of(file, settings)
    if after is not None:
        text = _after(blueprint, entry, after)
    elif view == "graph":
        text = _picture(blueprint, output)
    elif view in (None, "layers"):
        text = _layers(blueprint, wide=output is not None)
    elif view == "resolved":
        text = _resolved(blueprint)
    else:
        text = _program(blueprint, view or "", _known_entry(blueprint, entry), threads, wide=output is not None)
    if output is None:
        click.echo(text.rstrip("\n"))
        return
    from ..atomic import write_atomic

    write_atomic(output, (text.rstrip("\n") + "\n").encode())
    click.echo(f"wrote {output}", err=True)


def _known_entry(blueprint: Blueprint, entry: str | None) -> str:
    """The full name of an entry, by default of the training step if there is a loss; usage errors for what is none, or is not there."""
    from ...compiler.diagnostics import did_you_mean

    if entry is None:
        return "train" if "loss" in blueprint.inference.graph.outputs else "predict"
    kind, _, number = entry.partition(".")
    if kind not in ENTRIES or (number and not number.isdigit()) or (number and kind not in ("evaluate", "fit")):
        hint = did_you_mean(kind, ENTRIES) or f"there are {', '.join(ENTRIES)}"
        raise click.UsageError(f"no program is called `{entry}`; {hint}")
    if kind not in ("evaluate", "fit"):
        return kind
    stages = len(blueprint.evaluation if kind == "evaluate" else blueprint.statistics)
    if int(number or 0) >= stages:
        raise click.UsageError(f"`{kind}` has {stages} passes over the rows, counted from 0")
    return f"{kind}.{int(number or 0)}"


def _after(blueprint: Blueprint, entry: str | None, wanted: str) -> str:
    """The text of the graph after a pass."""
    from ...compiler.diagnostics import did_you_mean
    from ...compiler.passes.pipeline import PASSES, optimise

    names = ["model", *(name for name, _ in PASSES), "fusion"]
    if wanted not in names:
        hint = did_you_mean(wanted, names)
        raise click.UsageError(f"no pass is called `{wanted}`; {hint + ' ' if hint else ''}the passes are {', '.join(names)}")
    texts: dict[str, str] = {}
    optimise(blueprint.entry_graph(_known_entry(blueprint, entry)), watch=texts.__setitem__)
    return texts[wanted]


def _picture(blueprint: Blueprint, output: Path | None) -> str:
    from ..show.dot import dot_text
    from ..show.drawing import svg_text
    from ..show.picture import draw

    suffix = output.suffix.lower() if output else ".svg"
    if suffix not in (".svg", ".dot", ".gv"):
        raise click.UsageError(f"a picture is written to a file that ends in .svg or .dot, not {suffix or 'no suffix'}")
    return svg_text(draw(blueprint)) if suffix == ".svg" else dot_text(draw(blueprint))


def _layers(blueprint: Blueprint, *, wide: bool) -> str:
    from ..show.summary import summarise
    from .tables import Table, render

    summary = summarise(blueprint)
    table = Table(("layer", "made by", "shapes", "parameters", "where"), "<<<><")
    for row in summary.rows:
        path = "  " * row.path.count(".") + row.path.rpartition(".")[2]
        table.add(path, row.kind, row.shapes, f"{row.parameters:,}" if row.parameters else "", row.place)
    from ..show.memory import human_bytes

    heads = [f"model {summary.model}", *(f"  {line}" for line in summary.inputs), ""]
    ends = ["", *(f"  {line}" for line in summary.outputs), f"{summary.parameters:,} parameters, {human_bytes(summary.bytes)}"]
    return "\n".join([*heads, render(table, wide=wide), *ends])


def _resolved(blueprint: Blueprint) -> str:
    from ..show.resolved import resolve

    return resolve(blueprint)


def _program(blueprint: Blueprint, view: str, entry: str, threads: int | None, *, wide: bool) -> str:
    """A view of a program."""
    from ..show.kernels import kernel_listing

    program = blueprint.program(entry)
    if view == "kernels":
        return kernel_listing(blueprint, program)
    if view == "memory":
        return _memory(blueprint, entry, wide=wide)
    native = _native(blueprint, entry, threads)
    return native.text() if view == "llvm" else native.assembly()


def _native(blueprint: Blueprint, entry: str, threads: int | None) -> Native:
    from ...compiler.backend.program import build
    from ..processors import default_threads

    return build(blueprint.program(entry), blueprint.target, threads or default_threads())


def _memory(blueprint: Blueprint, entry: str, *, wide: bool) -> str:
    from ..show.memory import human_bytes, memory_plan
    from .tables import Table, render

    program = blueprint.program(entry)
    plan = memory_plan(blueprint, program)
    table = Table(("where", "buffer", "elements", "bytes", "offset", "alive"), "<<>>><")
    for each in plan.residents:
        alive = f"{each.first} to {each.last}"
        table.add(each.place, each.name, f"{each.elements:,} {each.dtype}", f"{each.bytes:,}", f"{each.offset:,}", alive)
        for part in each.movers:
            table.add("", f"  {part.name}", "", "", f"+{part.stride:,} a time", "")
    spaces = Table(("space", "bytes"), "<>")
    for name, size in plan.spaces.items():
        spaces.add(name, f"{size:,}")
    spaces.add("in all", f"{plan.total:,}")
    arena = plan.spaces["arena"]
    saved = f"the arena holds {human_bytes(plan.unshared)} of values in {human_bytes(arena)}, as their lifetimes allow"
    head = f"program {program.name}, {program.capacity} rows at a time"
    return "\n\n".join([head, render(table, wide=wide), saved, render(spaces, wide=wide)])
