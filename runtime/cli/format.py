"""`ranvier fmt`: files written the one canonical way."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("fmt")
@click.argument("files", metavar="FILE.nn...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Change nothing; leave with status 1 when a file is not canonical.")
def command(files: tuple[Path, ...], check: bool) -> None:
    """Write files the one canonical way, in place."""
    from ...compiler.errors import SourceError

    failed = False
    for file in files:
        try:
            changed = _format(file, write=not check)
        except SourceError as error:
            click.echo(str(error), err=True)
            failed = True
            continue
        failed = failed or (check and changed)
        if changed:
            click.echo(f"{file}: {'not canonical' if check else 'rewritten'}")
    if failed:
        raise SystemExit(1)


def _format(file: Path, *, write: bool) -> bool:
    """Whether a file is not as it should be; with `write` it is afterwards."""
    from ...compiler.frontend.formatter import format_source
    from ...compiler.frontend.limits import read_source
    from ..atomic import write_atomic

    source = read_source(file)
    text = format_source(source).encode()
    changed = text != file.read_bytes()
    if changed and write:
        write_atomic(file, text)
    return changed
