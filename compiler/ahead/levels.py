"""CPU levels a library can be made for: what the generators may use, and what must be asked of a CPU before any of it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..backend.target import Target, host, own_features, preset
from ..errors import RanvierError

LEAVES = (
    (1, 0, 2, "sse3:0 ssse3:9 fma:12 cx16:13 sse4.1:19 sse4.2:20 movbe:22 popcnt:23 xsave:26 avx:28 f16c:29"),
    (7, 0, 1, "bmi:3 avx2:5 bmi2:8 avx512f:16 avx512dq:17 avx512ifma:21 avx512cd:28 avx512bw:30 avx512vl:31"),
    (7, 0, 2, "avx512vbmi:1 avx512vbmi2:6 gfni:8 avx512vnni:11 avx512bitalg:12 avx512vpopcntdq:14"),
    (7, 0, 3, "avx512fp16:23"),
    (7, 1, 0, "avxvnni:4 avx512bf16:5"),
    (0x80000001, 0, 2, "sahf:0 lzcnt:5"),
)
"""Leaf and sub-leaf of `cpuid`, the register (eax, ebx, ecx, edx) and the bits of the features that LLVM may use in it."""

BITS = {name: (row, int(bit)) for row, (*_, text) in enumerate(LEAVES) for name, bit in (each.split(":") for each in text.split())}

SYSTEM_AVX, SYSTEM_AVX512 = 0x06, 0xE6
"""Bits of the register XCR0: the parts of the state of a thread that the operating system keeps."""

FEATURES = {
    "x86-64": "",
    "x86-64-v3": "sse3 ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt xsave avx f16c bmi avx2 bmi2 sahf lzcnt",
}
FEATURES["x86-64-v4"] = FEATURES["x86-64-v3"] + " avx512f avx512dq avx512cd avx512bw avx512vl"
"""Features of the levels of the x86-64 psABI."""

NATIVE, ARM = "native", "aarch64-linux"
NAMES = (NATIVE, *FEATURES, ARM)


@dataclass(frozen=True)
class Level:
    """What the code is made for, by name. `masks` are the bits asked of every row of `LEAVES`, `system` those asked of XCR0."""

    name: str
    target: Target
    attributes: str
    masks: tuple[int, ...] = (0,) * len(LEAVES)
    system: int = 0

    @property
    def machine(self) -> str:
        """The first word of the triple."""
        return self.target.triple.split("-")[0]


def level(name: str) -> Level:
    """A level by its name; `native` is this machine. Raises RanvierError for a name there is not."""
    if name not in NAMES:
        raise RanvierError(f"there is no target `{name}`: there are {', '.join(NAMES)}")
    if name == NATIVE:
        return _native()
    if name == ARM:
        return Level(name, preset("aarch64"), "")
    features = FEATURES[name].split()
    return Level(name, preset(name), f'"target-cpu"="{name}"', *_asked(features))


def several() -> tuple[Level, ...]:
    """The levels of one library for every x86-64, the best last."""
    return tuple(level(name) for name in FEATURES)


def name_of(target: Target) -> str:
    """The name of the level that a target is; `native` for this machine."""
    return next((name for name in (*FEATURES, ARM) if level(name).target == target), NATIVE)


def lacking(target: Target) -> str:
    """What this machine lacks to run code made for a target, in words; empty when it can."""
    own = host()
    if target == own:
        return ""
    wanted, found = (triple.split("-")[0] + (" Linux" if "linux" in triple else "") for triple in (target.triple, own.triple))
    if wanted != found:
        return f"this machine is {found}, not {wanted}"
    known = own_features()
    missing = [each for each in FEATURES.get(target.cpu, "").split() if not known.get(each)]
    return f"this processor lacks {', '.join(missing)}" if missing else ""


def plain(target: Target) -> Target:
    """What every CPU of the target's kind has: for code that runs before anything is asked."""
    if target.triple.startswith("x86_64"):
        return replace(target, cpu="x86-64", features="")
    return replace(target, cpu="generic", features="") if target.triple.startswith(("aarch64", "arm64")) else target


def _native() -> Level:
    """This machine, as programs are compiled for it in memory; a feature that cannot be asked for is not used."""
    target = host()
    if not target.triple.startswith("x86_64"):
        return Level(NATIVE, plain(target), "")
    features = [each[1:] for each in target.features.split(",") if each.startswith("+") and each[1:] in BITS]
    spelled = ",".join(f"+{each}" for each in features)
    attributes = f'"target-cpu"="x86-64" "tune-cpu"="{target.cpu}" "target-features"="{spelled}"'
    return Level(NATIVE, target, attributes, *_asked(features))


def _asked(features: Sequence[str]) -> tuple[tuple[int, ...], int]:
    """The bits of `cpuid` and of XCR0 that features need."""
    masks = [0] * len(LEAVES)
    for row, bit in (BITS[each] for each in features):
        masks[row] |= 1 << bit
    wide = any(each.startswith("avx512") for each in features)
    return tuple(masks), SYSTEM_AVX512 if wide else SYSTEM_AVX if "avx" in features else 0
