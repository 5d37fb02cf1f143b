"""Rows for a blueprint from a file: the data block's own or one given instead, columns joined, labels named, rows set apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.driver import Blueprint
from ..compiler.errors import DataError
from .data import learn_vocabularies
from .limits import LIMITS
from .memory import Array
from .model import Model
from .opening import path_below, source_folder
from .reading import Wanted, read_table
from .sequences import longest
from .splitting import split, split_keys
from .table import Table, column_hint, in_windows, select_columns, take_rows

IMAGES = "images"


@dataclass(frozen=True)
class Split:
    """Rows to train on; rows for the test at the end and rows to watch while training, if there are any."""

    training: dict[str, Array]
    test: dict[str, Array] | None
    validation: dict[str, Array] | None = None


@dataclass(frozen=True)
class Given:
    """Files of rows that a person names instead of the data block's: all rows or those to train on, for the test, to watch."""

    rows: Path
    test: Path | None = None
    validation: Path | None = None


def data_path(blueprint: Blueprint, given: Path | None) -> Path:
    """The file of rows: the one given, else the `source` of the data block, relative to the `.nn` file. Raises DataError without either."""
    if given is not None:
        return given
    source = blueprint.data_settings.source
    if source is None:
        raise DataError('the file names no data: add `data { source = "rows.npz" }` or give --data PATH')
    return _own_path(blueprint, source)


def _own_path(blueprint: Blueprint, named: str) -> Path:
    """A path that the data block names, relative to the `.nn` file."""
    try:
        return path_below(source_folder(blueprint), named)
    except ValueError as error:
        place = blueprint.data_settings.place
        raise DataError(f"{f'{place}: ' if place else ''}{error}; to use such a file give --data PATH (or --test, --validate)") from None


def make_room(blueprint: Blueprint, path: Path) -> Blueprint:
    """The blueprint with room for the longest sequences of a file, where it does not say how long they can be."""
    unknown = {name: field for name, field in blueprint.unit.lengths.items() if name not in blueprint.settings}
    if not unknown:
        return blueprint
    if blueprint.data_settings.window:
        return replace(blueprint, settings={**blueprint.settings, **dict.fromkeys(unknown, blueprint.data_settings.window)})
    table = _table(blueprint, Given(path), ())
    parts = [part for part in (table, table.test, table.validation) if part is not None]
    room = {name: max(longest(field, part) if field in part else 1 for part in parts) for name, field in unknown.items()}
    return replace(blueprint, settings={**blueprint.settings, **room})


def read_rows(model: Model, path: Path, *, complete: bool = False) -> Table:
    """The table of a file with the columns that the data block joins; columns of named classes stay text.

    Where the data block drops rows with missing values, only the `complete` ones are wanted.
    """
    table = windowed(model, _read(model.blueprint, path, model.vocabularies))
    return _complete(model.blueprint, table) if complete else table


def read_split(model: Model, given: Path | Given) -> Split:
    """Rows to train on, to watch and for the test (see `split_table`); where samples are windows of rows, no window holds rows of both."""
    files = given if isinstance(given, Given) else Given(given)
    table, share = _table(model.blueprint, files, model.vocabularies), model.blueprint.data_settings.test
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
    test, validation = (windowed(model, part) if part is not None else None for part in (table.test, table.validation))
    return replace(in_windows(table, settings.window, settings.stride), test=test, validation=validation)


def _table(blueprint: Blueprint, given: Given, named: Iterable[str]) -> Table:
    """All rows, with the parts that files of their own hold; rows with missing values dropped where the data block says so."""
    settings, named = blueprint.data_settings, tuple(named)
    table = _read(blueprint, given.rows, named)
    parts = {"test": table.test, "validation": table.validation}
    files = {"test": (given.test, settings.test_source), "validation": (given.validation, settings.validate_source)}
    for part, (path, own) in files.items():
        source = path or (_own_path(blueprint, own) if own is not None else None)
        if source is not None:
            parts[part] = _read(blueprint, source, named)
    if settings.weight is not None and settings.weight not in table:
        hint = column_hint(settings.weight, table, table.origin)
        raise DataError(f"{table.origin.prefix}has no column `{settings.weight}` of weights; {hint}")
    return _complete(blueprint, Table(table.arrays, table.origin, **parts))


def _read(blueprint: Blueprint, path: Path, named: Iterable[str]) -> Table:
    settings = blueprint.data_settings
    columns = settings.columns
    text = {column for name in named for column in columns.get(name, (name,))}
    table = read_table(path, LIMITS, wanted=Wanted(text, _image_shape(blueprint), settings.resize))
    found = {name: wanted for name, wanted in columns.items() if set(wanted) <= set(table) or name not in table}
    return select_columns(table, found)


def _image_shape(blueprint: Blueprint) -> tuple[int, ...] | None:
    """What the model declares for the column of images, if it reads one."""
    columns = blueprint.data_settings.columns
    wanted = [f for name, f in blueprint.inference.fields.items() if columns.get(name, (name,)) == (IMAGES,)]
    return tuple(d for d in wanted[0].type.shape if isinstance(d, int)) if wanted else None


def _complete(blueprint: Blueprint, table: Table) -> Table:
    """The table and its parts without rows in which a value that the model reads is missing, if the data block drops them."""
    if blueprint.data_settings.missing != "drop":
        return table
    test, validation = (_complete(blueprint, part) if part is not None else None for part in (table.test, table.validation))
    read = [array for name, array in table.items() if name in blueprint.inference.fields]
    holes = np.zeros(table.rows, dtype=np.bool_)
    for array in read:
        holes |= _missing(array).reshape(table.rows, -1).any(axis=1)
    if holes.all() and table.rows:
        raise DataError(f"{table.origin.prefix}no row is complete: `missing = drop` leaves none")
    kept = {name: array[~holes] for name, array in table.arrays.items()} if holes.any() else table.arrays
    return replace(table, arrays=kept, test=test, validation=validation)


def _missing(array: Array) -> Any:
    if array.dtype.kind == "U":
        return array == ""
    return np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, dtype=np.bool_)


def split_table(model: Model, table: Table) -> Split:
    """Training, test and validation rows: as the source keeps them apart, else by the data block and the model's seed.

    Names of classes are learned from the rows that are not for the test, unless they are known.
    """
    settings, rows = model.blueprint.data_settings, np.arange(table.rows)
    keys = split_keys(settings, table, table.origin, last=model.in_order)
    test = validation = None
    if table.test is None and settings.test:
        rows, test = split(table.rows, settings.test, model.seed, replace(keys, last=False))
    if not model.vocabularies:
        model.vocabularies = learn_vocabularies(list(model.fields.values()), table, rows)
    share = model.blueprint.train_settings.validate if settings.validate is None else settings.validate
    if table.validation is None and share:
        rest, part = split(len(rows), share, model.seed, keys.of(rows))
        rows, validation = rows[rest], rows[part]
    arrays = model.arrays(table, targets=True)
    return Split(_taken(arrays, rows), _part(model, arrays, test, table.test), _part(model, arrays, validation, table.validation))


def _part(model: Model, arrays: dict[str, Array], rows: Array | None, own: Table | None) -> dict[str, Array] | None:
    """Rows set apart from all, or those that the source keeps apart."""
    if own is not None:
        return model.arrays(own, targets=True)
    return None if rows is None else _taken(arrays, rows)


def _taken(arrays: dict[str, Array], rows: Array) -> dict[str, Array]:
    if all(len(rows) == len(array) for array in arrays.values()):
        return arrays
    return {name: np.ascontiguousarray(array[rows]) for name, array in arrays.items()}
