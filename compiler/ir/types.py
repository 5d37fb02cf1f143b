"""Types of the op graph: element types, dimensions known at compile time or at run time, tensor types."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class DType:
    """An element type. `kind` is `f` (float), `i` (signed), `u` (unsigned) or `b` (bool, stored as one byte 0/1)."""

    name: str
    kind: str
    bits: int

    @property
    def bytes(self) -> int:
        """Size of one stored element."""
        return self.bits // 8

    @cached_property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype of stored elements."""
        return np.dtype(np.bool_) if self.kind == "b" else np.dtype(f"{self.kind}{self.bytes}")

    @property
    def is_float(self) -> bool:
        """True for f32 and f64."""
        return self.kind == "f"

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name


F32 = DType("f32", "f", 32)
F64 = DType("f64", "f", 64)
I32 = DType("i32", "i", 32)
I64 = DType("i64", "i", 64)
U8 = DType("u8", "u", 8)
U32 = DType("u32", "u", 32)
BOOL = DType("bool", "b", 8)

DTYPES = {t.name: t for t in (F32, F64, I32, I64, U8, U32, BOOL)}


@dataclass(frozen=True)
class Symbol:
    """A dimension whose extent is known only at run time, up to a capacity fixed at compile time."""

    name: str

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name


BATCH = Symbol("batch")

Dim = int | Symbol
Shape = tuple[Dim, ...]


def batched(shape: Shape) -> bool:
    """True when the first axis is the batch."""
    return bool(shape) and shape[0] == BATCH


def elements(shape: Shape) -> int:
    """Number of elements, a symbol counted as one."""
    return math.prod(d for d in shape if isinstance(d, int))


def row_major(shape: Shape) -> tuple[int, ...]:
    """Strides that count the points of a shape, the last axis innermost, a symbol counted as one."""
    return tuple(elements(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True)
class TensorType:
    """Element type and shape of a value; rank 0 is a scalar."""

    dtype: DType
    shape: Shape = ()

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        """The same shape with other elements."""
        return TensorType(dtype, self.shape)

    def with_shape(self, shape: Shape) -> TensorType:
        """The same elements in another shape."""
        return TensorType(self.dtype, shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"

    def __repr__(self) -> str:
        return str(self)
