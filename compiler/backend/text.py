"""LLVM IR as text: a function is written a line at a time; loops and blocks are context managers.

Text, because parsing it is far cheaper than building it through objects; no optimisation pipeline runs on kernels, so what is
written here is what is selected: addresses are incremented, invariants are hoisted by the writer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from ..ir.types import DType
from .target import Target

SCALARS = {"f32": "float", "f64": "double", "i32": "i32", "i64": "i64", "u8": "i8", "u32": "i32", "bool": "i1"}


@dataclass(frozen=True)
class Value:
    """An SSA value or literal: its LLVM type and its spelling."""

    type: str
    name: str

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


def i64(value: int) -> Value:
    """A 64-bit integer literal."""
    return Value("i64", str(value))


def vector(scalar: str, lanes: int) -> str:
    """The LLVM type of `lanes` elements; one lane is the scalar itself."""
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def scalar_type(dtype: DType) -> str:
    """The LLVM type of one value of `dtype` in a register (bool is i1; in memory it is one byte)."""
    return SCALARS[dtype.name]


@dataclass
class Loop:
    """A counted loop being written; `close` gives the next values of what it carries."""

    index: Value
    carried: list[Value]
    results: list[Value] = field(default_factory=list)
    _next: list[Value] | None = None

    def close(self, values: Sequence[Value]) -> None:
        """State the carried values at the end of this turn; after the loop they are in `results`."""
        self._next = list(values)


@dataclass
class Text:
    """One function being written for a target."""

    target: Target
    lines: list[str] = field(default_factory=list)
    needs: dict[str, str] = field(default_factory=dict)
    block: str = "entry"
    _count: int = 0

    def fresh(self, hint: str = "v") -> str:
        """A name not used before in this function, without its `%`."""
        self._count += 1
        return f"{hint}{self._count}"

    def op(self, type_: str, instruction: str) -> Value:
        """Write `%v = instruction` and return the value, of type `type_`."""
        name = "%" + self.fresh()
        self.lines.append(f"  {name} = {instruction}")
        return Value(type_, name)

    def do(self, instruction: str) -> None:
        """Write an instruction without a result."""
        self.lines.append(f"  {instruction}")

    def need(self, name: str, definition: str) -> None:
        """Ask for a declaration or a helper function, written once a module."""
        self.needs[name] = definition

    def call(self, type_: str, function: str, *args: Value) -> Value:
        """Call an intrinsic or helper by its name without `@`, declaring it by its argument types unless it is already needed."""
        types = ", ".join(a.type for a in args)
        self.needs.setdefault(function, f"declare {type_} @{function}({types})")
        return self.op(type_, f"call {type_} @{function}({', '.join(map(str, args))})")

    def begin(self, label: str) -> None:
        """Start a basic block."""
        self.lines.append(f"{label}:")
        self.block = label

    def branch(self, label: str) -> None:
        """Jump."""
        self.do(f"br label %{label}")

    def branch_if(self, condition: Value, yes: str, no: str) -> None:
        """Jump on an i1."""
        self.do(f"br i1 {condition.name}, label %{yes}, label %{no}")

    def add(self, a: Value, b: Value) -> Value:
        """Integer sum, folding literals."""
        if a.name == "0":
            return b
        if b.name == "0":
            return a
        if _literal(a) and _literal(b):
            return Value(a.type, str(int(a.name) + int(b.name)))
        return self.op(a.type, f"add {a}, {b.name}")

    def mul(self, a: Value, factor: int | Value) -> Value:
        """Integer product, folding what can be."""
        if isinstance(factor, Value):
            if not _literal(factor):
                return self.mul(factor, int(a.name)) if _literal(a) else self.op(a.type, f"mul {a}, {factor.name}")
            factor = int(factor.name)
        if factor == 0:
            return Value(a.type, "0")
        if factor == 1:
            return a
        if _literal(a):
            return Value(a.type, str(int(a.name) * factor))
        return self.op(a.type, f"mul {a}, {factor}")

    def floor(self, count: Value, step: int) -> Value:
        """The largest multiple of a power of two that is at most `count`, which is not negative."""
        if _literal(count):
            return Value(count.type, str(int(count.name) // step * step))
        return self.op(count.type, f"and {count}, {-step}")

    def at(self, pointer: Value, scalar: str, index: Value | int) -> Value:
        """The address `index` elements of `scalar` after `pointer`."""
        position = i64(index) if isinstance(index, int) else index
        if position.name == "0":
            return pointer
        return self.op("ptr", f"getelementptr {scalar}, ptr {pointer.name}, {position}")

    @contextmanager
    def loop(self, stop: Value | int, start: Value | int = 0, step: int = 1, carried: Sequence[Value] = ()) -> Iterator[Loop]:
        """`for index in range(start, stop, step)`, carrying values; runs no turn when start >= stop.

        Inside, `loop.index` and `loop.carried`; call `loop.close(next_values)` before leaving when anything is carried.
        After it, `loop.results`.
        """
        first = i64(start) if isinstance(start, int) else start
        last = i64(stop) if isinstance(stop, int) else stop
        name = self.fresh("loop")
        known = _literal(first) and _literal(last)
        before = self.block
        if known and int(first.name) >= int(last.name):
            raise ValueError("a loop of no turns is not written")
        if known:
            self.branch(f"{name}.body")
        else:
            guard = self.op("i1", f"icmp slt {first}, {last.name}")
            self.branch_if(guard, f"{name}.body", f"{name}.end")
        self.begin(f"{name}.body")
        slot = len(self.lines)
        loop = Loop(Value("i64", f"%{name}.i"), [Value(v.type, f"%{name}.c{n}") for n, v in enumerate(carried)])
        yield loop
        values = loop._next if loop._next is not None else list(loop.carried)
        latch = self.block
        following = self.op("i64", f"add {loop.index}, {step}")
        again = self.op("i1", f"icmp slt {following}, {last.name}")
        self.branch_if(again, f"{name}.body", f"{name}.end")
        phis = [f"  {loop.index.name} = phi i64 [ {first.name}, %{before} ], [ {following.name}, %{latch} ]"]
        for inside, outside, after in zip(loop.carried, carried, values, strict=True):
            phis.append(f"  {inside.name} = phi {inside.type} [ {outside.name}, %{before} ], [ {after.name}, %{latch} ]")
        self.lines[slot:slot] = phis
        self.begin(f"{name}.end")
        for n, (outside, after) in enumerate(zip(carried, values, strict=True)):
            if known:
                loop.results.append(after)
            else:
                sources = f"[ {outside.name}, %{before} ], [ {after.name}, %{latch} ]"
                self.lines.append(f"  %{name}.r{n} = phi {after.type} {sources}")
                loop.results.append(Value(after.type, f"%{name}.r{n}"))

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Write a block that runs only if `condition` (i1) holds."""
        name = self.fresh("if")
        self.branch_if(condition, f"{name}.then", f"{name}.end")
        self.begin(f"{name}.then")
        yield
        self.branch(f"{name}.end")
        self.begin(f"{name}.end")


def _literal(value: Value) -> bool:
    return value.name.lstrip("-").isdigit()


@dataclass(frozen=True)
class Grid:
    """What a kernel's `lo` and `hi` count: ceil(extent / grain) units of work, which threads share out.

    `rows` is true when the extent is multiplied by the run-time rows.
    """

    extent: int
    rows: bool
    grain: int


@dataclass(frozen=True)
class Emitted:
    """One generated kernel: `define internal void @KERNEL(ptr…, i64 %rows, i64 %lo, i64 %hi, ptr %scratch)`.

    `text` is the definition with the placeholder `@KERNEL` for its name, so that equal work has equal text whatever the buffers are called;
    `buffers` names what each pointer argument must point at; `needs` maps a declared or defined helper's name to its text;
    `scratch` is the per-thread scratch in bytes (64-byte aligned).
    """

    text: str
    buffers: tuple[str, ...]
    grid: Grid
    scratch: int
    needs: tuple[tuple[str, str], ...]
