"""Rows for a blueprint from a file: the data block's own or one given instead, columns joined, labels named, rows set apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..compiler.driver import Blueprint
from ..compiler.errors import DataError
from ..compiler.frontend.data_block import COLUMNS
from .convert import incomplete
from .data import learn_vocabularies
from .limits import LIMITS
from .memory import Array
from .model import Model
from .opening import path_below, source_folder
from .reading import Wanted, folder_parts, read_table
from .sequences import longest
from .splitting import Keys, keys_of, require_columns, split, split_keys
from .stored import Stored, open_stored
from .streaming import PIECE_BYTES, Rows, StreamedRows, taken
from .table import Origin, Table, in_windows, select_columns, take_rows

IMAGES = "images"
SCANNED = 65536
"""Rows that are looked at together for missing values, at most."""


@dataclass(frozen=True)
class Split:
    """Rows that a model may see while it is made, with what keeps them together; rows for the test at the end, if there are any.

    Rows to watch while training are `parts` of those seen, (to train on, to watch), or rows of their `own`.
    """

    seen: Rows
    test: Rows | None
    keys: Keys
    parts: tuple[Array, Array] | None = None
    own: Rows | None = None

    @cached_property
    def training(self) -> Rows:
        """Rows to train on."""
        return self.seen if self.parts is None else taken(self.seen, self.parts[0])

    @cached_property
    def validation(self) -> Rows | None:
        """Rows to watch while training."""
        return self.own if self.parts is None else taken(self.seen, self.parts[1])


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


def read_rows(model: Model, path: Path, *, complete: bool = False, targets: bool = True) -> Table:
    """The table of a file with the columns that the data block joins; columns of named classes stay text.

    Where the data block drops rows with missing values, only the `complete` ones are wanted. Without `targets` the file need not have any.
    """
    table = windowed(model, _read(model.blueprint, path, model.vocabularies, targets=targets))
    return _complete(model.blueprint, table) if complete else table


def rows_to_judge(model: Model, path: Path) -> Rows:
    """Rows with their targets: of a folder that keeps a test part that part, else all."""
    stored = stored_rows(model, path, part="test")
    if stored is not None:
        return streamed(model, stored, complete=True)
    table = read_rows(model, path, complete=True)
    return model.arrays(table.test or table, targets=True)


def read_split(model: Model, given: Path | Given) -> Split:
    """Rows to train on, to watch and for the test (see `split_table`); where samples are windows of rows, no window holds rows of both."""
    files = given if isinstance(given, Given) else Given(given)
    stored = stored_rows(model, files.rows)
    if stored is not None:
        return _stream_split(model, files, stored)
    table, share = _table(model.blueprint, files, model.vocabularies), model.blueprint.data_settings.test
    if not model.blueprint.data_settings.window or table.test is not None or not share:
        return split_table(model, windowed(model, table))
    table = _in_time(model.blueprint, table)
    cut = table.rows - round(table.rows * share)
    training, test = take_rows(table, 0, cut), take_rows(table, cut, table.rows)
    return split_table(model, replace(windowed(model, training), test=windowed(model, test)))


def windowed(model: Model, table: Table) -> Table:
    """The table with windows of rows as its samples, where the data block asks for them."""
    settings = model.blueprint.data_settings
    if not settings.window:
        return table
    test, validation = (windowed(model, part) if part is not None else None for part in (table.test, table.validation))
    windows = in_windows(_in_time(model.blueprint, table), settings.window, settings.stride)
    return replace(windows, test=test, validation=validation)


def _in_time(blueprint: Blueprint, table: Table) -> Table:
    """The rows in the order of the `time` of the data block, those of one time as they stood."""
    times = split_keys(blueprint.data_settings, table, table.origin).times
    if times is None:
        return table
    order = np.argsort(times, kind="stable")
    return replace(table, arrays={name: array[order] for name, array in table.arrays.items()})


def _table(blueprint: Blueprint, given: Given, named: Iterable[str]) -> Table:
    """All rows, with the parts that files of their own hold; rows with missing values dropped where the data block says so."""
    settings, named = blueprint.data_settings, tuple(named)
    table = _read(blueprint, given.rows, named)
    parts = {"test": table.test, "validation": table.validation}
    parts |= {part: _read(blueprint, path, named) for part, path in own_files(blueprint, given).items()}
    require_columns(settings, ("weight",), table, table.origin)
    return _complete(blueprint, Table(table.arrays, table.origin, **parts))


def own_files(blueprint: Blueprint, given: Given) -> dict[str, Path]:
    """Files that hold the rows for the test and those to watch: given ones, else those that the data block names."""
    settings = blueprint.data_settings
    named = {"test": (given.test, settings.test_source), "validation": (given.validation, settings.validate_source)}
    return {part: path or _own_path(blueprint, own or "") for part, (path, own) in named.items() if path is not None or own is not None}


def _read(blueprint: Blueprint, path: Path, named: Iterable[str], *, targets: bool = True) -> Table:
    settings = blueprint.data_settings
    columns = settings.columns
    text = {column for name in named for column in columns.get(name, (name,))}
    table = read_table(path, LIMITS, wanted=Wanted(text, _image_shape(blueprint), settings.resize))
    return _joined(blueprint, table, targets=targets)


def _joined(blueprint: Blueprint, table: Table, *, targets: bool = True) -> Table:
    """The table with the columns that the data block joins; without `targets` theirs may be absent."""
    columns, optional = blueprint.data_settings.columns, set(table) if targets else {*table, *blueprint.inference.targets}
    return select_columns(table, {name: wanted for name, wanted in columns.items() if set(wanted) <= set(table) or name not in optional})


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
    holes = _holes(blueprint, table)
    if holes.all() and table.rows:
        raise DataError(f"{table.origin.prefix}no row is complete: `missing = drop` leaves none")
    kept = {name: array[~holes] for name, array in table.arrays.items()} if holes.any() else table.arrays
    return Table(kept, replace(table.origin, numbers=np.flatnonzero(~holes)), test, validation)


def _holes(blueprint: Blueprint, table: Table) -> Array:
    """[rows], true where a value that the model reads is missing."""
    holes = np.zeros(table.rows, dtype=np.bool_)
    for name, array in table.items():
        if name in blueprint.inference.fields:
            holes |= incomplete(array)
    return holes


def split_table(model: Model, table: Table) -> Split:
    """Training, test and validation rows: as the source keeps them apart, else by the data block and the model's seed.

    Names of classes are learned from the rows that are not for the test, unless they are known.
    """
    if not table.rows:
        raise DataError(f"{table.origin.prefix}there are no rows to train on")
    keys = keys_of(model, table, table.origin)
    apart = rows_apart(model, np.arange(table.rows), keys, test=table.test is None, watched=table.validation is None)
    if not model.vocabularies:
        model.vocabularies = learn_vocabularies(list(model.fields.values()), table, apart.seen)
    arrays = model.arrays(table, targets=True)
    test = model.arrays(table.test, targets=True) if table.test is not None else None
    own = model.arrays(table.validation, targets=True) if table.validation is not None else None
    return Split(
        taken(arrays, apart.seen), test if apart.test is None else taken(arrays, apart.test), keys.of(apart.seen), apart.parts, own
    )


@dataclass(frozen=True)
class Apart:
    """Which rows are for the test and which are `seen`, each ascending; `parts` are places among the latter: to train on, to watch."""

    seen: Array
    test: Array | None
    parts: tuple[Array, Array] | None


def rows_apart(model: Model, rows: Array, keys: Keys, *, test: bool, watched: bool) -> Apart:
    """Rows (of which the keys are) for the test and to watch, where shares of these rows are wanted, and the rest to train on."""
    share = model.blueprint.data_settings.test
    rest, held = np.arange(len(rows)), None
    if test and share:
        rest, held = split(len(rows), share, model.seed, replace(keys, last=False))
    parts = split(len(rest), model.watched_share, model.seed, keys.of(rest)) if watched and model.watched_share else None
    return Apart(rows[rest], None if held is None else rows[held], parts)


# --- rows that stay in their files


def stored_rows(model: Model, path: Path, part: str = "train") -> Stored | None:
    """The arrays of a data set that is read in pieces: a large one in a form that allows it, or where the data block says so.

    What the data block says is about the rows to train on: others may come in any form.
    """
    wanted = model.blueprint.data_settings.stream
    parts = folder_parts(path) if path.is_dir() else {}
    source = parts.get(part, parts.get("train", path))
    if wanted is False or (wanted is None and (model.in_order or not _is_large(source))):
        return None
    found = None if model.in_order else open_stored(source)
    if found is None and wanted and part == "train":
        if model.in_order:
            raise DataError(f"{path}: the samples of this model are in order, so its data is not read in pieces: leave `stream` out")
        raise DataError(f"{path}: data is read in pieces from .npy files, folders of them, and .npz archives that are not packed")
    return found


def _is_large(path: Path) -> bool:
    """Whether a file, or the arrays of a folder, are more than should be kept in memory."""
    try:
        files = [e for e in path.iterdir() if e.suffix.lower() == ".npy"] if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files) > LIMITS.resident
    except OSError:
        return False  # reading the file tells what is wrong with it


def streamed(model: Model, stored: Stored, *, targets: bool = True, complete: bool = False) -> StreamedRows:
    """All rows of stored arrays for a model, or those in which no value is missing, where the data block drops the others."""

    def convert(table: Table) -> dict[str, Array]:
        return model.arrays(_joined(model.blueprint, table, targets=targets), targets=targets)

    index = np.arange(stored.rows, dtype=np.int64)
    if complete and model.blueprint.data_settings.missing == "drop":
        size = max(1, min(SCANNED, PIECE_BYTES * stored.rows // max(1, stored.bytes)))
        index = np.concatenate([_complete_rows(model, stored, index[b : b + size]) for b in range(0, stored.rows, size)])
    return StreamedRows(stored, index, convert)


def _complete_rows(model: Model, stored: Stored, rows: Array) -> Array:
    table = _joined(model.blueprint, stored.table(rows))
    return rows[~_holes(model.blueprint, table)]


def _stream_split(model: Model, files: Given, stored: Stored) -> Split:
    """What `split_table` does, for rows that stay in their files: whole columns are read only to split by, and to learn names from."""
    rows = streamed(model, stored, complete=True)
    own = own_files(model.blueprint, files)
    if files.rows.is_dir():
        own = {part: path for part, path in folder_parts(files.rows).items() if part != "train"} | own
    settings = model.blueprint.data_settings
    require_columns(settings, COLUMNS, {**stored.arrays, **settings.columns}, Origin(stored.file))
    names = [name for name in (settings.stratify, settings.group, settings.time) if name is not None]
    keys = keys_of(model, _columns(model, rows, names), Origin(stored.file))
    apart = rows_apart(model, np.arange(len(rows)), keys, test="test" not in own, watched="validation" not in own)
    if not model.vocabularies:
        _learn(model, rows.at(apart.seen))
    parts = {part: _whole_part(model, path) for part, path in own.items()}
    test = parts.get("test") if apart.test is None else rows.at(apart.test)
    return Split(rows.at(apart.seen), test, keys.of(apart.seen), apart.parts, parts.get("validation"))


def _columns(model: Model, rows: StreamedRows, names: Sequence[str]) -> Table:
    """Whole columns of the rows, also by the names of the fields that they are for."""
    columns = model.blueprint.data_settings.columns
    wanted = {column for name in names for column in columns.get(name, (name,))}
    table = rows.stored.table(rows.index, wanted) if wanted else Table({}, Origin(rows.stored.file))
    return select_columns(table, {name: columns[name] for name in names if name in columns and set(columns[name]) <= set(table)})


def _learn(model: Model, rows: StreamedRows) -> None:
    """Names of classes from columns of text."""
    columns = model.blueprint.data_settings.columns
    texts = {name for name, array in rows.stored.arrays.items() if array.header.dtype.kind in "US"}
    named = [f for f in model.fields.values() if f.classes is not None and set(columns.get(f.name, (f.name,))) <= texts]
    model.vocabularies = learn_vocabularies(named, _columns(model, rows, [f.name for f in named]))


def _whole_part(model: Model, path: Path) -> Rows:
    stored = stored_rows(model, path) if model.blueprint.data_settings.stream is None else open_stored(path)
    if stored is not None:
        return streamed(model, stored, complete=True)
    return model.arrays(_complete(model.blueprint, _read(model.blueprint, path, model.vocabularies)), targets=True)
