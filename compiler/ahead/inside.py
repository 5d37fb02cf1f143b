"""What lies behind the interface, for one level: a workspace made ready, rows copied in, a program run, its result copied out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..backend.executable import body_symbol
from ..backend.target import Target
from ..backend.text import Text, Value, i64
from ..backend.threads import SPINS
from ..backend.threads import THREADS as TEAM_THREADS
from ..kernels.program import ARENA
from .codes import RANGE
from .entrance import CONTEXT, parameter
from .library import PREDICT, TRAIN, Face, Part, Tensor
from .workspace import LEVEL, MAGIC, TABLE, TEAM, THREADS, Room

TURNS = 1000
"""How often a thread that waits looks before it sleeps: some ten microseconds."""

ROWS, OUT = parameter("i64", "rows"), parameter("ptr", "out")


@dataclass(frozen=True)
class Inside:
    """A level of a library, its functions numbered by its place among the levels."""

    face: Face
    part: Part
    room: Room
    number: int
    target: Target
    magic: int

    def functions(self) -> list[Text]:
        """All functions of this level, complete."""
        made = [self._init()]
        if PREDICT in self.part.programs:
            made.append(self._run(PREDICT, self.face.inputs))
        if TRAIN in self.part.programs:
            made.append(self._run(TRAIN, self.face.trained))
        return made

    def symbol(self, name: str) -> str:
        """The name of one of them."""
        return f"{name}.{self.number}"

    def word(self, program: str, space: str) -> int:
        """The offset in the workspace of the word that holds a space's address."""
        return self.room.words[program] + 8 * self.part.programs[program].layout.space(space)

    # --- a workspace made ready

    def _init(self) -> Text:
        text, room = Text(self.target), self.room
        threads, weights = parameter("i64", "threads"), parameter("ptr", "weights")
        text.begin("entry")
        _clear(text, CONTEXT, i64(room.fixed))
        for offset, value in (
            (THREADS, threads),
            (LEVEL, i64(self.number)),
            (TABLE, Value("ptr", f"@{self.symbol('values')}")),
            (TEAM + TEAM_THREADS, threads),
            (TEAM + SPINS, i64(TURNS)),
        ):
            text.do(f"store {value}, {text.at(CONTEXT, 'i8', offset)}, align 8")
        for space, (offset, size) in room.image.items():
            if space in room.spaces:
                _copy(text, text.at(CONTEXT, "i8", room.spaces[space]), text.at(weights, "i8", offset), i64(size))
        for name in self.part.programs:
            self._words(text, name, weights)
        text.do(f"store i64 {self.magic}, {text.at(CONTEXT, 'i8', MAGIC)}, align 8")
        text.do("ret void")
        return _function(f"void @{self.symbol('init')}", [CONTEXT, threads, weights], text)

    def _words(self, text: Text, program: str, weights: Value) -> None:
        """The addresses that a program is called with."""
        room, layout = self.room, self.part.programs[program].layout
        begin = room.words[program]
        text.do(f"store {text.at(CONTEXT, 'i8', room.fixed)}, {text.at(CONTEXT, 'i8', begin + 8 * layout.scratch)}, align 8")
        for space in layout.spaces:
            if space == ARENA:
                address = text.at(CONTEXT, "i8", room.arenas[program])
            elif space in room.spaces:
                address = text.at(CONTEXT, "i8", room.spaces[space])
            else:  # in place; of what nobody reads, anywhere
                address = text.at(weights, "i8", room.image.get(space, (0, 0))[0])
            text.do(f"store {address}, {text.at(CONTEXT, 'i8', begin + 8 * layout.space(space))}, align 8")

    # --- a program run

    def _run(self, program: str, fields: Sequence[Tensor]) -> Text:
        """Copy the fields in, run, copy what comes of it to `out`."""
        text = Text(self.target)
        text.begin("entry")
        given = {each.name: parameter("ptr", f"field.{n}") for n, each in enumerate(fields)}
        by_name = {each.name: each for each in fields}
        for each in sorted(fields, key=lambda f: f.length != ""):
            lengths = (by_name[each.length], given[each.length]) if each.length else None
            self._rows_in(text, each, given[each.name], lengths)
        layout = self.part.programs[program].layout
        words = text.at(CONTEXT, "i8", self.room.words[program])
        text.do(f"store {ROWS}, {text.at(words, 'i64', layout.rows)}, align 8")
        fault = self._call(text, program, words)
        bad = text.op("i1", f"icmp ne {fault}, 0")
        code = text.op("i32", f"trunc {text.add(fault, i64(RANGE))} to i32")
        text.branch_if(bad, "bad", "good")
        text.begin("good")
        self._result(text, program)
        text.do("ret i32 0")
        text.begin("bad")
        text.do(f"ret {code}")
        return _function(f"i32 @{self.symbol(program)}", [CONTEXT, ROWS, *given.values(), OUT], text)

    def _at(self, text: Text, key: str) -> Value:
        """The address of a buffer in the workspace."""
        buffer = self.part.memory.buffers[key]
        return text.at(CONTEXT, "i8", self.room.spaces[buffer.space] + buffer.offset)

    def _rows_in(self, text: Text, each: Tensor, source: Value, lengths: tuple[Tensor, Value] | None) -> None:
        """Rows of a field into their buffer; what lies past the end of a row is nothing."""
        key = f"input:{each.name}"
        to, stride = self._at(text, key), self.part.memory.places[key].strides[0] * each.dtype.bytes
        if lengths is None and stride == each.bytes:
            _copy(text, to, source, text.mul(ROWS, each.bytes))
            return
        with text.loop(ROWS) as row:
            here, there = text.at(to, "i8", text.mul(row.index, stride)), text.at(source, "i8", text.mul(row.index, each.bytes))
            if lengths is None:
                _copy(text, here, there, i64(each.bytes))
            else:
                own = text.mul(self._length(text, row.index, *lengths), each.bytes // each.shape[0])
                _copy(text, here, there, own)
                _clear(text, text.at(here, "i8", own), text.op("i64", f"sub i64 {each.bytes}, {own.name}"))

    def _length(self, text: Text, row: Value, field: Tensor, source: Value) -> Value:
        """The length of a row, which is left with a code where there is no such length."""
        narrow = text.op("i32", f"load i32, {text.at(source, 'i32', row)}, align 1")
        length = text.op("i64", f"sext {narrow} to i64")
        wrong = [text.op("i1", f"icmp {sign} {length}, {bound}") for sign, bound in (("slt", field.low), ("sgt", field.high))]
        with text.when(text.op("i1", f"or {wrong[0]}, {wrong[1].name}")):
            text.do(f"ret i32 {RANGE + 1 + self.face.fields.index(field)}")
            text.begin(text.fresh("unreached"))
        return length

    def _call(self, text: Text, program: str, words: Value) -> Value:
        """Run a program: the team where it has something to share, else the caller's thread alone."""
        symbol = body_symbol(self.part.programs[program].program.name)
        alone = f"call i64 @team_serial(ptr @{symbol}, {words})"
        text.need("team_serial", "declare i64 @team_serial(ptr, ptr)")
        text.need(symbol, f"declare i64 @{symbol}(ptr, i64, i64, ptr)")
        if not self.part.programs[program].parallel:
            return text.op("i64", alone)
        text.need("team_run", "declare i64 @team_run(ptr, ptr, ptr)")
        threads = text.op("i64", f"load i64, {text.at(CONTEXT, 'i8', THREADS)}, align 8")
        text.branch_if(text.op("i1", f"icmp sgt {threads}, 1"), "team", "alone")
        text.begin("team")
        together = text.op("i64", f"call i64 @team_run({text.at(CONTEXT, 'i8', TEAM)}, ptr @{symbol}, {words})")
        text.branch("done")
        text.begin("alone")
        single = text.op("i64", alone)
        text.branch("done")
        text.begin("done")
        return text.op("i64", f"phi i64 [ {together.name}, %team ], [ {single.name}, %alone ]")

    def _result(self, text: Text, program: str) -> None:
        """What a caller wants of a run: the predictions of the rows, or the loss as a `double`."""
        if program == PREDICT:
            assert self.face.output is not None
            _copy(text, OUT, self._at(text, "output:predict"), text.mul(ROWS, self.face.output.bytes))
            return
        type_ = "float" if self.part.memory.buffers["output:loss"].dtype.bits == 32 else "double"
        loss = text.op(type_, f"load {type_}, {self._at(text, 'output:loss')}, align 8")
        wide = loss if type_ == "double" else text.op("double", f"fpext {loss} to double")
        text.do(f"store {wide}, {OUT}, align 1")


def _copy(text: Text, to: Value, source: Value, size: Value) -> None:
    text.need("llvm.memcpy.p0.p0.i64", "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    text.do(f"call void @llvm.memcpy.p0.p0.i64({to}, {source}, {size}, i1 false)")


def _clear(text: Text, to: Value, size: Value) -> None:
    text.need("llvm.memset.p0.i64", "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
    text.do(f"call void @llvm.memset.p0.i64({to}, i8 0, {size}, i1 false)")


def _function(head: str, parameters: Sequence[Value], text: Text) -> Text:
    """The text with its head and its end."""
    text.lines = [f"define internal {head}({', '.join(map(str, parameters))}) #0 {{", *text.lines, "}", ""]
    return text
