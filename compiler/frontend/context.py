"""What an elaboration gathers: the graph under construction, parameters, states, outputs, diagnostics and the chain of calls."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

from ..diagnostics import Diagnostic, Note
from ..errors import SourceError
from ..ir.build import Build
from ..ir.evaluate import evaluate
from ..ir.graph import Graph, Where
from ..ir.loop_writer import LoopWriter
from ..ir.op import ShapeError
from ..ir.ops import Source
from ..ir.types import BOOL, F64, U32, DType, Symbol, TensorType
from ..source import Span
from .chain import Frame, calls_between, depth_to_show
from .library import is_standard
from .limits import MAX_ERRORS
from .values import Instance, Label, Live, Tensor, Value

MAXIMUM_DEPTH = 60
MAXIMUM_NODES = 100_000
MAXIMUM_STATEMENTS = 100_000
MAXIMUM_ELEMENTS = 2**31 - 1


class Refused(Exception):
    """A statement cannot go on; its diagnostic is recorded."""


class Exhausted(Exception):
    """The whole elaboration cannot go on: a limit is passed, and its diagnostic is recorded."""


@dataclass(frozen=True)
class Field:
    """An input or target as declared: shape a sample, and the number of classes of a class index.

    `length` is the name of the input that says how long each sample's first axis is; that input's numbers are from 1 to `most`.
    """

    name: str
    type: TensorType
    classes: int | None
    span: Span
    length: str | None = None
    most: int | None = None


@dataclass(frozen=True)
class Parameter:
    """A trained tensor: its name, shape, initialiser, the `param` statement that asked for it, its layer's options."""

    label: str
    type: TensorType
    init: Value
    where: Where
    options: dict[str, Value]


@dataclass(frozen=True)
class StateVariable:
    """A tensor that a training step may change without a gradient (running statistics), with its value at the start."""

    label: str
    type: TensorType
    init: Value
    where: Where


@dataclass(frozen=True)
class Layer:
    """One application of a layer, for the summary: its path, what it is, shapes in and out (a sample), where."""

    path: str
    kind: str
    settings: str
    inputs: tuple[str, ...]
    output: str
    span: Span
    depth: int


@dataclass
class Recurrence:
    """A cell that is being run over time: its body is written by `writer`, in the graph of `outside` there will be the loop.

    `given` are first values of states by name, in the graph outside. `carried` are the states declared so far, in the order of the loop.
    """

    outside: Build
    writer: LoopWriter
    given: dict[str, tuple[Tensor, Span]]
    carried: list[str] = field(default_factory=list)


