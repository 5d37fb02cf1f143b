"""The memory plan of a program by line of source: what lies where, for how long, and what every space takes."""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler.driver import Blueprint
from ...compiler.kernels.memory import loop_ends
from ...compiler.kernels.model import buffers, stores
from ...compiler.kernels.program import ARENA, Program
from .kernels import place


@dataclass(frozen=True)
class Resident:
    """A buffer of the arena: alive from launch `first` to launch `last`, through the whole of a loop that uses it, written for `place`."""

    name: str
    place: str
    elements: int
    dtype: str
    bytes: int
    offset: int
    first: int
    last: int


@dataclass(frozen=True)
class MemoryPlan:
    """The arena's buffers by line of source, the bytes of every space, and how many the arena's buffers would take side by side."""

    residents: tuple[Resident, ...]
    spaces: dict[str, int]
    unshared: int

    @property
    def total(self) -> int:
        """Bytes of all spaces."""
        return sum(self.spaces.values())


def memory_plan(blueprint: Blueprint, program: Program) -> MemoryPlan:
    """The plan of a program at its capacity."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    writer: dict[str, str] = {}
    ends = loop_ends(program.launches)

    def whole(name: str) -> str:
        return program.buffers[name].whole or name

    for number, launch in enumerate(program.launches):
        begin, end = ends.get(launch.loop, (number, number))
        for name in map(whole, buffers(launch.kernel)):
            first.setdefault(name, begin)
            last[name] = end
        for access in stores(launch.kernel):
            writer.setdefault(whole(access.buffer), place(blueprint, launch))
    residents = [
        Resident(b.name, writer.get(b.name, ""), b.elements, str(b.dtype), b.bytes, b.offset, first[b.name], last[b.name])
        for b in program.buffers.values()
        if b.space == ARENA and b.name in first
    ]
    ordered = sorted(residents, key=lambda r: (_line(r.place), r.first, r.name))
    return MemoryPlan(tuple(ordered), dict(program.spaces), sum(r.bytes for r in residents))


def _line(text: str) -> tuple[str, int]:
    name, _, number = text.rpartition(":")
    return name, int(number) if number.isdigit() else 0


def human_bytes(size: float) -> str:
    """A size for people, in powers of 1024."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
