"""The measuring jobs run on a team and do as often as they are told."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from ranvier.compiler.backend import cache, jit
from ranvier.compiler.backend.measure import CHAINS, TURNS, measuring_code, peak_flops
from ranvier.compiler.backend.target import host
from ranvier.compiler.ir.types import F32, F64, DType
from ranvier.runtime.team import shared_team

COUNTER = """define i64 @count(ptr %context, i64 %thread, i64 %threads, ptr %team) #0 {
  %old = atomicrmw add ptr %context, i64 1 seq_cst
  ret i64 0
}
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_repeat_runs_a_job_that_often_on_every_thread(threads: int) -> None:
    job = jit.link(cache.cached_objects([COUNTER + jit.ATTRIBUTES], host()), {}, ["count"])
    code = measuring_code(host(), F32)
    counter = ctypes.c_int64(0)
    context = np.array([job["count"], ctypes.addressof(counter), 7])
    assert shared_team(threads).run(code["repeat"], int(context.ctypes.data), threads > 1) == 0
    assert counter.value == 7 * threads


@pytest.mark.parametrize("dtype", [F32, F64])
def test_the_peak_is_one_run_of_chains(dtype: DType) -> None:
    code = measuring_code(host(), dtype)
    assert shared_team(1).run(code["peak"], 0, False) == 0
    assert peak_flops(host(), dtype) == 2 * CHAINS * TURNS * host().lanes(dtype)
