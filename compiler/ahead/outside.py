"""The interface of a library in LLVM text: every function that a caller sees, for all its levels.

Arguments are checked here, with a code for each mistake; what is right goes to the functions of the level that the context was made for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..backend.target import Target
from ..backend.text import SCALARS, Text, Value, i64
from . import codes
from .entrance import CONTEXT, Entrance, parameter
from .guard import guard
from .inside import OUT, ROWS
from .library import PREDICT, TRAIN, Face, Part, Tensor
from .tables import RECORD, Tables
from .workspace import LEVEL, SLACK, TABLE, TEAM, THREADS, Room, workspace_bytes

MOST_THREADS = 256

MANIFEST = "manifest"
"""The symbol of the manifest within the object."""

WEIGHTS_HEAD, WEIGHTS_MARK = 24, int.from_bytes(b"RVWEIGHT", "little")
"""What a file of weights begins with: a mark, the number of the library, the bytes of the file; 64-bit words."""

STATE_HEAD, STATE_MARK = 32, int.from_bytes(b"RVSTATE1", "little")
"""What a saved state begins with: a mark, the number of such states, the bytes of it, a sum to check; 64-bit words."""

WORDS_IN_RECORD = RECORD - 1
INFINITE = "0x7FF0000000000000"
"""Infinity as LLVM writes it, in any width."""


@dataclass(frozen=True)
class Outside:
    """A library as callers see it. `number` is the library's own, `state_number` that of its saved states, in `values` values.

    `offsets` are where the image of each level begins in the weights of `image_bytes`; `tables` gets what can be asked for, but for the
    manifest, which the object has as `MANIFEST`.
    """

    face: Face
    parts: Sequence[Part]
    rooms: Sequence[Room]
    target: Target
    number: int
    state_number: int
    values: int
    state_bytes: int
    offsets: Sequence[int]
    image_bytes: int
    manifest_bytes: int
    tables: Tables

    def functions(self) -> Mapping[str, Entrance]:
        """All functions by their symbols, complete."""
        made = [
            self._workspace_bytes(),
            self._init(),
            self._error_text(),
            self._level(),
            self._manifest(),
            *self._queries(),
            self._find_class(),
        ]
        if self.face.output is not None:
            made.append(self._run(PREDICT, self.face.inputs, self.face.output.bytes))
        made += [self._get_parameter(), self._work(), self._stop()]
        if self.face.train:
            made += [self._run(TRAIN, self.face.trained, 0), self._set_parameter(), *self._scalars(), *self._states()]
        return {each.name: each for each in made}

    def helpers(self) -> list[Text]:
        """Functions that these call: which level a CPU can run."""
        text = Text(self.target)
        guard(text, [part.level for part in self.parts])
        text.lines = ["define internal i64 @pick() #0 {", *text.lines, "}", ""]
        return [text]

    def _new(self, name: str, *parameters: Value, context: bool = True) -> Entrance:
        """A function that asks for a context first, if it takes one."""
        made = Entrance(f"{self.face.name}_{name}", [CONTEXT, *parameters] if context else parameters, self.target)
        if context:
            made.need_context(self.number)
        return made

    # --- a context

    def _threads(self, made: Entrance) -> Value:
        """The threads that are asked for, the caller's among them."""
        text = made.text
        wide = text.op("i64", f"sext {parameter('i32', 'threads')} to i64")
        made.refuse(text.op("i1", f"icmp ugt {wide}, {MOST_THREADS}"), codes.THREADS)
        return text.call("i64", "llvm.smax.i64", wide, i64(1))

    def _needed(self, text: Text, threads: Value) -> Value:
        fixed, scratch = workspace_bytes(self.rooms)
        return text.add(text.mul(threads, scratch), i64(fixed))

    def _workspace_bytes(self) -> Entrance:
        out = parameter("ptr", "bytes")
        made = self._new("workspace_bytes", parameter("i32", "threads"), out, context=False)
        made.need(out)
        made.give(self._needed(made.text, self._threads(made)), out)
        return made

    def _init(self) -> Entrance:
        workspace, bytes_, out = parameter("ptr", "workspace"), parameter("i64", "bytes"), parameter("ptr", "context")
        weights, weights_bytes = parameter("ptr", "weights"), parameter("i64", "weights.bytes")
        given = [weights, weights_bytes] if self.face.outside else []
        made = self._new("init", workspace, bytes_, parameter("i32", "threads"), *given, out, context=False)
        text = made.text
        made.need(workspace, out)
        threads = self._threads(made)
        made.refuse(text.op("i1", f"icmp ult {bytes_}, {self._needed(text, threads).name}"), codes.WORKSPACE)
        if self.face.outside:
            self._check_weights(made, weights, weights_bytes)
        level = text.op("i64", "call i64 @pick()")
        made.refuse(text.op("i1", f"icmp slt {level}, 0"), codes.CPU)
        start = text.call("ptr", "llvm.ptrmask.p0.i64", text.at(workspace, "i8", SLACK - 1), i64(-SLACK))
        for number, offset in self._each_level(text, level):
            image = text.at(weights if self.face.outside else Value("ptr", "@weights"), "i8", offset)
            text.do(f"call void @init.{number}({start}, {threads}, {image})")
            made.give(start, out)
        return made

    def _each_level(self, text: Text, level: Value) -> Iterator[tuple[int, int]]:
        """Write what comes for each level behind a question for it; the function goes on after the last."""
        for number, offset in enumerate(self.offsets):
            with text.when(text.op("i1", f"icmp eq {level}, {number}")):
                yield number, offset

    def _check_weights(self, made: Entrance, weights: Value, bytes_: Value) -> None:
        """Weights from outside are those of this library, whole, and where kernels can read them."""
        text = made.text
        made.need(weights)
        made.need_size(bytes_, i64(self.image_bytes))
        low = text.op("i64", f"and i64 {text.op('i64', f'ptrtoint {weights} to i64').name}, 63")
        made.refuse(text.op("i1", f"icmp ne {low}, 0"), codes.WEIGHTS)
        for n, wanted in enumerate((WEIGHTS_MARK, self.number, self.image_bytes)):
            found = text.op("i64", f"load i64, {text.at(weights, 'i64', n)}, align 8")
            made.refuse(text.op("i1", f"icmp ne {found}, {wanted}"), codes.WEIGHTS)

    # --- what can be asked

    def _error_text(self) -> Entrance:
        """The text of a code, never null; the one function that returns no code itself."""
        texts = {n: text for n, (_, text) in enumerate(codes.CODES)}
        texts |= {code: codes.range_text(each) for code, each in codes.ranged(self.face)}
        made = self._new("error_text", parameter("i32", "code"), context=False)
        text, names = made.text, self.tables
        table = names.array("errors", "ptr", [names.text(texts.get(n, "there is no such code")) for n in range(max(texts) + 1)])
        code = text.op("i64", f"sext {parameter('i32', 'code')} to i64")
        known = text.op("i1", f"icmp ult {code}, {max(texts) + 1}")
        index = text.op("i64", f"select {known}, {code}, i64 {codes.UNKNOWN}")
        made.result = text.op("ptr", f"load ptr, {text.at(Value('ptr', table), 'ptr', index)}")
        return made

    def _level(self) -> Entrance:
        """The name of the CPU level in use."""
        out = parameter("ptr", "name")
        made = self._new("level", out)
        made.need(out)
        text = made.text
        table = self.tables.array("levels", "ptr", [self.tables.text(part.level.name) for part in self.parts])
        level = text.op("i64", f"load i64, {text.at(CONTEXT, 'i8', LEVEL)}, align 8")
        made.give(text.op("ptr", f"load ptr, {text.at(Value('ptr', table), 'ptr', level)}"), out)
        return made

    def _manifest(self) -> Entrance:
        """The manifest and its bytes, without the zero byte at its end."""
        out, bytes_ = parameter("ptr", "text"), parameter("ptr", "bytes")
        made = self._new("manifest", out, bytes_, context=False)
        made.need(out, bytes_)
        made.give(Value("ptr", f"@{MANIFEST}"), out)
        made.give(i64(self.manifest_bytes), bytes_)
        return made

    def _queries(self) -> Iterator[Entrance]:
        """What goes in and comes out."""
        outputs = [self.face.output] if self.face.output is not None else []
        targets = [each for each in self.face.fields if each.name in self.face.targets]
        lists: dict[str, Sequence[Tensor]] = {
            "inputs": self.face.inputs,
            "targets": targets,
            "outputs": outputs,
            "parameters": self.face.parameters,
        }
        for name, tensors in lists.items():
            table, out, count = self.tables.tensors(name, tensors), parameter("ptr", "list"), parameter("ptr", "count")
            made = self._new(name, out, count, context=False)
            made.need(out, count)
            made.give(Value("ptr", table), out)
            made.give(i64(len(tensors)), count)
            yield made

    def _find_class(self) -> Entrance:
        """The number of a class by its name."""
        tensor, name, bytes_, out = (parameter(*each) for each in (("ptr", "tensor"), ("ptr", "name"), ("i64", "bytes"), ("ptr", "number")))
        made = self._new("find_class", tensor, name, bytes_, out, context=False)
        made.need(tensor, name, out)
        text = made.text
        names, count = (
            text.op(type_, f"load {type_}, {text.op('ptr', f'getelementptr %tensor, {tensor}, i32 0, i32 {n}')}")
            for n, type_ in ((7, "ptr"), (8, "i64"))
        )
        number = text.op("i64", f"call i64 @class_number({names}, {count}, {name}, {bytes_})")
        made.refuse(text.op("i1", f"icmp slt {number}, 0"), codes.CLASS)
        made.give(number, out)
        return made

    # --- what is done

    def _run(self, program: str, fields: Sequence[Tensor], out_bytes: int) -> Entrance:
        """`predict` and `train_step`: rows in, predictions of `out_bytes` each or one number out."""
        given = [(parameter("ptr", f"field.{n}"), parameter("i64", f"bytes.{n}")) for n in range(len(fields))]
        size = [parameter("i64", "out.bytes")] if out_bytes else []
        made = self._new("predict" if program == PREDICT else "train_step", ROWS, *(v for pair in given for v in pair), OUT, *size)
        text = made.text
        made.need(*(pointer for pointer, _ in given), OUT)
        less = text.add(ROWS, i64(-1))
        made.refuse(text.op("i1", f"icmp uge {less}, {self.face.capacity}"), codes.ROWS)
        for each, (_, bytes_) in zip(fields, given, strict=True):
            made.need_size(bytes_, text.mul(ROWS, each.bytes))
        for bytes_ in size:
            made.need_size(bytes_, text.mul(ROWS, out_bytes))
        for each, (pointer, _) in zip(fields, given, strict=True):
            if each is self.face.row_weight:
                self._check_row_weights(made, each, pointer)
        arguments = ", ".join(map(str, [CONTEXT, ROWS, *(pointer for pointer, _ in given), OUT]))
        level = text.op("i64", f"load i64, {text.at(CONTEXT, 'i8', LEVEL)}, align 8") if len(self.parts) > 1 else i64(0)
        for number in range(1, len(self.parts)):
            with text.when(text.op("i1", f"icmp eq {level}, {number}")):
                text.do(f"ret {text.op('i32', f'call i32 @{program}.{number}({arguments})')}")
                text.begin(text.fresh("unreached"))
        made.result = text.op("i32", f"call i32 @{program}.0({arguments})")
        return made

    @staticmethod
    def _check_row_weights(made: Entrance, each: Tensor, pointer: Value) -> None:
        """Every row counts as much as a finite number of at least 0 says."""
        text, type_ = made.text, SCALARS[each.dtype.name]
        with text.loop(ROWS, carried=[Value("i1", "true")]) as row:
            value = text.op(type_, f"load {type_}, {text.at(pointer, type_, row.index)}, align 1")
            sound = row.carried[0]
            for asked in f"fcmp oge {value}, 0.0", f"fcmp olt {value}, {INFINITE}":
                sound = text.op("i1", f"and {sound}, {text.op('i1', asked).name}")
            row.close([sound])
        made.refuse(text.op("i1", f"xor {row.results[0]}, true"), codes.ROW_WEIGHT)

    # --- values

    def _record(self, text: Text, index: Value) -> Value:
        table = text.op("ptr", f"load ptr, {text.at(CONTEXT, 'i8', TABLE)}, align 8")
        return text.at(table, "i8", text.mul(index, 8 * RECORD))

    def _bytes(self, text: Text, record: Value) -> Value:
        return text.op("i64", f"load i64, {text.at(record, 'i64', WORDS_IN_RECORD)}, align 8")

    def _copy_parameter(self, name: str, *, inward: bool) -> Entrance:
        index, values, bytes_ = parameter("i64", "index"), parameter("ptr", "values"), parameter("i64", "bytes")
        made = self._new(name, index, values, bytes_)
        made.need(values)
        text = made.text
        made.refuse(text.op("i1", f"icmp uge {index}, {len(self.face.parameters)}"), codes.INDEX)
        record = self._record(text, index)
        made.need_size(bytes_, self._bytes(text, record))
        text.do(f"call void @copy_value({CONTEXT}, {record}, {values}, i1 {str(inward).lower()})")
        return made

    def _get_parameter(self) -> Entrance:
        return self._copy_parameter("get_parameter", inward=False)

    def _set_parameter(self) -> Entrance:
        return self._copy_parameter("set_parameter", inward=True)

    def _scalars(self) -> Iterator[Entrance]:
        """Numbers of the run time: doubles, by their place among the scalars."""
        for name, last in ("get_scalar", parameter("ptr", "value")), ("set_scalar", parameter("double", "value")):
            index = parameter("i32", "scalar")
            made = self._new(name, index, last)
            text, wide = made.text, made.text.op("i64", f"sext {index} to i64")
            made.refuse(text.op("i1", f"icmp uge {wide}, {len(self.face.scalars)}"), codes.INDEX)
            record = self._record(text, text.add(wide, i64(len(self.face.parameters) + self.values)))
            if last.type == "ptr":
                made.need(last)
            else:
                made.refuse(text.op("i1", f"fcmp uno {last}, {last.name}"), codes.VALUE)
                slot = text.op("ptr", "alloca double, align 8")
                text.do(f"store {last}, {slot}, align 8")
                last = slot
            text.do(f"call void @copy_value({CONTEXT}, {record}, {last}, i1 {str(name == 'set_scalar').lower()})")
            yield made

    # --- states as bytes

    def _states(self) -> Iterator[Entrance]:
        out = parameter("ptr", "bytes")
        made = self._new("state_bytes", out, context=False)
        made.need(out)
        made.give(i64(self.state_bytes), out)
        yield made
        yield self._save_state()
        yield self._load_state()

    def _state_entrance(self, name: str) -> tuple[Entrance, Value]:
        state, bytes_ = parameter("ptr", "state"), parameter("i64", "bytes")
        made = self._new(name, state, bytes_)
        made.need(state)
        made.need_size(bytes_, i64(self.state_bytes))
        return made, state

    def _save_state(self) -> Entrance:
        made, state = self._state_entrance("save_state")
        text = made.text
        last = text.at(state, "i8", self.state_bytes - 8)
        text.do(f"store i64 0, {last}, align 1")
        self._copy_values(text, state, inward=False)
        for n, value in enumerate((i64(STATE_MARK), i64(self.state_number), i64(self.state_bytes), self._sum(text, state))):
            text.do(f"store {value}, {text.at(state, 'i64', n)}, align 1")
        return made

    def _load_state(self) -> Entrance:
        made, state = self._state_entrance("load_state")
        text = made.text
        for n, value in enumerate((i64(STATE_MARK), i64(self.state_number), i64(self.state_bytes), self._sum(text, state))):
            found = text.op("i64", f"load i64, {text.at(state, 'i64', n)}, align 1")
            made.refuse(text.op("i1", f"icmp ne {found}, {value.name}"), codes.STATE)
        self._copy_values(text, state, inward=True)
        return made

    def _sum(self, text: Text, state: Value) -> Value:
        return text.op("i64", f"call i64 @checksum({text.at(state, 'i8', STATE_HEAD)}, i64 {(self.state_bytes - STATE_HEAD) // 8})")

    def _copy_values(self, text: Text, state: Value, *, inward: bool) -> None:
        """All values of a state, one after the other."""
        with text.loop(self.values, carried=[text.at(state, "i8", STATE_HEAD)]) as loop:
            record = self._record(text, text.add(loop.index, i64(len(self.face.parameters))))
            text.do(f"call void @copy_value({CONTEXT}, {record}, {loop.carried[0]}, i1 {str(inward).lower()})")
            loop.close([text.at(loop.carried[0], "i8", self._bytes(text, record))])

    # --- threads

    def _work(self) -> Entrance:
        """The life of a thread of the team; returns when the team is stopped."""
        thread = parameter("i32", "thread")
        made = self._new("work", thread)
        text = made.text
        threads = text.op("i64", f"load i64, {text.at(CONTEXT, 'i8', THREADS)}, align 8")
        wide = text.op("i64", f"sext {thread} to i64")
        for wrong in f"icmp slt {wide}, 1", f"icmp sge {wide}, {threads.name}":
            made.refuse(text.op("i1", wrong), codes.THREADS)
        text.do(f"call void @team_work({text.at(CONTEXT, 'i8', TEAM)}, {wide})")
        return made

    def _stop(self) -> Entrance:
        """Let the threads of the team go, those too that are only about to come; from now on the caller's own does all."""
        made = self._new("stop")
        text = made.text
        threads = text.op("i64", f"load i64, {text.at(CONTEXT, 'i8', THREADS)}, align 8")
        with text.when(text.op("i1", f"icmp sgt {threads}, 1")):
            text.do(f"call void @team_stop({text.at(CONTEXT, 'i8', TEAM)})")
            text.do(f"store i64 1, {text.at(CONTEXT, 'i8', THREADS)}, align 8")
        return made
