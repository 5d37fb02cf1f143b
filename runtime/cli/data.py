"""`ranvier data`: what a file of rows holds, and a `.nn` file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .tables import Table, render

if TYPE_CHECKING:
    from ..looking.columns import Numbers
    from ..looking.facts import FileFacts
    from ..looking.roles import Judged

SHOWN_COLUMNS, SHOWN_CLASSES, SHOWN_VALUES = 200, 100, 5
LONGEST = 40
"""Characters of a name or value that are shown."""
UNBALANCED = 10
"""Times as many rows of one class as of another from which weights are worth a thought."""


@click.command("data")
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path))
@click.option("--target", metavar="COLUMN", help="The column to predict.  [default: by its name, else the last that could be]")
@click.option("--json", "as_json", is_flag=True, help="The same facts as JSON, of all columns.")
@click.option("-o", "output", metavar="FILE.nn", type=click.Path(path_type=Path, dir_okay=False), help="Write the starter to a new file.")
def command(path: Path, target: str | None, as_json: bool, output: Path | None) -> None:
    """Show what a file or folder of rows holds: types, what is missing, ranges, classes, repeated rows; and print a .nn file to begin with.

    Large files are read in pieces where their form allows it: .npy, .npz that is not packed, images.
    """
    from ..looking.facts import look

    _check_output(output)
    facts = look(path, target)
    text, reason = _starter(facts, output)
    if as_json:
        _print_json(facts, text, reason)
    else:
        click.echo("\n\n".join(_sections(facts)))
    if output is not None:
        _write(output, text, reason)
    elif not as_json:
        click.echo(f"\n{text}" if text else f"\n{_safe(reason)}", nl=not text)


def _check_output(output: Path | None) -> None:
    from ...compiler.errors import DataError

    if output is not None and output.suffix != ".nn":
        raise click.UsageError(f"the starter is written to a file that ends in .nn, not {output.suffix or 'no suffix'}")
    if output is not None and output.exists():
        raise DataError(f"{output}: is there already, and may be yours; name another file")


def _starter(facts: FileFacts, output: Path | None) -> tuple[str | None, str]:
    """The text of the starter, or why there is none."""
    from ...compiler.errors import DataError
    from ..looking.starter import starter

    try:
        return starter(facts, Path(".") if output is None else output.parent), ""
    except DataError as error:
        return None, str(error)


def _write(output: Path, text: str | None, reason: str) -> None:
    from ...compiler.errors import DataError
    from ..atomic import write_atomic

    if text is None:
        raise DataError(reason)
    write_atomic(output, text.encode())
    click.echo(f"wrote {output}", err=True)


def _print_json(facts: FileFacts, text: str | None, reason: str) -> None:
    import json

    from ..looking.report import as_json

    click.echo(json.dumps(as_json(facts, text, reason or None), indent=2, allow_nan=False))


def _safe(text: str) -> str:
    """Text of the data on one line, without what a terminal would obey; a long one is cut."""
    from ..visible import visible

    return visible(text)


def _cut(text: str) -> str:
    shown = _safe(text[: LONGEST + 1])
    return shown if len(text) <= LONGEST else shown[:LONGEST] + "…"


def _number(value: float | int, *, near: bool = False) -> str:
    """Six digits; `near` marks one that comes from a sample."""
    if value != value:
        return ""
    spelled = f"{value:,}" if isinstance(value, int) and abs(value) < 10**15 else f"{value:.6g}"
    return f"~{spelled}" if near else spelled


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if part else ""


def _sections(facts: FileFacts) -> list[str]:
    """Everything that is printed, part by part."""
    shown = facts.columns[:SHOWN_COLUMNS]
    parts = [_head(facts), render(_overview(shown))]
    if len(facts.columns) > len(shown):
        parts.append(f"… and {len(facts.columns) - len(shown):,} more columns; --json has them all")
    ranged = [(column, column.facts.numbers) for column in shown if column.facts.numbers is not None]
    if ranged:
        parts.append(render(_ranges([(column, numbers) for column, numbers in ranged if numbers is not None])))
    values = _values(shown)
    if values.rows:
        parts.append(render(values))
    parts += _balance(facts)
    notes = _notes(facts)
    return [*parts, "\n".join(notes)] if notes else parts


def _head(facts: FileFacts) -> str:
    from ..show.memory import human_bytes

    source = facts.source
    how = "read in pieces" if source.piecewise else "in memory"
    head = f"{_safe(str(source.path))}: {source.rows:,} rows, {len(source.columns):,} columns, {human_bytes(source.bytes)} {how}"
    return head if facts.looked == source.rows else f"{head}; {facts.looked:,} rows of it, spread evenly, were looked at"


def _overview(columns: tuple[Judged, ...]) -> Table:
    table = Table(("column", "type", "missing", "distinct", "remarks"), "<<>><")
    for column in columns:
        facts = column.facts
        distinct = "many" if facts.many else "" if facts.distinct is None else f"{facts.distinct:,}"
        remarks = _safe("; ".join(column.remarks))
        table.add(_cut(facts.name), facts.type, _share(facts.missing, facts.elements), distinct, remarks)
    return table


def _ranges(columns: list[tuple[Judged, Numbers]]) -> Table:
    table = Table(("numbers", "min", "25%", "median", "75%", "max", "mean", "std"), "<>>>>>>>")
    for column, numbers in columns:
        quartiles = [_number(value, near=not numbers.exact) for value in numbers.quartiles]
        ends = [_number(value) for value in (numbers.least, numbers.most, numbers.mean, numbers.deviation)]
        table.add(_cut(column.facts.name), ends[0], *quartiles, *ends[1:])
    return table


def _values(columns: tuple[Judged, ...]) -> Table:
    """The most frequent values of texts and whole numbers, where any stands twice."""
    table = Table(("values", "most frequent, with rows"), "<<")
    for column in columns:
        facts = column.facts
        telling = facts.is_text or facts.numbers is None or facts.numbers.whole
        frequent = facts.frequent(SHOWN_VALUES) if telling else []
        if frequent and frequent[0][1] > 1:
            shown = ", ".join(f"{_value(value)} {rows:,}" for value, rows in frequent)
            table.add(_cut(facts.name), shown + (", …" if (facts.distinct or 0) > len(frequent) else ""))
    return table


def _value(value: object) -> str:
    return _cut(value) if isinstance(value, str) else _number(value) if isinstance(value, int | float) else str(value)


def _balance(facts: FileFacts) -> list[str]:
    """The classes of the target with their shares, the rarest told."""
    from ..looking.roles import class_counts

    if facts.target is None:
        return []
    target = facts.column(facts.target)
    if not target.label:
        return [f"target `{_cut(facts.target)}`: {'numbers' if target.facts.numbers else 'texts'} (--target names another column)"]
    counted = class_counts(target.facts)
    known = sum(rows for _, rows in counted)
    table = Table(("class", "rows", "share"), "<>>")
    for value, rows in counted[:SHOWN_CLASSES]:
        table.add(_value(value), f"{rows:,}", f"{rows / known:.1%}")
    more = f"\n… and {len(counted) - SHOWN_CLASSES:,} more classes" if len(counted) > SHOWN_CLASSES else ""
    rarest, most = min(rows for _, rows in counted), max(rows for _, rows in counted)
    hint = f"\nunbalanced, {most / rarest:,.0f} to 1: see `class_weight = balanced` of the data block"
    uneven = hint if most >= UNBALANCED * rarest else ""
    return [f"target `{_cut(facts.target)}` (--target names another column)\n\n{render(table)}{more}{uneven}"]


def _notes(facts: FileFacts) -> list[str]:
    """What concerns rows and the file as a whole."""
    source = facts.source
    notes = [f"column `{_cut(name)}` is left aside: {_safe(reason)}" for name, reason in list(source.unreadable.items())[:SHOWN_COLUMNS]]
    if len(source.sizes) > 1:
        sizes = sorted(source.sizes.items(), key=lambda pair: -pair[1])
        shown = ", ".join(f"{h}×{w}×{c} {n:,}" for (h, w, c), n in sizes[:SHOWN_VALUES])
        notes.append(f"images of {len(sizes):,} sizes (height × width × channels, with their numbers): {shown}")
    if facts.repeats is not None:
        notes.append(f"rows that repeat an earlier one: {facts.repeats:,}" + (", identifiers left aside" if _has_identifier(facts) else ""))
    if facts.contradictions:
        notes.append(f"rows that are like another in all but the target: {facts.contradictions:,}")
    for name, part in facts.parts.items():
        known = "" if part.known is None else f", {part.known:,} of which stand among the training rows, too"
        notes.append(f"{name}: {part.rows:,} rows of their own{known}")
    return notes


def _has_identifier(facts: FileFacts) -> bool:
    from ..looking.roles import Role

    return any(column.role is Role.IDENTIFIER for column in facts.columns)
