"""Writing a file so that a crash, a full disk or an interrupt leaves either the whole old one or the whole new one."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

MODE = 0o644
STEM, SUFFIX = 200, ".tmp"
"""Characters of a file's name that the name of its temporary file begins with, a name being at most 255 long; and how it ends."""
WITHOUT_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def write_atomic(path: str | os.PathLike[str], data: bytes, *, previous: Path | None = None) -> None:
    """Put `data` at `path`: a temporary file beside it, written and synced, takes its name, then the folder is synced.

    With `previous`, the file that stood there keeps that name in the same folder: at every moment one of the two is whole.
    Raises OSError. Whatever step fails, no temporary file stays and `path` is as it was; only when the last step fails, the
    sync of the folder, does it already hold the new content, whole but perhaps not yet durable. The mode is 0644 less the
    umask. A symbolic link is followed, so that the link itself stays.
    """
    target = Path(os.path.realpath(path))
    _refuse_special(target)
    temporary = _temporary(target)
    try:
        _write_synced(temporary, data)
        if previous is not None and target.exists():
            _renamed(target, previous)
        os.replace(temporary, target)
    except BaseException:  # an interrupt from the keyboard, too, must not leave the temporary file behind
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(target.parent)


def name_too(source: Path, path: str | os.PathLike[str], *, previous: Path | None = None) -> bool:
    """Let `path` be another name of a file that is synced and never changed, as `write_atomic` would put the same data there.

    False, and nothing done, where that cannot be: the data is then to be written.
    """
    target = Path(os.path.realpath(path))
    try:
        _refuse_special(target)
        if previous is not None and target.exists():
            _also_named(target, previous)
        _also_named(source, target)
        _sync_folder(target.parent)
    except OSError:
        return False
    return True


def sweep(path: str | os.PathLike[str]) -> None:
    """Remove what a process that was killed while it wrote `path` left behind; nobody else may be writing it now."""
    target = Path(os.path.realpath(path))
    stem = f".{target.name[:STEM]}."
    for left in target.parent.iterdir():
        if left.name.startswith(stem) and left.name.endswith(SUFFIX) and len(left.name) == len(stem) + 16 + len(SUFFIX):
            left.unlink(missing_ok=True)


def _temporary(target: Path) -> Path:
    return target.parent / f".{target.name[:STEM]}.{secrets.token_hex(8)}{SUFFIX}"


def _also_named(target: Path, name: Path) -> None:
    """Give a file a second name, which another file may have had, in one step."""
    second = _temporary(name)
    try:
        os.link(target, second)
        os.replace(second, name)
    finally:
        with suppress(OSError):  # it is still there where the file had both names already: renaming does nothing then
            os.unlink(second)


def _renamed(target: Path, name: Path) -> None:
    """Keep a file under another name; where files have one name only, there is none at `target` for a moment."""
    try:
        _also_named(target, name)
    except OSError as failure:
        if failure.errno not in WITHOUT_LINKS:
            raise
        os.replace(target, name)


def _refuse_special(target: Path) -> None:
    """Renaming over a device such as /dev/null would destroy it."""
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise OSError(f"{target} is not a regular file")


def _write_synced(temporary: Path, data: bytes) -> None:
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    try:
        rest = memoryview(data)
        while rest:  # one call writes at most 2 GiB
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """The new name is an entry of the folder: without this a power cut may undo the rename."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
