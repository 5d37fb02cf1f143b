"""Runs one generated kernel on NumPy arrays: what the tests of the generators share."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from assembly import module
from ranvier.compiler.backend import jit, target
from ranvier.compiler.backend.target import Target
from ranvier.compiler.backend.text import Emitted

PRESETS = ["x86-64", "x86-64-v3", "x86-64-v4"]
NEEDED = {"x86-64": {"sse2"}, "x86-64-v3": {"avx2", "fma"}, "x86-64-v4": {"avx512f", "avx512vl", "avx512bw", "avx512dq"}}


def runnable() -> list[str]:
    """The presets that this machine can run."""
    import llvmlite.binding as llvm

    have = {name for name, on in llvm.get_host_cpu_features().items() if on}
    return [name for name in PRESETS if NEEDED[name] <= have and llvm.get_process_triple().startswith("x86_64")]


@dataclass(frozen=True)
class Native:
    """A kernel in memory."""

    emitted: Emitted
    linked: Any

    def units(self, rows: int) -> int:
        """Units of work of the grid."""
        grid = self.emitted.grid
        return -(-grid.extent * (rows if grid.rows else 1) // grid.grain)

    def __call__(self, arrays: Mapping[str, np.ndarray], rows: int = 0, parts: int = 1) -> None:
        """Run over the whole grid, cut into `parts` ranges."""
        units = self.units(rows)
        for part in range(parts):
            self.range(arrays, rows, units * part // parts, units * (part + 1) // parts)

    def range(self, arrays: Mapping[str, np.ndarray], rows: int, lo: int, hi: int) -> None:
        """Run units lo to hi."""
        assert all(a.flags.c_contiguous for a in arrays.values())
        table = (ctypes.c_void_p * max(1, len(self.emitted.buffers)))(*(arrays[b].ctypes.data for b in self.emitted.buffers))
        scratch = np.empty(self.emitted.scratch + 64, np.uint8)
        start = scratch.ctypes.data + -scratch.ctypes.data % 64
        word, pointer = ctypes.c_int64, ctypes.c_void_p
        function = ctypes.CFUNCTYPE(None, pointer, word, word, word, pointer)(self.linked["door"])
        function(ctypes.addressof(table), rows, lo, hi, start)


def compile_native(emitted: Emitted, goal: Target) -> Native:
    """Compile and link one kernel."""
    return Native(emitted, jit.link([jit.compile_object(module(emitted), goal)], {}, ["door"]))


def compiles(emitted: Emitted, name: str = "aarch64") -> str:
    """The assembly for a preset that need not run here."""
    return jit.assembly(module(emitted), target.preset(name))


def guarded(array: np.ndarray) -> np.ndarray:
    """A copy whose last element is the last before a page that may not be touched, aligned no better than its elements."""
    page = mmap.PAGESIZE
    pages = -(-max(1, array.nbytes) // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    library = ctypes.CDLL(None)
    for wall in (start, start + (pages + 1) * page):
        assert library.mprotect(ctypes.c_void_p(wall), page, 0) == 0
    copy: np.ndarray = np.frombuffer(memory, array.dtype, array.size, (pages + 1) * page - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy
