"""A `.nn` file to begin with: inputs and target as the data has them, a small network between them, settings that suit the size.

What a network is made of stands in `starter.txt`, in the language itself; here is only which pieces the data asks for.
"""

from __future__ import annotations

import functools
import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from ...compiler.errors import DataError
from ...compiler.frontend.formatter import format_source
from ...compiler.frontend.spelling import spell
from ...compiler.source import Source as Text
from ..opening import path_below
from ..visible import visible
from .facts import FileFacts
from .measures import Array
from .naming import can_be_spelled, free_name, reserved, spelled
from .roles import Judged, Role
from .source import pieces

HELD_OUT, FEWEST_ROWS = "20%", 20
"""The share of the rows for the test, and how many rows there must be for a test and for rows to watch."""
MISSING_SHARES = (0.2, 0.05, 0.0)
"""Columns in which a greater share is missing are left out: the first that leaves half of the rows complete."""
RAREST = 8
"""Rows in which the rarest value of a category must stand: else it may stand in the test rows only."""
LARGEST = float(np.finfo(np.float32).max)
SMALLEST_CONVOLVED = 8
WINDOW, TEXT_WINDOW = 25, 64
FEWEST_WINDOWS = 8
MANY_ROWS, MANY_EPOCH_ROWS = 20_000, 10_000
COMMENT_WIDTH = 110


@dataclass
class Draft:
    """What a starter has so far: declarations, features, the rest of the model, settings of the data block, and what was left out.

    `rows` are those in which nothing is missing of what it takes.
    """

    facts: FileFacts
    taken: set[str]
    rows: int
    declared: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    size: int = 0
    body: str = ""
    settings: list[str] = field(default_factory=list)
    holes: set[str] = field(default_factory=set)
    left_out: dict[str, str] = field(default_factory=dict)
    classed: str | None = None
    parameters: dict[str, int] = field(default_factory=lambda: {"hidden": 64})

    def name(self, wanted: str, otherwise: str, columns: Sequence[str]) -> str:
        """A name of the model for columns, which the data block joins under it where it is not theirs."""
        name = free_name(wanted, otherwise, self.taken)
        self.taken.add(name)
        if [name] != list(columns):
            called = "column" if len(columns) == 1 else "columns"
            self.settings.append(f"{name} = {called}({', '.join(map(spelled, columns))})")
        return name

    def add(self, section: str, **values: object) -> None:
        """One more input, in the words of a section."""
        declaration, _, features = fill(section, **values).partition("\n")
        self.declared.append(declaration)
        self.features.append(features.strip())


