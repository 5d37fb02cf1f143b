"""The process in which one peer is timed: it does what it is asked for and is idle in between, so that no peer disturbs another.

No library may be imported before the process is bound to its processors: thread pools are sized then. Hence the imports inside functions.
"""

from __future__ import annotations

import importlib
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

WARM_SECONDS = 0.2
CHECKED_STEPS = 5


def serve(connection: Connection, module: str, threads: int) -> None:
    """Answer requests until None comes; what fails is answered with its traceback as text."""
    bind(threads)
    worker = Worker(module, threads)
    while (request := connection.recv()) is not None:
        name, *arguments = request
        try:
            answer = getattr(worker, name)(*arguments)
        except Exception:
            answer = Failure(traceback.format_exc())
        connection.send(answer)


class Failure(str):
    """The traceback of what went wrong in a worker."""


def bind(threads: int) -> None:
    """Use so many processors and no more, the last ones: the first serve interrupts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


class Worker:
    """A peer with the network it has built and the jobs chosen for it."""

    def __init__(self, module: str, threads: int) -> None:
        self.module, self.threads = module, threads
        self.chosen: dict[str, Timed] = {}

    def build(self, network: Any) -> tuple[Any, list[float], Any]:
        """Make a network, warm it up and choose the fastest way for every job.

        Gives what to check it by: probabilities, the losses of some steps, and probabilities after them.
        """
        peer = importlib.import_module(self.module).Choice(network, self.threads)
        found = peer.predict(), peer.train(CHECKED_STEPS), peer.predict()
        self.chosen = choose(peer.jobs())
        return found

    def jobs(self) -> list[str]:
        """What it can do."""
        return list(self.chosen)

    def time(self, job: str, seconds: float) -> float:
        """Seconds of one turn of a job, over about so many seconds."""
        timed = self.chosen[job]
        turns = max(1, round(seconds / timed.seconds))
        return clock(timed.job, turns)


class Timed:
    """A job and roughly what a turn takes."""

    def __init__(self, job: Callable[[int], None]) -> None:
        self.job = job
        job(2)
        turns = max(1, int(WARM_SECONDS / 4 / max(clock(job, 1), 1e-9)))
        self.seconds = min(clock(job, turns) for _ in range(3))


def choose(jobs: Mapping[str, Sequence[Callable[[int], None]]]) -> dict[str, Timed]:
    """The fastest way for every job."""
    return {name: min((Timed(job) for job in ways), key=lambda timed: timed.seconds) for name, ways in jobs.items()}


def clock(job: Callable[[int], None], turns: int) -> float:
    """Seconds of a turn."""
    start = time.perf_counter()
    job(turns)
    return (time.perf_counter() - start) / turns
