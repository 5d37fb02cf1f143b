"""Two jobs of the team for measuring: chains of multiply-adds that never leave the registers, and another job run many times.

The first gives the ceiling to which kernels are compared, the second keeps the cost of a call from Python out of what is timed.
"""

from __future__ import annotations

from ..ir.types import DType
from . import cache, jit
from .entry import PARAMETERS
from .target import Target
from .threads import team_code

CHAINS = 12
"""Independent chains: more than latency times multiply-adds a cycle of any core this runs on."""

TURNS = 4096
"""Turns of the loop in one run of `peak`."""

REPEAT = f"""define i64 @repeat({PARAMETERS}) #0 {{
entry:
  %job = load ptr, ptr %context
  %inner.at = getelementptr i64, ptr %context, i64 1
  %inner = load ptr, ptr %inner.at
  %times.at = getelementptr i64, ptr %context, i64 2
  %times = load i64, ptr %times.at
  br label %loop
loop:
  %turn = phi i64 [ 0, %entry ], [ %next, %loop ]
  %fault = call i64 %job(ptr %inner, i64 %thread, i64 %threads, ptr %team)
  %next = add i64 %turn, 1
  %more = icmp slt i64 %next, %times
  br i1 %more, label %loop, label %end
end:
  ret i64 %fault
}}
"""


def measuring_code(target: Target, dtype: DType) -> jit.Linked:
    """The jobs `peak` and `repeat`; a context of `repeat` is the address of a job, that of its context, and how many times."""
    text = f"{_peak(target, dtype)}\n{REPEAT}\n{jit.ATTRIBUTES}"
    return jit.link(cache.cached_objects([text], target), {"team_barrier": team_code()["team_barrier"]}, ["peak", "repeat"])


def peak_flops(target: Target, dtype: DType) -> int:
    """Operations of one run of `peak` on one thread."""
    return 2 * CHAINS * target.lanes(dtype) * TURNS


def _peak(target: Target, dtype: DType) -> str:
    lanes = target.lanes(dtype)
    vector = f"<{lanes} x {'float' if dtype.bits == 32 else 'double'}>"
    fma = f"llvm.fmuladd.v{lanes}f{dtype.bits}"
    chains = range(CHAINS)
    phis = "\n".join(f"  %a{c} = phi {vector} [ zeroinitializer, %entry ], [ %b{c}, %loop ]" for c in chains)
    steps = "\n".join(f"  %b{c} = call {vector} @{fma}({vector} %x, {vector} %x, {vector} %a{c})" for c in chains)
    ends = "\n".join(f"  store volatile {vector} %b{c}, ptr %room, align 64" for c in chains)
    return f"""declare {vector} @{fma}({vector}, {vector}, {vector})
define i64 @peak({PARAMETERS}) #0 {{
entry:
  %room = alloca {vector}, align 64
  store volatile {vector} zeroinitializer, ptr %room, align 64
  %x = load volatile {vector}, ptr %room, align 64
  br label %loop
loop:
  %turn = phi i64 [ 0, %entry ], [ %next, %loop ]
{phis}
{steps}
  %next = add i64 %turn, 1
  %more = icmp slt i64 %next, {TURNS}
  br i1 %more, label %loop, label %end
end:
{ends}
  ret i64 0
}}
"""
