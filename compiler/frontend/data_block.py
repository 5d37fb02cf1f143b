"""The `data` block: where rows come from, how they are split, weighted and taken when values are missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ..diagnostics import did_you_mean
from ..errors import RanvierError
from ..source import Span
from .blocks import KNOWN, SettingReader, setting_reader
from .context import Refused
from .library import Library
from .syntax import Block, Call, Expression, Name, Setting
from .values import Value, describe

MISSING = ("refuse", "keep", "drop")
BALANCED = "balanced"
NUMBERS = ("window", "stride")
PARTS = ("test", "validate")
COLUMNS = ("stratify", "group", "time", "weight")
WORDS = (*COLUMNS, "missing", "class_weight")
"""Settings whose names stand for themselves."""


@dataclass(frozen=True)
class DataSettings:
    """What a `data` block says: where rows come from, which columns feed which name, which rows are set apart.

    `test` and `validate` are shares; `test_source` and `validate_source` name files instead. `validate` is None where the `train` block
    decides. With a `window` (not 0) a sample is that many rows, beginning at every `stride`-th one. Those in COLUMNS
    name columns. `missing` is one of MISSING; `class_weight` is BALANCED or a factor a class. `stream` is None where the size decides.
    """

    source: str | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    test: float = 0.0
    place: Span | None = None
    window: int = 0
    stride: int = 0
    test_source: str | None = None
    validate: float | None = None
    validate_source: str | None = None
    stratify: str | None = None
    group: str | None = None
    time: str | None = None
    weight: str | None = None
    missing: str = MISSING[0]
    class_weight: str | tuple[float, ...] | None = None
    resize: bool = False
    stream: bool | None = None

    def spelled(self, spell: Callable[[Any], str]) -> list[str]:
        """The settings that differ from their defaults, as they are written."""
        lines = [f"{name} = {_call(columns, spell)}" for name, columns in self.columns.items()]
        default = DataSettings()
        for name in KNOWN["data"]:
            value = getattr(self, f"{name}_source", None) or getattr(self, name)
            if value != getattr(default, name) and not (name == "stride" and value == self.window):
                word = name in WORDS and isinstance(value, str)
                lines.append(f"{name} = {_call((value,), spell) if name in COLUMNS else value if word else spell(value)}")
        return lines


def _call(columns: tuple[str, ...], spell: Callable[[Any], str]) -> str:
    inside = ", ".join(c if c.isascii() and c.isidentifier() else spell(c) for c in columns)
    return f"{'column' if len(columns) == 1 else 'columns'}({inside})"


def read_data(library: Library, blocks: Mapping[str, Block], overrides: Mapping[str, Value], names: tuple[str, ...]) -> DataSettings:
    """The `data` block; `names` are the inputs and targets that may be given columns."""
    block = blocks.get("data")
    reader = setting_reader(library, overrides)
    found: dict[str, Any] = {"columns": {}, "place": block.span if block else None}
    for setting in block.settings if block else ():
        try:
            _read(reader, setting, names, found)
        except Refused:
            continue
    reader.context.finish()
    for name in KNOWN["data"]:
        if f"data.{name}" in overrides:
            found |= _accepted(
                reader, name, reader.override(f"data.{name}", None), block.span if block else Span(library.file.source, 0, 0)
            )
    found["columns"] |= {name: _named(name, overrides[f"data.{name}"]) for name in names if f"data.{name}" in overrides}
    _check_together(reader, block, found)
    reader.context.finish()
    return DataSettings(**{**found, "stride": found.get("stride", found.get("window", 0))})


def read_columns(library: Library, expression: Expression) -> tuple[str, ...]:
    """The names in `column(a)` or `columns(a, b)`; raises SourceError for anything else."""
    reader = setting_reader(library, {})
    found: tuple[str, ...] = ()
    with suppress(Refused):
        found = _columns(reader, expression)
    reader.context.finish()
    return found


def _read(reader: SettingReader, setting: Setting, names: tuple[str, ...], found: dict[str, Any]) -> None:
    """One setting, put among those that are found."""
    name, place = setting.name.id, setting.value.span
    if name in names:
        found["columns"][name] = _columns(reader, setting.value)
        return
    if name not in KNOWN["data"]:
        hint = did_you_mean(name, (*KNOWN["data"], *names))
        reader.context.refuse("unknown-setting", f"a data block has no setting `{name}`", setting.name.span, help=hint)
    value: Value
    if f"data.{name}" in reader.overrides:
        return
    if name in WORDS and isinstance(setting.value, Name):
        value = setting.value.id
    elif name in COLUMNS:
        columns = _columns(reader, setting.value)
        if len(columns) != 1:
            reader.context.refuse("bad-setting", f"`{name}` is one column: `column(name)`", place)
        value = columns[0]
    else:
        value = reader.evaluate(setting)
    found.update(_accepted(reader, name, value, place))


def _named(name: str, value: Value) -> tuple[str, ...]:
    """Columns that are given from outside."""
    names = value if isinstance(value, tuple) else (value,)
    texts = tuple(each for each in names if isinstance(each, str))
    if not texts or len(texts) < len(names):
        raise RanvierError(f"data.{name}: say which columns: `columns(first, second)`, not {describe(value)}")
    return texts


def _accepted(reader: SettingReader, name: str, value: Value, place: Span) -> dict[str, Any]:
    """The fields of DataSettings that a setting fills, if its value is of the right kind."""
    if name in NUMBERS:
        return {name: int(reader.number(name, value, place))}
    if name in PARTS:
        return {f"{name}_source": value} if isinstance(value, str) else {name: float(reader.number(name, value, place))}
    if name in ("source", *COLUMNS):
        what = "the path of a file" if name == "source" else "the name of a column"
        return {name: value} if isinstance(value, str) else _refuse(reader, f"`{name}` is {what}, not {describe(value)}", place)
    if name == "missing":
        return {name: value} if value in MISSING else _refuse(reader, f"`missing` is one of {', '.join(MISSING)}", place)
    if name == "class_weight":
        return {name: _class_weight(reader, value, place)}
    if not isinstance(value, bool):
        _refuse(reader, f"`{name}` is true or false, not {describe(value)}", place)
    return {name: value}


def _refuse(reader: SettingReader, message: str, place: Span) -> NoReturn:
    reader.refuse("type-mismatch", message, place)


def _class_weight(reader: SettingReader, value: Value, place: Span) -> str | tuple[float, ...]:
    """`balanced`, or a positive number a class."""
    if value == BALANCED:
        return BALANCED
    numbers = [v for v in value if isinstance(v, int | float) and not isinstance(v, bool) and v > 0] if isinstance(value, tuple) else []
    if not isinstance(value, tuple) or len(numbers) < len(value) or not numbers:
        _refuse(reader, f"`class_weight` is {BALANCED} or a list of a positive number for each class", place)
    return tuple(float(number) for number in numbers)


def _check_together(reader: SettingReader, block: Block | None, found: Mapping[str, Any]) -> None:
    """Settings that say nothing without, or contradict, each other."""
    if "stride" in found and "window" not in found:
        _complain(
            reader, block, "stride", "`stride` says where windows begin, and there is no `window`", "add `window = …`, the rows of a sample"
        )
    ways = [name for name in ("stratify", "group", "time") if name in found]
    if "time" in ways and len(ways) > 1:
        _complain(reader, block, ways[0], f"`time` holds out the latest rows, so there is nothing to {ways[0]} by", "keep one of the two")
    if "window" in found and ways and "time" not in ways:
        _complain(reader, block, ways[0], f"windows are held out from the end, so there is nothing to split by `{ways[0]}`", "leave it out")


def _complain(reader: SettingReader, block: Block | None, name: str, message: str, mend: str) -> None:
    place = next((s.value.span for s in block.settings if s.name.id == name), None) if block else None
    if place is None:
        raise RanvierError(f"data.{name}: {message}; {mend}")
    reader.context.report("bad-setting", message, place, help=mend)


def _columns(reader: SettingReader, expression: Expression) -> tuple[str, ...]:
    """`column(a)` or `columns(a, b)`: names of columns, which stand for themselves."""
    named = isinstance(expression, Call) and isinstance(expression.callee, Name) and expression.callee.id in ("column", "columns")
    if not named:
        reader.context.refuse("bad-setting", "say which columns: `column(name)` or `columns(first, second)`", expression.span)
    assert isinstance(expression, Call)
    found = []
    for argument in expression.arguments:
        value = argument.value
        if isinstance(value, Name):
            found.append(value.id)
        elif (text := getattr(value, "value", None)) and isinstance(text, str):
            found.append(text)
        else:
            reader.context.refuse("bad-setting", "a column is a name, or a text in quotes", argument.span)
    return tuple(found)
