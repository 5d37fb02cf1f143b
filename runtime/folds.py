"""Parts of the rows for cross-validation: plain, stratified by class, whole groups together, or later rows after earlier ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..compiler.errors import DataError

Array = np.ndarray[Any, Any]
Fold = tuple[Array, Array]


def make_folds(
    rows: int,
    count: int,
    seed: int,
    *,
    labels: Array | None = None,
    groups: Array | None = None,
    ordered: bool = False,
    gap: int = 0,
) -> list[Fold]:
    """(training rows, held-out rows) of each of `count` folds, ascending, by a seed alone.

    Every row is held out once. With `labels` [rows] each fold has its share of every class; with `groups` [rows] no group is in two
    folds; `ordered` rows are held out after those that are trained on, and the first of them never. The last `gap` rows before those that
    are held out are left out. Raises DataError for too few rows.
    """
    most = len(np.unique(groups)) if groups is not None else rows - int(ordered)
    first = rows - rows // (count + 1) * count
    if not 2 <= count <= most or (ordered and first <= gap):
        what = "groups" if groups is not None else "rows"
        raise DataError(f"{count} folds need at least {max(count, 2) + int(ordered)} {what}, and at least 2 folds; there are {rows} rows")
    if ordered:
        return _in_order(rows, count, gap)
    generator = np.random.Generator(np.random.PCG64(seed))
    if groups is not None:
        part = _grouped(generator, groups, count)
    elif labels is not None:
        part = _dealt(generator, labels, count)
    else:
        part = np.empty(rows, dtype=np.int64)
        part[generator.permutation(rows)] = np.arange(rows) % count
    return [(np.flatnonzero(part != n), np.flatnonzero(part == n)) for n in range(count)]


def _in_order(rows: int, count: int, gap: int) -> list[Fold]:
    """Stretches of equal length at the end, each after all rows that come before it."""
    size = rows // (count + 1)
    starts = [rows - size * (count - n) for n in range(count)]
    return [(np.arange(start - gap), np.arange(start, start + size)) for start in starts]


def _dealt(generator: np.random.Generator, labels: Array, count: int) -> Array:
    """Each class shuffled and dealt out in turn, where the class before it ended."""
    part, turn = np.empty(len(labels), dtype=np.int64), 0
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        part[members] = (np.arange(len(members)) + turn) % count
        turn += len(members)
    return part


def _grouped(generator: np.random.Generator, groups: Array, count: int) -> Array:
    """The largest group first, each to the fold with the fewest rows; equal ones by the seed."""
    _, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = generator.permutation(len(sizes))
    fold, filled = np.empty(len(sizes), dtype=np.int64), np.zeros(count, dtype=np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold[group] = int(filled.argmin())
        filled[fold[group]] += sizes[group]
    return np.asarray(fold[member])
