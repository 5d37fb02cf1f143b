"""Object code kept on disk between runs, so that only the first compilation of a kernel costs time.

A cache is code that will be executed, so it is believed only when nobody else can have written it: the directory and its files belong to
this user and are closed to others, links are not followed, and every file carries the SHA-256 of its content. Whatever is in doubt is
compiled again; a cache that cannot be used never stops a compilation.

    file = SHA-256 of the object (32 bytes), then the object
    name = SHA-256 of everything the object depends on

What says which objects make up a program (`compiler/kept.py`) lies among them in the same form.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import jit
from .target import Target

FORMAT = "ranvier object 2"
"""Part of every key; to be changed when code generation changes in a way that the key does not show."""

LIMIT = 512 << 20
"""Bytes of the whole cache, beyond which the objects unused for longest go."""

DIGEST = 32
READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
DIRECTORY = READ | getattr(os, "O_DIRECTORY", 0)


def cached_object(text: str, target: Target) -> bytes:
    """The object file of a module, from the cache when it is there."""
    return cached_objects([text], target)[0]


def cached_objects(texts: Sequence[str], target: Target) -> list[bytes]:
    """The object files of several modules; those compiled now are kept for next time."""
    with _open_directory() as directory:
        return _objects(texts, target, directory)


def _objects(texts: Sequence[str], target: Target, directory: int | None) -> list[bytes]:
    if directory is None:
        return [jit.compile_object(text, target) for text in texts]
    found = [_load(directory, key(text, target)) for text in texts]
    fresh = {n: jit.compile_object(texts[n], target) for n, image in enumerate(found) if image is None}
    for n, image in fresh.items():
        _store(directory, key(texts[n], target), image)
    if fresh:
        _evict(directory)
    return [image if image is not None else fresh[n] for n, image in enumerate(found)]


def kept_objects(names: Sequence[str]) -> list[bytes] | None:
    """The objects of those names; None when one is not there."""
    with _open_directory() as directory:
        found = [_load(directory, name) for name in names] if directory is not None else [None]
    images = [image for image in found if image is not None]
    return images if len(images) == len(found) else None


def load(name: str) -> bytes | None:
    """What was kept under a name; None when nothing is."""
    with _open_directory() as directory:
        return None if directory is None else _load(directory, name)


def store(name: str, content: bytes) -> None:
    """Keep something under a name: a digest of all that decides its bytes."""
    with _open_directory() as directory:
        if directory is not None:
            _store(directory, name, content)


def key(text: str, target: Target) -> str:
    """The name of an object: a digest of the text and of everything else that decides its bytes."""
    return name_of(target, text)


def name_of(target: Target, *parts: str) -> str:
    """A name for what is made from some texts for a target with this code generator."""
    options = sorted(jit.OPTIONS.items())
    digest = hashlib.sha256()
    for part in (FORMAT, _versions(), target.triple, target.cpu, target.features, repr(options), *parts):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


@functools.cache
def _versions() -> str:
    import llvmlite
    import llvmlite.binding as llvm

    return f"llvmlite {llvmlite.__version__} LLVM {llvm.llvm_version_info}"


def cache_directory() -> Path | None:
    """Where objects are kept: $RANVIER_CACHE_DIR, else ranvier in $XDG_CACHE_HOME or ~/.cache; None with RANVIER_CACHE=off."""
    if os.environ.get("RANVIER_CACHE", "").lower() == "off":
        return None
    chosen = os.environ.get("RANVIER_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = os.path.expanduser("~")
    if os.path.isabs(base):
        return Path(base, "ranvier")
    return Path(home, ".cache", "ranvier") if os.path.isabs(home) else None


@contextlib.contextmanager
def _open_directory() -> Iterator[int | None]:
    """The cache directory as a descriptor, made if need be; None when there is none that can be believed.

    Everything below goes through the descriptor, so the directory that was checked is the one that is used.
    """
    descriptor = _trusted_directory()
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _trusted_directory() -> int | None:
    path = cache_directory()
    if path is None or os.open not in os.supports_dir_fd:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.path.lexists(path):
            path.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(path, DIRECTORY)
    except OSError:
        return None
    if _is_private(os.fstat(descriptor), 0o077):
        return descriptor
    os.close(descriptor)
    return None


def _is_private(status: os.stat_result, closed: int) -> bool:
    """Owned by this user, with none of the permissions `closed`."""
    return status.st_uid == os.getuid() and not status.st_mode & closed


def _load(directory: int, name: str) -> bytes | None:
    """The object of that name, None unless it is whole and ours."""
    try:
        descriptor = os.open(name, READ, dir_fd=directory)
    except OSError:
        return None
    try:
        return _checked(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _checked(descriptor: int) -> bytes | None:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not _is_private(status, 0o022) or status.st_size > LIMIT:
        return None
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read(LIMIT)
    image = content[DIGEST:]
    if hashlib.sha256(image).digest() != content[:DIGEST]:
        return None
    with contextlib.suppress(OSError):  # a file system that may only be read
        os.utime(descriptor)
    return image


def _store(directory: int, name: str, image: bytes) -> None:
    """Write beside and rename, so that readers in other processes see the whole object or none."""
    temporary = f"tmp-{secrets.token_hex(16)}"
    try:
        descriptor = os.open(temporary, WRITE, 0o600, dir_fd=directory)
    except OSError:
        return
    try:
        with open(descriptor, "wb") as file:
            file.write(hashlib.sha256(image).digest() + image)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        _remove(directory, temporary)


def _remove(directory: int, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=directory)


def _evict(directory: int) -> None:
    """Drop the objects unused for longest until the cache is within its limit."""
    files = sorted(_sizes(directory))
    total = sum(size for _, size, _ in files)
    for _, size, name in files:
        if total <= LIMIT:
            return
        _remove(directory, name)
        total -= size


def _sizes(directory: int) -> Iterator[tuple[int, int, str]]:
    """(time of last use, bytes, name) of every file of the cache."""
    try:
        entries = os.listdir(directory)
    except OSError:
        return
    for name in entries:
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:  # another process has just dropped it
            continue
        yield status.st_mtime_ns, status.st_size, name
