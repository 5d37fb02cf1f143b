"""Where names come from: the user's file, the files it imports, the standard library (read only when a name of it is asked for)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import resources
from itertools import pairwise

from ..diagnostics import Diagnostic, Note
from ..errors import SourceError
from ..source import Source
from .parser import parse
from .syntax import Definition, File
from .values import Function

DEFINITION = re.compile(r"^(model|layer|cell|fn|optimizer|schedule)\s+([A-Za-z_][A-Za-z_0-9]*)", re.MULTILINE)
SPACES = ("", "optimizer", "schedule")
PENALTIES = "stdlib/regularisers.nn"
LAYER_SETTINGS = ("name", "rate", "regularize")
"""What may follow `with` beside the names of regularisers."""

Reader = Callable[[str], Source]


@dataclass(frozen=True)
class Part:
    """The text of a source from `start` to `end`."""

    source: Source
    start: int
    end: int

    @property
    def is_made(self) -> bool:
        """Whether the definition has two argument lists."""
        return ")(" in " ".join(self.source.text[self.start : self.end].partition("{")[0].split())


@functools.cache
def standard_sources() -> dict[str, Source]:
    """The files of the standard library by name."""
    folder = resources.files(__package__.rsplit(".", 1)[0] + ".stdlib")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".nn")), key=lambda f: f.name)
    return {f.name: Source(f"stdlib/{f.name}", f.read_text(encoding="utf-8")) for f in files}


def is_standard(source: Source) -> bool:
    """True for a file of the standard library."""
    return standard_sources().get(source.name.removeprefix("stdlib/")) is source


def name_space(kind: str) -> str:
    """Optimizers and schedules have names of their own, so that a schedule and an initialiser may both be called `constant`."""
    return kind if kind in SPACES else ""


@functools.cache
def standard_names() -> dict[tuple[str, str], Part]:
    """Where each (space, name) of the standard library is defined: its file, up to where the next definition begins."""
    found: dict[tuple[str, str], Part] = {}
    for source in standard_sources().values():
        matches = list(DEFINITION.finditer(source.text))
        edges = pairwise([*(m.start() for m in matches), len(source.text)])
        found |= {(name_space(m[1]), m[2]): Part(source, *edge) for m, edge in zip(matches, edges, strict=True)}
    return found


def layer_settings() -> list[str]:
    """What may follow `with`, for hints: the compiler's words, and the regularisers of the standard library."""
    return [*LAYER_SETTINGS, *(name for (_, name), part in standard_names().items() if part.source.name == PENALTIES and part.is_made)]


@functools.cache
def _standard_definition(space: str, name: str) -> Definition:
    # Only what is asked for: parsing whole files would be a fourth of the time of a compilation from the cache.
    part = standard_names()[space, name]
    return parse(part.source, part.start, part.end).definitions[0]


@dataclass
class Library:
    """The definitions a file may use, its own first. `space` is looked in before the common one (while a `train` block is read).

    `files` are the file and what it imports, by the path that imports them; `duplicates` what they define twice.
    """

    file: File
    own: dict[tuple[str, str], Function] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    space: str = ""
    files: dict[str, File] = field(default_factory=dict)
    duplicates: list[Diagnostic] = field(default_factory=list)

    def lookup(self, name: str, source: Source | None = None) -> Function | None:
        """The definition of that name, or None; read in the standard library (`source`), one of the library whatever a file defines."""
        closed = source is not None and is_standard(source)
        for space in dict.fromkeys((self.space, *SPACES)):
            if (space, name) in self.own and not closed:
                return self.own[space, name]
            if (space, name) in standard_names():
                return Function(_standard_definition(space, name))
        return None

    def names(self) -> Iterable[str]:
        """Every name that `lookup` knows."""
        return {name for _, name in (*self.own, *standard_names())}

    def names_in(self, space: str) -> Iterable[str]:
        """The names of one space."""
        return {name for each, name in (*self.own, *standard_names()) if each == space}


def open_library(file: File, read: Reader) -> Library:
    """The library of a file with its imports read (each once) through `read`; raises SourceError when one cannot be read."""
    library = Library(file)
    problems: list[Diagnostic] = []
    pending, seen = [file], {file.source.name}
    library.sources[file.source.name] = file.source
    library.files[file.source.name] = file
    while pending:
        current = pending.pop(0)
        _add_definitions(library, current)
        for statement in current.imports:
            if statement.path.value in seen:
                continue
            seen.add(statement.path.value)
            try:
                source = read(statement.path.value)
                library.sources[source.name] = source
                pending.append(parse(source))
                library.files[statement.path.value] = pending[-1]
            except SourceError as error:
                problems += [d if d.span else Diagnostic(d.code, d.message, statement.path.span, help=d.help) for d in error.diagnostics]
    if problems:
        raise SourceError(problems)
    return library


def _add_definitions(library: Library, file: File) -> None:
    for definition in file.definitions:
        key = (name_space(definition.kind), definition.name.id)
        if key in library.own:
            first = Note("first here", library.own[key].definition.name.span)
            library.duplicates.append(Diagnostic("duplicate-name", f"`{key[1]}` is defined twice", definition.name.span, (first,)))
        library.own.setdefault(key, Function(definition))
