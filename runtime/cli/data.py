"""`ranvier data`: what a data set holds, and a first `.nn` file that reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .tables import Table, plain, render

if TYPE_CHECKING:
    from ..description import Column, Description

MOST_CLASSES = 30
MOST_VALUES = 3


@click.command("data")
@click.argument("data", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--target", metavar="COLUMN", help="The column to be foretold.  [default: one that looks like it]")
@click.option(
    "-o",
    "output",
    metavar="FILE.nn",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the starter there instead of showing it.",
)
@click.option("--json", "as_json", is_flag=True, help="The same facts as JSON, without a starter.")
def command(data: Path, target: str | None, output: Path | None, as_json: bool) -> None:
    """Show what a file or folder of data holds: columns, types, ranges, missing values, classes. Then a model file to begin with.

    The file is .npz, .npy, .csv, .tsv, .parquet, .txt or IDX; a folder holds one of them for each part (train, test), .npy files,
    IDX files or images. Nothing is changed.
    """
    from ...compiler.errors import DataError
    from ..description import describe_data
    from ..starter import choose_target, starter

    found = describe_data(data)
    chosen = choose_target(found, target)
    if as_json:
        click.echo(json.dumps(_facts(found, chosen), indent=2, ensure_ascii=True))
        return
    click.echo(_text(found, chosen))
    try:
        text = starter(found, _path_from(data, output), chosen)
    except DataError as failure:
        if output is not None or target is not None:
            raise
        click.echo(f"\nno starter: {failure}")
        return
    if output is None:
        click.echo(f"\nA file to begin with (`-o FILE.nn` writes it):\n\n{text}", nl=False)
        return
    _write(output, text)
    click.echo(f"\nwrote {output}; `ranvier train {output}` trains it")


def _write(output: Path, text: str) -> None:
    from ..atomic import write_atomic
    from .options import require_writable

    require_writable(output)
    if output.exists():
        raise click.UsageError(f"{output} exists already: name another file")
    write_atomic(output, text.encode())


def _path_from(data: Path, output: Path | None) -> str:
    """The data as a file in the output's folder (else the present one) names it."""
    start = output.absolute().parent if output is not None else Path.cwd()
    return Path(os.path.relpath(data, start)).as_posix()


def _text(found: Description, target: Column | None) -> str:
    parts = [_heading(found), render(_columns(found))]
    notes = [note for column in found.columns if (note := _note(column))]
    notes += [f"{plain(name)} cannot be read: {plain(reason)}" for name, reason in found.unreadable.items()]
    if notes:
        parts.append("\n".join(notes))
    if target is not None and target.looks_like_classes:
        parts.append(f"classes of {plain(target.name)}:\n{render(_balance(target))}")
    return "\n\n".join(parts)


def _heading(found: Description) -> str:
    parts = "".join(f", {rows:,} more in its {name} part" for name, rows in found.parts.items())
    columns = len(found.columns)
    line = f"{found.path}: {found.rows:,} rows{parts}, {columns} {'column' if columns == 1 else 'columns'}"
    return line + (f"; {found.repeated:,} rows are equal to one before them" if found.repeated and columns > 1 else "")


def _columns(found: Description) -> Table:
    table = Table(("column", "type", "missing", "different", "least", "median", "most", "mean", "±", "most frequent"), "<<>>>>>>><")
    for c in found.columns:
        shape = f"[{', '.join(map(str, c.shape))}]" if c.shape else ""
        missing = f"{c.missing:,} ({c.missing / c.rows:.1%})" if c.missing else ""
        different = "" if c.shape else f"{len(c.values):,}" if c.values is not None else "many"
        frequent = ", ".join(f"{plain(value)} ({count:,})" for value, count in (c.values or ())[:MOST_VALUES] if count > 1)
        median = c.quartiles[1] if c.quartiles else None
        figures = (_spell(f) for f in (c.low, median, c.high, c.mean, c.deviation))
        table.add(plain(c.name), f"{c.type}{shape}", missing, different, *figures, frequent if c.looks_like_classes or c.is_text else "")
    return table


def _spell(figure: float | None) -> str:
    return "" if figure is None else f"{figure:,.4g}" if abs(figure) < 1e6 else f"{figure:.3e}"


def _note(column: Column) -> str:
    name = plain(column.name)
    if column.infinite:
        return f"{name} has {column.infinite:,} infinite values, which are refused: remove the rows or fill them in"
    if column.is_constant:
        return f"{name} is the same in all rows: it tells nothing"
    return (
        f"{name} is different in every row, like a name or a number of the row: the starter leaves it out" if column.is_identifier else ""
    )


def _balance(target: Column) -> Table:
    table = Table(("class", "rows", "share"), "<>>")
    values = target.values or ()
    for value, count in values[:MOST_CLASSES]:
        table.add(plain(value), f"{count:,}", f"{count / max(target.rows, 1):.1%}")
    if len(values) > MOST_CLASSES:
        rest = sum(count for _, count in values[MOST_CLASSES:])
        table.add(f"… {len(values) - MOST_CLASSES} more", f"{rest:,}", f"{rest / max(target.rows, 1):.1%}")
    return table


def _facts(found: Description, target: Column | None) -> dict[str, Any]:
    from dataclasses import asdict

    columns = [{k: v for k, v in asdict(column).items() if v is not None and v != ()} for column in found.columns]
    return {
        "path": str(found.path),
        "rows": found.rows,
        "parts": dict(found.parts),
        "repeated": found.repeated,
        "columns": columns,
        "unreadable": dict(found.unreadable),
        "target": None if target is None else target.name,
    }
