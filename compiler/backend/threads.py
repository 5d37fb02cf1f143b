"""The thread team in LLVM text: entering a job, the barrier, sleeping, and the float mode; small, and compiled once for the process.

A job is `i64 body(ptr context, i64 thread, i64 threads, ptr team)`, run by every thread of the team at once. Workers live in `team_work`;
`team_run` publishes a job and takes part as thread 0. Both the start and the end of a job are the barrier itself.

The barrier counts arrivals and turns upwards for ever, so nothing is reset while somebody may still look at it: with G turns done, the
arrival number (G + 1) * threads opens turn G + 1. A waiting thread spins for a while, then sleeps until the turn changes. On Linux it
sleeps in the kernel (futex, on the low half of the turn: the targets are little-endian), elsewhere in short naps.

Each word that threads write lies on its own pair of cache lines (128 bytes: neighbouring lines are fetched together).
"""

from __future__ import annotations

import ctypes
import functools

from . import cache, jit
from .target import Target, futex_number, host, intrinsics

TEAM_BYTES = 640
THREADS, SPINS = 512, 520
"""Byte offsets in the team of its number of threads and of the turns to spin before sleeping, both i64, fixed before the first job."""

EXPORTS = ("team_run", "team_serial", "team_work", "team_stop", "team_barrier", "team_spin")

FUTEX_SLEEP = """
declare i64 @syscall(i64, ...)

; FUTEX_WAIT | FUTEX_PRIVATE_FLAG: returns at once if the word has changed
define internal void @sleep_while(ptr %word, i64 %seen) #0 {{
  %low = trunc i64 %seen to i32
  %r = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i64 128, i32 %low, ptr null)
  ret void
}}

; FUTEX_WAKE | FUTEX_PRIVATE_FLAG, everybody
define internal void @wake(ptr %word) #0 {{
  %r = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i64 129, i32 2147483647)
  ret void
}}
"""

NAP_SLEEP = """
declare i32 @usleep(i32)

define internal void @sleep_while(ptr %word, i64 %seen) #0 {
  %r = call i32 @usleep(i32 50)
  ret void
}

define internal void @wake(ptr %word) #0 {
  ret void
}
"""

