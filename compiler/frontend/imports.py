"""Imports that nothing uses."""

from __future__ import annotations

from collections.abc import Iterator

from ..diagnostics import Diagnostic
from .library import Library
from .references import nodes
from .syntax import Argument, Definition, File, Name, Syntax, With


def unused_imports(library: Library, file: File) -> list[Diagnostic]:
    """Each import of a file that brings no definition, itself or through its own imports, whose name the file speaks."""
    used = {name for part in (*file.definitions, *file.blocks) for name in _spoken(part)}
    found = []
    for statement in file.imports:
        brought = {d.name.id for d in _definitions(library, statement.path.value)}
        if not brought & used:
            message = f'nothing of "{statement.path.value}" is used'
            mend = f"it defines {', '.join(sorted(brought)[:8])}" if brought else "it defines nothing"
            found.append(Diagnostic("unused-import", message, statement.span, help=f"remove the import; {mend}"))
    return found


def _definitions(library: Library, path: str) -> Iterator[Definition]:
    pending, seen = [path], {path}
    while pending:
        file = library.files.get(pending.pop())
        if file is None:
            continue
        yield from file.definitions
        for statement in file.imports:
            if statement.path.value not in seen:
                seen.add(statement.path.value)
                pending.append(statement.path.value)


def _spoken(part: Syntax) -> Iterator[str]:
    for node in nodes(part):
        if isinstance(node, Name):
            yield node.id
        elif isinstance(node, With):
            yield from (option.name or "" for option in node.settings if isinstance(option, Argument))
