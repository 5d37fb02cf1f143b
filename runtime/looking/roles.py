"""What a column is probably for: a measurement, a class, an identifier, a time, an image, a sequence; and which one is the target."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ..numerals import is_number
from ..splitting import ISO_DATE, MOST_CLASSES
from .columns import ColumnFacts
from .measures import Array

TARGETS = ("target", "label", "labels", "class", "classes", "y", "species", "outcome", "response", "category", "diagnosis", "digit")
"""What targets are usually called, the surest first."""
IDENTIFIER = re.compile(r"(^|[_ .-])(id|ids|uuid|guid|index|key|nr|no|row)$|^unnamed: 0$|[a-z](Id|ID)$", re.IGNORECASE)
LENGTHS = "_length"
FEW_NUMBERS, MOST_CATEGORIES = 20, 50
"""Different whole numbers that still look like classes; different texts that still look like a category."""
FEWEST_ROWS = 10
"""With fewer rows, values that all differ say nothing."""
MOSTLY = 0.5
"""The share of texts that are numbers from which the others look like marks for what is missing."""
GREY_LEVELS, COLOURS = 2, (1, 3, 4)
"""Axes of an image without, and last axes of one with channels."""
SMALLEST_IMAGE = 4


class Role(Enum):
    """What a column is for."""

    EMPTY = "empty"
    CONSTANT = "constant"
    IDENTIFIER = "identifier"
    TIME = "time"
    NUMBER = "number"
    CATEGORY = "category"
    TEXT = "text"
    TENSOR = "tensor"
    IMAGE = "image"
    SEQUENCE = "sequence"
    LENGTH = "length"


@dataclass(frozen=True)
class Judged:
    """A column with its role, whether it could be a class label, and what a person should know of it."""

    facts: ColumnFacts
    role: Role
    label: bool
    remarks: tuple[str, ...]


def judge(columns: Mapping[str, ColumnFacts]) -> list[Judged]:
    """The role of every column."""
    return [_judged(facts, columns) for facts in columns.values()]


def _judged(facts: ColumnFacts, columns: Mapping[str, ColumnFacts]) -> Judged:
    role = _role(facts, columns)
    label = role in (Role.NUMBER, Role.CATEGORY, Role.TEXT) and len(columns) > 1 and could_be_label(facts)
    return Judged(facts, role, label, tuple(_remarks(facts, role, label)))


def _role(facts: ColumnFacts, columns: Mapping[str, ColumnFacts]) -> Role:
    if facts.rows and facts.missing == facts.elements:
        return Role.EMPTY
    if facts.column.shape:
        return _shaped_role(facts, columns)
    sequence = columns.get(facts.name.removesuffix(LENGTHS)) if facts.name.endswith(LENGTHS) else None
    if sequence is not None and sequence.column.shape:
        return Role.LENGTH
    if facts.constant:
        return Role.CONSTANT
    if facts.is_text and are_times(facts):
        return Role.TIME
    if _is_identifier(facts):
        return Role.IDENTIFIER
    if not facts.is_text:
        return Role.NUMBER
    return Role.CATEGORY if facts.distinct is not None and facts.distinct <= MOST_CATEGORIES else Role.TEXT


def _shaped_role(facts: ColumnFacts, columns: Mapping[str, ColumnFacts]) -> Role:
    shape = facts.column.shape
    if facts.is_text:
        return Role.TEXT
    if facts.name + LENGTHS in columns and len(shape) == 2:
        return Role.SEQUENCE
    if facts.constant:
        return Role.CONSTANT
    channels = shape[2:] in [(n,) for n in COLOURS]
    grey = len(shape) == GREY_LEVELS and facts.column.dtype == np.uint8
    return Role.IMAGE if (channels or grey) and min(shape[:2]) >= SMALLEST_IMAGE else Role.TENSOR


def _is_identifier(facts: ColumnFacts) -> bool:
    """Values that all differ and say nothing: texts, numbers that count the rows, or ones with such a name."""
    if facts.rows < FEWEST_ROWS or facts.missing or not facts.all_differ:
        return False
    if facts.is_text:
        return True
    if facts.column.dtype.kind not in "iu":
        return False
    span = 0 if facts.numbers is None else facts.numbers.most - facts.numbers.least
    return facts.rising or span + 1 == facts.rows or IDENTIFIER.search(facts.name) is not None


def known_texts(facts: ColumnFacts) -> list[tuple[str, int]]:
    """The different texts of a column with their numbers of rows."""
    values = [] if facts.values is None else facts.values.tolist()
    return list(zip(values, facts.counts.tolist(), strict=True)) if values else []


def are_times(facts: ColumnFacts) -> bool:
    """Whether all texts are dates or times as ISO 8601 writes them."""
    texts = known_texts(facts)
    return bool(texts) and all(ISO_DATE.match(text) for text, _ in texts)


def could_be_label(facts: ColumnFacts) -> bool:
    """Few different values, each of which stands in several rows in the mean; whole numbers, truth values or texts."""
    distinct, numbers = facts.distinct, facts.numbers
    if distinct is None or distinct < 2 or 2 * distinct > facts.rows:
        return False
    if facts.is_text:
        return distinct <= MOST_CLASSES
    if numbers is None or not numbers.whole or numbers.infinite:
        return False
    called = facts.name.lower() in TARGETS and facts.column.dtype.kind in "iu" and numbers.least >= 0 and numbers.most < MOST_CLASSES
    return distinct <= FEW_NUMBERS or called


def _remarks(facts: ColumnFacts, role: Role, label: bool) -> list[str]:
    remarks = {
        Role.EMPTY: "empty: every value is missing",
        Role.CONSTANT: "constant",
        Role.IDENTIFIER: "identifier: all values differ" + (", rising from row to row" if facts.rising else ""),
        Role.TIME: "times, in order" if facts.rising else "times",
        Role.IMAGE: "images",
        Role.SEQUENCE: f"sequences: `{facts.name}{LENGTHS}` says how long; figures are over what fills them up, too",
        Role.LENGTH: f"lengths of `{facts.name.removesuffix(LENGTHS)}`",
    }
    found = [remarks[role]] if role in remarks else []
    if label:
        found.append(f"could be a class label: {facts.distinct} values")
    if role in (Role.IMAGE, Role.TENSOR, Role.SEQUENCE) and facts.still:
        found.append(f"{facts.still:,} of {facts.places:,} places never vary")
    if facts.numbers is not None and facts.numbers.infinite:
        found.append(f"{facts.numbers.infinite:,} infinite values")
    return found + _odd_texts(facts)


def _odd_texts(facts: ColumnFacts) -> list[str]:
    """A column of numbers with a few marks among them is read as text: the marks are what to mend."""
    texts = known_texts(facts) if facts.is_text and not facts.many else []
    marks = [(count, text) for text, count in texts if not is_number(text)]
    rows = sum(count for _, count in texts)
    if not marks or rows - sum(count for count, _ in marks) < MOSTLY * rows:
        return []
    odd = sorted(marks, key=lambda pair: (-pair[0], pair[1]))
    shown = ", ".join(f"`{text[:20]}` in {count:,} rows" for count, text in odd[:3])
    return [f"numbers but for {shown}{' and others' if len(odd) > 3 else ''}: leave such fields empty"]


def guess_target(columns: Sequence[Judged]) -> str | None:
    """The column that people would predict: by its name, else the last that looks like a class, else the last number of several columns."""
    usable = [c for c in columns if c.role in (Role.NUMBER, Role.CATEGORY, Role.TEXT, Role.TENSOR, Role.IMAGE, Role.SEQUENCE)]
    if len(usable) < 2:
        return None
    single = [c for c in usable if c.role is Role.NUMBER or c.label]
    for wanted in TARGETS:
        for column in usable:
            if column.facts.name.lower() == wanted and (column in single or column.role is Role.TENSOR):
                return column.facts.name
    edges = [c for c in (usable[-1], usable[0]) if c.label and c.facts.is_text]
    last = [usable[-1]] if usable[-1].label else []
    chosen = [*last, *edges, *reversed([c for c in single if c.label and c.facts.is_text]), *reversed(single)]
    return chosen[0].facts.name if chosen else None


def class_counts(facts: ColumnFacts) -> list[tuple[object, int]]:
    """The classes of a label in their order with their numbers of rows."""
    values: Array = np.empty(0) if facts.values is None else facts.values
    return list(zip(values.tolist(), facts.counts.tolist(), strict=True))