@functools.cache
def sections() -> dict[str, str]:
    """The pieces of `starter.txt` by name."""
    text = resources.files(__package__).joinpath("starter.txt").read_text(encoding="utf-8")
    parts = re.split(r"^== (.+)\n", text, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def fill(section: str, **values: object) -> str:
    """A piece with its places filled in."""
    return Template(sections()[section]).substitute({name: str(value) for name, value in values.items()})


def starter(facts: FileFacts, folder: Path) -> str:
    """The text of a `.nn` file that is to lie in `folder`. Raises DataError, with the reason, where the data is not enough for one."""
    if not facts.source.rows or not facts.columns:
        raise DataError(f"{facts.source.path}: there is no starter for it: it holds no rows")
    draft = Draft(facts, reserved() | _own_words(), facts.source.rows)
    name = free_name(_stem(facts.source.path), "model", draft.taken)
    draft.taken.add(name)
    if _is_text(facts):
        _write_text(draft)
    else:
        _write_table(draft)
    return _assembled(draft, name, folder)


def _own_words() -> set[str]:
    """Names that the pieces themselves use."""
    lines = [line for body in sections().values() for line in body.splitlines() if not line.startswith("#")]
    return {word for line in lines for word in re.findall(r"(?<!\$)\b\w+", line)}


def _stem(path: Path) -> str:
    return Path(os.path.abspath(path)).name.partition(".")[0]


def _is_text(facts: FileFacts) -> bool:
    return facts.source.path.suffix.lower() == ".txt" and len(facts.columns) == 1


def _refuse(draft: Draft, reason: str) -> DataError:
    return DataError(f"{draft.facts.source.path}: there is no starter for it: {reason}")


# --- inputs


def _write_table(draft: Draft) -> None:
    target = None if draft.facts.target is None else draft.facts.column(draft.facts.target)
    used = _usable(draft, target)
    if target is not None and not used and target.role is Role.NUMBER:
        used, target = [target], None
    if not used:
        raise _refuse(draft, "no column is left that could be an input" + "".join(f"; `{n}`: {why}" for n, why in draft.left_out.items()))
    draft.holes = {c.facts.name for c in (*used, *([target] if target else [])) if c.facts.missing}
    draft.rows = draft.rows * complete_rows(draft.facts, used, target) // draft.facts.looked
    if not draft.rows:
        raise _refuse(draft, "something is missing in every row")
    if target is None and len(used) == 1 and used[0].role is Role.NUMBER:
        _write_series(draft, used[0])
        return
    _write_inputs(draft, used, plain=target is None)
    _write_target(draft, target)


def _usable(draft: Draft, target: Judged | None) -> list[Judged]:
    """Columns for the inputs; the others are left out with the reason."""
    found = []
    for column in draft.facts.columns:
        reason = _unfit(column)
        if column is target or column.role is Role.LENGTH:
            continue
        if reason is None:
            found.append(column)
        else:
            draft.left_out[column.facts.name] = reason
    for share in MISSING_SHARES:
        kept = [column for column in found if column.facts.missing_share <= share]
        if 2 * complete_rows(draft.facts, kept, target) >= draft.facts.looked:
            break
    return [column for column in found if column in kept or _leave_out(draft, column)]


def _leave_out(draft: Draft, column: Judged) -> bool:
    draft.left_out[column.facts.name] = f"{column.facts.missing_share:.0%} missing"
    return False


def _unfit(column: Judged) -> str | None:
    """Why a column cannot be an input as it is."""
    facts, numbers = column.facts, column.facts.numbers
    reasons = {
        Role.EMPTY: "empty",
        Role.CONSTANT: "constant",
        Role.IDENTIFIER: "an identifier",
        Role.TIME: "times",
        Role.TEXT: f"text of {facts.distinct or 'very many'} different values",
    }
    if not can_be_spelled(facts.name):
        return "its name holds characters that a file may not hold"
    if column.role is Role.CATEGORY and facts.counts.min() < RAREST:
        return f"one of its {facts.distinct} texts stands in fewer than {RAREST} rows"
    if numbers is not None and numbers.infinite:
        return "infinite values"
    if numbers is not None and max(abs(numbers.least), abs(numbers.most)) > LARGEST:
        return "values beyond what f32 holds"
    return reasons.get(column.role)


def complete_rows(facts: FileFacts, columns: Sequence[Judged], target: Judged | None) -> int:
    """In how many of the rows that are looked at nothing is missing of these columns."""
    names = [c.facts.name for c in (*columns, *([target] if target else [])) if c.facts.missing]
    if not names:
        return facts.looked
    count = 0
    for arrays in pieces(facts.source, names):
        holes = [_holes(array).reshape(len(array), -1).any(axis=1) for array in arrays.values()]
        count += int((~np.logical_or.reduce(holes)).sum())
    return count


def _holes(array: Array) -> Array:
    empty: Array = array == ""
    return empty if array.dtype.kind == "U" else np.isnan(array)


def _write_inputs(draft: Draft, used: Sequence[Judged], *, plain: bool) -> None:
    """An input for all numbers together, and one for each other column. `plain`: no convolutions, so that rows can be rebuilt."""
    numbers = [column.facts.name for column in used if column.role is Role.NUMBER]
    if numbers:
        draft.add("numbers", name=draft.name(numbers[0] if len(numbers) == 1 else "features", "x", numbers), size=len(numbers))
        draft.size += len(numbers)
    for column in used:
        if column.role is Role.CATEGORY:
            name = draft.name(column.facts.name, "x", [column.facts.name])
            draft.add("category", name=name, classes=column.facts.distinct)
            draft.size += column.facts.distinct or 0
        elif column.role is Role.SEQUENCE and not plain:
            _write_sequence(draft, column)
        elif column.role is not Role.NUMBER:
            _write_tensor(draft, column, plain=plain)


def _write_sequence(draft: Draft, column: Judged) -> None:
    """The lengths go by the name of the sequence, so that both may need to be found under another."""
    own = column.facts.name
    name = draft.name(own, "x", [own])
    if name != own:
        draft.settings.append(f"{name}_length = column({spelled(own + '_length')})")
    draft.add("sequence", name=name, size=column.facts.column.shape[1])


def _write_tensor(draft: Draft, column: Judged, *, plain: bool) -> None:
    facts = column.facts
    shape, numbers = facts.column.shape, facts.numbers
    name = draft.name(facts.name, "x", [facts.name])
    octets = facts.column.dtype == np.uint8
    draft.size += facts.places
    if column.role is Role.IMAGE and not plain and min(shape[:2]) >= SMALLEST_CONVOLVED:
        shape = (*shape, 1) if len(shape) == 2 else shape
        section = "image of grey levels" if octets else "image of numbers"
    else:
        section = "grey levels" if octets else "numbers" if len(shape) == 1 else "tensor"
    most = numbers.most if numbers is not None else 0
    draft.add(section, name=name, type="f32", shape=_listed(shape), size=facts.places, most=most)


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))


