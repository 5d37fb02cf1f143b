"""`ranvier bench`: where the time of a step goes, by kernel and source line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import blueprint_of, file_argument, set_option, threads_option

if TYPE_CHECKING:
    from ...compiler.driver import Blueprint
    from ..measuring import Measurement

LONGEST = 44


@click.command("bench")
@file_argument()
@click.option("--entry", type=click.Choice(["train", "predict"]), default="train", show_default=True, help="What to time.")
@set_option()
@threads_option()
def command(file: Path, entry: str, settings: tuple[tuple[str, str], ...], threads: int | None) -> None:
    """Time every kernel of a training step (or of a prediction) on a full batch of random rows.

    `peak` is the share of the machine's multiply-adds a second, measured in the same run on as many threads. Each kernel is timed alone,
    without the barriers and the cold caches of the whole step, which stands below. What runs time after time in a recurrent network is
    timed and counted over all times (`x100`: a hundred).
    """
    from ..measuring import measure
    from ..model import Model

    blueprint = blueprint_of(file, settings)
    found = measure(Model(blueprint, threads=threads), entry)
    click.echo(_report(blueprint, entry, found))


def _report(blueprint: Blueprint, entry: str, found: Measurement) -> str:
    from ..show.kernels import kernel_rows
    from .tables import Table, render

    rows = kernel_rows(blueprint, blueprint.program(entry))
    looping = any(k.turns > 1 for k in found.kernels)
    heads = ("time", "share", *["turns"] * looping, "operations", "GFLOP/s", "peak", "GB/s", "kernel", "where")
    table = Table(heads, ">" * (len(heads) - 2) + "<<")
    total = sum(k.seconds for k in found.kernels)
    for each in found.kernels:
        row, speed = rows[each.launch], each.cost.flops / each.seconds
        label = row.label if len(row.label) <= LONGEST else row.label[: LONGEST - 1] + "…"
        turns = [f"x{each.turns}" if each.turns > 1 else ""] * looping
        figures = (f"{speed / 1e9:.1f}", f"{speed / found.peak:.0%}", f"{each.cost.bytes / each.seconds / 1e9:.1f}")
        table.add(microseconds(each.seconds), f"{each.seconds / total:.0%}", *turns, f"{each.cost.flops:,}", *figures, label, row.place)
    flops = sum(k.cost.flops for k in found.kernels)
    threads = f"{found.threads} thread{'s' if found.threads > 1 else ''}"
    head = f"{entry}: {found.rows} rows, {threads}, peak {found.peak / 1e9:.1f} GFLOP/s ({blueprint.target.cpu}, {blueprint.real})"
    whole = f"whole {'step' if entry == 'train' else 'call'} {microseconds(found.seconds)}"
    speed = flops / found.seconds
    sums = f"{speed / 1e9:.1f} GFLOP/s, {speed / found.peak:.0%} of peak, {found.rows / found.seconds:,.0f} rows/s"
    return f"{head}\n\n{render(table)}\n\n{whole} (kernels alone {microseconds(total)}): {sums}"


def microseconds(seconds: float) -> str:
    """A time in the unit that kernels are measured in."""
    return f"{seconds * 1e6:,.2f} us" if seconds < 1e-4 else f"{seconds * 1e6:,.0f} us"
