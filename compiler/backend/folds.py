"""How values are folded: what starts a fold, how two partial results combine, how the lanes of one combine.

A partial result is a tuple: one value, or for argmax and argmin the best value and where it is. The order of combination is fixed by
the caller and by the halving of lanes here. argmax and argmin yield the first of equals; a NaN is better than any number, as in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.types import I32, DType
from . import vectors
from .elementwise import apply
from .lanes import Lanes
from .text import Text, Value

Partial = tuple[Value, ...]


@dataclass(frozen=True)
class Folding:
    """Writes folds of one kind over values of one type in one function."""

    text: Text
    kind: str
    dtype: DType

    @property
    def counts(self) -> bool:
        """True if the fold yields a position."""
        return self.kind in ("argmax", "argmin")

    def neutral(self, lanes: int) -> Partial:
        """The partial result of no values."""
        value = vectors.splat(self.text, vectors.literal(self._start(), self.dtype), lanes)
        return (value, vectors.zero(I32, lanes)) if self.counts else (value,)

    def masked(self, partial: Partial, mask: Value, lanes: int) -> Partial:
        """The partial result without the lanes outside the mask."""
        lane, nothing = Lanes(self.text, self.dtype, lanes), self.neutral(lanes)
        return tuple(lane.select(mask, value, other) for value, other in zip(partial, nothing, strict=True))

    def combine(self, a: Partial, b: Partial, lanes: int) -> Partial:
        """Two partial results as one, lane by lane."""
        if self.counts:
            return self._better(a, b, lanes)
        op = {"sum": "add", "any": "or", "all": "and"}.get(self.kind, self.kind)
        return (apply(self.text, op, [a[0], b[0]], [self.dtype] * 2, self.dtype, lanes),)

    def tree(self, partials: Sequence[Partial], lanes: int) -> Partial:
        """Many partial results as one, neighbours first."""
        while len(partials) > 1:
            pairs = [self.combine(partials[n], partials[n + 1], lanes) for n in range(0, len(partials) - 1, 2)]
            partials = [*pairs, *partials[len(pairs) * 2 :]]
        return partials[0]

    def across_lanes(self, partial: Partial, lanes: int) -> Partial:
        """The lanes of a partial result as one scalar, the upper half onto the lower."""
        if lanes > 1 and self.kind in ("any", "all"):
            name = f"llvm.vector.reduce.{'or' if self.kind == 'any' else 'and'}.v{lanes}i1"
            return (self.text.call("i1", name, partial[0]),)
        while lanes > 1:
            lanes //= 2
            low = tuple(self._part(value, 0, lanes) for value in partial)
            high = tuple(self._part(value, lanes, lanes) for value in partial)
            partial = self.combine(low, high, lanes)
        return partial

    def _part(self, value: Value, first: int, lanes: int) -> Value:
        scalar = value.type.removesuffix(">").split()[-1]
        if lanes == 1:
            return self.text.op(scalar, f"extractelement {value}, i64 {first}")
        return vectors.shuffle(self.text, value, None, scalar, range(first, first + lanes))

    def _start(self) -> float | int | bool:
        if self.kind in ("sum", "any", "all"):
            return self.kind == "all"
        lowest = self.kind in ("max", "argmax")
        if self.dtype.is_float:
            return float("-inf") if lowest else float("inf")
        signed = self.dtype.kind == "i"
        bits = 1 if self.dtype.kind == "b" else self.dtype.bits
        return (-(2 ** (bits - 1)) if signed else 0) if lowest else 2 ** (bits - signed) - 1

    def _better(self, a: Partial, b: Partial, lanes: int) -> Partial:
        """The better of two values with its place; of equals the earlier."""
        lane, place = Lanes(self.text, self.dtype, lanes), Lanes(self.text, I32, lanes)
        earlier = place.compare("lt", b[1], a[1])
        tie = lane.both(lane.compare("eq", a[0], b[0]), earlier)
        second = lane.either(lane.compare("gt" if self.kind == "argmax" else "lt", b[0], a[0]), tie)
        if self.dtype.is_float:
            unless = lane.either(lane.inverse(lane.is_nan(a[0])), earlier)
            second = lane.either(second, lane.both(lane.is_nan(b[0]), unless))
        return lane.select(second, b[0], a[0]), lane.select(second, b[1], a[1])
