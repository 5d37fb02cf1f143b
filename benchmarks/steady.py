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

from . import reference, worker
from .peers import PEERS
from .work import JOBS, Network

REST_SECONDS = 0.03
"""Between two blocks: longer than any library's threads spin when they have nothing to do."""

FIRST, LOSSES, LEARNED = 1e-3, 3e-3, 2e-2
"""How far first probabilities, losses and probabilities after some steps may lie apart: the peers sum in different orders.

A unit at the kink of ReLU can be on in one sum and off in another, and Adam's first steps are as large for small gradients as for large
ones. With ResNet-20 perturbing the rows by 1e-6 in f64 moves losses by 3e-4 and learned probabilities by 4e-3.
"""


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
    """What a peer computed: first probabilities of the first batch, the losses of steps on it (or none), and probabilities after them."""

    probabilities: np.ndarray
    losses: list[float]
    learned: np.ndarray

    def starts_at(self, expected: np.ndarray) -> bool:
        """Whether the first probabilities are those of the network."""
        return self.probabilities.shape == expected.shape and np.allclose(self.probabilities, expected, rtol=0, atol=FIRST)

    def learns_like(self, other: Build) -> bool:
        """Whether both train alike, or one of them does not train."""
        if not self.losses or not other.losses:
            return True
        losses = np.allclose(self.losses, other.losses, rtol=0, atol=LOSSES)
        return losses and np.allclose(self.learned, other.learned, rtol=0, atol=LEARNED)


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
        """What the worker answers. Raises RuntimeError with its traceback, or when it died."""
        try:
            self.connection.send(request)
            answer = self.connection.recv()
        except (EOFError, OSError) as error:
            self.process.join(10)
            raise RuntimeError(f"its process ended with exit status {self.process.exitcode}") from error
        if isinstance(answer, worker.Failure):
            raise RuntimeError(answer)
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
    """All jobs of a network on a number of threads. A peer that fails or computes something else is named and left out."""
    processes = [Process(peer, threads) for peer in peers if PEERS[peer].makes(network)]
    try:
        ready = right(network, {process: build for process in processes if (build := built(process, network, say))}, say)
        jobs = {process: process.ask("jobs") for process in ready}
        rows = []
        for job in JOBS:
            able = [process for process in ready if job in jobs[process]]
            say(f"{network.name}, {threads} thread(s): {JOBS[job]}")
            steps = network.batches if job == "epoch" else 1
            rows.append(Row(network.name, network.batch, threads, job, interleaved(able, job, effort, steps, say)))
        return rows
    finally:
        for process in processes:
            process.close()


def built(process: Process, network: Network, say: Callable[[str], None]) -> Build | None:
    """What a peer computes first; None, having said why, when it fails."""
    title = PEERS[process.peer].title
    say(f"{network.name}: {title} gets ready")
    try:
        return Build(*process.ask("build", network))
    except RuntimeError as error:
        say(f"left out of {network.name}: {title}: {error}")
        return None


def right(network: Network, builds: Mapping[Process, Build], say: Callable[[str], None]) -> list[Process]:
    """The peers that predict what NumPy does in f64 and train as most others do; the rest is named."""
    expected = reference.probabilities(network)
    starting = {process: build for process, build in builds.items() if build.starts_at(expected)}
    for process in builds.keys() - starting.keys():
        wrong, wanted = builds[process].probabilities[0], expected[0]
        say(f"left out of {network.name}: {PEERS[process.peer].title} predicts something else, of the first row {wrong} and not {wanted}")
    usual = most_alike([build for build in starting.values() if build.losses])
    alike = [process for process, build in starting.items() if usual is None or build.learns_like(usual)]
    for process in starting.keys() - set(alike):
        title, losses = PEERS[process.peer].title, starting[process].losses
        say(f"left out of {network.name}: {title} learns something else than most others, at losses {losses}")
    return alike


def most_alike(builds: list[Build]) -> Build | None:
    """The one that the largest number of builds agrees with; None of none."""
    return max(builds, key=lambda build: sum(build.learns_like(other) for other in builds), default=None)


def interleaved(processes: list[Process], job: str, effort: Effort, steps: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds of a step in each block of each peer, the peers in turns; of a peer that fails nothing, the reason having been said."""
    times: dict[Process, list[float]] = {process: [] for process in processes}
    for _ in range(effort.blocks):
        for process in list(times):
            try:
                times[process].append(process.ask("time", job, effort.seconds) / steps)
            except RuntimeError as error:
                say(f"left out of {JOBS[job]}: {PEERS[process.peer].title}: {error}")
                del times[process]
            time.sleep(REST_SECONDS)
    return {process.peer: blocks for process, blocks in times.items()}