# --- what comes out


def _seen(draft: Draft) -> str:
    return draft.features[0] if len(draft.features) == 1 else fill("several", parts=", ".join(draft.features))


def _write_target(draft: Draft, target: Judged | None) -> None:
    if target is None:
        draft.body = fill("for nothing", seen=_seen(draft), size=draft.size, few=max(1, draft.size // 4))
        return
    facts, numbers = target.facts, target.facts.numbers
    reason = _unfit_target(target)
    if reason is not None:
        raise _refuse(draft, f"`{facts.name}` cannot be the target: {reason}")
    name, seen = draft.name(facts.name, "y", [facts.name]), _seen(draft)
    classes = class_count(target)
    if classes is not None:
        draft.body, draft.classed = fill("for classes", name=name, seen=seen, classes=classes), facts.name
    elif target.label and facts.distinct == 2 and numbers is not None:
        low, high, middle = numbers.least, numbers.most, (numbers.least + numbers.most) / 2
        draft.body = fill("for one of two", name=name, seen=seen, low=low, high=high, step=high - low, middle=middle)
        draft.classed = facts.name
    elif numbers is not None:
        section = "for numbers" if facts.column.shape else "for a number"
        scales = {"mean": _short(numbers.mean), "spread": _short(numbers.deviation)}
        draft.body = fill(section, name=name, seen=seen, shape=_listed(facts.column.shape), size=facts.places, **scales)


def _unfit_target(target: Judged) -> str | None:
    facts, numbers = target.facts, target.facts.numbers
    if target.role in (Role.EMPTY, Role.CONSTANT):
        return f"it is {target.role.value}"
    if facts.is_text and not target.label:
        return f"it holds {facts.distinct or 'very many'} different texts in {facts.rows} rows, which are no classes"
    if not can_be_spelled(facts.name):
        return "its name holds characters that a file may not hold"
    if numbers is not None and (numbers.infinite or max(abs(numbers.least), abs(numbers.most)) > LARGEST):
        return "it holds values that f32 does not"
    return None


def class_count(target: Judged) -> int | None:
    """How many classes a target has; None for one that is to be foreseen as a number."""
    facts, numbers = target.facts, target.facts.numbers
    if not target.label or numbers is None:
        return facts.distinct if target.label else None
    count = int(numbers.most) + 1
    return count if numbers.least >= 0 and count <= 2 * (facts.distinct or 0) else None


def _short(value: float) -> str:
    """Three digits of a number."""
    rounded = float(f"{value:.3g}")
    return spell(int(rounded) if rounded == int(rounded) and abs(rounded) < 1e9 else rounded)


def _write_series(draft: Draft, column: Judged) -> None:
    """A single column of numbers is foreseen from its own past."""
    window = min(WINDOW, draft.rows // FEWEST_WINDOWS)
    numbers = column.facts.numbers
    if window < 3 or numbers is None:
        raise _refuse(draft, f"{draft.rows} rows of one column are too few")
    name = draft.name(column.facts.name, "x", [column.facts.name])
    declaration, _, draft.body = fill("series", name=name, window=window, spread=_short(numbers.deviation)).partition("\n")
    draft.declared.append(declaration)
    draft.settings += [f"window = {window}", "stride = 1"]


def _write_text(draft: Draft) -> None:
    """Which letter comes next."""
    facts = draft.facts.columns[0].facts
    window = min(TEXT_WINDOW, facts.rows // FEWEST_WINDOWS)
    if window < 3:
        raise _refuse(draft, f"a text of {facts.rows} letters is too short")
    draft.parameters["letters"] = len(facts.counts)
    name = draft.name(facts.name, "x", [facts.name])
    declaration, _, draft.body = fill("text", name=name).partition("\n")
    draft.declared.append(declaration)
    draft.settings.append(f"window = {window}")


# --- the whole file


def _assembled(draft: Draft, name: str, folder: Path) -> str:
    target, _, rest = draft.body.partition("\n") if draft.body.startswith("target ") else ("", "", draft.body)
    parameters = ", ".join(f"{each} = {value}" for each, value in draft.parameters.items())
    model = "\n".join([f"model {name}({parameters}) {{", *draft.declared, target, "", rest.strip(), "}"])
    source, comment = _source(draft.facts.source.path, folder)
    data = "\n".join(["data {", *source, *draft.settings, *_rows(draft), "}"])
    train = "\n".join(["train {", _training(draft), "}"])
    text = "\n\n".join([_heading(draft, comment) + model, data, train]) + "\n"
    return format_source(Text(f"{name}.nn", text))


def _source(path: Path, folder: Path) -> tuple[list[str], str]:
    """The line that names the data; where a `.nn` file in `folder` may not name it, what to say instead."""
    relative = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))
    named = Path(relative).as_posix()
    try:
        path_below(folder, named)
        allowed = can_be_spelled(named)
    except ValueError:
        allowed = False
    return ([f"source = {spell(named)}"], "") if allowed else ([], f"The data is not below the folder of this file: give --data {path}")


def _heading(draft: Draft, comment: str) -> str:
    path, rows = Path(os.path.abspath(draft.facts.source.path)).name, draft.facts.source.rows
    lines = [f"To begin with: made by `ranvier data` from {path} ({rows:,} rows)."]
    if draft.left_out:
        lines.append("Left out: " + "; ".join(f"{name} ({reason})" for name, reason in draft.left_out.items()) + ".")
    lines += [comment] if comment else []
    wrapped = [
        part for line in lines for part in textwrap.wrap(visible(line), COMMENT_WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
    return "".join(f"# {line}\n" for line in wrapped)


def _rows(draft: Draft) -> list[str]:
    """Which rows are for what."""
    lines = []
    if "test" not in draft.facts.parts and _enough(draft) and not _is_text(draft.facts):
        lines.append(f"test = {HELD_OUT}")
    if draft.classed is not None:
        lines.append(f"stratify = column({spelled(draft.classed)})")
    if draft.holes:
        lines.append("missing = drop")
    if len(draft.facts.source.sizes) > 1 or _resized(draft.facts):
        lines.append("resize = true")
    return lines


def _resized(facts: FileFacts) -> bool:
    images = facts.source.columns.get("images")
    return images is not None and any(size[:2] != images.shape[:2] for size in facts.source.sizes)


def _enough(draft: Draft) -> bool:
    return draft.rows >= FEWEST_ROWS


def _training(draft: Draft) -> str:
    rows = draft.rows
    lines = fill("train", batch=128 if rows >= MANY_ROWS else 32, epochs=10 if rows >= MANY_EPOCH_ROWS else 50)
    # Windows that overlap say nothing of each other: what is held out among them stands in the others, too.
    watched = "validation" in draft.facts.parts or (_enough(draft) and "stride = 1" not in draft.settings)
    return lines + ("\n" + sections()["watched"] if watched else "")
