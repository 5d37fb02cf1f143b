"""The memory plan of a program by line of source: what lies where, for how long, and what every space takes."""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler.driver import Blueprint
from ...compiler.kernels.memory import loop_ends
from ...compiler.kernels.model import buffers, stores
from ...compiler.kernels.program import ARENA, Program
from .kernels import place


@dataclass(frozen=True)
class Mover:
    """A part of a buffer that a loop goes through: at each time it lies `stride` bytes further on."""

    name: str
    stride: int


@dataclass(frozen=True)
class Resident:
    """A buffer of the arena: alive from launch `first` to launch `last`, written for `place`; `movers` are how loops see it.

    What a loop touches lives as long as the loop runs.
    """

    name: str
    place: str
    elements: int
    dtype: str
    bytes: int
    offset: int
    first: int
    last: int
    movers: tuple[Mover, ...]


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
    alive: dict[str, tuple[int, int]] = {}
    writer: dict[str, str] = {}
    ends = loop_ends(program.launches)
    for number, launch in enumerate(program.launches):
        begin, end = ends.get(launch.loop, (number, number))
        for name in (_behind(program, used) for used in buffers(launch.kernel)):
            alive[name] = (alive.get(name, (begin, end))[0], end)
        for access in stores(launch.kernel):
            writer.setdefault(_behind(program, access.buffer), place(blueprint, launch))
    movers = _movers(program)
    residents = [
        Resident(b.name, writer.get(b.name, ""), b.elements, str(b.dtype), b.bytes, b.offset, *alive[b.name], movers.get(b.name, ()))
        for b in program.buffers.values()
        if b.space == ARENA and b.name in alive
    ]
    ordered = sorted(residents, key=lambda r: (_line(r.place), r.first, r.name))
    return MemoryPlan(tuple(ordered), dict(program.spaces), sum(r.bytes for r in residents))


def _behind(program: Program, name: str) -> str:
    """The buffer in which a part that moves with time lies; any other is itself."""
    return program.buffers[name].behind or name


def _movers(program: Program) -> dict[str, tuple[Mover, ...]]:
    """The parts that move, by the buffer in which they lie."""
    found: dict[str, tuple[Mover, ...]] = {}
    for buffer in program.buffers.values():
        if buffer.turn:
            found[buffer.behind] = (*found.get(buffer.behind, ()), Mover(buffer.name, buffer.turn.bytes))
    return found


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
