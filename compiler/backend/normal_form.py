"""The normal form of a map/reduce nest: few long axes instead of many short ones, the contiguous one innermost.

    axes of extent 1 vanish, and folds over nothing else with them;
    a split axis becomes a panel axis and an axis inside the panel, unless its panels lie one after the other;
    neighbours merge where stride(outer) = extent(inner) * stride(inner) in every access and index;
    the unit-stride axis comes last.

Two kinds of extent appear that kernels themselves do not have: `Multiple` (rows times a number, from merging) and `Ragged` (inside a
panel, of which the last is shorter).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, permutations

from ..ir.types import Symbol
from ..kernels.model import Access, Apply, Axis, Constant, Fold, Index, Instruction, Load, Nest, Store, loads, stores

COUNTING = ("argmax", "argmin")
Strides = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Multiple(Symbol):
    """The extent `factor * rows`, where `name` is the symbol of the rows."""

    factor: int


@dataclass(frozen=True)
class Ragged(Symbol):
    """The extent inside a panel of the axis `name`: `panel`, but `total % panel` in the last."""

    total: int
    panel: int

    @property
    def full(self) -> int:
        """Number of whole panels."""
        return self.total // self.panel

    @property
    def last(self) -> int:
        """Extent of the last panel, which is shorter than the others."""
        return self.total % self.panel


def factor(extent: int | Symbol) -> int:
    """What the rows are multiplied by in an extent that is known at run time only; 1 for any other extent."""
    return extent.factor if isinstance(extent, Multiple) else 1


def normalise(kernel: Nest) -> Nest:
    """The normal form of a nest. Raises ValueError for a symbolic axis in panels, which no layout has."""
    nest = kernel
    for axis in (*kernel.axes, *kernel.over):
        if axis.split:
            nest = _without_split(nest, axis)
    nest = _drop(nest, {a.name for a in (*nest.axes, *nest.over) if a.extent == 1})
    if not nest.over:
        nest = replace(nest, body=tuple(_of_one_point(i) for i in nest.body))
    nest = _merge_all(nest, "axes", permutations)
    nest = _merge_all(nest, "over", pairwise if _counts(nest) else permutations)
    return replace(nest, axes=_contiguous_last(nest))


def divide(nest: Nest, axis: Axis, panel: int, counter: str) -> Nest:
    """Cut an axis of fixed extent into panels: the axis `counter` counts them, the axis itself runs inside."""
    assert isinstance(axis.extent, int)
    whole, rest = divmod(axis.extent, panel)
    inside = Axis(axis.name, Ragged(counter, axis.extent, panel) if rest else panel)
    outside = Axis(counter, whole + (rest > 0))

    def both(strides: Strides) -> Strides:
        found = dict(strides)
        found.setdefault(outside.name, panel * found.get(axis.name, 0))
        return tuple(sorted((name, stride) for name, stride in found.items() if stride))

    return _rewrite(nest, {axis.name: (outside, inside)}, both)


def panel_axes(nest: Nest) -> frozenset[str]:
    """Names of the axes that count panels of which the last is shorter: they stay outside the axis inside the panels."""
    return frozenset(a.extent.name for a in (*nest.axes, *nest.over) if isinstance(a.extent, Ragged))


def all_strides(nest: Nest) -> Iterator[Strides]:
    """The strides of every access and every index."""
    for access in (*loads(nest), *stores(nest)):
        yield access.strides
    for instruction in nest.body:
        if isinstance(instruction, Index):
            yield instruction.strides


def _of_one_point(instruction: Instruction) -> Instruction:
    """A fold over a single point is that point's value, or its place, 0."""
    if not isinstance(instruction, Fold):
        return instruction
    if instruction.kind in COUNTING:
        return Constant(0, instruction.dtype)
    return Apply("cast", (instruction.arg,), instruction.dtype)


def _counts(nest: Nest) -> bool:
    """True if a fold counts the points of `over` in their order."""
    return any(isinstance(i, Fold) and i.kind in COUNTING for i in nest.body)


