"""How a map/reduce nest is written, as data: the vector axis, the loops, the walks over folded axes; and questions about it.

map      no folds: loops over `axes`, the vector axis innermost; where loads run along another axis, square blocks are transposed
column   folds, vector axis among `axes`: each lane folds its own column
row      folds, vector axis among `over`: lanes are folded into each other at the end of a row
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ..ir.types import DType, Symbol
from ..kernels.model import Access, Accumulator, Apply, Axis, Constant, Fold, Index, Instruction, Load, Nest, Store
from .normal_form import Ragged, factor
from .target import Target
from .text import Grid

ROWS_GUESS = 64
WEIGHTS = {
    "exp": 18, "expm1": 20, "log": 22, "log1p": 30, "tanh": 18, "erf": 40, "sigmoid": 24, "sin": 30, "cos": 30, "pow": 100,
    "random_bits": 60, "div": 4, "sqrt": 6, "rsqrt": 10, "mod": 20,
}  # fmt: skip


@dataclass(frozen=True)
class Walk:
    """One walk over the folded axes.

    It makes `folds`, or, the last one, `stores` (numbers of the nest's stores). It evaluates `wanted`; of these it reads `saved` from
    scratch rows, where earlier walks left them, and leaves `saves` there for later ones.
    """

    folds: tuple[int, ...]
    stores: tuple[int, ...]
    wanted: frozenset[int]
    saves: Mapping[int, Access]
    saved: Mapping[int, Access]


@dataclass(frozen=True)
class Plan:
    """A normal nest and how it is written.

    `vector` is the axis that lanes run along (None for a kernel without axes), `across` the axis that transposed loads run along.
    `axes` and `over` are the loops outside the vector one. `unroll` counts vectors a turn. When `resident`, all points of `over` are
    written out and their values stay in registers. `grid` says what threads share out, by cutting the axis `shared`. `scratch` is in bytes.
    """

    nest: Nest
    target: Target
    vector: str | None
    across: str | None
    lanes: int
    unroll: int
    resident: bool
    axes: tuple[Axis, ...]
    over: tuple[Axis, ...]
    grid: Grid
    shared: str | None
    walks: tuple[Walk, ...] = ()
    scratch: int = 0

    @functools.cached_property
    def depends(self) -> tuple[frozenset[str], ...]:
        """Axes that each instruction's value depends on."""
        return dependencies(self.nest)

    @functools.cached_property
    def folded(self) -> frozenset[str]:
        """Names of the folded axes."""
        return frozenset(a.name for a in self.nest.over)

    @functools.cached_property
    def by_rows(self) -> bool:
        """True if the lanes run along a folded axis."""
        return self.vector in self.folded

    @functools.cached_property
    def vector_axis(self) -> Axis | None:
        """The axis that lanes run along."""
        return next((a for a in (*self.nest.axes, *self.nest.over) if a.name == self.vector), None)

    @functools.cached_property
    def needed(self) -> frozenset[int]:
        """Instructions that a store depends on."""
        found: frozenset[int] = frozenset()
        roots = frozenset(s.value for s in self.nest.stores)
        while not roots <= found:
            found |= closure(self.nest, roots, ())
            roots = found | {i.arg for n in found if isinstance(i := self.nest.body[n], Fold)}
        return found

    @functools.cached_property
    def widened(self) -> frozenset[int]:
        """Instructions that are the same for all lanes, but that something varying uses."""
        uses = [(i, instruction.args) for i, instruction in enumerate(self.nest.body) if isinstance(instruction, Apply)]
        users = {a for i, args in uses if self.varies(i) for a in args}
        users |= {i.arg for i in self.nest.body if isinstance(i, Fold)}
        users |= {s.value for s in self.nest.stores if self.lane_stride(s.access)}
        return frozenset(a for a in users if not self.varies(a))

    @functools.cached_property
    def strided_loads(self) -> tuple[int, ...]:
        """Loads whose lanes are neither neighbours nor the same element."""
        loads = [(n, i) for n in sorted(self.needed) if isinstance(i := self.nest.body[n], Load)]
        return tuple(n for n, load in loads if self.lane_stride(load.access) not in (0, 1))

    def lane_stride(self, access: Access) -> int:
        """Elements from lane to lane."""
        return access.stride(self.vector) if self.vector else 0

    def varies(self, instruction: int) -> bool:
        """True if lanes hold different values."""
        return self.vector in self.depends[instruction]

    def repeated(self, store: Store) -> bool:
        """True if a store is made at every point of the folded axes."""
        return bool((self.depends[store.value] | {name for name, _ in store.access.strides}) & self.folded)


def dtype_of(instruction: Instruction) -> DType:
    """The element type of a value."""
    return instruction.access.dtype if isinstance(instruction, Load) else instruction.dtype


def dependencies(nest: Nest) -> tuple[frozenset[str], ...]:
    """Axes that each instruction's value depends on; a fold belongs to a point of all `axes`."""
    point = frozenset(a.name for a in nest.axes)
    found: list[frozenset[str]] = []
    for instruction in nest.body:
        match instruction:
            case Load(Access(_, _, strides)) | Index(strides, _, _):
                found.append(frozenset(name for name, _ in strides))
            case Apply(_, args, _):
                found.append(frozenset().union(*(found[a] for a in args)))
            case Fold():
                found.append(point)
            case Accumulator():
                raise ValueError("a nest has no accumulator")
            case _:
                found.append(frozenset())
    return tuple(found)


def closure(nest: Nest, roots: Iterable[int], known: Collection[int]) -> frozenset[int]:
    """The roots and what they are computed from, going neither beyond what is known nor through folds."""
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        number = waiting.pop()
        if number in found:
            continue
        found.add(number)
        instruction = nest.body[number]
        if number not in known and isinstance(instruction, Apply):
            waiting += instruction.args
    return frozenset(found)


def weight(instruction: Instruction) -> int:
    """About how many machine instructions an evaluation takes."""
    if isinstance(instruction, Apply):
        return WEIGHTS.get(instruction.op, 1)
    return 0 if isinstance(instruction, Constant) else 1


def extent(axis: Axis) -> int:
    """The extent of an axis, guessed where it is known at run time only."""
    if isinstance(axis.extent, int):
        return axis.extent
    if isinstance(axis.extent, Ragged):
        return axis.extent.panel
    return ROWS_GUESS * factor(axis.extent)


def is_static(axis: Axis) -> bool:
    """True if the extent is known when the code is written (panel by panel for a ragged axis)."""
    return not isinstance(axis.extent, Symbol) or isinstance(axis.extent, Ragged)
