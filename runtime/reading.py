"""Which reader a file or folder is for: by the suffix of its name, or by what a folder holds."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ..compiler.errors import DataError, ResourceError
from .csv_reader import read_csv
from .idx import column_of, is_idx_member, read_folder, read_idx
from .images import holds_images, is_image, read_images
from .limits import LIMITS, Limits
from .npz import read_npy, read_npz
from .parquet_reader import read_parquet
from .regular_file import reason
from .table import Origin, Table
from .text_reader import read_text

IDX_NAME = re.compile(r"(\.idx|-idx[0-9]-[a-z]+)(\.gz)?$")
PACKED, TEXT_TABLES = ".gz", (".csv", ".tsv")
PARTS = {"train": "train", "training": "train", "test": "test"} | dict.fromkeys(("validation", "validate", "valid", "val"), "validation")
"""What files and folders are called that hold a part of the rows."""


@dataclass(frozen=True)
class Wanted:
    """What a model asks of a file: columns that stay text although they look like numbers, and the shape of images.

    Images of another size are refused, unless they may be given theirs (`resize`).
    """

    text: Collection[str] = ()
    image: tuple[int, ...] | None = None
    resize: bool = False


Reader = Callable[[Path, Limits, Wanted], Table]
PLAIN = Wanted()


def read_table(path: str | os.PathLike[str], limits: Limits = LIMITS, *, wanted: Wanted = PLAIN) -> Table:
    """The table in a file, by the suffix of its name (see READERS); in an IDX file; or in a folder.

    A folder holds `train` and perhaps `validation` and `test`, files or folders each; IDX files in the manner of MNIST; `.npy` files, one a
    column; or images, in a folder for each class or all in one. Raises DataError for a damaged file or one over the limits, ResourceError
    when it does not fit the memory of this machine.
    """
    try:
        if os.path.isdir(path):
            return _folder(Path(path), limits, wanted)
        return _file(Path(path), limits, wanted)
    except MemoryError:
        raise ResourceError(f"{path}: does not fit the memory of this machine; split the file") from None


def _file(path: Path, limits: Limits, wanted: Wanted) -> Table:
    reader = READERS.get(_form(path)[1], _idx if IDX_NAME.search(path.name) else None)
    if reader is None and is_image(path):
        raise DataError(f"{path}: images are read from a folder of them: give the folder")
    if reader is None:
        choices = f"{', '.join(READERS)} (.csv and .tsv also gzipped) and IDX files, and from folders"
        raise DataError(f"{path}: data is read from {choices}; convert it to one of them")
    return reader(path, limits, wanted)


def _form(path: Path) -> tuple[str, str]:
    """The name of a file without its suffix, and the suffix by which its reader is known; that of a text table may be followed by `.gz`."""
    plain = path.with_suffix("") if path.suffix.lower() == PACKED else path
    found = plain if plain.suffix.lower() in TEXT_TABLES else path
    return found.stem.lower(), found.suffix.lower()


def _npz(path: Path, limits: Limits, _: Wanted) -> Table:
    return Table(read_npz(path, limits), Origin(str(path)))


def _npy(path: Path, limits: Limits, _: Wanted) -> Table:
    return Table(read_npy(path, limits), Origin(str(path)))


def _csv(path: Path, limits: Limits, wanted: Wanted) -> Table:
    return Table(read_csv(path, limits, text=wanted.text), Origin(str(path), first_row=2))


def _tsv(path: Path, limits: Limits, wanted: Wanted) -> Table:
    return Table(read_csv(path, limits, separator="\t", text=wanted.text), Origin(str(path), first_row=2))


def _parquet(path: Path, limits: Limits, wanted: Wanted) -> Table:
    columns = read_parquet(path, limits, text=wanted.text)
    return Table(columns.arrays, Origin(str(path), unreadable=columns.unreadable))


def _idx(path: Path, limits: Limits, _: Wanted) -> Table:
    array = read_idx(path, limits)
    return Table({column_of(array): array}, Origin(str(path)))


def _txt(path: Path, limits: Limits, _: Wanted) -> Table:
    return Table(read_text(path, limits), Origin(str(path)))


READERS: dict[str, Reader] = {
    ".npz": _npz,
    ".npy": _npy,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
    ".txt": _txt,
}


def _folder(path: Path, limits: Limits, wanted: Wanted, *, inside: bool = False) -> Table:
    """The rows of a folder; one that is `inside` another as a part of its rows has no such parts itself."""
    entries = _entries(path)
    parts = {} if inside else folder_parts(path)
    if "train" in parts:
        read = {name: _part(part, limits, wanted) for name, part in parts.items()}
        return replace(read["train"], test=read.get("test"), validation=read.get("validation"))
    origin = Origin(str(path))
    if any(is_idx_member(e.name) for e in entries):
        training, test = read_folder(path, limits)
        return Table(training or test or {}, origin, Table(test, origin) if test else None)
    arrays = [e for e in entries if e.suffix.lower() == ".npy"]
    if arrays:
        return Table({name: array for file in arrays for name, array in read_npy(file, limits).items()}, origin)
    if holds_images(path):
        return Table(read_images(path, limits, wanted.image, resize=wanted.resize), origin)
    choices = "files or folders called train (and test, validation), IDX files, .npy files or images in a folder for each class"
    raise DataError(f"{path}: the folder holds no data: it should have {choices}")


def _part(path: Path, limits: Limits, wanted: Wanted) -> Table:
    return _folder(path, limits, wanted, inside=True) if path.is_dir() else _file(path, limits, wanted)


def is_arrays(path: Path) -> bool:
    """Whether a folder holds IDX files in the manner of MNIST, or `.npy` files."""
    return any(is_idx_member(entry.name) or entry.suffix.lower() == ".npy" for entry in _entries(path))


def folder_parts(path: Path) -> dict[str, Path]:
    """Files and folders in a folder that hold its `train`, `validation` and `test` rows, by these names."""
    found = {_form(e)[0]: e for e in _entries(path) if e.is_dir() or _form(e)[1] in READERS}
    return {PARTS[name]: entry for name, entry in found.items() if name in PARTS}


def _entries(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as failure:
        raise DataError(f"{path}: cannot be read: {reason(failure)}") from failure
