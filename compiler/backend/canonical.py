"""Equal work made to look equal: kernels with their buffers, axes and places renamed, so that each is generated and compiled once.

    before  Nest(axes=(Axis("batch", BATCH), Axis("unit", 32)), … Access("hidden_3", offset=96) …)
    after   Nest(axes=(Axis("i0", BATCH), Axis("i1", 32)), … Access("b0", offset=0) …)   and   b0 = arena + 5760 bytes

Buffers that overlap in memory (one written where another died) become one, so that a generator sees every alias there is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..kernels.model import Access, Axis, Contract, Index, Instruction, Kernel, Load, Lookup, Nest, Store, loads, reached_axes, stores
from ..kernels.program import Buffer, Turn


@dataclass(frozen=True)
class Place:
    """A byte of a space, of slot 0 where it moves with a loop's time."""

    space: str
    offset: int
    turn: Turn | None = None


@dataclass(frozen=True)
class Canonical:
    """A renamed kernel, where each of its buffers begins, and the name of one that lies there."""

    kernel: Kernel
    places: Mapping[str, Place]
    names: Mapping[str, str]

    @property
    def fresh(self) -> frozenset[str]:
        """Buffers of which a loop meets another part each time."""
        return frozenset(name for name, place in self.places.items() if place.turn and not place.turn.slots)


@dataclass(frozen=True)
class Names:
    """How a kernel is renamed: axes by name; buffers by name, with what is added to the offset of an access (in bytes)."""

    axes: Mapping[str, str]
    buffers: Mapping[str, tuple[str, int]]


def canonical(kernel: Kernel, buffers: Mapping[str, Buffer]) -> Canonical:
    """Rename the axes i0, i1, … and the buffers b0, b1, … in order of appearance; b begins at its lowest accessed offset."""
    accesses = [*loads(kernel), *stores(kernel)]
    regions = regions_of({a.buffer: buffers[a.buffer] for a in accesses})
    starts = {region: _start(region, regions, accesses, buffers) for region in dict.fromkeys(regions[a.buffer] for a in accesses)}
    numbers = {region: f"b{n}" for n, region in enumerate(starts)}
    moved = {name: (numbers[region], buffers[name].offset - starts[region]) for name, region in regions.items()}
    axes = {axis.name: f"i{n}" for n, axis in enumerate(reached_axes(kernel))}
    places = {numbers[region]: Place(buffers[region].space, start, buffers[region].turn) for region, start in starts.items()}
    return Canonical(_renamed(kernel, Names(axes, moved)), places, {number: region for region, number in numbers.items()})


def regions_of(buffers: Mapping[str, Buffer]) -> dict[str, str]:
    """Which buffers share bytes at the same time: each buffer's name -> the name of the first buffer of its region.

    Buffers that move in different ways never do where one of them is written.
    """
    regions: dict[str, str] = {}
    end, kind, first = 0, ("", ""), ""
    for buffer in sorted(buffers.values(), key=lambda b: (b.space, str(b.turn), b.offset)):
        if (buffer.space, str(buffer.turn)) != kind or buffer.offset >= end:
            kind, end, first = (buffer.space, str(buffer.turn)), buffer.offset, buffer.name
        end = max(end, buffer.offset + buffer.bytes)
        regions[buffer.name] = first
    return regions


def _start(region: str, regions: Mapping[str, str], accesses: list[Access], buffers: Mapping[str, Buffer]) -> int:
    """The lowest byte at which an access of the region has its offset, such that all offsets stay whole elements."""
    mine = [a for a in accesses if regions[a.buffer] == region]
    lowest = min(buffers[a.buffer].offset + a.offset * a.dtype.bytes for a in mine)
    return lowest - lowest % max(a.dtype.bytes for a in mine)


def _renamed(kernel: Kernel, names: Names) -> Kernel:
    if isinstance(kernel, Lookup):
        entry, feature = _axes((kernel.entry, kernel.feature), names)
        index, table, rows = (_access(a, names) for a in (kernel.index, kernel.table, kernel.rows))
        return Lookup(_axes(kernel.axes, names), entry, feature, index, table, rows, kernel.add)
    body = tuple(_instruction(i, names) for i in kernel.body)
    written = tuple(Store(_access(s.access, names), s.value) for s in kernel.stores)
    if isinstance(kernel, Nest):
        return Nest(_axes(kernel.axes, names), _axes(kernel.over, names), body, written)
    return Contract(
        _axes(kernel.batch, names),
        _axes(kernel.m, names),
        _axes((kernel.n,), names)[0],
        _axes(kernel.k, names),
        _access(kernel.a, names),
        _access(kernel.b, names),
        body,
        written,
        kernel.dtype,
    )


def _axes(axes: tuple[Axis, ...], names: Names) -> tuple[Axis, ...]:
    return tuple(replace(axis, name=names.axes[axis.name]) for axis in axes)


def _instruction(instruction: Instruction, names: Names) -> Instruction:
    if isinstance(instruction, Load):
        return Load(_access(instruction.access, names))
    if isinstance(instruction, Index):
        return replace(instruction, strides=_strides(instruction.strides, names))
    return instruction


def _access(access: Access, names: Names) -> Access:
    buffer, moved = names.buffers[access.buffer]
    return Access(buffer, access.dtype, _strides(access.strides, names), access.offset + moved // access.dtype.bytes)


def _strides(strides: tuple[tuple[str, int], ...], names: Names) -> tuple[tuple[str, int], ...]:
    """The strides under the new names, in their order; a `/` marks the panel digit of a split axis."""
    renamed = [(names.axes.get(name.rstrip("/")), name.endswith("/"), stride) for name, stride in strides]
    return tuple(sorted((axis + "/" * panel, stride) for axis, panel, stride in renamed if axis is not None))
