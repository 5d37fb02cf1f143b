"""From a path or a text, with the settings a person gives, to a blueprint; files that a file names are read only below its own folder."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ..compiler.backend.target import Target, host
from ..compiler.diagnostics import Diagnostic, did_you_mean
from ..compiler.driver import Blueprint, Unit, open_unit
from ..compiler.errors import RanvierError, SourceError
from ..compiler.frontend.block_names import declared
from ..compiler.frontend.blocks import KNOWN, read_override
from ..compiler.frontend.data_block import COLUMNS, PARTS, WORDS, read_columns
from ..compiler.frontend.library import Reader
from ..compiler.frontend.limits import read_source
from ..compiler.frontend.parser import parse
from ..compiler.frontend.syntax import Expression, String
from ..compiler.frontend.values import Value
from ..compiler.ir.types import F32, DType
from ..compiler.source import Source

Parsed = TypeVar("Parsed")
COLUMN_CALL = re.compile(r"\s*columns?\s*\(")
TEXT = "text.nn"
"""What diagnostics call a source that was given as text."""

BLOCK_SETTINGS = tuple(f"{block}.{name}" for block in ("train", "data") for name in KNOWN[block])


def open_blueprint(
    path_or_text: str | os.PathLike[str],
    *,
    settings: Mapping[str, object] | None = None,
    overrides: Mapping[str, object] | None = None,
    capacity: int | None = None,
    real: DType = F32,
    target: Target | None = None,
) -> Blueprint:
    """The blueprint of a `.nn` file, or of a text (anything with a line break or a brace in it).

    `settings` are those of the model (`hidden`), `overrides` those of blocks (`train.optimizer.lr`). A text among the values is read as
    `.nn` (`gelu`, `sgd(lr = 0.1)`) unless the setting's default is a text itself. Raises SourceError, or RanvierError for a setting
    that does not exist.
    """
    return make_blueprint(open_source(path_or_text), settings, overrides, capacity=capacity, real=real, target=target)


def make_blueprint(
    unit: Unit,
    settings: Mapping[str, object] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    capacity: int | None = None,
    real: DType = F32,
    target: Target | None = None,
) -> Blueprint:
    """`open_blueprint` for a unit that is open already."""
    chosen = {name: _model_value(unit, name, value) for name, value in (settings or {}).items()}
    changed = {name: _block_value(unit, name, value) for name, value in (overrides or {}).items()}
    return Blueprint(unit, target or host(), chosen, changed, capacity, real)


def open_source(path_or_text: str | os.PathLike[str]) -> Unit:
    """The unit of a path or a text; imports are read below the folder of the file (of the process, for a text)."""
    if isinstance(path_or_text, str) and is_text(path_or_text):
        return open_unit(Source(TEXT, path_or_text), reader_below(Path()))
    path = Path(path_or_text)
    return open_unit(read_source(path, os.fspath(path_or_text)), reader_below(path.parent))


def is_text(path_or_text: str | os.PathLike[str]) -> bool:
    """Whether it is a text, not a path: it has a line break or a brace in it."""
    return isinstance(path_or_text, str) and ("\n" in path_or_text or "{" in path_or_text)


def split_settings(given: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Settings of the model (plain names) and of blocks (dotted names)."""
    own = {name: value for name, value in given.items() if "." not in name}
    return own, {name: value for name, value in given.items() if "." in name}


def source_folder(blueprint: Blueprint) -> Path:
    """The folder that the file's own paths start from."""
    return Path(blueprint.unit.library.file.source.name).parent


# --- files named by files


def reader_below(folder: Path) -> Reader:
    """How the imports of a file in `folder` are read."""

    def read(text: str) -> Source:
        try:
            path = path_below(folder, text)
        except ValueError as error:
            raise SourceError([Diagnostic("bad-path", str(error), None)]) from None
        return read_source(path, str(path))

    return read


