"""The team runs every thread of a job, keeps order at barriers, leaves the caller's float mode alone, and lets the process end."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from ranvier.compiler.backend import cache, jit, target
from ranvier.compiler.backend.threads import team_code
from ranvier.compiler.errors import ResourceError
from ranvier.runtime.processors import default_threads
from ranvier.runtime.team import Team, shared_team

JOBS = f"""
declare void @team_barrier(ptr, i64)

; context: turns, then one word a thread. Each thread writes the turn, waits, and counts words that are not of this turn.
define i64 @turns(ptr %context, i64 %thread, i64 %threads, ptr %team) #0 {{
entry:
  %turns = load i64, ptr %context
  %slots = getelementptr i64, ptr %context, i64 1
  %mine = getelementptr i64, ptr %slots, i64 %thread
  br label %turn
turn:
  %n = phi i64 [ 1, %entry ], [ %next, %checked ]
  %wrong = phi i64 [ 0, %entry ], [ %wrong.n, %checked ]
  store i64 %n, ptr %mine
  call void @team_barrier(ptr %team, i64 %threads)
  br label %look
look:
  %i = phi i64 [ 0, %turn ], [ %i.next, %look ]
  %wrong.i = phi i64 [ %wrong, %turn ], [ %wrong.n, %look ]
  %at = getelementptr i64, ptr %slots, i64 %i
  %seen = load i64, ptr %at
  %other = icmp ne i64 %seen, %n
  %one = zext i1 %other to i64
  %wrong.n = add i64 %wrong.i, %one
  %i.next = add i64 %i, 1
  %more = icmp slt i64 %i.next, %threads
  br i1 %more, label %look, label %looked
looked:
  call void @team_barrier(ptr %team, i64 %threads)
  br label %checked
checked:
  %next = add i64 %n, 1
  %again = icmp sle i64 %next, %turns
  br i1 %again, label %turn, label %done
done:
  store i64 %wrong.n, ptr %mine
  ret i64 %threads
}}

; context: x, y, then one float a thread, which becomes x * y
define i64 @multiply(ptr %context, i64 %thread, i64 %threads, ptr %team) #0 {{
  %at.y = getelementptr float, ptr %context, i64 1
  %x = load float, ptr %context
  %y = load float, ptr %at.y
  %z = fmul float %x, %y
  %slot = add i64 %thread, 2
  %at = getelementptr float, ptr %context, i64 %slot
  store float %z, ptr %at
  ret i64 0
}}

; context: one word that thread 0 alone adds to, without any care for others
define i64 @count(ptr %context, i64 %thread, i64 %threads, ptr %team) #0 {{
entry:
  %first = icmp eq i64 %thread, 0
  br i1 %first, label %add, label %done
add:
  %n = load volatile i64, ptr %context
  %m = add i64 %n, 1
  store volatile i64 %m, ptr %context
  br label %done
done:
  ret i64 %threads
}}

; never ends
define i64 @hang(ptr %context, i64 %thread, i64 %threads, ptr %team) #0 {{
entry:
  br label %on
