"""Which rows are held out: some of all by a seed, a share of every class, whole groups, or the latest."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiler.errors import DataError
from ..compiler.frontend.data_block import DataSettings
from .convert import as_array, holes_in, is_missing
from .data import split_rows
from .table import Origin, column_hint

if TYPE_CHECKING:
    from .model import Model

Array = np.ndarray[Any, Any]
ISO_DATE = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d(:?\d\d){0,2}(\.\d+)?(Z|[+-]\d\d:?\d\d)?)?)?$")
MOST_CLASSES = 1000
"""Different values by which rows can be stratified; more of them are measurements, not classes."""


@dataclass(frozen=True)
class Keys:
    """What decides which rows are held out together, [rows] each: classes, groups, times. `last`: rows are in order themselves."""

    labels: Array | None = None
    groups: Array | None = None
    times: Array | None = None
    last: bool = False

    @property
    def free(self) -> bool:
        """Whether any row may be held out without another."""
        return self.labels is None and self.groups is None and self.times is None and not self.last

    def of(self, rows: Array) -> Keys:
        """Those of some of the rows."""
        labels, groups, times = (None if key is None else key[rows] for key in (self.labels, self.groups, self.times))
        return Keys(labels, groups, times, self.last)


def split_keys(settings: DataSettings, data: Mapping[str, Any], origin: Origin, *, last: bool = False) -> Keys:
    """The columns that the data block splits by; raises DataError for a column that is not there, or cannot be what it is to be."""
    columns = {name: _key(settings, name, data, origin) for name in ("stratify", "group", "time")}
    if columns["stratify"] is not None:
        _check_classes(columns["stratify"], settings.stratify or "", origin)
    if columns["time"] is not None:
        _check_times(columns["time"], settings.time or "", origin)
    return Keys(columns["stratify"], columns["group"], columns["time"], last)


def keys_of(model: Model, data: Mapping[str, Any], origin: Origin) -> Keys:
    """What decides which rows for a model are held out together; windows of rows, which share what they hold, are held out from the end."""
    if model.blueprint.data_settings.window:
        return Keys(last=True)
    return split_keys(model.blueprint.data_settings, data, origin, last=model.in_order)


def _key(settings: DataSettings, name: str, data: Mapping[str, Any], origin: Origin) -> Array | None:
    column = getattr(settings, name)
    if column is None:
        return None
    require_columns(settings, (name,), data, origin)
    values = as_array(times_as_texts(data[column]), column, origin)
    if values.ndim != 1:
        raise DataError(f"{origin.prefix}`{column}` has shape {list(values.shape)}; rows are held out by one value each")
    missing = holes_in(values)
    if missing.any():
        raise DataError(f"{origin.place(column, int(missing.argmax()))} is missing, and rows are held out by it")
    return values


def times_as_texts(values: Any) -> Any:
    """Dates and times as texts, which are in their order, those of a zone in UTC; anything else as it is."""
    array: Array = np.asarray(values) if hasattr(values, "__array__") or isinstance(values, list) else np.empty(0)
    if array.dtype.kind == "M":
        return np.where(np.isnat(array), "", np.datetime_as_string(array))
    found: list[Any] = array.tolist() if array.dtype.kind == "O" else []
    known = [value for value in found if not is_missing(value)]
    if not known or not all(isinstance(value, date) for value in known):
        return values
    return ["" if is_missing(value) else _iso(value) for value in found]


def _iso(value: date) -> str:
    return (value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value).isoformat()


def require_columns(settings: DataSettings, names: Sequence[str], data: Collection[str], origin: Origin) -> None:
    """Raises DataError for a setting, one of `names`, that asks for a column which is not there."""
    for name in names:
        column = getattr(settings, name)
        if column is not None and column not in data:
            deed = {"time": "split", "weight": "weigh rows"}.get(name, name)
            hint = column_hint(column, list(map(str, data)), origin)
            raise DataError(f"{origin.prefix or 'the data '}has no column `{column}` to {deed} by; {hint}")


def _check_classes(labels: Array, column: str, origin: Origin) -> None:
    found = len(np.unique(labels))
    if found > max(MOST_CLASSES, len(labels) // 2) or (labels.dtype.kind == "f" and found > MOST_CLASSES):
        raise DataError(f"{origin.prefix}`{column}` has {found} different values, too many to stratify by: name a column of classes")


def _check_times(times: Array, column: str, origin: Origin) -> None:
    """Text is in the order of time when it is written as ISO 8601 does, all in one form."""
    if times.dtype.kind != "U":
        return
    wrong = next((row for row, text in enumerate(times.tolist()) if not ISO_DATE.match(text)), None)
    if wrong is not None:
        mend = "write times as 2024-12-31 or 2024-12-31T23:59:59, or as numbers"
        raise DataError(f"{origin.place(column, wrong)} holds {str(times[wrong])[:40]!r}, which is no time in ISO 8601; {mend}")


def split(rows: int, share: float, seed: int, keys: Keys) -> tuple[Array, Array]:
    """Indices of the rows to train on and of the share that is held out, both ascending; a seed decides what the keys leave open."""
    if keys.groups is not None:
        return _grouped(keys.groups, keys.labels, share, seed)
    if keys.times is not None:
        return _latest(share, keys.times)
    rest, part = split_rows(rows, share, seed, keys.labels)
    return (np.arange(rows)[: len(rest)], np.arange(rows)[len(rest) :]) if keys.last else (rest, part)


def _latest(share: float, times: Array) -> tuple[Array, Array]:
    """The latest rows apart. Rows of one time stay together: the cut lies where the time changes, nearest to the share."""
    order = np.argsort(times, kind="stable")
    changes = np.flatnonzero(times[order[1:]] != times[order[:-1]]) + 1
    if not changes.size:
        raise DataError("all rows have the same time: there are no later ones to hold out")
    cut = changes[np.argmin(np.abs(changes - (len(times) - round(len(times) * share))))]
    return np.sort(order[:cut]), np.sort(order[cut:])


def _grouped(groups: Array, labels: Array | None, share: float, seed: int) -> tuple[Array, Array]:
    """Whole groups apart, in an order by the seed: each that brings the rows held out (of every class, if given) nearer to the share."""
    rows = len(groups)
    names, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise DataError("all rows are of one group: no other can be held out")
    classes = np.zeros(rows, np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    count = int(classes.max()) + 1
    wanted = np.bincount(classes) * share
    held, chosen = np.zeros(count), list[int]()
    for number in np.random.Generator(np.random.PCG64(seed)).permutation(len(names)).tolist():
        more = held + np.bincount(classes[members[number]], minlength=count)
        if np.square(more - wanted).sum() < np.square(held - wanted).sum() and more.sum() < rows:
            held = more
            chosen.append(number)
    part = np.sort(np.concatenate([members[n] for n in chosen or [int(np.argmin(sizes))]]))
    return np.setdiff1d(np.arange(rows), part, assume_unique=True), part
