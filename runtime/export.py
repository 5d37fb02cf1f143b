"""A model written as a library: object, shared library, header, manifest and a short guide, in one folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..compiler.ahead.guide import guide
from ..compiler.ahead.header import header
from ..compiler.ahead.levels import NATIVE, Level, level, name_of, several
from ..compiler.ahead.make import Library
from ..compiler.ahead.manifest import manifest, spell
from ..compiler.errors import RanvierError
from ..compiler.frontend.spelling import spell as spell_value
from .atomic import write_atomic
from .embedding import Wish, library_of
from .linking import link, suffix
from .model import Model

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
LONGEST = 64


@dataclass(frozen=True)
class Written:
    """The files of a library; `missing` says why there is no shared library, where there is none."""

    library: Library
    files: tuple[Path, ...]
    missing: str = ""


def export(
    model: Model,
    folder: str | os.PathLike[str],
    *,
    name: str,
    target: str | None = None,
    multiversion: bool = False,
    train: bool = False,
    rows: int | None = None,
    threads: int = 1,
    weights: str | os.PathLike[str] | None = None,
) -> Written:
    """Write the library of a model into a folder, which is made if need be; for the model's own CPU unless a target is named.

    Raises RanvierError, and OSError for a file that cannot be written.
    """
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        raise RanvierError(f"a library's name is letters, digits and underscores, a letter first, not {name[:LONGEST]!r}: give one")
    if multiversion and target not in (None, NATIVE):
        raise RanvierError("a library with several CPU levels has all those of x86-64: leave the target out")
    levels = several() if multiversion else (level(target or name_of(model.blueprint.target)),)
    library = library_of(model, levels, Wish(name, rows, threads, train, Path(weights).name if weights is not None else ""))
    files = _contents(library, model)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    _keep_apart(weights, [place / file for file in (*files, f"lib{name}{suffix(levels[0].target.triple)}")])
    for file, content in files.items():
        write_atomic(place / file, content)
    paths = [place / file for file in files]
    if weights is not None:
        write_atomic(Path(weights), library.weights)
        paths.append(Path(weights))
    return _linked(library, place, levels, paths)


def _keep_apart(weights: str | os.PathLike[str] | None, files: Sequence[Path]) -> None:
    """RanvierError where the file of the weights is one of the others."""
    if weights is not None and os.path.realpath(weights) in map(os.path.realpath, files):
        raise RanvierError(f"{os.fspath(weights)}: this file is written already: give the weights another name")


def _contents(library: Library, model: Model) -> dict[str, bytes]:
    """The files that need no linker."""
    name = library.face.name
    text = spell(manifest(library, _about(model)))
    return {
        f"{name}.o": library.object(text),
        f"{name}.h": header(library).encode(),
        f"{name}.json": text.encode(),
        f"{name}.md": guide(library, suffix(library.parts[0].level.target.triple)).encode(),
    }


def _linked(library: Library, folder: Path, levels: Sequence[Level], files: list[Path]) -> Written:
    triple, name = levels[0].target.triple, library.face.name
    made = folder / f"lib{name}{suffix(triple)}"
    try:
        link(folder / f"{name}.o", made, triple)
    except RanvierError as failure:
        made.unlink(missing_ok=True)
        return Written(library, tuple(files), str(failure))
    return Written(library, (made, *files))


def _about(model: Model) -> dict[str, object]:
    """What a library was made from: names, versions, a digest of the sources, and the settings that were chosen."""
    from importlib.metadata import version

    from .saving import sources_of

    blueprint = model.blueprint
    sources = sources_of(blueprint.unit)
    digest = hashlib.sha256("\0".join(part for name, text in sources.items() for part in (name, text)).encode())
    return {
        "model": blueprint.unit.model.name.id,
        "source_sha256": digest.hexdigest(),
        "settings": {name: spell_value(value) for name, value in (*blueprint.settings.items(), *blueprint.overrides.items())},
        "real": str(blueprint.real),
        "ranvier": version("ranvier"),
        "llvmlite": version("llvmlite"),
    }
