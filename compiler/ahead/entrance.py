"""A function of a library's interface, being written: arguments that are wrong end it with a code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..backend.target import Target
from ..backend.text import Text, Value
from . import codes
from .workspace import MAGIC

CONTEXT, ZERO = Value("ptr", "%context"), Value("i32", "0")


def parameter(type_: str, name: str) -> Value:
    """A parameter by its name."""
    return Value(type_, f"%{name}")


@dataclass
class Entrance:
    """`name` is the symbol, `result` what the function returns: 0, unless it is set."""

    name: str
    parameters: Sequence[Value]
    target: Target
    result: Value = ZERO
    text: Text = field(init=False)
    _used: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.text = Text(self.target)
        self.text.begin("entry")

    def refuse(self, condition: Value, code: int) -> None:
        """End with a code where the condition (i1) holds."""
        good = self.text.fresh("good")
        self.text.branch_if(condition, f"code.{code}", good)
        self.text.begin(good)
        self._used.add(code)

    def need(self, *pointers: Value) -> None:
        """None of the pointers is null."""
        for each in pointers:
            self.refuse(self.text.op("i1", f"icmp eq {each}, null"), codes.NULL)

    def need_context(self, number: int) -> None:
        """There is a context, and it is one of the library with this number."""
        self.need(CONTEXT)
        found = self.text.op("i64", f"load i64, {self.text.at(CONTEXT, 'i8', MAGIC)}, align 8")
        self.refuse(self.text.op("i1", f"icmp ne {found}, {number}"), codes.CONTEXT)

    def need_size(self, bytes_: Value, wanted: Value) -> None:
        """A buffer has the size it should have."""
        self.refuse(self.text.op("i1", f"icmp ne {bytes_}, {wanted.name}"), codes.SIZE)

    def give(self, value: Value, out: Value) -> None:
        """Store a result where the caller wants it, wherever that lies."""
        self.text.do(f"store {value}, {out}, align 1")

    def lines(self) -> list[str]:
        """The lines of the function."""
        lines = [f"define {self.result.type} @{self.name}({', '.join(map(str, self.parameters))}) #0 {{", *self.text.lines]
        lines.append(f"  ret {self.result}")
        for code in sorted(self._used):
            lines += [f"code.{code}:", f"  ret i32 {code}"]
        return [*lines, "}", ""]
