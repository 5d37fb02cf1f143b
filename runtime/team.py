"""The threads that run compiled programs: Python starts them once, native code keeps them, and every model of the process shares them.

Workers are daemon threads that call `team_work` (compiler/backend/threads.py) without the interpreter lock and stay there, spinning briefly
and then asleep, until a job comes. Programs run with denormals flushed; the caller's float mode is restored. A signal such as Ctrl-C
that arrives meanwhile is seen when the call returns.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from ..compiler.backend import threads as native
from ..compiler.errors import ResourceError
from .processors import MOST_THREADS, available, default_threads

SPIN_SECONDS = 30e-6
"""How long a thread waits awake: far above a barrier's 0.2 µs, far below a scheduler's time slice."""

STOP_SECONDS = 2.0
"""How long the end of the process waits for a program that is still running."""


@dataclass(frozen=True)
class Functions:
    """The team's native functions as Python calls them, and the turns of spinning that take `SPIN_SECONDS`."""

    run: Callable[[int, int, int], int]
    serial: Callable[[int, int], int]
    work: Callable[[int, int], None]
    stop: Callable[[int], None]
    spins: int


class Team:
    """A team of `threads`, the caller among them; the others start with the first parallel program.

    One program runs on a team at a time: calls from several Python threads take turns. Single-thread programs take no turn.
    """

    _workers: list[threading.Thread]
    _address: int

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.forget()
        _teams.add(self)

    def run(self, body: int, context: int, parallel: bool) -> int:
        """Run the program at address `body` on the context at address `context` and return its result, 0 or a fault.

        Whoever calls keeps code and buffers alive and lets no two programs write the same buffers. Raises ResourceError when the system
        refuses the threads.
        """
        if not parallel or self.threads == 1 or _ending.is_set():
            return _functions().serial(body, context)
        with self._lock:
            if not self._workers:
                self._start()
            return _functions().run(self._address, body, context)

    def starter(self, body: int, context: int, parallel: bool) -> Callable[[], int]:
        """`run` with its arguments bound; without all that a program for one thread does not need."""
        if parallel and self.threads > 1:
            return functools.partial(self.run, body, context, parallel)
        return functools.partial(_functions().serial, body, context)

    def close(self) -> None:
        """Let the workers go; a later parallel run starts them again. Gives up on a program that runs on and on."""
        if not self._lock.acquire(timeout=STOP_SECONDS):
            return
        try:
            workers, self._workers = self._workers, []
            if workers:
                _functions().stop(self._address)
            for worker in workers:
                worker.join(STOP_SECONDS)
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Begin anew without workers, as in the child of a fork, which has neither the threads nor a lock that anybody will release."""
        self._lock = threading.RLock()  # reentrant: a signal handler may run a model too
        self._workers = []
        self._address = 0

    def _start(self) -> None:
        """Start all workers or none; they enter native code together, for there they wait for each other."""
        memory, address = _team_memory(self.threads)
        gate = threading.Barrier(self.threads)
        numbers = range(1, self.threads)
        workers = [threading.Thread(target=_work, args=(memory, address, n, gate), name=f"ranvier-{n}", daemon=True) for n in numbers]
        try:
            for worker in workers:
                worker.start()
        except RuntimeError as error:
            gate.abort()
            mend = "set RANVIER_THREADS to a smaller number, or raise the limit of processes (ulimit -u)"
            raise ResourceError(f"the system refuses to start {self.threads} threads: {mend}") from error
        gate.wait()
        self._workers, self._address = workers, address


def _work(memory: ctypes.Array[ctypes.c_char], address: int, number: int, gate: threading.Barrier) -> None:
    """What a worker does; its frame holds `memory`, so that the team's words live as long as anybody waits on them."""
    try:
        gate.wait()
    except threading.BrokenBarrierError:
        return
    _functions().work(address, number)


def _team_memory(threads: int) -> tuple[ctypes.Array[ctypes.c_char], int]:
    """The words of a team, at an address that is a multiple of 128. More threads than processors do not spin: it would only hinder."""
    memory = ctypes.create_string_buffer(native.TEAM_BYTES + 128)
    address = -(-ctypes.addressof(memory) // 128) * 128
    ctypes.c_int64.from_address(address + native.THREADS).value = threads
    ctypes.c_int64.from_address(address + native.SPINS).value = _functions().spins if threads <= available() else 0
    return memory, address


@functools.cache
def _functions() -> Functions:
    code = native.team_code()
    word, count, pointer = ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
    return Functions(
        run=ctypes.CFUNCTYPE(word, pointer, pointer, pointer)(code["team_run"]),
        serial=ctypes.CFUNCTYPE(word, pointer, pointer)(code["team_serial"]),
        work=ctypes.CFUNCTYPE(None, pointer, count)(code["team_work"]),
        stop=ctypes.CFUNCTYPE(None, pointer)(code["team_stop"]),
        spins=_measure_spins(ctypes.CFUNCTYPE(None, pointer, count)(code["team_spin"])),
    )


def _measure_spins(spin: Callable[[int, int], None]) -> int:
    """Turns of spinning in `SPIN_SECONDS`: a pause takes from one to some hundred cycles, as the processor likes."""
    word = ctypes.c_int64()
    turns = 1000
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        spin(ctypes.addressof(word), turns)
        best = min(best, time.perf_counter() - start)
    return max(1, round(turns * SPIN_SECONDS / best))


_teams: weakref.WeakSet[Team] = weakref.WeakSet()
_ending = threading.Event()


def shared_team(threads: int | None = None) -> Team:
    """The team of that size (None: `default_threads`), shared by all models of the process.

    Raises ResourceError for what is no whole number from 1 to `MOST_THREADS`, be it given or in RANVIER_THREADS.
    """
    size = default_threads() if threads is None else threads
    if not hasattr(size, "__index__") or isinstance(size, bool) or not 1 <= size <= MOST_THREADS:
        raise ResourceError(f"`threads` is a whole number from 1 to {MOST_THREADS}, not {size!r}")
    return _shared(int(size))


@functools.cache
def _shared(threads: int) -> Team:
    return Team(threads)


def _forget_all() -> None:
    for each in list(_teams):
        each.forget()


@atexit.register
def _close_all() -> None:
    """Bring the workers home before the interpreter goes; what runs later (other exit handlers) runs on one thread."""
    _ending.set()
    for each in list(_teams):
        each.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
