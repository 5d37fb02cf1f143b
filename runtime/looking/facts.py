"""All that is found out of a file: facts and roles of its columns, rows that repeat, the target, and a starter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...compiler.errors import DataError
from ..limits import LIMITS, Limits
from ..table import Origin, column_hint
from .columns import ColumnWatch
from .repeats import MOST_ROWS, Array, different, known, marks, without
from .roles import Judged, Role, guess_target, judge
from .source import Source, open_source, pieces


@dataclass(frozen=True)
class Part:
    """Rows kept apart: how many, and how many of them stand among the training rows, too (None where this was not looked for)."""

    rows: int
    known: int | None


@dataclass(frozen=True)
class FileFacts:
    """What is known of a file. `looked` rows were looked at.

    `repeats` say what an earlier row says, identifiers left aside; `contradictions` differ from an earlier one in the target alone. Both
    are None where they were not looked for.
    """

    source: Source
    columns: tuple[Judged, ...]
    looked: int
    target: str | None
    repeats: int | None
    contradictions: int | None
    parts: Mapping[str, Part]

    def column(self, name: str) -> Judged:
        """The column of that name."""
        return next(column for column in self.columns if column.facts.name == name)


def look(path: Path, target: str | None = None, limits: Limits = LIMITS) -> FileFacts:
    """Facts of a file or folder; `target` names the column to predict, which is guessed otherwise. Raises DataError."""
    source = open_source(path, limits)
    if target is not None and target not in source.columns:
        origin = Origin(str(path), unreadable=source.unreadable)
        raise DataError(f"{path}: has no column `{target}`; {column_hint(target, source.columns, origin)}")
    watches = {name: ColumnWatch(name, column) for name, column in source.columns.items()}
    total = _watch(source, watches)
    columns = tuple(judge({name: watch.facts() for name, watch in watches.items()}))
    wanted = target if target is not None else guess_target(columns)
    aside = [column.facts.name for column in columns if column.role is Role.IDENTIFIER]
    telling = [column for column in columns if column.facts.name not in aside]
    alone = len(telling) == 1 and not telling[0].facts.column.shape  # equal numbers of a single column repeat nothing
    said = None if total is None or alone or not telling else without(source, total, aside)
    found = 0 if said is None else different(said)
    contradictions = None
    if said is not None and wanted is not None and wanted not in aside:
        contradictions = found - different(without(source, said, [wanted]))
    looked = next((watch.rows for watch in watches.values()), 0)
    repeats = None if said is None else len(said) - found
    return FileFacts(source, columns, looked, wanted, repeats, contradictions, _parts(source, said, aside))


def _watch(source: Source, watches: Mapping[str, ColumnWatch]) -> Array | None:
    """Every column sees every row once; the marks of the rows where there are not too many."""
    found: list[Array] | None = [] if source.rows <= MOST_ROWS * source.stride else None
    for arrays in pieces(source):
        for name, array in arrays.items():
            watches[name].see(array)
        if found is not None:
            found.append(marks(arrays))
    return None if found is None else np.concatenate([np.empty(0, dtype=np.uint64), *found])


def _parts(source: Source, said: Array | None, aside: list[str]) -> dict[str, Part]:
    """The rows kept apart, compared with those to train on."""
    found = dict[str, Part]()
    for name, part in source.parts.items():
        comparable = said is not None and part.columns.keys() == source.columns.keys() and part.rows <= MOST_ROWS and part.stride == 1
        names = [column for column in source.columns if column not in aside]
        own = [marks(arrays) for arrays in pieces(part, names)] if comparable and names else []
        found[name] = Part(part.rows, known(np.concatenate(own), said) if own and said is not None else None)
    return found
