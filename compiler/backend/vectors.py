"""Vectors between memory and registers: whole, partial, masked, strided and transposed loads and stores, splats, sums of lanes.

A partial or masked vector never touches memory past its lanes in use; its other lanes read as zero.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from ..ir.types import DType
from .text import Text, Value, i64, scalar_type, vector


def memory_type(dtype: DType) -> str:
    """The LLVM type of one stored element."""
    return "i8" if dtype.kind == "b" else scalar_type(dtype)


def literal(number: float | int | bool, dtype: DType) -> Value:
    """A constant of `dtype`."""
    if not dtype.is_float:
        return Value(scalar_type(dtype), str(int(number)))
    rounded = struct.unpack("<f", struct.pack("<f", number))[0] if dtype.bits == 32 else float(number)
    return Value(scalar_type(dtype), f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}")


def zero(dtype: DType, lanes: int) -> Value:
    """All lanes zero."""
    return Value(vector(scalar_type(dtype), lanes), "zeroinitializer" if lanes > 1 else literal(0, dtype).name)


def splat(text: Text, value: Value, lanes: int) -> Value:
    """A scalar in every lane."""
    if lanes == 1:
        return value
    type_ = vector(value.type, lanes)
    if value.name[0] != "%":
        return Value(type_, f"splat ({value})")
    first = text.op(type_, f"insertelement {type_} poison, {value}, i64 0")
    return text.op(type_, f"shufflevector {type_} {first.name}, {type_} poison, <{lanes} x i32> zeroinitializer")


def shuffle(text: Text, a: Value, b: Value | None, scalar: str, picks: Sequence[int]) -> Value:
    """Lanes chosen from two vectors (one lane, from the first, becomes a scalar); -1 is any lane."""
    if len(picks) == 1:
        return text.op(scalar, f"extractelement {a}, i64 {picks[0]}")
    mask = ", ".join(f"i32 {p}" if p >= 0 else "i32 poison" for p in picks)
    other = b.name if b else "poison"
    return text.op(vector(scalar, len(picks)), f"shufflevector {a}, {a.type} {other}, <{len(picks)} x i32> <{mask}>")


def pieces(active: int) -> list[tuple[int, int]]:
    """(first lane, width) of the powers of two that make up `active` lanes."""
    found, at = [], 0
    for width in (64, 32, 16, 8, 4, 2, 1):
        if active - at >= width:
            found.append((at, width))
            at += width
    return found


def lane_mask(text: Text, lanes: int, active: Value | int) -> Value:
    """True in the first `active` lanes."""
    type_ = vector("i1", lanes)
    if isinstance(active, int):
        return Value(type_, "<" + ", ".join(f"i1 {int(lane < active)}" for lane in range(lanes)) + ">")
    numbers = "<" + ", ".join(f"i32 {lane}" for lane in range(lanes)) + ">"
    limit = splat(text, text.op("i32", f"trunc {active} to i32"), lanes)
    return text.op(type_, f"icmp ult {vector('i32', lanes)} {numbers}, {limit.name}")


def load(
    text: Text, pointer: Value, dtype: DType, lanes: int = 1, active: int | None = None, stride: int = 1, mask: Value | None = None
) -> Value:
    """Load `active` elements (all lanes unless told) `stride` apart, as register values; or neighbours in the lanes of `mask`."""
    active = lanes if active is None else active
    if mask is not None:
        raw = _masked_load(text, pointer, dtype, lanes, mask)
    elif stride != 1 and lanes > 1:
        raw = _gather(text, pointer, dtype, lanes, active, stride)
    elif active == lanes:
        type_ = vector(memory_type(dtype), lanes)
        raw = text.op(type_, f"load {type_}, ptr {pointer.name}, align {dtype.bytes}")
    elif _has_masks(text, dtype):
        raw = _masked_load(text, pointer, dtype, lanes, lane_mask(text, lanes, active))
    else:
        raw = _load_pieces(text, pointer, dtype, lanes, active)
    if dtype.kind != "b":
        return raw
    return text.op(vector("i1", lanes), f"icmp ne {raw}, {'zeroinitializer' if lanes > 1 else '0'}")


def store(
    text: Text,
    value: Value,
    pointer: Value,
    dtype: DType,
    lanes: int = 1,
    active: int | None = None,
    stride: int = 1,
    mask: Value | None = None,
) -> None:
    """Store the first `active` lanes `stride` elements apart; or the lanes of `mask` to neighbours."""
    active = lanes if active is None else active
    type_ = vector(memory_type(dtype), lanes)
    if dtype.kind == "b":
        value = text.op(type_, f"zext {value} to {type_}")
    if mask is not None:
        _masked_store(text, value, pointer, dtype, lanes, mask)
    elif stride != 1 and lanes > 1:
        _scatter(text, value, pointer, dtype, active, stride)
    elif active == lanes:
        text.do(f"store {value}, ptr {pointer.name}, align {dtype.bytes}")
    elif _has_masks(text, dtype):
        _masked_store(text, value, pointer, dtype, lanes, lane_mask(text, lanes, active))
    else:
        _store_pieces(text, value, pointer, dtype, active)


def transpose(text: Text, rows: list[Value], scalar: str) -> list[Value]:
    """Transpose as many vectors as they have lanes (a power of two), by exchanging ever larger blocks."""
    lanes, distance = len(rows), 1
    while distance < lanes:
        low = [p if not p & distance else p - distance + lanes for p in range(lanes)]
        high = [p + distance if not p & distance else p + lanes for p in range(lanes)]
        after = list(rows)
        for r in (r for r in range(lanes) if not r & distance):
            after[r] = shuffle(text, rows[r], rows[r + distance], scalar, low)
            after[r + distance] = shuffle(text, rows[r], rows[r + distance], scalar, high)
        rows, distance = after, 2 * distance
    return rows


def lane_sum(text: Text, value: Value, scalar: str, lanes: int) -> Value:
    """The sum of all lanes by halving, which fixes the order."""
    while lanes > 1:
        lanes //= 2
        low = shuffle(text, value, None, scalar, range(lanes))
        high = shuffle(text, value, None, scalar, range(lanes, 2 * lanes))
        value = text.op(low.type, f"fadd {low}, {high.name}")
    return value


def multiply_add(text: Text, a: Value, b: Value, c: Value, dtype: DType, lanes: int) -> Value:
    """`a * b + c`: rounded once where the target fuses, twice where it does not."""
    if text.target.fma:
        suffix = f"f{dtype.bits}" if lanes == 1 else f"v{lanes}f{dtype.bits}"
        return text.call(c.type, f"llvm.fma.{suffix}", a, b, c)
    product = text.op(c.type, f"fmul {a}, {b.name}")
    return text.op(c.type, f"fadd {product}, {c.name}")


def _has_masks(text: Text, dtype: DType) -> bool:
    return text.target.masked or (text.target.vector_bits >= 256 and dtype.is_float)


def _masked_load(text: Text, pointer: Value, dtype: DType, lanes: int, mask: Value) -> Value:
    type_, name = vector(memory_type(dtype), lanes), f"llvm.masked.load.v{lanes}{_suffix(dtype)}.p0"
    text.need(name, f"declare {type_} @{name}(ptr, {mask.type}, {type_})")
    return text.op(type_, f"call {type_} @{name}(ptr align {dtype.bytes} {pointer.name}, {mask}, {type_} zeroinitializer)")


def _masked_store(text: Text, value: Value, pointer: Value, dtype: DType, lanes: int, mask: Value) -> None:
    name = f"llvm.masked.store.v{lanes}{_suffix(dtype)}.p0"
    text.need(name, f"declare void @{name}({value.type}, ptr, {mask.type})")
    text.do(f"call void @{name}({value}, ptr align {dtype.bytes} {pointer.name}, {mask})")


def _suffix(dtype: DType) -> str:
    return f"f{dtype.bits}" if dtype.is_float else f"i{dtype.bits}"


def _load_pieces(text: Text, pointer: Value, dtype: DType, lanes: int, active: int) -> Value:
    scalar = memory_type(dtype)
    whole = Value(vector(scalar, lanes), "zeroinitializer")
    for at, width in pieces(active):
        type_ = vector(scalar, width)
        piece = text.op(type_, f"load {type_}, ptr {text.at(pointer, scalar, at).name}, align {dtype.bytes}")
        if width == 1:
            whole = text.op(whole.type, f"insertelement {whole}, {piece}, i64 {at}")
            continue
        spread = shuffle(text, piece, None, scalar, [lane - at if at <= lane < at + width else -1 for lane in range(lanes)])
        picks = [lanes + lane if at <= lane < at + width else lane for lane in range(lanes)]
        whole = shuffle(text, whole, spread, scalar, picks)
    return whole


def _store_pieces(text: Text, value: Value, pointer: Value, dtype: DType, active: int) -> None:
    scalar = memory_type(dtype)
    for at, width in pieces(active):
        target = text.at(pointer, scalar, at)
        if width == 1:
            piece = text.op(scalar, f"extractelement {value}, i64 {at}")
        else:
            piece = shuffle(text, value, None, scalar, range(at, at + width))
        text.do(f"store {piece}, ptr {target.name}, align {dtype.bytes}")


def _gather(text: Text, pointer: Value, dtype: DType, lanes: int, active: int, stride: int) -> Value:
    scalar = memory_type(dtype)
    whole = Value(vector(scalar, lanes), "zeroinitializer")
    for lane in range(active):
        one = text.op(scalar, f"load {scalar}, ptr {text.at(pointer, scalar, lane * stride).name}, align {dtype.bytes}")
        whole = text.op(whole.type, f"insertelement {whole}, {one}, i64 {lane}")
    return whole


def _scatter(text: Text, value: Value, pointer: Value, dtype: DType, active: int, stride: int) -> None:
    scalar = memory_type(dtype)
    for lane in range(active):
        one = text.op(scalar, f"extractelement {value}, i64 {lane}")
        text.do(f"store {one}, ptr {text.at(pointer, scalar, lane * stride).name}, align {dtype.bytes}")


def offset(text: Text, start: int, strides: dict[str, int], point: dict[str, Value]) -> Value:
    """`start + sum(stride * index)` over the axes that `point` has."""
    total = i64(start)
    for name, stride in strides.items():
        if name in point:
            total = text.add(total, text.mul(point[name], stride))
    return total
