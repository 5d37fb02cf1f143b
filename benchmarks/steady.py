"""Times of peers that run warm, side by side: every peer in its own process, in turns, so that the machine's moods meet all alike."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import worker
from .peers import PEERS
from .work import JOBS, Network

REST_SECONDS = 0.03
"""Between two blocks: longer than any library's threads spin when they have nothing to do."""

TOLERANCE = 1e-3
"""Of probabilities and losses: the peers sum in different orders, and the batch is small."""


@dataclass(frozen=True)
class Effort:
    """How much is measured: blocks of a job, and seconds of a block."""

    blocks: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """Times of a job: seconds of a step or a prediction, for each peer the blocks in the order they were run."""

    network: str
    batch: int
    threads: int
    job: str
    times: Mapping[str, list[float]]

    def median(self, peer: str) -> float:
        """The time of a peer."""
        return statistics.median(self.times[peer])

    @property
    def ratio(self) -> float | None:
        """Time of the best peer over ours; None without one."""
        others = [self.median(peer) for peer in self.times if peer != "ranvier"]
        return min(others) / self.median("ranvier") if others and "ranvier" in self.times else None


@dataclass(frozen=True)
class Build:
    """What a peer computed with the first values: probabilities of the first batch, and the losses of steps on it (or none)."""

    probabilities: np.ndarray
    losses: list[float]


class Process:
    """A worker as its parent sees it."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer = peer
        self.connection, other = multiprocessing.Pipe()
        module = f"{__package__}.peers.{PEERS[peer].module}"
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=worker.serve, args=(other, module, threads), daemon=True)
        with environment(PEERS[peer].variables(threads)):
            self.process.start()
        other.close()

    def ask(self, *request: object) -> Any:
        """What the worker answers. Raises RuntimeError with its traceback, EOFError when it died."""
        self.connection.send(request)
        answer = self.connection.recv()
        if isinstance(answer, worker.Failure):
            raise RuntimeError(f"{PEERS[self.peer].title}\n{answer}")
        return answer

    def close(self) -> None:
        """Let it end."""
        with contextlib.suppress(OSError):
            self.connection.send(None)
        self.process.join(10)


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for what is started inside."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def measure(peers: list[str], network: Network, threads: int, effort: Effort, say: Callable[[str], None]) -> list[Row]:
    """All jobs of a network on a number of threads."""
    processes = [Process(peer, threads) for peer in peers]
    try:
        builds = {process: build for process in processes if (build := built(process, network, say))}
        losses = next((build.losses for build in builds.values() if build.losses), [])
        ready = [process for process, build in builds.items() if same_work(network, build, losses)]
        for process in builds.keys() - set(ready):
            say(f"left out: {PEERS[process.peer].title} computes something else, losses {builds[process].losses} and not {losses}")
        jobs = {process: process.ask("jobs") for process in ready}
        rows = []
        for job in JOBS:
            able = [process for process in ready if job in jobs[process]]
            say(f"{network.name}, {threads} thread(s): {JOBS[job]}")
            steps = network.batches if job == "epoch" else 1
            rows.append(Row(network.name, network.batch, threads, job, interleaved(able, job, effort, steps)))
        return rows
    finally:
        for process in processes:
            process.close()


def built(process: Process, network: Network, say: Callable[[str], None]) -> Build | None:
    """What a peer computes first; None, having said why, when it fails."""
    say(f"{network.name}: {PEERS[process.peer].title} gets ready")
    try:
        return Build(*process.ask("build", network))
    except (RuntimeError, EOFError) as error:
        say(f"left out: {error}")
        return None


def same_work(network: Network, build: Build, losses: list[float]) -> bool:
    """Whether first probabilities are those of the network, by NumPy in f64, and losses (of a peer that trains) those of another peer."""
    expected = network.one_batch[0].astype(np.float64)
    for number, (weight, bias) in enumerate(network.parameters, 1):
        expected = expected @ weight + bias
        expected = np.maximum(expected, 0) if number < len(network.parameters) else expected
    expected = np.exp(expected - expected.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    alike = not build.losses or np.allclose(build.losses, losses, atol=TOLERANCE)
    return alike and np.allclose(build.probabilities, expected, atol=TOLERANCE)


def interleaved(processes: list[Process], job: str, effort: Effort, steps: int) -> dict[str, list[float]]:
    """Seconds of a step in each block of each peer, the peers in turns."""
    times: dict[str, list[float]] = {process.peer: [] for process in processes}
    for _ in range(effort.blocks):
        for process in processes:
            times[process.peer].append(process.ask("time", job, effort.seconds) / steps)
            time.sleep(REST_SECONDS)
    return times
