"""Which level a CPU can run, asked before any of its code runs: LLVM text of `pick`.

LLVM has no word for `cpuid`, and assembly in its text needs an assembler, which is not there for other machines than this. So the two
instructions are given as bytes that stand at the beginning of a function (`prologue`), in the calling convention of the psABI.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..backend.text import Text, Value, i64
from .levels import LEAVES, Level

CPUID = bytes.fromhex(
    "4989d0"  # mov r8, rdx
    "53"  # push rbx
    "89f8"  # mov eax, edi
    "89f1"  # mov ecx, esi
    "0fa2"  # cpuid
    "418900"  # mov [r8], eax
    "41895804"  # mov [r8 + 4], ebx
    "41894808"  # mov [r8 + 8], ecx
    "4189500c"  # mov [r8 + 12], edx
    "5b"  # pop rbx
    "c3"  # ret
)
XGETBV = bytes.fromhex("31c90f01d0c3")  # xor ecx, ecx; xgetbv; ret

OSXSAVE = 27
"""The bit of leaf 1, ecx: the system keeps extended states, and XCR0 may be read."""


def guard(text: Text, levels: Sequence[Level]) -> None:
    """Write a function's body that returns the number of the last level this CPU can run, -1 when there is none."""
    text.begin("entry")
    if levels[0].machine != "x86_64":
        text.do(f"ret i64 {len(levels) - 1}")
        return
    text.need("cpuid", _raw("void @cpuid(i32 %leaf, i32 %part, ptr %out)", CPUID, "ret void"))
    text.need("xgetbv", _raw("i32 @xgetbv()", XGETBV, "ret i32 0"))
    found = text.op("ptr", "alloca [4 x i32], align 16")
    last = {first: _ask(text, found, first, 0, 0) for first in sorted({leaf & 0x80000000 for leaf, *_ in LEAVES})}
    registers = [_register(text, found, last[leaf & 0x80000000], leaf, part, register) for leaf, part, register, _ in LEAVES]
    system = _system(text, registers[0])
    best = i64(-1)
    for number, level in enumerate(levels):
        wanted = [*zip(registers, level.masks, strict=True), (system, level.system)]
        able = Value("i1", "true")
        for register, mask in wanted:
            able = _and(text, able, register, mask)
        best = text.op("i64", f"select {able}, i64 {number}, {best}")
    text.do(f"ret {best}")


def _raw(head: str, code: bytes, end: str) -> str:
    """A function that is these bytes; what LLVM writes after them is never reached."""
    spelled = "".join(f"\\{byte:02x}" for byte in code)
    return f'define internal {head} noinline nounwind prologue [{len(code)} x i8] c"{spelled}" {{\n  {end}\n}}'


def _ask(text: Text, found: Value, leaf: int, part: int, register: int) -> Value:
    """A register after `cpuid`."""
    text.do(f"call void @cpuid(i32 {leaf - (leaf >> 31 << 32)}, i32 {part}, {found})")
    return text.op("i32", f"load i32, {text.at(found, 'i32', register)}, align 4")


def _register(text: Text, found: Value, last: Value, leaf: int, part: int, register: int) -> Value:
    """A register of a leaf; nothing where the CPU has not got so many leaves, or parts of a leaf."""
    value = _ask(text, found, leaf, part, register)
    known = text.op("i1", f"icmp uge {last}, {leaf - (leaf >> 31 << 32)}")
    if part:
        parts = _ask(text, found, leaf, 0, 0)
        known = text.op("i1", f"and {known}, {text.op('i1', f'icmp uge {parts}, {part}').name}")
    return text.op("i32", f"select {known}, {value}, i32 0")


def _system(text: Text, first: Value) -> Value:
    """XCR0, or nothing where it may not be read."""
    bit = text.op("i32", f"and {first}, {1 << OSXSAVE}")
    kept, end = text.fresh("kept"), text.fresh("end")
    before = text.block
    text.branch_if(text.op("i1", f"icmp ne {bit}, 0"), kept, end)
    text.begin(kept)
    value = text.op("i32", "call i32 @xgetbv()")
    text.branch(end)
    text.begin(end)
    return text.op("i32", f"phi i32 [ {value.name}, %{kept} ], [ 0, %{before} ]")


def _and(text: Text, able: Value, register: Value, mask: int) -> Value:
    """`able`, and all bits of the mask are set."""
    if not mask:
        return able
    signed = mask - (mask >> 31 << 32)
    bits = text.op("i32", f"and {register}, {signed}")
    same = text.op("i1", f"icmp eq {bits}, {signed}")
    return text.op("i1", f"and {able}, {same.name}")
