"""Writing a file so that a crash, a full disk or an interrupt leaves either the whole old one or the whole new one."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

MODE = 0o644


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` at `path`: a temporary file beside it, written and synced, takes its name, then the folder is synced.

    Raises OSError. Whatever step fails, no temporary file stays and `path` is as it was; only when the last step fails, the
    sync of the folder, does it already hold the new content, whole but perhaps not yet durable. The mode is 0644 less the
    umask. A symbolic link is followed, so that the link itself stays.
    """
    target = Path(os.path.realpath(path))
    _refuse_special(target)
    temporary = target.parent / f".ranvier-{secrets.token_hex(8)}.tmp"
    try:
        _write_synced(temporary, data)
        os.replace(temporary, target)
    except BaseException:  # an interrupt from the keyboard, too, must not leave the temporary file behind
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(target.parent)


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
