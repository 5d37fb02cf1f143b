"""NumPy's answer to a nest, and words to write nests with: what the tests of the map/reduce generator share."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from ranvier.compiler.ir.elementwise import ROWS
from ranvier.compiler.ir.types import BOOL, DType
from ranvier.compiler.kernels.model import (
    Access,
    Apply,
    Axis,
    Constant,
    Extents,
    Fold,
    Index,
    Instruction,
    Load,
    Nest,
    Store,
    extent,
)


class Body:
    """Collects instructions; every method returns the number of the instruction it adds."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []

    def add(self, instruction: Instruction) -> int:
        self.instructions.append(instruction)
        return len(self.instructions) - 1

    def dtype(self, number: int) -> DType:
        instruction = self.instructions[number]
        return instruction.access.dtype if isinstance(instruction, Load) else instruction.dtype

    def load(self, access: Access) -> int:
        return self.add(Load(access))

    def constant(self, value: float, dtype: DType) -> int:
        return self.add(Constant(value, dtype))

    def apply(self, op: str, *args: int) -> int:
        dtype = BOOL if op in ("lt", "le", "gt", "ge", "eq", "ne") else self.dtype(args[-1])
        return self.add(Apply(op, args, dtype))

    def cast(self, arg: int, dtype: DType) -> int:
        return self.add(Apply("cast", (arg,), dtype))

    def fold(self, kind: str, arg: int, dtype: DType | None = None) -> int:
        return self.add(Fold(kind, arg, dtype or self.dtype(arg)))

    def nest(self, axes: list[Axis], over: list[Axis], *stores: tuple[Access, int]) -> Nest:
        return Nest(tuple(axes), tuple(over), tuple(self.instructions), tuple(Store(a, v) for a, v in stores))


def access(buffer: str, dtype: DType, offset: int = 0, **strides: int) -> Access:
    """An access; `n__` stands for the panel axis `n/`."""
    return Access(buffer, dtype, tuple((name.replace("__", "/"), stride) for name, stride in strides.items()), offset)


def reference(kernel: Nest, arrays: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """What the buffers hold after the kernel."""
    axes = (*kernel.axes, *kernel.over)
    shape = tuple(extent(a, {"batch": rows}) for a in axes)
    index = {a.name: np.arange(n).reshape([-1 if b is a else 1 for b in axes]) for a, n in zip(axes, shape, strict=True)}
    folded = tuple(range(len(kernel.axes), len(axes)))

    def affine(strides, offset):
        total = np.full([1] * len(axes), offset, np.int64)
        given = dict(strides)
        for axis in axes:
            digits = {axis.name: index[axis.name]}
            if axis.split:
                digits = {axis.name: index[axis.name] % axis.split, f"{axis.name}/": index[axis.name] // axis.split}
                given.setdefault(f"{axis.name}/", axis.split * given.get(axis.name, 0))
            for name, digit in digits.items():
                total = total + given[name] * digit if given.get(name) else total
        return total

    values: list[np.ndarray] = []
    with np.errstate(all="ignore"):
        for instruction in kernel.body:
            values.append(_value(instruction, values, arrays, rows, affine, shape, folded))
    result = {name: a.copy() for name, a in arrays.items()}
    for store in kernel.stores:
        where = affine(store.access.strides, store.access.offset)
        what = values[store.value]
        both = np.broadcast_arrays(where, what)
        everywhere = any(n != 1 for n in both[0].shape[len(kernel.axes) :])
        full = shape if everywhere else (*shape[: len(kernel.axes)], *[1] * len(folded))
        result[store.access.buffer][np.broadcast_to(where, full).ravel()] = np.broadcast_to(what, full).ravel()
    return result


def _value(instruction, values, arrays, rows, affine, shape, folded):
    if isinstance(instruction, Load):
        where = affine(instruction.access.strides, instruction.access.offset)
        if 0 in shape:
            return np.zeros([1] * len(shape), instruction.access.dtype.numpy)
        return arrays[instruction.access.buffer][where]
    if isinstance(instruction, Constant):
        return np.full([1] * len(shape), instruction.value, instruction.dtype.numpy)
    if isinstance(instruction, Extents):
        return np.full([1] * len(shape), rows, instruction.dtype.numpy)
    if isinstance(instruction, Index):
        return affine(instruction.strides, instruction.offset).astype(instruction.dtype.numpy)
    if isinstance(instruction, Fold):
        return _fold(instruction, np.broadcast_to(values[instruction.arg], shape), folded)
    args = [values[a] for a in instruction.args]
    if instruction.op == "cast":
        return args[0].astype(instruction.dtype.numpy)
    found = np.where(*args) if instruction.op == "select" else ROWS[instruction.op].reference(*args)
    return np.asarray(found).astype(instruction.dtype.numpy)


def _fold(fold: Fold, array: np.ndarray, folded: tuple[int, ...]) -> np.ndarray:
    if fold.kind in ("argmax", "argmin"):
        kept = array.shape[: -len(folded)]
        flat = array.reshape(*kept, math.prod(array.shape[len(kept) :]))
        place = getattr(np, fold.kind)(flat, axis=-1) if flat.shape[-1] else np.zeros(kept)
        return place.reshape(*kept, *[1] * len(folded)).astype(fold.dtype.numpy)
    if fold.kind == "sum":
        wide = np.float64 if fold.dtype.is_float else fold.dtype.numpy
        return array.sum(axis=folded, keepdims=True, dtype=wide).astype(fold.dtype.numpy)
    if fold.kind in ("any", "all"):
        return getattr(np, fold.kind)(array, axis=folded, keepdims=True)
    edge = {"f": np.inf}.get(fold.dtype.kind) or np.iinfo(fold.dtype.numpy).max
    low = -np.inf if fold.dtype.kind == "f" else np.iinfo(fold.dtype.numpy).min
    return getattr(np, fold.kind)(array, axis=folded, keepdims=True, initial=low if fold.kind == "max" else edge)
