"""Arithmetic on vectors of one element type, as LLVM IR: what the elementwise table and the vector maths are written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.types import DType
from .text import Text, Value, scalar_type, vector
from .vectors import literal, multiply_add, splat


@dataclass(frozen=True)
class Lanes:
    """Writes instructions on vectors of `lanes` elements of `dtype` (one lane is the scalar).

    No instruction carries a fast-math flag: NaN, infinities and the order of operations are kept. Literals are told by their
    spelling, which does not begin with `%`.
    """

    text: Text
    dtype: DType
    lanes: int

    @property
    def type(self) -> str:
        """The LLVM type of one vector."""
        return vector(scalar_type(self.dtype), self.lanes)

    @property
    def truth(self) -> str:
        """The LLVM type of a comparison's result."""
        return vector("i1", self.lanes)

    @property
    def suffix(self) -> str:
        """The ending of an intrinsic's name for this type."""
        element = ("f" if self.dtype.is_float else "i") + str(1 if self.dtype.kind == "b" else self.dtype.bits)
        return element if self.lanes == 1 else f"v{self.lanes}{element}"

    def number(self, value: float | int | bool) -> Value:
        """A constant in every lane."""
        return splat(self.text, literal(value, self.dtype), self.lanes)

    def binary(self, instruction: str, a: Value, b: Value) -> Value:
        """An instruction of two operands of the same type, such as `fadd`."""
        return self.text.op(a.type, f"{instruction} {a}, {b.name}")

    def intrinsic(self, name: str, *args: Value) -> Value:
        """Call an intrinsic that is overloaded on this type alone."""
        return self.text.call(self.type, f"llvm.{name}.{self.suffix}", *args)

    def add(self, a: Value, b: Value) -> Value:
        """`a + b`; integers wrap."""
        return self.binary("fadd" if self.dtype.is_float else "add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        """`a - b`; integers wrap."""
        return self.binary("fsub" if self.dtype.is_float else "sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        """`a * b`; integers wrap."""
        return self.binary("fmul" if self.dtype.is_float else "mul", a, b)

    def div(self, a: Value, b: Value) -> Value:
        """The correctly rounded quotient of floats."""
        return self.binary("fdiv", a, b)

    def neg(self, a: Value) -> Value:
        """`-a`."""
        return self.text.op(a.type, f"fneg {a}") if self.dtype.is_float else self.sub(self.number(0), a)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """`a * b + c`: rounded once where the target fuses, twice where it does not."""
        return multiply_add(self.text, a, b, c, self.dtype, self.lanes)

    def compare(self, relation: str, a: Value, b: Value) -> Value:
        """Compare by `lt le gt ge eq ne` as NumPy does: a NaN makes all false but `ne`."""
        if self.dtype.is_float:
            return self.text.op(self.truth, f"fcmp {'une' if relation == 'ne' else 'o' + relation} {a}, {b.name}")
        sign = "" if relation in ("eq", "ne") else "s" if self.dtype.kind == "i" else "u"
        return self.text.op(self.truth, f"icmp {sign}{relation} {a}, {b.name}")

    def is_nan(self, a: Value) -> Value:
        """True where a float is not a number."""
        return self.text.op(self.truth, f"fcmp uno {a}, {a.name}")

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """`a` where the condition holds, else `b`."""
        return self.text.op(a.type, f"select {condition}, {a}, {b}")

    def both(self, a: Value, b: Value) -> Value:
        """Bitwise and; for conditions, their conjunction."""
        return self.binary("and", a, b)

    def either(self, a: Value, b: Value) -> Value:
        """Bitwise or; for conditions, their disjunction."""
        return self.binary("or", a, b)

    def inverse(self, condition: Value) -> Value:
        """The negation of a condition."""
        return self.binary("xor", condition, splat(self.text, Value("i1", "true"), self.lanes))

    def as_type(self, a: Value, dtype: DType) -> Value:
        """The same bits seen as another type of the same size."""
        type_ = vector(scalar_type(dtype), self.lanes)
        return a if type_ == a.type else self.text.op(type_, f"bitcast {a} to {type_}")

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """A polynomial by Horner's rule, the highest power first."""
        total = self.number(coefficients[0])
        for coefficient in coefficients[1:]:
            total = self.fma(total, x, self.number(coefficient))
        return total
