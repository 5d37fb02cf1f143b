"""What the code is made for: vector width, registers, masks, tiles. Nothing outside this file may assume an architecture."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from ..ir.types import DType


@dataclass(frozen=True)
class Target:
    """A CPU as the generators see it.

    `vector_bits` is the width the generators use, `registers` the number of vector registers, `masked` whether masked loads and stores
    are single cheap instructions (AVX-512), `fma` whether fused multiply-add is native.
    """

    triple: str
    cpu: str
    features: str
    vector_bits: int
    registers: int
    masked: bool
    fma: bool

    def lanes(self, dtype: DType) -> int:
        """Elements of `dtype` in one vector register."""
        return max(1, self.vector_bits // dtype.bits)

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and vectors of the register tile that does not spill (rows * vectors accumulators, one broadcast, the vectors of b)."""
        if self.registers >= 32:
            return (12, 2) if self.vector_bits >= 512 else (8, 2)
        return (6, 2) if self.fma else (4, 2)

    @property
    def unrolled(self) -> int:
        """Steps of a contraction's innermost loop that are written out: as many as need no further registers for their addresses."""
        return 4 if self.fma and self.triple.startswith("x86_64") else 1

    @property
    def pointers(self) -> int:
        """Row addresses that a register tile can keep in general registers beside its own loop."""
        return 20 if self.triple.startswith("aarch64") else 12

    def panel(self, dtype: DType) -> int:
        """Columns of a panel of a blocked parameter: the width of the register tile."""
        return self.tile[1] * self.lanes(dtype)


PRESETS = {
    "x86-64": ("x86_64-unknown-linux-gnu", "x86-64", "", 128, 16, False, False),
    "x86-64-v3": ("x86_64-unknown-linux-gnu", "x86-64-v3", "", 256, 16, False, True),
    "x86-64-v4": ("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32, True, True),
    "aarch64": ("aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32, False, True),
}


def preset(name: str) -> Target:
    """A named CPU level: x86-64, x86-64-v3, x86-64-v4, aarch64."""
    return Target(*PRESETS[name])


def own_features() -> Mapping[str, bool]:
    """Whether the CPU this process runs on has a feature, by LLVM's names of those of its kind."""
    import llvmlite.binding as llvm

    found: Mapping[str, bool] = llvm.get_host_cpu_features()
    return found


@functools.cache
def host() -> Target:
    """The CPU this process runs on, with the widest vectors it has."""
    import llvmlite.binding as llvm

    features = llvm.get_host_cpu_features()
    triple = llvm.get_process_triple()
    cpu, flags = llvm.get_host_cpu_name(), features.flatten()
    if not triple.startswith("x86_64"):
        return Target(triple, cpu, flags, 128, 32, masked=False, fma=True)
    if features.get("avx512f") and features.get("avx512vl") and features.get("avx512dq") and features.get("avx512bw"):
        return Target(triple, cpu, flags, 512, 32, masked=True, fma=True)
    if features.get("avx2") and features.get("fma"):
        return Target(triple, cpu, flags, 256, 16, masked=False, fma=True)
    return Target(triple, cpu, flags, 128, 16, masked=False, fma=False)


FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
"""Number of the futex system call on Linux (asm/unistd.h of each architecture)."""

X86_INTRINSICS = """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)

define internal void @relax() #0 {
  call void @llvm.x86.sse2.pause()
  ret void
}

; MXCSR 0x9FC0: every exception masked, round to nearest, flush results (FTZ) and operands (DAZ) that are denormal
define internal i64 @enter_float_mode() #0 {
  %slot = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %slot)
  %old = load i32, ptr %slot
  store i32 40896, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  %wide = zext i32 %old to i64
  ret i64 %wide
}

define internal void @leave_float_mode(i64 %old) #0 {
  %slot = alloca i32
  %narrow = trunc i64 %old to i32
  store i32 %narrow, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  ret void
}
"""

AARCH64_INTRINSICS = """
declare void @llvm.aarch64.hint(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)

define internal void @relax() #0 {
  call void @llvm.aarch64.hint(i32 1)
  ret void
}

; FPCR 1 << 24: round to nearest, flush denormals (FZ)
define internal i64 @enter_float_mode() #0 {
  %old = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 16777216)
  ret i64 %old
}

define internal void @leave_float_mode(i64 %old) #0 {
  call void @llvm.aarch64.set.fpcr(i64 %old)
  ret void
}
"""

OTHER_INTRINSICS = """
define internal void @relax() #0 {
  ret void
}

define internal i64 @enter_float_mode() #0 {
  ret i64 0
}

define internal void @leave_float_mode(i64 %old) #0 {
  ret void
}
"""


def intrinsics(target: Target) -> str:
    """LLVM text of what has no portable word: `relax` (a pause while spinning), `enter_float_mode` and `leave_float_mode`.

    The float mode flushes denormals, rounds to nearest and traps nothing, whatever the caller had set, so that results do not depend on
    it; entering returns the old mode.
    """
    known = {"x86_64": X86_INTRINSICS, "aarch64": AARCH64_INTRINSICS}
    return known.get(target.triple.split("-")[0], OTHER_INTRINSICS)


def futex_number(target: Target) -> int | None:
    """The futex system call of the target, None where there is none."""
    return FUTEX.get(target.triple.split("-")[0]) if "linux" in target.triple else None
