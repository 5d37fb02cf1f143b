"""Where everything lies in the workspace that a caller gives, and in the image of the weights, for one level of a library.

    workspace = context (128 bytes), team (640), the words of every program, spaces that are written to, arenas; scratch of each thread
    image     = the other spaces, used in place, and what the spaces of the workspace begin with

Offsets in the workspace count from its first address that is a multiple of 128.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..backend.threads import TEAM_BYTES
from ..kernels.memory import aligned
from ..kernels.model import loads, stores
from ..kernels.program import ARENA, Program
from .library import TRAIN, Part

SLACK = 128
MAGIC, THREADS, LEVEL, TABLE, TEAM = 0, 8, 16, 24, 128
"""Offsets in the workspace: the library's number, threads, the level in use, the table of its values, the team."""

PASSING = ("input", "output", "accumulator")
"""Spaces that begin as zeros, and that every call writes to."""
KEPT = ("parameter", "state", "runtime")
"""Spaces that training changes."""


@dataclass(frozen=True)
class Room:
    """Offsets for one level: of each program's words and arena by its name, of spaces in the workspace, of (offset, bytes) in the image.

    `fixed` bytes are needed once, `scratch` for every thread. `touched` are the spaces that some program reads or writes.
    """

    words: dict[str, int] = field(default_factory=dict)
    spaces: dict[str, int] = field(default_factory=dict)
    arenas: dict[str, int] = field(default_factory=dict)
    image: dict[str, tuple[int, int]] = field(default_factory=dict)
    fixed: int = 0
    scratch: int = 0
    image_bytes: int = 0


def plan(part: Part) -> Room:
    """Lay a level out."""
    room, end = Room(), TEAM + TEAM_BYTES
    for name, made in part.programs.items():
        room.words[name] = end
        end += aligned(made.layout.words * 8)
    written = set(_written(part))
    for space in _held(part, written):
        room.spaces[space] = end
        end += aligned(part.memory.spaces[space])
    for name, made in part.programs.items():
        room.arenas[name] = end
        end += aligned(made.program.spaces[ARENA])
    at = 0
    for space, content in part.memory.start.items():
        stored = content.rstrip(b"\0") if space in room.spaces else content
        if stored and (space in room.spaces or space in _needed(part)):
            room.image[space] = at, len(stored)
            at += aligned(len(stored))
    scratch = max(made.scratch for made in part.programs.values())
    return Room(room.words, room.spaces, room.arenas, room.image, -(-end // 128) * 128, scratch, at)


def image(part: Part, room: Room) -> bytes:
    """What a level holds of weights."""
    content = bytearray(room.image_bytes)
    for space, (offset, size) in room.image.items():
        content[offset : offset + size] = part.memory.start[space][:size]
    return bytes(content)


def _held(part: Part, written: set[str]) -> Iterator[str]:
    """Spaces that lie in the workspace."""
    changed = KEPT if TRAIN in part.programs else ()
    for space in part.memory.spaces:
        if space in written or space in changed or (space in PASSING and space in _needed(part)):
            yield space


def _needed(part: Part) -> set[str]:
    """Spaces that something is read from: by a program, or by a caller who asks for parameters."""
    return {"parameter", "input", "output", *(space for made in part.programs.values() for space, _ in _touches(made.program))}


def _written(part: Part) -> Iterator[str]:
    for made in part.programs.values():
        yield from (space for space, writes in _touches(made.program) if writes and space != ARENA)


def _touches(program: Program) -> Iterator[tuple[str, bool]]:
    """Every space that a program meets, and whether it writes there."""
    for launch in program.launches:
        for writes, accesses in ((False, loads(launch.kernel)), (True, stores(launch.kernel))):
            for access in accesses:
                yield program.buffers[access.buffer].space, writes


def workspace_bytes(rooms: Sequence[Room]) -> tuple[int, int]:
    """The bytes of a workspace for whichever of the levels: those needed once, and those for every thread."""
    return SLACK + max(room.fixed for room in rooms), max(room.scratch for room in rooms)


def image_offsets(rooms: Mapping[str, Room], first: int, alignment: int) -> tuple[dict[str, int], int]:
    """Where the image of each level begins among all of them, and the end of the last."""
    offsets, at = {}, first
    for name, room in rooms.items():
        at = -(-at // alignment) * alignment
        offsets[name], at = at, at + room.image_bytes
    return offsets, at
