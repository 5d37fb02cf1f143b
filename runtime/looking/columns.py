"""Facts of one column: its type, what is missing, its range, its values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .measures import Array, Direction, Extremes, Moments, Sample, Tally
from .source import Column

MOST_PLACES = 2**20
"""Elements of a row of which each is watched for whether it ever varies."""


@dataclass(frozen=True)
class Numbers:
    """Range, mean, standard deviation and quartiles of the finite values; quartiles are `exact` or of an even sample of them."""

    least: float
    most: float
    mean: float
    deviation: float
    quartiles: tuple[float, float, float]
    exact: bool
    infinite: int
    whole: bool


@dataclass(frozen=True)
class ColumnFacts:
    """What is known of a column over `rows` rows.

    `missing` counts elements (of `elements`) that are NaN or empty text. `values` and `counts` are the different values in order, None
    where there were too many to tell apart or a row is more than one element. `still` counts places of a row that never vary.
    """

    name: str
    column: Column
    rows: int
    missing: int
    numbers: Numbers | None
    values: Array | None
    counts: Array
    many: bool
    rising: bool
    still: int

    @property
    def type(self) -> str:
        """The element type, and the shape of a row where it is more than one element."""
        kind = self.column.dtype.kind
        name = "text" if kind in "US" else "bool" if kind == "b" else f"{kind}{8 * self.column.dtype.itemsize}"
        return f"{name}{list(self.column.shape)}" if self.column.shape else name

    @property
    def is_text(self) -> bool:
        """Texts, not numbers."""
        return self.column.dtype.kind in "US"

    @property
    def elements(self) -> int:
        """Elements in all rows."""
        return self.rows * self.places

    @property
    def places(self) -> int:
        """Elements in a row."""
        return int(np.prod(self.column.shape, dtype=object))

    @property
    def missing_share(self) -> float:
        """The share of elements that are missing."""
        return self.missing / self.elements if self.elements else 0.0

    @property
    def distinct(self) -> int | None:
        """How many different values there are, if they were told apart."""
        return None if self.many or self.column.shape else len(self.counts)

    @property
    def all_differ(self) -> bool:
        """Whether no value stands twice, as far as is known."""
        return self.rising or self.distinct == self.rows

    @property
    def constant(self) -> bool:
        """Whether all rows hold the same; a column in which everything is missing does."""
        if not self.rows or self.missing == self.elements:
            return bool(self.rows)
        if self.column.shape:
            return not self.is_text and self.still == self.places
        return self.distinct == 1 and not self.missing and not (self.numbers and self.numbers.infinite)

    def frequent(self, most: int) -> list[tuple[Any, int]]:
        """The most frequent values with their numbers of rows, equal ones in the order of values."""
        if self.values is None:
            return []
        order = np.argsort(-self.counts, kind="stable")[:most]
        return [(self.values[n].item(), int(self.counts[n])) for n in order]


@dataclass
class ColumnWatch:
    """Gathers the facts of a column while its rows pass by."""

    name: str
    column: Column
    rows: int = 0
    missing: int = 0
    infinite: int = 0
    whole: bool = True
    least: Any = None
    most: Any = None
    moments: Moments = field(default_factory=Moments)
    sample: Sample = field(default_factory=Sample)
    tally: Tally = field(default_factory=Tally)
    extremes: Extremes = field(default_factory=Extremes)
    direction: Direction = field(default_factory=Direction)

    def see(self, array: Array) -> None:
        """Some more rows, [rows, *shape]."""
        self.rows += len(array)
        if array.dtype.kind == "U":
            known = array[array != ""]
            self.missing += array.size - known.size
        else:
            known = self._numbers(array)
        if self.column.shape:
            return
        self.tally.see(known)
        if array.dtype.kind in "iuU":
            self.direction.see(array)

    def _numbers(self, array: Array) -> Array:
        """The finite ones, flat, once they are counted in."""
        if self.column.shape and array[:1].size <= MOST_PLACES:
            self.extremes.see(array.reshape(len(array), -1))
        known: Array = array.ravel()
        if array.dtype.kind == "f":
            holes = np.isnan(known)
            self.missing += int(holes.sum())
            self.infinite += int(np.isinf(known).sum())
            known = known[np.isfinite(known)]
            self.whole = self.whole and bool((known == np.trunc(known)).all())
        if known.size:
            low, high = known.min().item(), known.max().item()
            self.least = low if self.least is None else min(self.least, low)
            self.most = high if self.most is None else max(self.most, high)
            values = known.astype(np.float64)
            self.moments.see(values)
            self.sample.see(values)
        return known

    def facts(self) -> ColumnFacts:
        """What has been found."""
        self.tally.settle()
        rising = self.column.dtype.kind in "iuUS" and not self.column.shape and self.direction.rising and self.rows > 1
        return ColumnFacts(
            self.name,
            self.column,
            self.rows,
            self.missing,
            None if self.column.dtype.kind in "US" else self._range(),
            self.tally.values,
            self.tally.counts,
            self.tally.full,
            rising,
            self.extremes.still,
        )

    def _range(self) -> Numbers:
        nothing = float("nan")
        least, most = (nothing, nothing) if self.least is None else (self.least, self.most)
        mean = self.moments.mean if self.moments.count else nothing
        quartiles, exact = self.sample.quartiles(), self.sample.share == 1
        return Numbers(least, most, mean, self.moments.deviation, quartiles, exact, self.infinite, self.whole)
