"""Rows for a blueprint from a file: the data block's own or one given instead, columns joined, labels named, test rows set apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..compiler.diagnostics import did_you_mean
from ..compiler.driver import Blueprint
from ..compiler.errors import DataError
from .data import learn_vocabularies
from .folds import make_part
from .memory import Array
from .model import Model
from .opening import path_below, source_folder
from .sequences import longest
from .table import Table, in_windows, read_table, select_columns, take_rows


@dataclass(frozen=True)
class Split:
    """Rows to train on (validation included) and rows for the test at the end, if the data block keeps some.

    `groups` has the group of each training row, where the data block names them.
    """

    training: dict[str, Array]
    test: dict[str, Array] | None
    groups: Array | None = None


def data_path(blueprint: Blueprint, given: Path | None) -> Path:
    """The file of rows: the one given, else the `source` of the data block, relative to the `.nn` file. Raises DataError without either."""
    if given is not None:
        return given
    settings = blueprint.data_settings
    if settings.source is None:
        raise DataError('the file names no data: add `data { source = "rows.npz" }` or give --data PATH')
    try:
        return path_below(source_folder(blueprint), settings.source)
    except ValueError as error:
        place = f"{settings.place}: " if settings.place else ""
        raise DataError(f"{place}{error}; to use such a file give --data PATH") from None


def make_room(blueprint: Blueprint, path: Path) -> Blueprint:
    """The blueprint with room for the longest sequences of a file, where it does not say how long they can be."""
    unknown = {name: field for name, field in blueprint.unit.lengths.items() if name not in blueprint.settings}
    if not unknown:
        return blueprint
    if blueprint.data_settings.window:
        return replace(blueprint, settings={**blueprint.settings, **dict.fromkeys(unknown, blueprint.data_settings.window)})
    table = _table(blueprint, path, ())
    parts = [part for part in (table, table.test) if part is not None]
    room = {name: max(longest(field, part) if field in part else 1 for part in parts) for name, field in unknown.items()}
    return replace(blueprint, settings={**blueprint.settings, **room})


def read_rows(model: Model, path: Path) -> Table:
    """The table of a file with the columns that the data block joins; columns of named classes stay text."""
    return windowed(model, _table(model.blueprint, path, model.vocabularies))


def read_split(model: Model, path: Path) -> Split:
    """Training and test rows of a file (see `split_table`); where samples are windows of rows, no window holds rows of both."""
    table, share = _in_time(model.blueprint, _table(model.blueprint, path, model.vocabularies)), model.blueprint.data_settings.test
    if not model.blueprint.data_settings.window or table.test is not None or not share:
        return split_table(model, windowed(model, table))
    cut = table.rows - round(table.rows * share)
    training, test = take_rows(table, 0, cut), take_rows(table, cut, table.rows)
    return split_table(model, replace(windowed(model, training), test=windowed(model, test)))


def windowed(model: Model, table: Table) -> Table:
    """The table with windows of rows as its samples, where the data block asks for them."""
    settings = model.blueprint.data_settings
    if not settings.window:
        return table
    test = windowed(model, table.test) if table.test is not None else None
    return replace(in_windows(table, settings.window, settings.stride), test=test)


def _table(blueprint: Blueprint, path: Path, named: Iterable[str]) -> Table:
    columns = blueprint.data_settings.columns
    text = {column for name in named for column in columns.get(name, (name,))}
    table = read_table(path, text=text)
    found = {name: wanted for name, wanted in columns.items() if set(wanted) <= set(table) or name not in table}
    return select_columns(table, found)


def _in_time(blueprint: Blueprint, table: Table) -> Table:
    """The rows in the order of the `time` of the data block, those of one time as they stood."""
    time = blueprint.data_settings.time
    if time is None:
        return table
    order = np.argsort(_plain_column(table, time, "time"), kind="stable")
    return replace(table, arrays={name: array[order] for name, array in table.arrays.items()})


def _plain_column(table: Table, name: str, setting: str) -> Array:
    """The column that a setting of the data block names, [rows]."""
    if name not in table:
        hint = did_you_mean(name, table) or f"it has {', '.join(f'`{each}`' for each in table)}"
        raise DataError(f"{table.origin.prefix}has no column `{name}` for `{setting}`; {hint}")
    if table[name].ndim != 1:
        raise DataError(f"{table.origin.prefix}`{name}`, the `{setting}` of the rows, has shape {list(table[name].shape)}: one value a row")
    return table[name]


def split_table(model: Model, table: Table) -> Split:
    """Training and test rows: as the source keeps them apart, else by the model's seed, whole groups together, or the last ones in time.

    Names of classes are learned from the training rows unless they are known.
    """
    settings = model.blueprint.data_settings
    groups = None if settings.group is None else _plain_column(table, settings.group, "group")
    if table.test is not None:
        if not model.vocabularies:
            model.vocabularies = learn_vocabularies(list(model.fields.values()), table, np.arange(table.rows))
        return Split(model.arrays(table, targets=True), model.arrays(table.test, targets=True), groups)
    share = settings.test
    rows = len(next(iter(table.values()), ()))
    ordered = settings.time is not None
    rest, part = make_part(rows, share, model.seed, groups=groups, ordered=ordered) if share else (np.arange(rows), None)
    if not model.vocabularies:
        model.vocabularies = learn_vocabularies(list(model.fields.values()), table, rest)
    arrays = model.arrays(table, targets=True)
    if part is None:
        return Split(arrays, None, groups)
    training, test = ({name: np.ascontiguousarray(array[rows]) for name, array in arrays.items()} for rows in (rest, part))
    return Split(training, test, None if groups is None else groups[rest])
