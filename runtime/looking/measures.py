"""Figures of a column gathered piece by piece: range and spread, quartiles, which values there are and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SAMPLED = 2**20
"""Numbers that are kept for quartiles; of more, an even sample of about as many."""
MOST_VALUES, MOST_VALUE_BYTES = 2**20, 2**26
"""Different values of a column that are told apart, and what they may take."""


@dataclass
class Moments:
    """Count, mean and sum of squared deviations; pieces are joined after Chan, Golub and LeVeque (1983)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def see(self, values: Array) -> None:
        """More finite values, float64."""
        if not values.size:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            count = self.count + values.size
            mean = float(np.mean(values))
            deviations = values - mean
            between = mean - self.mean
            self.squares += float(deviations @ deviations) + between * between * self.count * (values.size / count)
            self.mean += between * (values.size / count)
            self.count = count

    @property
    def deviation(self) -> float:
        """The standard deviation of a sample (n - 1); NaN for fewer than two values."""
        return float(np.sqrt(self.squares / (self.count - 1))) if self.count > 1 else float("nan")


@dataclass
class Sample:
    """Values to take quartiles of: all as long as they are few, else each with the same chance, by a fixed seed."""

    parts: list[Array] = field(default_factory=list)
    share: float = 1.0
    size: int = 0
    generator: np.random.Generator = field(default_factory=lambda: np.random.Generator(np.random.PCG64(0)))

    def see(self, values: Array) -> None:
        """More values."""
        if self.share < 1:
            values = values[self.generator.integers(0, max(values.size, 1), self.generator.binomial(values.size, self.share))]
        self.parts.append(values.copy())
        self.size += values.size
        while self.size > SAMPLED:
            together = np.concatenate(self.parts)
            self.parts = [self.generator.permutation(together)[: self.size // 2]]
            self.share, self.size = self.share / 2, self.size // 2

    def quartiles(self) -> tuple[float, float, float]:
        """The first, the median and the third, between values by linear interpolation; NaN without values."""
        if not self.size:
            return float("nan"), float("nan"), float("nan")
        with np.errstate(over="ignore", invalid="ignore"):
            low, median, high = np.quantile(np.concatenate(self.parts), [0.25, 0.5, 0.75])
        return float(low), float(median), float(high)


@dataclass
class Tally:
    """The different values and how often each stands; given up when they are too many.

    What pieces hold is `waiting` until it is as much as is known, so that not everything is gone through again for each of them.
    """

    values: Array | None = None
    counts: Array = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    full: bool = False
    waiting: list[tuple[Array, Array]] = field(default_factory=list)

    def see(self, values: Array) -> None:
        """More values, none of them missing."""
        if self.full or not values.size:
            return
        self.waiting.append(np.unique(values, return_counts=True))
        if self.values is None or sum(found.size for found, _ in self.waiting) >= self.values.size:
            self.settle()

    def settle(self) -> None:
        """Count in what waits: `values` and `counts` are of all that was seen."""
        if not self.waiting:
            return
        known = [] if self.values is None else [(self.values, self.counts)]
        values, counts = zip(*known, *self.waiting, strict=True)
        self.waiting = []
        found, self.counts = _merged(np.concatenate(values), np.concatenate(counts))
        self.values = found
        if found.size > MOST_VALUES or found.nbytes > MOST_VALUE_BYTES:
            self.values, self.counts, self.full = None, np.empty(0, dtype=np.int64), True


def _merged(values: Array, counts: Array) -> tuple[Array, Array]:
    """Different values in order with their counts, from several such runs: a stable sort takes runs as they are."""
    order = np.argsort(values, kind="stable")
    values = values[order]
    begins = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return values[begins], np.add.reduceat(counts[order], begins)


@dataclass
class Extremes:
    """The least and greatest of each place of a row, by which places are found that never vary."""

    least: Array | None = None
    most: Array | None = None

    def see(self, rows: Array) -> None:
        """More rows, [rows, places]."""
        if not len(rows):
            return
        with np.errstate(invalid="ignore"):
            least, most = rows.min(axis=0), rows.max(axis=0)
            self.least = least if self.least is None else np.minimum(self.least, least)
            self.most = most if self.most is None else np.maximum(self.most, most)

    @property
    def still(self) -> int:
        """How many places hold one value in all rows."""
        return 0 if self.least is None or self.most is None else int((self.least == self.most).sum())


@dataclass
class Direction:
    """Whether whole numbers or texts rise from row to row."""

    last: Any = None
    rising: bool = True

    def see(self, values: Array) -> None:
        """More rows."""
        if not self.rising or not values.size:
            return
        first = self.last is None or bool(values[0] > self.last)
        self.rising = first and bool((values[1:] > values[:-1]).all())
        self.last = values[-1]
