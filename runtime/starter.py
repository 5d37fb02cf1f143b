"""A first `.nn` file for a data set: inputs and target as its columns suggest, a small model between them, a data block that reads it.

It is a beginning that runs, not a choice of a model: what stands in it is what its author would change first.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

from ..compiler.errors import DataError
from ..compiler.frontend.arrange import BLOCKS, DEFINITIONS, RESERVED, STATEMENTS
from ..compiler.frontend.formatter import format_source
from ..compiler.frontend.primitives import TABLE
from ..compiler.source import Source
from .description import Column, Description
from .table import Origin, column_hint

TARGETS = ("target", "label", "labels", "class", "y", "outcome", "category", "species")
"""What columns are called that are to be foretold."""
WORDS = DEFINITIONS | BLOCKS | STATEMENTS | RESERVED | TABLE.keys() | {"training", "next", "batch"}
LENGTH = "_length"
MANY = 5000
IMAGE_AXES = (2, 3)
SMALLEST_IMAGE = 12
HALF_OF_A_BYTE = 128


def choose_target(found: Description, name: str | None) -> Column | None:
    """The column to be foretold: the one named, else one that is called so, the last that looks like classes, or the last number.

    None where there is none. Raises DataError for a name that is no column's.
    """
    if name is not None:
        column = found.column(name)
        if column is None:
            raise DataError(f"{found.path}: has no column `{name}`; {column_hint(name, [c.name for c in found.columns], Origin())}")
        return column
    able = [c for c in found.columns if not c.shape and not c.is_identifier and not c.is_constant and not _is_length(c, found.columns)]
    called = [c for c in able if c.name.lower() in TARGETS and (c.looks_like_classes or not c.is_text)]
    classes = [c for c in able if c.looks_like_classes]
    numbers = [c for c in able if not c.is_text]
    last = able[-1:] if able and (able[-1].looks_like_classes or not able[-1].is_text) else []
    texts = [c for c in classes if c.is_text]
    return next(iter([*called, *last, *texts[-1:], *classes[-1:], *numbers[-1:]]), None) if len(found.columns) > 1 else None


def starter(found: Description, source: str, target: Column | None) -> str:
    """The text of the file; `source` is how it calls the data. Raises DataError where no model can be begun."""
    if target is None and len(found.columns) == 1 and _is_letters(found.columns[0]):
        words = {"model": _model_name(source, set()), "count": len(found.columns[0].values or ()), "source": _in_quotes(source)}
        return _formatted(_filled("letters", **words))
    if target is None:
        raise DataError(f"{found.path}: which column is to be foretold is not clear: name it with `--target`")
    draft = Draft(found, target)
    if not draft.vectors:
        raise DataError(f"{found.path}: beside `{target.name}` there is nothing to foretell it from")
    return _formatted(draft.text(source))


@functools.cache
def _sections() -> dict[str, str]:
    """The texts that a starter is made of, by name."""
    text = resources.files(__package__).joinpath("templates", "starter.txt").read_text(encoding="utf-8")
    _, *parts = re.split(r"^\[(.+)\]$", text, flags=re.MULTILINE)
    return {name: content.strip() for name, content in zip(parts[::2], parts[1::2], strict=True)}


def _formatted(text: str) -> str:
    return format_source(Source("starter.nn", text))


def _filled(section: str, **words: object) -> str:
    """A section with its words in capitals filled in."""
    return re.sub(r"\b[A-Z]{4,}\b", lambda m: str(words.get(m[0].lower(), m[0])), _sections()[section])


@dataclass
class Draft:
    """The parts of a file about to be written. `vectors` are expressions of one axis, made of the inputs."""

    found: Description
    target: Column
    inputs: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    vectors: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=lambda: {"logits", "known", "estimate", "centre", "spread", "hidden", "drop"})
    gaps: bool = False

    def __post_init__(self) -> None:
        self.label = self.name(self.target.name)
        usable = [c for c in self.found.columns if c is not self.target and not c.is_constant and not _is_length(c, self.found.columns)]
        self._numbers([c for c in usable if not c.shape and not c.is_text and not c.is_identifier])
        for column in usable:
            if column.shape and not column.is_text:
                self._array(column)
            elif column.is_text and column.looks_like_classes:
                name = self._input(column, f"class[{len(column.values or ())}]")
                self.vectors.append(_filled("category", name=name, count=len(column.values or ())))

    def name(self, column: str) -> str:
        """A name of the model for a column: as it is called, where that is a name and nobody has it."""
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", column).strip("_")
        plain = f"c_{plain}" if not plain or plain[0].isdigit() or plain in WORDS else plain
        while plain in self.names:
            plain += "_"
        self.names.add(plain)
        return plain

    def _input(self, column: Column, kind: str) -> str:
        name = self.name(column.name)
        self.inputs.append(f"input {name}: {kind}")
        self.columns.append(f"{name} = column({_quoted(column.name)})")
        return name

    def _numbers(self, columns: Sequence[Column]) -> None:
        """Plain numbers, together."""
        if not columns:
            return
        name = self.name("features")
        self.inputs.append(f"input {name}: f32[{len(columns)}]")
        word = "column" if len(columns) == 1 else "columns"
        self.columns.append(f"{name} = {word}({', '.join(_quoted(c.name) for c in columns)})")
        self.gaps = any(c.missing for c in columns)
        self.vectors.append(_filled("numbers with gaps" if self.gaps else "numbers", name=name))

    def _array(self, column: Column) -> None:
        """An array a row: a sequence with its lengths, an image, or numbers."""
        shape, most = column.shape, 255 if (column.high or 0) > HALF_OF_A_BYTE else int(column.high or 1)
        if self.found.column(f"{column.name}{LENGTH}") is not None:
            name = self._input(column, f"f32[T{''.join(f', {d}' for d in shape[1:])}]")
            self.vectors.append(_filled("sequence", name=name))
        elif len(shape) in IMAGE_AXES and column.type == "u8" and min(shape[:2]) >= SMALLEST_IMAGE:
            name = self._input(column, f"u8[{', '.join(map(str, shape if len(shape) == IMAGE_AXES[1] else (*shape, 1)))}]")
            self.vectors.append(_filled("image", name=name, most=most))
        else:
            section = "bytes" if column.type == "u8" else "array"
            name = self._input(column, f"{'u8' if section == 'bytes' else 'f32'}[{', '.join(map(str, shape))}]")
            vector = _filled(section, name=name, most=most)
            self.vectors.append(_filled("flat", name=vector) if len(shape) > 1 else vector)

    def text(self, source: str) -> str:
        """The file, not yet in its canonical form."""
        several, column = len(self.vectors) > 1, self.target
        told = column.looks_like_classes or column.is_text
        words = {
            "model": _model_name(source, self.names),
            "inputs": "\n".join(self.inputs),
            "target": self.label,
            "count": len(column.values or ()) if column.is_text else int(column.high or 0) + 1,
            "together": _filled("together", parts=", ".join(f"({v})" for v in self.vectors)) if several else "",
            "hidden": _filled("hidden", name="known" if several else self.vectors[0]),
        }
        columns = [*self.columns, f"{self.label} = column({_quoted(column.name)})", *self._splits()]
        data = {"source": _in_quotes(source), "columns": "\n".join(columns), "batch": 64 if self.found.rows > MANY else 32}
        return f"{_filled('classes' if told else 'number', **words)}\n\n{_filled('data', **data)}\n"

    def _splits(self) -> list[str]:
        """How rows are set apart and what becomes of missing values."""
        lines = [] if "test" in self.found.parts else ["test = 20%"]
        if self.target.looks_like_classes and min(count for _, count in self.target.values or (("", 1),)) >= 5:
            lines.append(f"stratify = column({_quoted(self.target.name)})")
        others = any(c.missing for c in self.found.columns if c.shape or c.is_text or c is self.target)
        return [*lines, *(["missing = drop"] if others else ["missing = keep"] if self.gaps else [])]


def _is_length(column: Column, columns: Sequence[Column]) -> bool:
    """Whether a column says how long the sequences of another are."""
    return column.name.endswith(LENGTH) and any(c.name == column.name.removesuffix(LENGTH) and c.shape for c in columns)


def _is_letters(column: Column) -> bool:
    """Whether a text is meant, a letter a row."""
    return column.is_text and column.values is not None and all(len(value) <= 1 for value, _ in column.values)


def _model_name(source: str, taken: set[str]) -> str:
    """A name for the model, from that of its data."""
    stem = re.split(r"[\\/]", source.rstrip("\\/"))[-1].partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9_]+", "_", stem).strip("_")
    return f"my_{name}".rstrip("_") if not name or name[0].isdigit() or name in WORDS | taken else name


def _quoted(column: str) -> str:
    """A column as a data block names it."""
    if column.isascii() and column.isidentifier() and column not in RESERVED:
        return column
    return _in_quotes(column)


def _in_quotes(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