@dataclass
class Context:
    """The state of one elaboration. `lengths` are the nodes of how long each sample's sequence is, by the label of its time axis.

    `given` are numbers of the run time by their nodes, `samples` what they may be by key, and `decisions` what was decided by them.
    """

    build: Build
    training: bool
    diagnostics: list[Diagnostic] = field(default_factory=list)
    fields: dict[str, Field] = field(default_factory=dict)
    targets: set[str] = field(default_factory=set)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    states: dict[str, StateVariable] = field(default_factory=dict)
    fits: dict[str, TensorType] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    sources: dict[str, int] = field(default_factory=dict)
    lengths: dict[Label, int] = field(default_factory=dict)
    recurrence: Recurrence | None = None
    draws: dict[str, int] = field(default_factory=dict)
    given: dict[int, Live] = field(default_factory=dict)
    samples: dict[str, float] = field(default_factory=dict)
    decisions: list[bool] = field(default_factory=list)
    statements: int = 0
    purpose: str = ""

    @property
    def graph(self) -> Graph:
        """The graph under construction."""
        return self.build.graph

    @property
    def real(self) -> DType:
        """The float type of the model."""
        return self.build.real

    # provenance and errors

    @property
    def callee(self) -> str:
        """The name of what is being called, for messages."""
        return self.frames[-1].name if self.frames else self.graph.name

    @contextmanager
    def call(self, name: str, span: Span, definition: Span, operands: Sequence[tuple[Value, Span]] = ()) -> Iterator[None]:
        """Note that what follows happens inside a call."""
        if len(self.frames) >= MAXIMUM_DEPTH:
            mend = "a definition that calls itself needs an `if` that ends it"
            self.refuse("too-deep", f"calls nest more than {MAXIMUM_DEPTH} levels deep", span, help=mend)
        self.frames.append(Frame(name, span, definition, operands, self.build))
        try:
            yield
        finally:
            self.frames.pop()

    @contextmanager
    def at(self, span: Span, layer: str) -> Iterator[None]:
        """Give nodes made inside their provenance."""
        before = self.build.where
        calls = tuple(frame.site for frame in reversed(self.frames))
        self.build.where = Where(span, layer, calls)
        try:
            yield
        finally:
            self.build.where = before

    @contextmanager
    def within(self, build: Build) -> Iterator[None]:
        """Work in another graph for a while."""
        before, self.build = self.build, build
        try:
            yield
        finally:
            self.build = before

    @contextmanager
    def over_time(self, recurrence: Recurrence) -> Iterator[None]:
        """Write the body of a loop for a while."""
        inside = Build(recurrence.writer.body, self.build.real, self.build.where)
        self.recurrence = recurrence
        try:
            with self.within(inside):
                yield
        finally:
            self.recurrence = None

    def report(self, code: str, message: str, span: Span, notes: Sequence[Note] = (), help: str | None = None) -> None:
        """Record a diagnostic with the present chain of calls; the same one is recorded once.

        What comes up inside the library is shown at the user's own call, with what the user gave to it.
        """
        depth = depth_to_show(span, self.frames)
        place, given = span, list(notes)
        if depth < len(self.frames):
            place = self.frames[depth].site
            with self.within(self.frames[depth].build):
                shown = self.shown(self.frames[depth].operands)
            given = [*shown, *(n for n in notes if n.span is None or not is_standard(n.span.source))]
        same = any(d.span == place and d.code == code and d.message == message for d in self.diagnostics)
        if not same and len(self.diagnostics) <= MAX_ERRORS:
            calls = calls_between(span, self.frames, depth)
            given += [Note(f"while making {self.purpose}")] if self.purpose else []
            self.diagnostics.append(Diagnostic(code, message, place, tuple(dict.fromkeys(given)), calls, help))

    def refuse(self, code: str, message: str, span: Span, notes: Sequence[Note] = (), help: str | None = None) -> NoReturn:
        """Record a diagnostic and give up the statement."""
        self.report(code, message, span, notes, help)
        raise Refused

    def spend(self, span: Span, count: int = 1) -> None:
        """Count a statement, or what takes as long as `count` of them; a model that takes too many to unroll is given up as a whole."""
        self.statements += count
        if self.statements > MAXIMUM_STATEMENTS:
            mend = "make the counts of `repeat` smaller, or end a recursion earlier"
            self.report("too-large", f"the model unrolls to more than {MAXIMUM_STATEMENTS} statements", span, help=mend)
            raise Exhausted

    @contextmanager
    def stack(self, place: Span) -> Iterator[None]:
        """Run an elaboration, which ends early when a limit is passed."""
        try:
            yield
        except Exhausted:
            pass
        except RecursionError:
            self.report("too-deep", "calls and expressions nest too deep", place, help="give parts of expressions names of their own")

    @contextmanager
    def shapes(self, span: Span, operands: Sequence[tuple[Value, Span]]) -> Iterator[None]:
        """Turn a `ShapeError` into a diagnostic that shows both ends with their shapes, and refuse what is too large."""
        before = len(self.graph)
        if before > MAXIMUM_NODES:
            self.report("too-large", f"the model needs more than {MAXIMUM_NODES} operations", span)
            raise Exhausted
        try:
            yield
        except ShapeError as error:
            self.refuse("shape-mismatch", str(error), span, self.shown(operands), error.help)
        for number in range(before, len(self.graph)):
            shape = self.graph[number].type.shape
            size = math.prod(d for d in shape if isinstance(d, int))
            if size > MAXIMUM_ELEMENTS:
                dims = [d for d in shape if isinstance(d, int)]
                self.refuse("too-large", f"{dims} has {size} elements, more than {MAXIMUM_ELEMENTS}", span, self.shown(operands))

    def shown(self, operands: Sequence[tuple[Value, Span]]) -> list[Note]:
        """What each tensor among operands is, at its place."""
        return [
            Note(f"this is {self.spell(value)}", place) for value, place in operands if isinstance(value, Tensor) and self.is_said(value)
        ]

    def is_said(self, tensor: Tensor) -> bool:
        """False for a plain number, which has no shape to show."""
        return bool(self.build.type(tensor.node).shape)

    def finish(self) -> None:
        """Raise everything that was recorded, in the order of the places."""
        if self.diagnostics:
            raise SourceError(in_order(self.diagnostics))

    # tensors

    def body(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(d for d in self.build.type(tensor.node).shape if not isinstance(d, Symbol))

    def batched(self, tensor: Tensor) -> bool:
        """True when the value differs from sample to sample."""
        shape = self.build.type(tensor.node).shape
        return bool(shape) and isinstance(shape[0], Symbol)

    def spell(self, value: Value) -> str:
        """A tensor's type a sample, as messages show it."""
        assert isinstance(value, Tensor)
        if self.build.type(value.node) == TensorType(F64):
            return "a number"
        dims = ", ".join(map(str, self.body(value)))
        if value.classes is not None:
            return f"class[{value.classes}]" + (f" of shape [{dims}]" if dims else "")
        return f"{self.build.type(value.node).dtype}[{dims}]"

    def source(self, kind: str, label: str, type_: TensorType) -> int:
        """The node of a named value from outside, one for each label; in the body of a loop it comes from outside the loop."""
        source, build = Source(kind, label, type_), self.recurrence.outside if self.recurrence else self.build
        if source.key not in self.sources:
            self.sources[source.key] = build.add_op(source)
        return self.recurrence.writer.outer(self.sources[source.key]) if self.recurrence else self.sources[source.key]

    def runtime(self, label: str) -> Tensor:
        """A scalar that the driver sets: step, steps, epoch, seed, a number that a search changes."""
        return Tensor(self.source("runtime", label, TensorType(F64)))

    def decided(self, value: Value) -> Value:
        """What has to be known while compiling: a truth value that numbers of the run time alone decide, for their samples."""
        if not self.samples or not isinstance(value, Tensor) or self.build.type(value.node) != TensorType(BOOL):
            return value
        needed = self.graph.ancestors([value.node])
        sources = [op for n in needed if isinstance(op := self.graph[n].op, Source)]
        if not all(source.key in self.samples for source in sources):
            return value
        asked, number = Graph("decision"), dict[int, int]()
        for n in sorted(needed):
            number[n] = asked.adopt(self.graph[n], tuple(number[i] for i in self.graph[n].inputs))
        asked.outputs["value"] = number[value.node]
        self.decisions.append(bool(evaluate(asked, self.samples)["value"]))
        return self.decisions[-1]

    def stream(self, path: str) -> int:
        """A number for the next random draw of a layer, the same in every elaboration of the same file."""
        self.draws[path] = self.draws.get(path, 0) + 1
        return zlib.crc32(f"{path}#{self.draws[path]}".encode())

    def random_key(self, path: str) -> int:
        """The u32 key of a draw: the run's seed mixed with the draw's own number."""
        build = self.build
        seed = build.cast(self.runtime("seed").node, U32)
        return build.apply("xor", seed, build.constant(self.stream(path), U32))


def in_order(diagnostics: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Diagnostics by file and place."""
    return sorted(diagnostics, key=lambda d: (d.span.source.name, d.span.start) if d.span else ("", -1))


def instance_label(instance: Instance, name: str) -> str:
    """The name by which the outside knows a tensor of a layer: `dense_1.weight`."""
    return f"{instance.path}.{name}" if instance.path else name


def labels(count: int) -> tuple[Label, ...]:
    """Fresh labels for unnamed axes."""
    from .values import fresh_label

    return tuple(fresh_label("...") for _ in range(count))