def _without_split(nest: Nest, axis: Axis) -> Nest:
    plain = replace(axis, split=0)
    panel_axis = f"{axis.name}/"

    def consecutive(strides: Strides) -> bool:
        found = dict(strides)
        return found.get(panel_axis, axis.split * found.get(axis.name, 0)) == axis.split * found.get(axis.name, 0)

    one_panel = isinstance(axis.extent, int) and axis.extent <= axis.split
    if one_panel or all(consecutive(s) for s in all_strides(nest)):
        return _rewrite(nest, {axis.name: (plain,)}, lambda strides: tuple(s for s in strides if s[0] != panel_axis))
    if not isinstance(axis.extent, int):
        raise ValueError(f"axis {axis.name} has a symbolic extent and cannot lie in panels")
    return divide(nest, plain, axis.split, panel_axis)


def _rewrite(nest: Nest, parts: Mapping[str, tuple[Axis, ...]], change: Callable[[Strides], Strides]) -> Nest:
    """Replace axes by others (none, one or two) and change the strides of everything."""

    def axes(old: Iterable[Axis]) -> tuple[Axis, ...]:
        return tuple(new for a in old for new in parts.get(a.name, (a,)))

    def access(old: Access) -> Access:
        return replace(old, strides=change(old.strides))

    def instruction(old: Instruction) -> Instruction:
        if isinstance(old, Load):
            return Load(access(old.access))
        return replace(old, strides=change(old.strides)) if isinstance(old, Index) else old

    body = tuple(instruction(i) for i in nest.body)
    return Nest(axes(nest.axes), axes(nest.over), body, tuple(Store(access(s.access), s.value) for s in nest.stores))


def _drop(nest: Nest, names: set[str]) -> Nest:
    """Remove axes; strides of 0 and of axes that are not there go with them."""
    known = {a.name for a in (*nest.axes, *nest.over)} - names
    parts: dict[str, tuple[Axis, ...]] = dict.fromkeys(names, ())
    return _rewrite(nest, parts, lambda strides: tuple(sorted((n, s) for n, s in strides if n in known and s)))


def _merge_all(nest: Nest, group: str, pairs: Callable[..., Iterable[tuple[Axis, ...]]]) -> Nest:
    """Merge pairs of a group of axes until none is left to merge."""
    while True:
        axes: Sequence[Axis] = getattr(nest, group)
        candidates = pairs(axes, 2) if pairs is permutations else pairs(axes)
        found = next(((a, b) for a, b in candidates if _mergeable(nest, a, b)), None)
        if found is None:
            return nest
        nest = _merge(nest, *found)


def _mergeable(nest: Nest, outer: Axis, inner: Axis) -> bool:
    if not isinstance(inner.extent, int) or isinstance(outer.extent, Ragged) or {outer.name, inner.name} & panel_axes(nest):
        return False
    return all(dict(s).get(outer.name, 0) == inner.extent * dict(s).get(inner.name, 0) for s in all_strides(nest))


def _merge(nest: Nest, outer: Axis, inner: Axis) -> Nest:
    assert isinstance(inner.extent, int)
    if isinstance(outer.extent, int):
        extent: int | Symbol = outer.extent * inner.extent
    else:
        extent = Multiple(outer.extent.name, factor(outer.extent) * inner.extent)
    parts = {outer.name: (Axis(inner.name, extent),), inner.name: ()}
    return _rewrite(nest, parts, lambda strides: tuple(s for s in strides if s[0] != outer.name))


def _contiguous_last(nest: Nest) -> tuple[Axis, ...]:
    """The axis with unit stride in most accesses, stores before loads, goes innermost."""
    if not nest.axes:
        return ()
    writes, reads = list(stores(nest)), list(loads(nest))

    def contiguous(axis: Axis) -> tuple[int, int]:
        return sum(a.stride(axis) == 1 for a in writes), sum(a.stride(axis) == 1 for a in reads)

    movable = [a for a in nest.axes if a.name not in panel_axes(nest)]
    best = max(reversed(movable), key=contiguous)
    return (*(a for a in nest.axes if a is not best), best)
