"""Where a view looks: indices of its operand as sums of multiples of its own indices."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Affine:
    """`constant + sum(factor * index)` over named indices."""

    terms: tuple[tuple[str, int], ...] = ()
    constant: int = 0

    def times(self, factor: int, offset: int = 0) -> Affine:
        """factor * self + offset."""
        return Affine(tuple((name, f * factor) for name, f in self.terms), self.constant * factor + offset)

    def __add__(self, other: Affine) -> Affine:
        terms = dict(self.terms)
        for name, factor in other.terms:
            terms[name] = terms.get(name, 0) + factor
        return Affine(tuple(terms.items()), self.constant + other.constant)


Point = tuple[Affine, ...]
"""An index along each axis."""


class NotAffine(Exception):
    """A view that no sums of multiples of indices describe: frames, and reshapes that cut an axis into several."""
