"""The `train` block, and what all blocks share: settings checked by name, evaluated, overridden from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from ..diagnostics import did_you_mean
from ..errors import RanvierError
from ..ir.build import Build
from ..ir.graph import Graph
from ..ir.types import F64
from ..source import Span
from .context import Context, Refused
from .elaborate import Elaborator
from .library import Library
from .syntax import Block, Expression, Name, Setting
from .values import Function, Instance, Scope, Value, describe, with_article

SPACES = {"optimizer": "optimizer", "schedule": "schedule"}
KNOWN = {
    "train": ("optimizer", "schedule", "regularize", "batch", "epochs", "validate", "stop", "seed"),
    "data": (
        *("source", "test", "validate", "stratify", "group", "time", "window", "stride"),
        *("missing", "weight", "class_weight", "resize", "stream"),
    ),
    "tune": ("folds", "trials", "best", "search"),
}
DEFAULTS = "defaults.nn"


@dataclass(frozen=True)
class TrainSettings:
    """What a `train` block says, defaults filled in. `validate` is the share of the training rows held out."""

    optimizer: Instance
    schedule: Instance
    regularize: Instance | None
    stop: Instance | None
    batch: int
    epochs: int
    validate: float
    seed: int
    place: Span


@dataclass
class SettingReader:
    """Evaluates the settings of a block, with the words of the command line in place of the file's."""

    elaborator: Elaborator
    overrides: Mapping[str, Value]
    used: set[str]
    path: str = ""

    @property
    def context(self) -> Context:
        """Where mistakes are reported."""
        return self.elaborator.context

    def evaluate(self, setting: Setting) -> Value:
        """The value of a setting; optimizers and schedules are looked up in their own space first."""
        library, self.path = self.elaborator.library, ""
        library.space = SPACES.get(setting.name.id, "")
        try:
            value = self.elaborator.evaluate(setting.value, Scope())
            if isinstance(value, Function) and value.definition.settings is not None:
                value = self.elaborator.make(value, ([], {}), setting.value, Scope())
        finally:
            library.space = ""
        return value

    def override(self, path: str, value: Value) -> Value:
        """The command line's word for a setting, and for the settings inside a call (`optimizer.lr`)."""
        if path in self.overrides:
            self.used.add(path)
            value, self.path = self.overrides[path], path
        if isinstance(value, Instance):
            for name in value.settings:
                if f"{path}.{name}" in self.overrides:
                    self.used.add(f"{path}.{name}")
                    value.settings[name] = self.overrides[f"{path}.{name}"]
        return value

    def refuse(self, code: str, message: str, place: Span) -> NoReturn:
        """A value that will not do: the file's, at its place, or one given from outside, which has none."""
        if self.path:
            raise RanvierError(f"{self.path}: {message}")
        self.context.refuse(code, message, place)

    def number(self, name: str, value: Value, place: Span) -> float:
        """A number in the range of a setting."""
        low, high, whole = RANGES[name]
        kind = int if whole else (int, float)
        if isinstance(value, float) and whole and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            sort = "a whole number" if whole else "a number"
            shown = value if isinstance(value, int | float) else describe(value)
            self.refuse("bad-setting", f"`{name}` is {sort} from {low:g} to {_spell(high)}, not {shown}", place)
        return value


RANGES: dict[str, tuple[float, float, bool]] = {
    "batch": (1, 2**24, True),
    "epochs": (0, 10**9, True),
    "validate": (0, 0.9, False),
    "seed": (0, 2**32 - 1, True),
    "test": (0, 0.9, False),
    "window": (1, 2**24, True),
    "stride": (1, 2**24, True),
}


def read_train(library: Library, blocks: Mapping[str, Block], overrides: Mapping[str, Value]) -> TrainSettings:
    """The `train` block over the defaults of the standard library; raises SourceError, or RanvierError for an unknown override."""
    from .library import standard_sources
    from .parser import parse

    default = parse(standard_sources()[DEFAULTS]).blocks[0]
    block = blocks.get("train", default)
    reader = setting_reader(library, overrides)
    values: dict[str, Value] = {}
    for source in (default, block):
        for setting in source.settings:
            if setting.choices:
                continue
            try:
                values[setting.name.id] = _train_setting(reader, setting)
            except Refused:
                values.pop(setting.name.id, None)
    for name in KNOWN["train"]:
        if name not in values and f"train.{name}" in overrides and not reader.context.diagnostics:
            values[name] = _accepted(reader, name, reader.override(f"train.{name}", None), block.span)
    unused = [k for k in overrides if k.startswith("train.") and k not in reader.used]
    if unused:
        known = [f"train.{k}" for k in KNOWN["train"]]
        known += [f"train.{k}.{name}" for k, value in values.items() if isinstance(value, Instance) for name in value.settings]
        raise RanvierError(f"no setting is called `{unused[0]}`" + (f"; {hint}" if (hint := did_you_mean(unused[0], known)) else ""))
    reader.context.finish()
    return TrainSettings(place=block.span, **{k: values.get(k) for k in KNOWN["train"]})  # type: ignore[arg-type]


def _train_setting(reader: SettingReader, setting: Setting) -> Value:
    name = setting.name.id
    if name not in KNOWN["train"]:
        hint = did_you_mean(name, KNOWN["train"]) or f"the settings are {', '.join(KNOWN['train'])}"
        reader.context.refuse("unknown-setting", f"a train block has no setting `{name}`", setting.name.span, help=hint)
    return _accepted(reader, name, reader.override(f"train.{name}", reader.evaluate(setting)), setting.value.span)


def _accepted(reader: SettingReader, name: str, value: Value, place: Span) -> Value:
    """The value of a setting of a train block, if it is of the kind that the setting takes."""
    if name in RANGES:
        return reader.number(name, value, place)
    if not isinstance(value, Instance):
        reader.refuse("type-mismatch", f"`{name}` is a call such as `{_example(name)}`, not {describe(value)}", place)
    wanted = SPACES.get(name, "fn")
    if value.function.definition.kind != wanted:
        kind = with_article(value.function.definition.kind)
        message = f"`{value.function.name}` is {kind}, and `{name}` is {with_article(wanted)} such as `{_example(name)}`"
        reader.refuse("type-mismatch", message, place)
    return value


def _spell(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else str(number)


def _example(name: str) -> str:
    return {"optimizer": "adam(lr = 1e-3)", "schedule": "cosine(warmup = 5%)", "regularize": "l2(1e-4)"}.get(name, "patience(5)")


def setting_reader(library: Library, overrides: Mapping[str, Value]) -> SettingReader:
    """A reader of the settings of a file."""
    context = Context(Build(Graph("blocks"), F64), training=True)
    elaborator = Elaborator(context, library)
    place = library.file.source
    root = Instance(Function(next(iter(library.own.values())).definition), {}, "", Span(place, 0, 0))
    elaborator.instances.append(root)
    return SettingReader(elaborator, overrides, set())


def read_override(library: Library, path: str, expression: Expression) -> Value:
    """The value that a person gives from outside for a setting of a block (`train.optimizer`) or of the model; raises SourceError."""
    reader = setting_reader(library, {})
    value: Value = None
    try:
        if path.startswith("train."):
            value = reader.evaluate(Setting(expression.span, Name(expression.span, path.removeprefix("train.")), expression))
        else:
            value = reader.elaborator.evaluate(expression, Scope())
    except Refused:
        pass
    reader.context.finish()
    return value
