"""Blueprints at rest: what a fit has compiled waits, when its estimator is gone, for the next fit of the same structure.

A blueprint serves one model at a time, since compiling places things in its memory layout; so two fits in two threads have two of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from ...compiler.driver import Blueprint, Unit
from ...compiler.errors import RanvierError
from ...compiler.frontend.limits import read_source

LIMIT = 16
"""How many rest at most; those that have rested for longest go first."""


@dataclass(frozen=True, eq=False)
class Resting:
    """A blueprint and what it was made from."""

    key: Hashable
    blueprint: Blueprint


_resting: list[Resting] = []
_lock = threading.RLock()  # reentrant: an estimator may be collected, and its blueprint laid down, at any moment


def take_up(key: Hashable, make: Callable[[], Blueprint]) -> Blueprint:
    """A resting blueprint that was made from the same, if its files say what they said; else a new one."""
    with _lock:
        found = next((each for each in tuple(_resting) if each.key == key), None)
        if found in _resting:
            _resting.remove(found)
    return found.blueprint if found is not None and _as_it_was(found.blueprint.unit) else make()


def lay_down(key: Hashable, blueprint: Blueprint) -> None:
    """Keep a blueprint that no model uses any more."""
    with _lock:
        _resting.append(Resting(key, blueprint))
        del _resting[:-LIMIT]


def _as_it_was(unit: Unit) -> bool:
    """Whether the imported files still hold what was read from them (the file itself is part of the key)."""
    imports = (source for source in unit.library.sources.values() if source is not unit.library.file.source)
    try:
        return all(read_source(source.name, source.name).text == source.text for source in imports)
    except RanvierError:
        return False