def path_below(folder: Path, text: str) -> Path:
    """The path that a file names, if it stays below the file's folder without links; raises ValueError with the reason if not.

    A `.nn` file may come from anybody: it must not make us read what it could not have brought with it.
    """
    relative = PurePosixPath(text)
    if not relative.parts or relative.is_absolute() or any(c in text for c in "\\:\0"):
        raise ValueError(f'{text!r} is not a path relative to the folder of the file, such as "data/rows.csv"')
    if ".." in relative.parts:
        raise ValueError(f"{text!r} leaves the folder of the file")
    path = folder
    for part in relative.parts:
        path = path / part
        if _is_link(path):
            raise ValueError(f"{str(path)!r} is a symbolic link, which a file may not name")
    return path


def _is_link(path: Path) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


# --- values given from outside


def _model_value(unit: Unit, name: str, value: object) -> Value:
    defaults = {p.name.id: p.default for p in unit.model.settings or ()}
    return _value(unit, name, value, literal=isinstance(defaults.get(name), String))


def _block_value(unit: Unit, name: str, value: object) -> Value:
    known = [*(p.name.id for p in unit.model.settings or ()), *BLOCK_SETTINGS]
    block, _, setting = name.partition(".")
    if block == "data" and setting in declared(unit.model) and setting not in KNOWN[block]:
        return _columns(unit, name, value)
    if block == "data" and setting in COLUMNS and len(found := _columns(unit, name, value)) == 1:
        return found[0]
    if block not in ("train", "data") or setting.partition(".")[0] not in KNOWN[block]:
        hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
        raise RanvierError(f"no setting is called `{name}`; {hint}")
    return _value(unit, name, value, literal=block == "data" and _stands_for_itself(setting, value))


def _columns(unit: Unit, name: str, value: object) -> tuple[Value, ...]:
    """Names of columns: a call as in the file, `columns(a, b)`, a list, or one name."""
    if isinstance(value, str) and COLUMN_CALL.match(value):
        return _parsed(name, value, lambda expression: read_columns(unit.library, expression))
    found = _value(unit, name, value, literal=not (isinstance(value, str) and value.lstrip().startswith("[")))
    return found if isinstance(found, tuple) else (found,)


def _stands_for_itself(setting: str, value: object) -> bool:
    """Whether a text for a setting of the data block is a path, a column or a word, not an expression."""
    if setting in PARTS:
        return isinstance(value, str) and not is_share(value)
    return setting in ("source", *WORDS) and not str(value).lstrip().startswith("[")


def is_share(text: str) -> bool:
    """Is a text a number or a percentage, and not the path of a file?"""
    try:
        float(text.strip().removesuffix("%"))
    except ValueError:
        return False
    return True


def _value(unit: Unit, name: str, value: object, *, literal: bool) -> Value:
    """A Python value as a value of the language."""
    if isinstance(value, str) and not (literal and not value.startswith('"')):
        return _read_text(unit, name, value)
    plain: Any = value.item() if hasattr(value, "item") else value
    if isinstance(plain, list | tuple):
        return tuple(_value(unit, name, each, literal=literal) for each in plain)
    if isinstance(plain, bool | int | float | str):
        return plain
    raise RanvierError(f"`{name}` is a number, a truth value, a text or a list of them, not {type(value).__name__}")


def _read_text(unit: Unit, name: str, text: str) -> Value:
    return _parsed(name, text, lambda expression: read_override(unit.library, name, expression))


def _parsed(name: str, text: str, read: Callable[[Expression], Parsed]) -> Parsed:
    """What is read of an expression; its first mistake, if it has any, as one line."""
    try:
        return read(_expression(text))
    except SourceError as error:
        first = error.diagnostics[0]
        mend = f"; {first.help}" if first.help else ""
        raise RanvierError(f"{name} = {text}: {first.message}{mend}") from None


def _expression(text: str) -> Expression:
    """The one expression of a text."""
    source = Source("value", f"train {{ value = {text}\n}}")
    blocks = parse(source).blocks
    if len(blocks) != 1 or len(blocks[0].settings) != 1:
        raise SourceError([Diagnostic("syntax", "this is not one value", None)])
    return blocks[0].settings[0].value
