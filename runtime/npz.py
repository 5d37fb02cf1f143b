"""Arrays from `.npz` archives and `.npy` files: the directory of the archive is checked first, then each member is read in memory.

Nothing is unpacked to disk and nothing is unpickled. The layout is that of PKWARE's APPNOTE 6.3 (4.3.6 to 4.3.16).
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..compiler.errors import DataError
from .limits import LIMITS, MIB, Limits
from .npy import Array, read_array
from .regular_file import gibibytes, open_regular, reason

END = struct.Struct("<4s4H2LH")
END_64 = struct.Struct("<4sQ2H2L4Q")
LOCATOR_64 = struct.Struct("<4sLQL")
LOCAL = struct.Struct("<4s5H3L2H")
NAME_LIMIT = 255
ENTRY_LIMIT = 1024
ENCRYPTED = 0x1
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,
    OverflowError,
    OSError,
)


def read_npz(path: str | os.PathLike[str], limits: Limits = LIMITS) -> dict[str, Array]:
    """The arrays of an `.npz` file by name, each native-endian and C-contiguous.

    Raises DataError for anything else than an archive of plain arrays within the limits.
    """
    stream, size = open_regular(Path(path), limits.size, DataError)
    with stream:
        members = npz_members(stream, size, limits, path)
        with _damage_refused(path), zipfile.ZipFile(stream) as archive:
            return {m.filename.removesuffix(".npy"): _read_member(archive, m, path) for m in members}


def npz_members(stream: BinaryIO, size: int, limits: Limits, path: str | os.PathLike[str]) -> list[zipfile.ZipInfo]:
    """The members of an archive, checked to be arrays by name, within the limits, each at a place of its own; raises DataError."""
    with _damage_refused(path):
        entries = _check_directory(stream, size, limits, path)
        with zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _check_members(members, entries, limits, path)
            _check_overlap(stream, members, archive.start_dir, path)
            return members


def read_npy(path: str | os.PathLike[str], limits: Limits = LIMITS) -> dict[str, Array]:
    """The array of an `.npy` file under the name of the file; raises DataError."""
    stream, size = open_regular(Path(path), limits.size, DataError)
    with stream, _damage_refused(path):
        return {Path(path).stem: read_array(stream, size, str(path))}


@contextmanager
def _damage_refused(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever the archive and inflate libraries raise on bad bytes becomes one message."""
    try:
        yield
    except DAMAGE as failure:
        detail = reason(failure)
        raise DataError(f"{path}: damaged: {detail or type(failure).__name__}; make the file anew") from failure


def _check_directory(stream: BinaryIO, size: int, limits: Limits, path: str | os.PathLike[str]) -> int:
    """How many entries the end record counts, before a library builds an object for each that the directory claims to have.

    The directory must lie right before the end record, so that no second archive and no other file hides round it.
    """
    if size < END.size:
        raise DataError(f"{path}: is not an .npz archive: it holds {size} bytes")
    stream.seek(size - END.size)
    record: tuple[bytes, int, int, int, int, int, int, int] = END.unpack(stream.read(END.size))
    signature, _, _, _, entries, length, offset, comment = record
    if signature != b"PK\x05\x06" or comment:
        raise DataError(f"{path}: is not an .npz archive, or its end is missing; save it with numpy.savez")
    end = size - END.size
    wide = _wide_directory(stream, end)
    if wide is not None:
        entries, length, offset, end = wide
    if entries > limits.members or length > limits.members * ENTRY_LIMIT:
        raise DataError(f"{path}: claims {entries} arrays in a directory of {length} bytes, the limit is {limits.members} arrays")
    if offset + length != end:
        raise DataError(f"{path}: damaged: its directory is not where its end record says; make the file anew")
    stream.seek(0)
    return entries


def _wide_directory(stream: BinaryIO, end: int) -> tuple[int, int, int, int] | None:
    """Entries, length, offset and end of the directory of an archive with 64-bit offsets; nothing for a plain one."""
    position = end - LOCATOR_64.size - END_64.size
    if position < 0:
        return None
    stream.seek(position)
    record, locator = stream.read(END_64.size), stream.read(LOCATOR_64.size)
    if not locator.startswith(b"PK\x06\x07"):
        return None
    signature, *_, entries, length, offset = END_64.unpack(record)
    return (entries, length, offset, position) if signature == b"PK\x06\x06" else None


def _check_members(members: list[zipfile.ZipInfo], entries: int, limits: Limits, path: str | os.PathLike[str]) -> None:
    names, total = set[str](), 0
    if len(members) > limits.members:
        raise DataError(f"{path}: holds {len(members)} arrays, the limit is {limits.members}")
    if len(members) != entries:
        raise DataError(f"{path}: damaged: its end record counts {entries} arrays, its directory {len(members)}; make the file anew")
    for member in members:
        _check_member(member, limits, path)
        if member.filename in names:
            raise DataError(f"{path}: holds two arrays called `{member.filename}`; give each its own name")
        names.add(member.filename)
        total += member.file_size
    if total > limits.size:
        raise DataError(
            f"{path}: unpacks to {gibibytes(total)}, the limit is {gibibytes(limits.size)}; split it or raise the limit of size"
        )


def _check_member(member: zipfile.ZipInfo, limits: Limits, path: str | os.PathLike[str]) -> None:
    name = member.filename
    plain = name.isprintable() and not any(c in name for c in "/\\:") and name.removesuffix(".npy").strip(". ")
    if not plain or not name.endswith(".npy") or len(name) > NAME_LIMIT:
        raise DataError(f"{path}: the member {name[:NAME_LIMIT]!r} is not named like an array (`image.npy`); save it with numpy.savez")
    if member.flag_bits & ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{path}: `{name}` is encrypted or packed in a way that is not read; save it with numpy.savez")
    if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
        raise DataError(f"{path}: damaged: `{name}` has two sizes; make the file anew")
    if member.file_size > max(MIB, limits.ratio * member.compress_size):
        expands = f"`{name}` would unpack {member.compress_size} bytes to {member.file_size}"
        raise DataError(f"{path}: {expands}, over the ratio of {limits.ratio}:1; save it with numpy.savez (not packed) or raise the limit")


def _check_overlap(stream: BinaryIO, members: list[zipfile.ZipInfo], directory: int, path: str | os.PathLike[str]) -> None:
    """Members that share bytes are how a small archive unpacks to a huge one within every single ratio."""
    limit = directory
    for member in sorted(members, key=lambda m: m.header_offset, reverse=True):
        stream.seek(member.header_offset)
        *_, name, extra = LOCAL.unpack(stream.read(LOCAL.size))
        if member.header_offset + LOCAL.size + name + extra + member.compress_size > limit:
            raise DataError(f"{path}: damaged: `{member.filename}` overlaps what follows it; make the file anew")
        limit = member.header_offset


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str | os.PathLike[str]) -> Array:
    with archive.open(member) as stream:
        array = read_array(stream, member.file_size, f"{path}: `{member.filename}`")
        stream.read(1)  # the checksum is compared when the end is met
        return array
