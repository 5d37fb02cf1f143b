"""The `train` block, and what all blocks share: settings checked by name, evaluated, overridden from the command line."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
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
from .syntax import Block, Expression, Listing, Name, Setting, String
from .values import Function, Instance, Scope, Value, describe, with_article

SPACES = {"optimizer": "optimizer", "schedule": "schedule"}
KNOWN = {
    "train": (
        "optimizer",
        "schedule",
        "regularize",
        "clip",
        "average",
        "batch",
        "accumulate",
        "epochs",
        "validate",
        "watch",
        "stop",
        "seed",
    ),
    "data": (
        *("source", "test", "validate", "stratify", "group", "time", "window", "stride"),
        *("missing", "weight", "class_weight", "resize", "stream"),
    ),
    "tune": ("folds", "trials", "best", "search"),
}
DEFAULTS = "defaults.nn"
SEVERAL = ("regularize", "clip", "stop")
"""Settings of a `train` block that take one call or a list of them."""
WATCHED = re.compile(r"(max|min)\((\w+)\)")
UNCOMPILED = re.compile(r"train\.(epochs|seed|validate)|data\..*")
"""Settings that no program knows of: they are read by what feeds and runs the programs."""


@dataclass(frozen=True)
class TrainSettings:
    """What a `train` block says, defaults filled in. `validate` is the share of the training rows held out.

    Gradients of `accumulate` batches make one update; `watch` is the figure of `stop` and the schedule, `min(loss)` or `max(accuracy)`.
    """

    optimizer: Instance
    schedule: Instance
    regularize: tuple[Instance, ...]
    clip: tuple[Instance, ...]
    average: Instance | None
    stop: tuple[Instance, ...]
    batch: int
    accumulate: float
    epochs: int
    validate: float
    watch: str
    seed: int
    place: Span

    @property
    def watched(self) -> tuple[str, float]:
        """The figure that is watched, and the factor that makes smaller ones better."""
        found = WATCHED.fullmatch(self.watch)
        assert found is not None
        return found[2], -1.0 if found[1] == "max" else 1.0

    @property
    def needs_norm(self) -> bool:
        """Whether a criterion asks for the norm of the gradient, its second argument."""
        return any(map(_asks_norm, self.stop))


def _asks_norm(criterion: Instance) -> bool:
    """A name that begins with `_` is not read; a criterion made of others asks for what they ask for."""
    inputs = criterion.function.definition.inputs or ()
    parts = [value for value in criterion.settings.values() if isinstance(value, Instance)]
    return any(map(_asks_norm, parts)) if parts else len(inputs) > 1 and not inputs[1].name.id.startswith("_")


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
        if setting.name.id == "watch":
            return setting.value.span.text.replace(" ", "") if not isinstance(setting.value, String) else setting.value.value
        library.space = SPACES.get(setting.name.id, "")
        try:
            return self.made(self.elaborator.evaluate(setting.value, Scope()), setting.value)
        finally:
            library.space = ""

    def made(self, value: Value, site: Expression) -> Value:
        """A value with what was given by its name alone made with its defaults."""
        if isinstance(value, tuple):
            sites = site.items if isinstance(site, Listing) else (site,) * len(value)
            return tuple(self.made(each, place) for each, place in zip(value, sites, strict=True))
        if isinstance(value, Function) and value.definition.settings is not None:
            return self.elaborator.make(value, ([], {}), site, Scope())
        return value

    def override(self, path: str, value: Value) -> Value:
        """The command line's word for a setting, and for the settings inside a call (`optimizer.lr`)."""
        if path in self.overrides:
            self.used.add(path)
            value, self.path = self.overrides[path], path
        for each, owner in nested(path, value):
            for name in each.settings:
                if f"{owner}.{name}" in self.overrides:
                    self.used.add(f"{owner}.{name}")
                    each.settings[name] = self.overrides[f"{owner}.{name}"]
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
        if value == high == math.inf:
            return math.inf
        if isinstance(value, float) and whole and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            sort = "a whole number" if whole else "a number"
            shown = value if isinstance(value, int | float) else describe(value)
            self.refuse("bad-setting", f"`{name}` is {sort} from {low:g} to {_spell(high)}, not {shown}", place)
        return value


def nested(path: str, value: Value) -> Iterator[tuple[Instance, str]]:
    """The calls of a setting, each with its dotted name: of a list `regularize.l2`, of a call's argument `stop.first`."""
    if isinstance(value, Instance):
        yield value, path
    parts = value.settings.items() if isinstance(value, Instance) else ()
    listed = [(each.function.name, each) for each in value if isinstance(each, Instance)] if isinstance(value, tuple) else []
    for name, part in (*parts, *listed):
        if isinstance(part, Instance):
            yield from nested(f"{path}.{name}", part)


RANGES: dict[str, tuple[float, float, bool]] = {
    "batch": (1, 2**24, True),
    "accumulate": (1, math.inf, True),
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
        known += [f"{owner}.{each}" for k, value in values.items() for call, owner in nested(f"train.{k}", value) for each in call.settings]
        raise RanvierError(f"no setting is called `{unused[0]}`" + (f"; {hint}" if (hint := did_you_mean(unused[0], known)) else ""))
    reader.context.finish()
    for name in SEVERAL:
        given = values.get(name, ())
        values[name] = given if isinstance(given, tuple) else (given,)
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
    if name in SEVERAL and isinstance(value, tuple):
        return tuple(_accepted(reader, name, each, place) for each in value)
    if name == "watch":
        if isinstance(value, str) and WATCHED.fullmatch(value):
            return value
        reader.refuse("bad-setting", "say what to watch: `min(loss)`, or the name of a metric, such as `max(accuracy)`", place)
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
    return EXAMPLES[name]


EXAMPLES = {
    "optimizer": "adam(lr = 1e-3)",
    "schedule": "cosine(warmup = 5%)",
    "regularize": "l2(1e-4)",
    "clip": "clip_norm(1)",
    "average": "ema(0.999)",
    "stop": "patience(5)",
}


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
