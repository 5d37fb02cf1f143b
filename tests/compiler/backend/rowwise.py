"""Applies one row of the elementwise table to arrays: what the tests of the table and of the vector maths share."""

from __future__ import annotations

import functools

import native
import numpy as np
from ranvier.compiler.backend.elementwise import apply
from ranvier.compiler.backend.target import preset
from ranvier.compiler.backend.text import Emitted, Grid, Text, Value
from ranvier.compiler.backend.vectors import load, store
from ranvier.compiler.ir.types import DType


def emit_rowwise(op: str, operands: list[DType], dtype: DType, lanes: int, name: str) -> Emitted:
    """A kernel that applies one row to arrays whose length is a multiple of `lanes`."""
    text = Text(preset(name))
    with text.loop(Value("i64", "%rows"), step=lanes) as loop:
        args = [load(text, text.at(Value("ptr", f"%b{n}"), _memory(t), loop.index), t, lanes) for n, t in enumerate(operands)]
        result = apply(text, op, args, operands, dtype, lanes)
        store(text, result, text.at(Value("ptr", f"%b{len(operands)}"), _memory(dtype), loop.index), dtype, lanes)
    pointers = ", ".join(f"ptr %b{n}" for n in range(len(operands) + 1))
    head = f"define internal void @KERNEL({pointers}, i64 %rows, i64 %lo, i64 %hi, ptr %scratch) #0 {{\nentry:"
    body = "\n".join([head, *text.lines, "  ret void", "}"])
    return Emitted(body, tuple(f"b{n}" for n in range(len(operands) + 1)), Grid(1, True, 1), 0, tuple(text.needs.items()))


def _memory(dtype: DType) -> str:
    return {"f32": "float", "f64": "double"}.get(dtype.name, f"i{dtype.bits}")


@functools.cache
def compiled(op: str, operands: tuple[DType, ...], dtype: DType, lanes: int, name: str) -> native.Native:
    return native.compile_native(emit_rowwise(op, list(operands), dtype, lanes, name), preset(name))


def run(op: str, arrays: list[np.ndarray], operands: list[DType], dtype: DType, lanes: int, name: str) -> np.ndarray:
    count = len(arrays[0])
    padded = -(-count // lanes) * lanes
    given = {f"b{n}": np.resize(a, padded).astype(t.numpy) for n, (a, t) in enumerate(zip(arrays, operands, strict=True))}
    result = np.empty(padded, dtype.numpy)
    compiled(op, tuple(operands), dtype, lanes, name)({**given, f"b{len(operands)}": result}, padded)
    return result[:count]
