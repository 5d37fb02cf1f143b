"""Writes the walks of a reduction at a point: folds along rows, down columns, or over points that are all written out.

Sums are made in a fixed order: several chains side by side, chains and then lanes as a tree; down long columns chunk by chunk, so that
the rounding error grows with the length of a chunk and the number of chunks, not with their product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from ..ir.types import I32
from ..kernels.model import Fold, Index
from . import elementwise, vectors
from .folds import Folding, Partial
from .loop_plan import Walk, dtype_of
from .loops import Body, Carried, Loops
from .points import Place, Slot
from .text import Value, i64
from .walks import counting_strides

CHUNK = 256


@dataclass(frozen=True)
class Chain:
    """One accumulator: a fold at a slot of the block (or one of several side by side), of some lanes."""

    fold: int
    folding: Folding
    slot: int
    lanes: int

    def neutral(self) -> Partial:
        """Its start."""
        return self.folding.neutral(self.lanes)


def flatten(partials: Sequence[Partial]) -> Carried:
    """Partial results as values that a loop carries."""
    return [value for partial in partials for value in partial]


def unflatten(chains: Sequence[Chain], values: Carried) -> list[Partial]:
    """Carried values as the partial results of their chains."""
    rest = iter(values)
    return [tuple(next(rest) for _ in range(2 if chain.folding.counts else 1)) for chain in chains]


@dataclass(frozen=True)
class Reduction:
    """The folds and stores of one point of `axes` (or one block of points, a column a lane)."""

    loops: Loops

    @property
    def place(self) -> Place:
        """Where the point is."""
        return self.loops.place

    def point(self) -> None:
        """Make all folds, walk by walk, and all stores."""
        plan = self.loops.plan
        if plan.resident:
            with self.place.block(self._all_slots(), plan.lanes if plan.by_rows else self.place.lanes):
                self._walks()
        else:
            self._walks()

    def _walks(self) -> None:
        plan, place = self.loops.plan, self.place
        place.define_known()
        for walk in plan.walks:
            with place.walking(walk):
                self._one_walk(walk)
            place.define_known()
        for store in plan.nest.stores:
            if not plan.repeated(store):
                place.store(store)

    def _one_walk(self, walk: Walk) -> None:
        plan = self.loops.plan
        if plan.resident:
            self.place.define_known()
            self._store_all(walk)
            self._fold_written_out(walk)
        elif plan.by_rows:
            self._fold_rows(walk)
        else:
            self._fold_columns(walk)

    def _all_slots(self) -> tuple[Slot, ...]:
        """A slot for every folded point, beside those of the block."""
        loops, plan = self.loops, self.loops.plan
        axis = plan.vector_axis
        own = loops.row_slots(loops.size(axis)) if plan.by_rows and axis else self.place.slots
        points = product(*(range(loops.size(a)) for a in plan.over))
        names = [a.name for a in plan.over]
        return tuple(Slot((*zip(names, p, strict=True), *slot.shift), slot.active, slot.mask) for p in points for slot in own)

    def _fold(self, number: int) -> Fold:
        fold = self.loops.plan.nest.body[number]
        assert isinstance(fold, Fold)
        return fold

    def _folding(self, number: int) -> Folding:
        fold = self._fold(number)
        return Folding(self.loops.text, fold.kind, dtype_of(self.loops.plan.nest.body[fold.arg]))

    def _contribution(self, number: int, slot: Slot) -> Partial:
        """What a slot adds to a fold: its values, with neutral ones outside the mask, and where they are."""
        place, plan, lanes = self.place, self.loops.plan, self.place.lanes
        folding = self._folding(number)
        partial: Partial = (place.operand(self._fold(number).arg, slot, lanes),)
        if folding.counts:
            where = place.index(Index(counting_strides(plan.nest), 0, I32), slot, plan.by_rows)
            partial = (*partial, where if plan.by_rows else vectors.splat(place.text, where, lanes))
        if not plan.by_rows or (slot.active is None and slot.mask is None):
            return partial
        return folding.masked(partial, slot.mask or vectors.lane_mask(place.text, lanes, slot.active or 0), lanes)

    def _assign(self, number: int, slot: Slot, partial: Partial, lanes: int) -> None:
        source = I32 if len(partial) > 1 else self._folding(number).dtype
        value = elementwise.cast(self.place.text, partial[-1], source, self._fold(number).dtype, lanes)
        self.place.assign(number, slot, value)

    def _store_all(self, walk: Walk) -> None:
        for number in walk.stores:
            self.place.store(self.loops.plan.nest.stores[number])

    def _fold_written_out(self, walk: Walk) -> None:
        """All folded points are slots: each point's own slots as a tree, and lanes where a row is folded."""
        point = frozenset(a.name for a in self.loops.plan.nest.axes)
        for number in walk.folds:
            folding, groups = self._folding(number), dict[tuple[tuple[str, int], ...], list[Slot]]()
            for slot in self.place.slots:
                groups.setdefault(slot.along(point), []).append(slot)
            for slots in groups.values():
                lanes = self.place.lanes
                partial = folding.tree([self._contribution(number, slot) for slot in slots], lanes)
                if self.loops.plan.by_rows:
                    partial, lanes = folding.across_lanes(partial, lanes), 1
                self._assign(number, slots[0], partial, lanes)

    def _accumulate(self, walk: Walk, chains: Sequence[Chain], values: Carried) -> Carried:
        """One turn: evaluate, store, and add every slot to its chain."""
        self.place.define_known()
        self._store_all(walk)
        partials = unflatten(chains, values)
        for fold in walk.folds:
            own = [n for n, chain in enumerate(chains) if chain.fold == fold and chain.lanes == self.place.lanes]
            for position, slot in enumerate(self.place.slots):
                n = own[position % len(own)]
                partials[n] = chains[n].folding.combine(partials[n], self._contribution(fold, slot), chains[n].lanes)
        return flatten(partials)

    def _fold_rows(self, walk: Walk) -> None:
        """Chains of vectors side by side, one more of scalars for a remainder that is not masked."""
        loops, plan = self.loops, self.loops.plan
        chains = [Chain(f, self._folding(f), u, plan.lanes) for f in walk.folds for u in range(plan.unroll)]
        if loops.scalar_tail():
            chains += [Chain(f, self._folding(f), 0, 1) for f in walk.folds]

        def row(values: Carried) -> Carried:
            return loops.vectors(values, lambda inner: self._accumulate(walk, chains, inner))

        start = flatten([chain.neutral() for chain in chains])
        partials = unflatten(chains, loops.nest(plan.over, start, row))
        for fold in walk.folds:
            folding = self._folding(fold)
            wide = [p for p, chain in zip(partials, chains, strict=True) if chain.fold == fold and chain.lanes > 1]
            narrow = [p for p, chain in zip(partials, chains, strict=True) if chain.fold == fold and chain.lanes == 1]
            whole = [folding.across_lanes(folding.tree(wide, plan.lanes), plan.lanes)] if wide else []
            self._assign(fold, Slot(), folding.tree([*whole, *narrow], 1), 1)

    def _fold_columns(self, walk: Walk) -> None:
        """A chain for every slot of the block."""
        loops, slots = self.loops, self.place.slots
        chains = [Chain(f, self._folding(f), n, self.place.lanes) for f in walk.folds for n in range(len(slots))]
        outer, inner = loops.plan.over[:-1], loops.plan.over[-1]

        def turn(values: Carried) -> Carried:
            return self._accumulate(walk, chains, values)

        def chunks(values: Carried) -> Carried:
            stop = loops.bounds(inner)[1]
            if not chains or (isinstance(stop, int) and stop <= CHUNK):
                return loops.nest((inner,), values, turn)
            return self._chunked(inner.name, stop, chains, values, turn)

        start = flatten([chain.neutral() for chain in chains])
        partials = unflatten(chains, loops.nest(outer, start, chunks))
        for partial, chain in zip(partials, chains, strict=True):
            self._assign(chain.fold, slots[chain.slot], partial, chain.lanes)

    def _chunked(self, axis: str, stop: Value | int, chains: Sequence[Chain], values: Carried, turn: Body) -> Carried:
        """Chunks of a long axis, each folded from its start and then combined with those before it."""
        loops, text = self.loops, self.loops.text
        end = i64(stop) if isinstance(stop, int) else stop
        with text.loop(end, 0, CHUNK, values) as loop:
            top = text.call("i64", "llvm.smin.i64", text.add(loop.index, i64(CHUNK)), end)
            fresh = loops.count(axis, loop.index, top, 1, flatten([chain.neutral() for chain in chains]), turn)
            pairs = zip(chains, unflatten(chains, loop.carried), unflatten(chains, fresh), strict=True)
            loop.close(flatten([chain.folding.combine(before, chunk, chain.lanes) for chain, before, chunk in pairs]))
        return loop.results
