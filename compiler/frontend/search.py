"""The `tune` block: what a search may change, between which values, and how it is judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..diagnostics import Diagnostic, did_you_mean
from ..errors import SourceError
from ..source import Span
from .syntax import Block, Boolean, Call, Expression, Listing, Name, Number, Setting, String, Unary

SEARCHES = ("random", "grid", "tpe")
RANGES = ("log", "uniform", "integers")
DIRECTIONS = ("min", "max")


@dataclass(frozen=True)
class Choices:
    """Any of some values: numbers and truth values as they are, everything else as `.nn` text."""

    values: tuple[int | float | bool | str, ...]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: evenly, evenly in their logarithms (`log`), or whole ones (`whole`)."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class TuneSettings:
    """What a `tune` block says. `space` has a domain for each dotted name; the best trial has the least `figure`, or the `largest`."""

    space: Mapping[str, Choices | Range]
    folds: int
    trials: int
    search: str
    figure: str
    largest: bool
    place: Span

    @property
    def sign(self) -> float:
        """The factor that makes smaller figures the better ones."""
        return -1.0 if self.largest else 1.0


def read_tune(block: Block) -> TuneSettings:
    """The settings of a `tune` block; raises SourceError with everything that is wrong."""
    problems: list[Diagnostic] = []
    space: dict[str, Choices | Range] = {}
    found: dict[str, int | str | tuple[str, bool]] = {"folds": 0, "trials": 20, "search": "random", "best": ("loss", False)}
    for setting in block.settings:
        try:
            if setting.choices:
                space[setting.name.id] = _domain(setting)
            else:
                found[setting.name.id] = _own(setting)
        except _WrongError as wrong:
            problems.append(Diagnostic("bad-setting", str(wrong), setting.value.span, help=wrong.mend))
    for setting in block.settings if found["search"] == "grid" else ():
        domain = space.get(setting.name.id)
        if isinstance(domain, Range) and not domain.whole:
            mend = f"write `{setting.name.id} in [{domain.low:g}, {domain.high:g}]`"
            message = f"a grid needs a list of values for `{setting.name.id}`, not a range"
            problems.append(Diagnostic("bad-setting", message, setting.value.span, help=mend))
    if not space and not problems:
        problems.append(Diagnostic("bad-setting", "the tune block names nothing to search", block.span, help="write `hidden in [64, 128]`"))
    if problems:
        raise SourceError(problems)
    best = found["best"]
    assert isinstance(best, tuple)
    return TuneSettings(space, int(str(found["folds"])), int(str(found["trials"])), str(found["search"]), *best, block.span)


class _WrongError(Exception):
    def __init__(self, message: str, mend: str | None = None) -> None:
        super().__init__(message)
        self.mend = mend


def _domain(setting: Setting) -> Choices | Range:
    value = setting.value
    if isinstance(value, Listing):
        if not value.items:
            raise _WrongError(f"`{setting.name.id}` has no choices")
        return Choices(tuple(map(_choice, value.items)))
    if isinstance(value, Call) and isinstance(value.callee, Name) and value.callee.id in RANGES:
        return _range(value, value.callee.id)
    raise _WrongError("the choices are a list, `log(low, high)`, `uniform(low, high)` or `integers(low, high)`")


def _choice(item: Expression) -> int | float | bool | str:
    number = _number(item)
    if number is not None:
        return number
    if isinstance(item, Boolean):
        return item.value
    return item.span.text if not isinstance(item, String) else f'"{item.value}"'


def _number(item: Expression) -> int | float | None:
    if isinstance(item, Unary) and item.op == "-":
        inner = _number(item.operand)
        return None if inner is None else -inner
    return item.value if isinstance(item, Number) else None


def _range(call: Call, kind: str) -> Range:
    ends = [_number(argument.value) for argument in call.arguments if argument.name is None]
    if len(ends) != 2 or len(call.arguments) != 2 or None in ends:
        raise _WrongError(f"`{kind}` has two numbers, the least and the greatest")
    low, high = (float(end) for end in ends if end is not None)
    if not low < high or not math.isfinite(high - low) or (kind == "log" and low <= 0):
        above = "numbers above 0, " if kind == "log" else ""
        raise _WrongError(f"`{kind}` goes from a smaller to a greater number, {above}not from {low:g} to {high:g}")
    if kind == "integers" and not (low.is_integer() and high.is_integer()):
        raise _WrongError(f"`integers` goes between whole numbers, not from {low:g} to {high:g}")
    return Range(low, high, kind == "log", kind == "integers")


def _own(setting: Setting) -> int | str | tuple[str, bool]:
    name, value = setting.name.id, setting.value
    if name in ("folds", "trials"):
        least = 2 if name == "folds" else 1
        if not isinstance(value, Number) or not isinstance(value.value, int) or not least <= value.value <= 10**6:
            raise _WrongError(f"`{name}` is a whole number of at least {least}")
        return value.value
    if name == "search":
        kind = value.id if isinstance(value, Name) else value.value if isinstance(value, String) else ""
        if kind not in SEARCHES:
            raise _WrongError(f"`search` is {', '.join(SEARCHES[:-1])} or {SEARCHES[-1]}", did_you_mean(kind, SEARCHES))
        return kind
    return _best(value)


def _best(value: Expression) -> tuple[str, bool]:
    """`max(val.accuracy)`: the figure of the rows held out, and whether the largest is the best."""
    if isinstance(value, Call) and isinstance(value.callee, Name) and value.callee.id in DIRECTIONS and len(value.arguments) == 1:
        inner = value.arguments[0].value
        if isinstance(inner, Name) and inner.id.startswith("val."):
            return inner.id.removeprefix("val."), value.callee.id == "max"
    raise _WrongError("`best` is `min(val.loss)`, `max(val.accuracy)` or so: a figure of the rows held out")
