"""What the contraction generator reaches on this machine, as shares of the peak of its fused multiply-adds: `python -m benchmarks.gemm`.

One thread, compiled code called in a loop of compiled code, the best of several runs. The sizes of rows are known at run time only.
Copies of b that the generator makes are counted; `panels` means a b that already lies in panels, as parameters do.
"""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable

import numpy as np
from ranvier.compiler.backend import jit
from ranvier.compiler.backend.contract import emit_contract
from ranvier.compiler.backend.measure import measuring_code, peak_flops
from ranvier.compiler.backend.target import host
from ranvier.compiler.backend.text import Emitted
from ranvier.compiler.ir.types import BATCH, F32, DType
from ranvier.compiler.kernels.model import Access, Accumulator, Axis, Contract, Store

FORMS = ("panels", "a b", "at b", "a bt")
ODD = (1, 3, 7, 13, 17, 31, 53, 67, 97, 101, 127, 131, 193, 251, 257, 307, 401, 503, 509, 601, 701, 797, 907, 997, 1000)
LAYERS = ((64, 784, 256), (64, 256, 128), (256, 1024, 2048), (256, 2048, 2048))
SWEPT = 30
SECONDS = 0.05


def main() -> None:
    ceiling = peak(F32)
    print(f"{host().cpu}, one core: peak {ceiling:.1f} GFLOP/s (f32)\n")
    print("512 x 512 x 512            " + "   ".join(f"{form} {rate(form, 512, 512, 512) / ceiling:.0%}" for form in FORMS))
    rng = np.random.default_rng(5)
    shapes = [[int(s) for s in rng.choice(ODD, 3)] for _ in range(SWEPT)]
    for form in FORMS:
        shares = sorted(rate(form, m, n, k) / ceiling for m, n, k in shapes)
        print(f"{SWEPT} odd shapes, {form:8} median {statistics.median(shares):.0%}, lowest quarter {shares[SWEPT // 4]:.0%}")
    print("\nrows x inputs x outputs: y = x w (panels), dw = xt dy, dx = dy wt")
    for rows, inputs, outputs in LAYERS:
        forward = rate("panels", rows, outputs, inputs)
        weights = rate("at b", inputs, outputs, rows)
        data = rate("a bt", rows, inputs, outputs)
        print(f"{rows:4} x {inputs:4} x {outputs:4}   {forward / ceiling:.0%}   {weights / ceiling:.0%}   {data / ceiling:.0%}")
    print("\none row: bytes of weights a second")
    for size in (256, 512, 1024, 2048):
        speeds = "   ".join(f"{form} {rate(form, 1, size, size) * 2:.0f} GB/s" for form in ("panels", "a b"))
        print(f"{size} x {size}   {speeds}")


def rate(form: str, m: int, n: int, k: int, dtype: DType = F32) -> float:
    """GFLOP/s of one product."""
    panel = host().panel(dtype)
    kernel = product(form, m, n, k, dtype, panel)
    rng = np.random.default_rng(0)
    sizes = {"a": m * k, "b": -(-n // panel) * panel * k, "c": m * n}
    arrays = {name: aligned(rng.uniform(-1, 1, size).astype(dtype.numpy)) for name, size in sizes.items()}
    emitted = emit_contract(kernel, host())
    run = door(emitted, arrays, m)
    return 2 * m * n * k / best(run) / 1e9


def product(form: str, m: int, n: int, k: int, dtype: DType, panel: int) -> Contract:
    """c[m, n] = sum over k of a b, in one of the forms."""
    a = (("m", 1), ("k", m)) if form == "at b" else (("m", k), ("k", 1))
    layouts = {"panels": (("n", 1), ("n/", k * panel), ("k", panel)), "a bt": (("n", k), ("k", 1))}
    b = Access("b", dtype, layouts.get(form, (("n", 1), ("k", n))))
    columns = Axis("n", n, panel if form == "panels" else 0)
    store = Store(Access("c", dtype, (("m", n), ("n", 1))), 0)
    return Contract((), (Axis("m", BATCH),), columns, (Axis("k", k),), Access("a", dtype, a), b, (Accumulator(dtype),), (store,), dtype)


def aligned(values: np.ndarray) -> np.ndarray:
    """The same values at a multiple of 64 bytes."""
    room = np.empty(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    result = room[start : start + values.nbytes].view(values.dtype)
    result[:] = values
    return result


def door(emitted: Emitted, arrays: dict[str, np.ndarray], rows: int) -> Callable[[int], None]:
    """A function that runs the kernel over its whole grid a number of times."""
    arguments = "".join(f"ptr inttoptr (i64 {arrays[name].ctypes.data} to ptr), " for name in emitted.buffers)
    units = -(-emitted.grid.extent * (rows if emitted.grid.rows else 1) // emitted.grid.grain)
    scratch = aligned(np.zeros(emitted.scratch + 64, np.uint8))
    call = f"call void @kernel({arguments}i64 {rows}, i64 0, i64 {units}, ptr inttoptr (i64 {scratch.ctypes.data} to ptr))"
    needs = "\n".join(text for _, text in emitted.needs)
    function = compiled(f"{emitted.text.replace('@KERNEL', '@kernel')}\n{needs}\n{repeated(call)}")

    def run(times: int, _alive: object = (arrays, scratch)) -> None:
        function(times)

    return run


def repeated(call: str) -> str:
    """A function `door` that makes a call a number of times."""
    return f"""define void @door(i64 %times) #0 {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  {call}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""


def compiled(text: str) -> Callable[[int], None]:
    """The exported function `door` of a module."""
    linked = jit.link([jit.compile_object(text + jit.ATTRIBUTES, host())], {}, ["door"])
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64)(linked["door"])
    return lambda times, _alive=linked: function(times)  # type: ignore[misc]


def best(run: Callable[[int], None]) -> float:
    """Seconds of one turn: the best of some batches of turns, each long enough to be timed."""
    times, spent, found = 1, 0.0, float("inf")
    while spent < SECONDS:
        start = time.perf_counter()
        run(times)
        took = time.perf_counter() - start
        found, spent = min(found, took / times), spent + took
        times = max(times, min(int(1e-3 / max(found, 1e-9)), 10**6), 1)
    return found


def peak(dtype: DType) -> float:
    """GFLOP/s of independent chains of multiply-adds in registers."""
    code = measuring_code(host(), dtype)
    context = np.array([code["peak"], 0, 0], dtype=np.int64)
    repeat = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)(code["repeat"])

    def run(times: int) -> None:
        context[2] = times
        repeat(context.ctypes.data, 0, 1, None)

    return peak_flops(host(), dtype) / best(run) / 1e9


if __name__ == "__main__":
    main()
