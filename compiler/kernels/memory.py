"""The memory plan: temporaries share one arena by lifetime, at offsets fixed at compile time for a capacity of rows.

Largest first, each at the lowest offset free of every temporary alive at the same time (Pisarchyk and Lee 2020, "greedy by size").
Values in a frame of zeros share memory only with those of the same geometry, so that the frame is zero once and for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import ResourceError
from .model import buffers
from .placement import Placement, elements
from .program import ARENA, Buffer, Launch

ALIGNMENT = 64
NONE: Mapping[str, str] = {}
LIMIT_BYTES = 2**34
SLACK = 3
"""Launches for which a temporary is kept after its last use: those that may work on a block of rows before it is used for the next."""

STAGGER = 5 * ALIGNMENT
"""Between neighbours of a space, so that equal places of a parameter and its states differ in the low bits of their addresses."""


@dataclass(frozen=True)
class Lifetime:
    """First and last launch that touches a temporary."""

    name: str
    bytes: int
    first: int
    last: int


def lifetimes(
    launches: Sequence[Launch], temporaries: Mapping[str, Placement], rows: int, names: Mapping[str, str] = NONE
) -> list[Lifetime]:
    """When each temporary is alive, in launch numbers; a little longer than it is used, so that launches can be run block by block.

    What a loop touches lives as long as the loop runs. `names` are those of the buffers behind buffers that move with time.
    """
    spans: dict[str, tuple[int, int]] = {}
    ends = loop_ends(launches)
    for number, launch in enumerate(launches):
        begin, end = ends.get(launch.loop, (number, number))
        for used in buffers(launch.kernel):
            name = names.get(used, used)
            if name in temporaries:
                spans[name] = (spans.get(name, (begin, begin))[0], end + SLACK)
    return [
        Lifetime(name, aligned(elements(temporaries[name], rows) * temporaries[name].dtype.bytes), *span) for name, span in spans.items()
    ]


def loop_ends(launches: Sequence[Launch]) -> dict[int, tuple[int, int]]:
    """The first and the last launch of every loop."""
    ends: dict[int, tuple[int, int]] = {}
    for number, launch in enumerate(launches):
        if launch.loop:
            ends[launch.loop] = (ends.get(launch.loop, (number, number))[0], number)
    return ends


def aligned(size: int) -> int:
    """The next multiple of a cache line."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def plan(
    launches: Sequence[Launch], temporaries: Mapping[str, Placement], rows: int, limit: int = LIMIT_BYTES, names: Mapping[str, str] = NONE
) -> tuple[dict[str, Buffer], int]:
    """Buffers of the temporaries in the arena, and its size in bytes; raises ResourceError when it would exceed `limit`."""
    groups: dict[object, list[Lifetime]] = {}
    for life in lifetimes(launches, temporaries, rows, names):
        groups.setdefault(_company(temporaries[life.name]), []).append(life)
    found, size = dict[str, Buffer](), 0
    for group in groups.values():
        places, taken = _share(group)
        for name, offset in places.items():
            place = temporaries[name]
            found[name] = Buffer(name, place.dtype, elements(place, rows), ARENA, size + offset)
        size += taken
    if size > limit:
        raise ResourceError(
            f"a batch of {rows} needs {size / 2**30:.1f} GiB of memory, more than the limit of {limit / 2**30:.1f} GiB; use a smaller batch"
        )
    return found, size


def _company(place: Placement) -> object:
    """What may lie in the same bytes at other times: with a frame of zeros only what leaves the same elements of it alone."""
    zeros = any(map(any, place.frame)) and not place.fill
    return (place.shape, place.strides, place.frame, place.dtype) if zeros else None


def _share(group: Sequence[Lifetime]) -> tuple[dict[str, int], int]:
    """Offsets by name such that no two that live at the same time overlap, and the size of all."""
    placed: list[tuple[Lifetime, int]] = []
    for life in sorted(group, key=lambda t: (-t.bytes, t.first, t.name)):
        busy = sorted((offset, offset + other.bytes) for other, offset in placed if other.first <= life.last and life.first <= other.last)
        offset = 0
        for start, end in busy:
            if start - offset >= life.bytes:
                break
            offset = max(offset, end)
        placed.append((life, offset))
    return {life.name: offset for life, offset in placed}, max(offset + life.bytes for life, offset in placed)


def lay_out(space: str, places: Mapping[str, Placement], rows: int) -> tuple[dict[str, Buffer], int]:
    """Buffers one after the other in a space of their own, and its size in bytes."""
    found, offset = {}, 0
    for place in places.values():
        count = elements(place, rows)
        found[place.buffer] = Buffer(place.buffer, place.dtype, count, space, offset)
        offset += aligned(count * place.dtype.bytes) + STAGGER
    return found, max(offset, ALIGNMENT)
