"""A library made: its programs generated for each level, its interface around them, everything as one object file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ..backend import jit
from ..backend.program import Generated, generate, single_module
from ..backend.threads import team_text
from ..kernels.memory import aligned
from ..kernels.program import Program
from . import routines
from .entrance import Entrance
from .inside import Inside
from .levels import Level, plain
from .library import Face, Memory, Part
from .outside import MANIFEST, STATE_HEAD, WEIGHTS_HEAD, WEIGHTS_MARK, Outside
from .tables import RECORD, Tables, record, spelled
from .workspace import KEPT, Room, image, image_offsets, plan, workspace_bytes

FORMAT = "ranvier library 1"
PAGE = 4096
SHARED_MANIFEST = "ranvier_manifest"
"""The manifest by a name that is the same in every library, for whoever loads one not knowing its own name; weak, so that several can be
linked into one program. Each library's functions know its own manifest."""

DEFINED = re.compile(r"^define [^@]*@([\w.]+)\(", re.MULTILINE)


@dataclass(frozen=True)
class Library:
    """A library ready to be written. All its parts have the same programs and the same values, however each lays them out."""

    face: Face
    parts: tuple[Part, ...]

    @cached_property
    def rooms(self) -> tuple[Room, ...]:
        """How each part lies in memory."""
        return tuple(map(plan, self.parts))

    @property
    def workspace(self) -> tuple[int, int]:
        """Bytes of a workspace: those needed once, and those for every thread."""
        return workspace_bytes(self.rooms)

    @cached_property
    def kept(self) -> list[str]:
        """Keys of the values that make up a state."""
        places = self.parts[0].memory.places
        return sorted(key for key in places if key.partition(":")[0] in KEPT) if self.face.train else []

    @property
    def state_bytes(self) -> int:
        """Bytes of a saved state."""
        return STATE_HEAD + -(-sum(each[-1] for each in self._records(self.parts[0], self.rooms[0], self.kept)) // 8) * 8

    @cached_property
    def image(self) -> tuple[list[int], int]:
        """Where the weights of each level begin, and the bytes of all; in a file each begins a page."""
        first, alignment = (WEIGHTS_HEAD, PAGE) if self.face.outside else (0, 64)
        found, end = image_offsets({str(n): room for n, room in enumerate(self.rooms)}, first, alignment)
        return list(found.values()), aligned(max(end, 1))

    @cached_property
    def weights(self) -> bytes:
        """The weights, as they lie in the library or in a file beside it."""
        offsets, end = self.image
        content = bytearray(end)
        if self.face.outside:
            for n, word in enumerate((WEIGHTS_MARK, self.number, end)):
                content[8 * n : 8 * n + 8] = word.to_bytes(8, "little", signed=word < 0)
        for offset, part, room in zip(offsets, self.parts, self.rooms, strict=True):
            content[offset : offset + room.image_bytes] = image(part, room)
        return bytes(content)

    @cached_property
    def number(self) -> int:
        """A number of all that decides how memory lies; contexts and files of weights carry it."""
        records = [self._records(part, room, self._keys) for part, room in zip(self.parts, self.rooms, strict=True)]
        return _number(FORMAT, self.face, self.rooms, records, [(part.level, part.memory.spaces) for part in self.parts])

    @cached_property
    def state_number(self) -> int:
        """A number of the names, types and shapes of what a state holds, the same on every machine."""
        places = self.parts[0].memory.places
        return _number(FORMAT, [(key, places[key].dtype, places[key].shape) for key in self.kept], self.face.capacity)

    @property
    def _keys(self) -> list[str]:
        """Keys of all values in the tables: parameters, those of a state, scalars."""
        return [*(f"parameter:{each.name}" for each in self.face.parameters), *self.kept, *self.face.scalars.values()]

    def _records(self, part: Part, room: Room, keys: Sequence[str]) -> list[tuple[int, ...]]:
        program, made = next(iter(part.programs.items()))
        word = {space: room.words[program] + 8 * made.layout.space(space) for space in made.layout.spaces}
        return [record(part.memory.places[k], part.memory.buffers[k], word[part.memory.buffers[k].space], self.face.capacity) for k in keys]

    # --- as code

    def interface(self, manifest: str) -> Outside:
        """The functions that callers see."""
        target, (offsets, end) = plain(self.parts[0].level.target), self.image
        numbers = (self.number, self.state_number, len(self.kept), self.state_bytes)
        return Outside(self.face, self.parts, self.rooms, target, *numbers, offsets, end, len(manifest.encode()), Tables())

    def object(self, manifest: str) -> bytes:
        """The object file; the manifest is in it, too."""
        outside = self.interface(manifest)
        functions = outside.functions()
        texts = [self._main(outside, functions, manifest)]
        for part in self.parts:
            attributes = jit.ATTRIBUTES.replace(" }", f" {part.level.attributes} }}")
            texts.append(single_module(list(part.programs.values()), attributes))
        found = jit.compile_library(texts, {*functions, SHARED_MANIFEST}, outside.target)
        return found if self.face.outside else self._filled(found)

    @cached_property
    def _mark(self) -> bytes:
        """What stands where the weights go while machine code is made: a text of so many numbers would take long to read."""
        return hashlib.sha512(b"the weights go here" + self.weights).digest()

    def _filled(self, made: bytes) -> bytes:
        """The object with the weights in their place."""
        place = made.find(self._mark)
        assert made.count(self._mark) == 1, "the place of the weights is found once"
        return made[:place] + self.weights + made[place + len(self.weights) :]

    def _main(self, outside: Outside, functions: Mapping[str, Entrance], manifest: str) -> str:
        """The module of the interface and of what lies right behind it."""
        levels = enumerate(zip(self.parts, self.rooms, strict=True))
        inside = [Inside(self.face, part, room, n, outside.target, self.number) for n, (part, room) in levels]
        made = [*outside.helpers(), *(text for each in inside for text in each.functions())]
        lines = [line for text in made for line in text.lines] + [line for each in functions.values() for line in each.lines()]
        body = "\n".join([*routines.ALL, *lines, team_text(outside.target)])
        needs = {k: v for text in (*made, *(each.text for each in functions.values())) for k, v in text.needs.items()}
        defined = set(DEFINED.findall(body))
        head = [routines.MEMCPY, *(definition for name, definition in needs.items() if name not in defined and name != routines.COPIES)]
        return "\n".join([*self._constants(outside.tables, manifest), *head, body])

    def _constants(self, tables: Tables, manifest: str) -> list[str]:
        """Tables, the manifest, the weights."""
        for n, (part, room) in enumerate(zip(self.parts, self.rooms, strict=True)):
            records = [f"[{', '.join(f'i64 {word}' for word in each)}]" for each in self._records(part, room, self._keys)]
            tables.array(f"values.{n}", f"[{RECORD} x i64]", records)
        content = manifest.encode() + b"\0"
        lines = [*tables.lines, f'@{MANIFEST} = internal constant [{len(content)} x i8] c"{spelled(content)}", align 1']
        lines.append(f"@{SHARED_MANIFEST} = weak alias [{len(content)} x i8], ptr @{MANIFEST}")
        if not self.face.outside:
            rest = len(self.weights) - len(self._mark)
            type_ = f"{{ [{len(self._mark)} x i8], [{rest} x i8] }}"
            value = f'{{ [{len(self._mark)} x i8] c"{spelled(self._mark)}", [{rest} x i8] zeroinitializer }}'
            lines.append(f"@weights = internal constant {type_} {value}, align {PAGE}")
        return lines


def part(level: Level, number: int, programs: Mapping[str, Program], threads: int, memory: Memory) -> Part:
    """A level of a library, number `number` of them: its programs generated, planned for so many threads."""
    made = {name: _generated(program, level, number, threads) for name, program in programs.items()}
    return Part(level, made, memory)


def _generated(program: Program, level: Level, number: int, threads: int) -> Generated:
    """A program with entries of its own name, for single batches alone."""
    return generate(replace(program, name=f"{program.name}.{number}", gathers=()), level.target, threads)


def _number(*parts: object) -> int:
    """A signed number of 64 bits that says what things are."""
    digest = hashlib.sha256("\0".join(map(repr, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)
