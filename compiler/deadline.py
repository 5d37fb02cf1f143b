"""How long one compilation may take: a file of a few lines can ask for work that would never end.

The stages whose work grows with the file ask `check` as they go; whoever starts a compilation opens `deadline` round it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .errors import ResourceError

SECONDS = 60.0
VARIABLE = "RANVIER_COMPILE_SECONDS"

_end: ContextVar[float | None] = ContextVar("end", default=None)


@contextmanager
def deadline() -> Iterator[None]:
    """What is compiled inside must be done within $RANVIER_COMPILE_SECONDS, or 60; inside another deadline that one holds."""
    token = _end.set(time.perf_counter() + seconds()) if _end.get() is None else None
    try:
        yield
    finally:
        if token is not None:
            _end.reset(token)


def seconds() -> float:
    """The limit; raises ResourceError when the variable holds no number above 0."""
    text = os.environ.get(VARIABLE, "")
    try:
        found = float(text) if text else SECONDS
    except ValueError:
        found = 0.0
    if not found > 0:
        raise ResourceError(f"{VARIABLE} is a number of seconds above 0, not {text!r}")
    return found


def check(doing: str) -> None:
    """Raise ResourceError when the time is up; `doing` says what is under way."""
    end = _end.get()
    if end is not None and time.perf_counter() > end:
        limit = f"{seconds():g} seconds"
        raise ResourceError(f"compiling takes more than {limit} (it was {doing}): make the model smaller, or set {VARIABLE} to allow more")