TEAM = """
define void @team_barrier(ptr %team, i64 %threads) #0 {
entry:
  %alone = icmp sle i64 %threads, 1
  br i1 %alone, label %done, label %arrive
arrive:
  %turn.at = getelementptr i8, ptr %team, i64 128
  %sleepers.at = getelementptr i8, ptr %team, i64 256
  %turn = load atomic i64, ptr %turn.at acquire, align 8
  %next = add i64 %turn, 1
  %full = mul i64 %next, %threads
  %before = atomicrmw add ptr %team, i64 1 acq_rel
  %arrived = add i64 %before, 1
  %last = icmp eq i64 %arrived, %full
  br i1 %last, label %open, label %wait
open:                                    ; the store and the load are seq_cst, as are the sleeper's count and check: one sees the other
  store atomic i64 %next, ptr %turn.at seq_cst, align 8
  %sleepers = load atomic i64, ptr %sleepers.at seq_cst, align 8
  %awake = icmp eq i64 %sleepers, 0
  br i1 %awake, label %done, label %rouse
rouse:
  call void @wake(ptr %turn.at)
  br label %done
wait:
  %spins.at = getelementptr i8, ptr %team, i64 520
  %spins = load i64, ptr %spins.at
  br label %spin
spin:
  %left = phi i64 [ %spins, %wait ], [ %fewer, %pause ]
  %now = load atomic i64, ptr %turn.at acquire, align 8
  %same = icmp eq i64 %now, %turn
  br i1 %same, label %patience, label %done
patience:
  %tired = icmp sle i64 %left, 0
  br i1 %tired, label %settle, label %pause
pause:
  call void @relax()
  %fewer = sub i64 %left, 1
  br label %spin
settle:
  %s1 = atomicrmw add ptr %sleepers.at, i64 1 seq_cst
  br label %check
check:
  %then = load atomic i64, ptr %turn.at seq_cst, align 8
  %still = icmp eq i64 %then, %turn
  br i1 %still, label %sleep, label %rise
sleep:
  call void @sleep_while(ptr %turn.at, i64 %turn)
  br label %check
rise:
  %s2 = atomicrmw sub ptr %sleepers.at, i64 1 seq_cst
  br label %done
done:
  ret void
}

; run a job with the whole team; the caller is thread 0
define i64 @team_run(ptr %team, ptr %body, ptr %context) #0 {
  %threads.at = getelementptr i8, ptr %team, i64 512
  %threads = load i64, ptr %threads.at
  %body.at = getelementptr i8, ptr %team, i64 384
  %context.at = getelementptr i8, ptr %team, i64 392
  store ptr %body, ptr %body.at
  store ptr %context, ptr %context.at
  %old = call i64 @enter_float_mode()
  call void @team_barrier(ptr %team, i64 %threads)
  %result = call i64 %body(ptr %context, i64 0, i64 %threads, ptr %team)
  call void @team_barrier(ptr %team, i64 %threads)
  call void @leave_float_mode(i64 %old)
  ret i64 %result
}

; run a job on the calling thread alone
define i64 @team_serial(ptr %body, ptr %context) #0 {
  %old = call i64 @enter_float_mode()
  %result = call i64 %body(ptr %context, i64 0, i64 1, ptr null)
  call void @leave_float_mode(i64 %old)
  ret i64 %result
}

; a worker's life: returns when the team is stopped
define void @team_work(ptr %team, i64 %thread) #0 {
entry:
  %threads.at = getelementptr i8, ptr %team, i64 512
  %threads = load i64, ptr %threads.at
  %body.at = getelementptr i8, ptr %team, i64 384
  %context.at = getelementptr i8, ptr %team, i64 392
  %stop.at = getelementptr i8, ptr %team, i64 400
  %old = call i64 @enter_float_mode()
  br label %idle
idle:
  call void @team_barrier(ptr %team, i64 %threads)
  %stop = load i64, ptr %stop.at
  %stopped = icmp ne i64 %stop, 0
  br i1 %stopped, label %leave, label %job
job:
  %body = load ptr, ptr %body.at
  %context = load ptr, ptr %context.at
  %result = call i64 %body(ptr %context, i64 %thread, i64 %threads, ptr %team)
  call void @team_barrier(ptr %team, i64 %threads)
  br label %idle
leave:
  call void @leave_float_mode(i64 %old)
  ret void
}

; let the workers go
define void @team_stop(ptr %team) #0 {
  %threads.at = getelementptr i8, ptr %team, i64 512
  %threads = load i64, ptr %threads.at
  %stop.at = getelementptr i8, ptr %team, i64 400
  store i64 1, ptr %stop.at
  call void @team_barrier(ptr %team, i64 %threads)
  ret void
}

; what `turns` of the barrier's spinning cost, to be timed
define void @team_spin(ptr %word, i64 %turns) #0 {
entry:
  br label %turn
turn:
  %left = phi i64 [ %turns, %entry ], [ %fewer, %turn ]
  %now = load atomic i64, ptr %word acquire, align 8
  call void @relax()
  %fewer = sub i64 %left, 1
  %more = icmp sgt i64 %fewer, 0
  br i1 %more, label %turn, label %done
done:
  ret void
}
"""


def team_text(target: Target) -> str:
    """The module of the team for a target."""
    number = futex_number(target)
    sleep = NAP_SLEEP if number is None else FUTEX_SLEEP.format(number=number)
    return intrinsics(target) + sleep + TEAM + jit.ATTRIBUTES


@functools.cache
def team_code() -> jit.Linked:
    """The team's functions (`EXPORTS`) in this process, kept for its whole life: a worker may be in them until the very end."""
    target = host()
    sleeper = "usleep" if futex_number(target) is None else "syscall"
    symbols = {sleeper: jit.process_symbol(ctypes.CDLL(None), sleeper)}
    return jit.link([cache.cached_object(team_text(target), target)], symbols, EXPORTS)