on:
  %n = load volatile i64, ptr %context
  br label %on
}}
{jit.ATTRIBUTES}"""
NAMES = ("turns", "multiply", "count", "hang")


def link_jobs() -> jit.Linked:
    host = target.host()
    return jit.link([cache.cached_object(JOBS, host)], {"team_barrier": team_code()["team_barrier"]}, NAMES)


JOB = link_jobs()


@pytest.fixture
def small() -> Iterator[Team]:
    made = Team(2)
    yield made
    made.close()


@pytest.mark.parametrize(("threads", "turns"), [(1, 100), (2, 20000), (3, 300), (8, 100)])
def test_nobody_passes_a_barrier_early(threads: int, turns: int) -> None:
    """More threads than processors must work too."""
    context = np.zeros(1 + threads, np.int64)
    context[0] = turns
    assert shared_team(threads).run(JOB["turns"], context.ctypes.data, True) == threads
    assert context[1:].tolist() == [0] * threads


def test_a_job_that_is_not_parallel_runs_on_the_caller_alone() -> None:
    made = Team(2)
    context = np.zeros(1, np.int64)
    assert made.run(JOB["count"], context.ctypes.data, False) == 1
    assert made._workers == []


def test_many_short_jobs_in_a_row(small: Team) -> None:
    context = np.zeros(1, np.int64)
    for _ in range(3000):
        assert small.run(JOB["count"], context.ctypes.data, True) == 2
    assert context[0] == 3000


def test_models_share_a_team() -> None:
    assert shared_team(2) is shared_team(2)
    assert shared_team().threads == default_threads()
    for wrong in (0, -1, 257, 2.5, "2", True):
        with pytest.raises(ResourceError, match="`threads` is a whole number from 1 to 256, not"):
            shared_team(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 2])
def test_denormals_are_flushed_inside_and_kept_outside(threads: int) -> None:
    tiny, one = np.float32(1e-40), np.float32(1)
    made = Team(threads)
    for values in ((tiny, np.float32(1)), (np.float32(1e-20), np.float32(1e-20))):
        context = np.array([*values, *[7] * threads], np.float32)
        made.run(JOB["multiply"], context.ctypes.data, True)
        assert context[2:].tolist() == [0] * threads
    assert np.multiply(np.full(16, tiny), one).tolist() == [tiny] * 16
    made.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="numbers of the rounding modes are those of glibc")
@pytest.mark.parametrize("threads", [1, 2])
def test_the_callers_rounding_changes_no_result_and_survives(threads: int) -> None:
    libm, upward = ctypes.CDLL("libm.so.6"), {"x86_64": 0x800, "aarch64": 0x400000}[os.uname().machine]
    made = Team(threads)
    context = np.array([1 / 3, 1 / 3, *[0] * threads], np.float32)
    libm.fesetround(upward)
    try:
        made.run(JOB["multiply"], context.ctypes.data, True)
        assert libm.fegetround() == upward
    finally:
        libm.fesetround(0)
    assert context[2:].tolist() == [context[0] * context[1]] * threads
    made.close()


def test_calls_from_several_python_threads_take_turns(small: Team) -> None:
    context = np.zeros(1, np.int64)

    def call() -> None:
        for _ in range(500):
            small.run(JOB["count"], context.ctypes.data, True)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert context[0] == 2000


def test_idle_workers_sleep_and_wake(small: Team) -> None:
    context = np.zeros(1, np.int64)
    for n in range(5):
        small.run(JOB["count"], context.ctypes.data, True)
        before = time.process_time()
        time.sleep(0.05)
        assert time.process_time() - before < 0.025, "a worker burns a processor while nothing is to be done"
        assert context[0] == n + 1


def test_a_closed_team_starts_again(small: Team) -> None:
    context = np.zeros(1, np.int64)
    for n in range(3):
        assert small.run(JOB["count"], context.ctypes.data, True) == 2
        workers = list(small._workers)
        small.close()
        assert not any(w.is_alive() for w in workers)
        assert context[0] == n + 1


def test_threads_that_are_refused_are_an_error_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    made, started, real = Team(4), [], threading.Thread.start

    def start(self: threading.Thread) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(self)
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(ResourceError, match="RANVIER_THREADS"):
            made.run(JOB["count"], 0, True)
    for thread in started:
        thread.join(10)
        assert not thread.is_alive()
    context = np.zeros(1, np.int64)
    assert made.run(JOB["count"], context.ctypes.data, True) == 4
    made.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_child_of_a_fork_builds_its_own_team(small: Team) -> None:
    context = np.zeros(1, np.int64)
    small.run(JOB["count"], context.ctypes.data, True)
    small._lock.acquire()  # as if another thread were running a program
    child = os.fork()
    if child == 0:
        good = small.run(JOB["count"], context.ctypes.data, True) == 2 and context[0] == 2
        os._exit(0 if good else 1)
    small._lock.release()
    deadline = time.monotonic() + 30
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if done == (0, 0):
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done == (child, 0)
    assert small.run(JOB["count"], context.ctypes.data, True) == 2
    assert context[0] == 2


ENDINGS = {
    "without closing": "shared_team(2).run(job['count'], word, True)",
    "from another thread": "threading.Thread(target=lambda: shared_team(3).run(job['count'], word, True)).start()",
    "with an error": "shared_team(2).run(job['count'], word, True); sys.exit(3)",
    "while a daemon runs a program": """
threading.Thread(target=lambda: shared_team(2).run(job['hang'], word, True), daemon=True).start()
time.sleep(0.2)
""",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_process_ends(ending: str) -> None:
    script = f"""
import atexit, ctypes, importlib.util, sys, threading, time
early = []
atexit.register(lambda: early and early[0]())
from ranvier.runtime import team as module
from ranvier.runtime.team import shared_team
module.STOP_SECONDS = 0.2
spec = importlib.util.spec_from_file_location("jobs", {__file__!r})
jobs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(jobs)
job, words = jobs.JOB, ctypes.c_int64()
word = ctypes.addressof(words)
early.append(lambda: print("late", shared_team(2).run(job["count"], word, True)))
{ENDINGS[ending]}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == (3 if "error" in ending else 0), done.stderr
    assert done.stdout == "late 1\n", "after the team has gone home a program still runs, on one thread"
    assert done.stderr == ""
