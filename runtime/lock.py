"""One writer at a place: a lock that the system lets go of when the process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from ..compiler.errors import CheckpointError
from .regular_file import reason

WITHOUT_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def lock_beside(path: str | os.PathLike[str]) -> int:
    """Take the lock of a file to be written (`.digits.safetensors.lock`) and return its handle, which `unlock` takes back.

    Raises CheckpointError when another process has it, or the folder cannot be written to.
    """
    place = _place(path)
    while True:
        try:
            handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as failure:
            raise CheckpointError(f"{path}: cannot be written: {reason(failure)}; check the folder and its permissions") from failure
        try:
            _lock(handle, path)
            if _is_still(handle, place):
                os.ftruncate(handle, 0)
                os.write(handle, f"{os.getpid()}\n".encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its owner removed it between our opening and our locking it


def unlock(path: str | os.PathLike[str], handle: int) -> None:
    """Let go of the lock and remove its file."""
    place = _place(path)
    if _is_still(handle, place):
        place.unlink(missing_ok=True)
    os.close(handle)


def _place(path: str | os.PathLike[str]) -> Path:
    real = Path(os.path.realpath(path))
    return real.with_name(f".{real.name[:200]}.lock")


def _lock(handle: int, path: str | os.PathLike[str]) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        who = f" (process {owner})" if owner.isdigit() else ""
        raise CheckpointError(f"{path}: another training writes there{who}; wait for it, end it, or choose another place") from None
    except OSError as failure:
        if failure.errno not in WITHOUT_LOCKS:  # some network file systems have none: better unguarded than not at all
            raise CheckpointError(f"{path}: cannot be locked: {reason(failure)}") from failure


def _is_still(handle: int, place: Path) -> bool:
    """Whether the file that is locked is the one that has the name."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(place))
    except OSError:
        return False
