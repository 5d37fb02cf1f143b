"""The work that everyone is timed on: three networks with their data and first values, and what is done with them.

All are perceptrons with ReLU, softmax cross-entropy and Adam (learning rate 1e-3, beta 0.9 and 0.999, epsilon 1e-8), in f32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Job = Callable[[int], None]
"""Does something a number of times; what it started is finished when it returns."""

JOBS = {
    "step": "training step",
    "epoch": "training step inside an epoch",
    "infer": "prediction, training batch",
    "infer one": "prediction, one row",
}
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Network:
    """A perceptron by the sizes of its layers, the rows of a training step, and the steps of an epoch."""

    sizes: tuple[int, ...]
    batch: int
    batches: int

    @property
    def name(self) -> str:
        """As in `784-256-128-10`."""
        return "-".join(map(str, self.sizes))

    @property
    def source(self) -> Path:
        """The network in Ranvier's language."""
        return Path(__file__).parent / "models" / f"perceptron_{'_'.join(map(str, self.sizes))}.nn"

    @cached_property
    def data(self) -> tuple[Array, Array]:
        """The rows of an epoch: x f32[rows, inputs] and their classes i64[rows]."""
        random, rows = np.random.default_rng(0), self.batch * self.batches
        x = random.standard_normal((rows, self.sizes[0]), dtype=np.float32)
        return x, random.integers(0, self.sizes[-1], rows)

    @property
    def one_batch(self) -> tuple[Array, Array]:
        """The first rows of an epoch."""
        x, y = self.data
        return x[: self.batch], y[: self.batch]

    @cached_property
    def parameters(self) -> list[tuple[Array, Array]]:
        """The first weight [inputs, units] and bias [units] of each layer."""
        random = np.random.default_rng(1)
        pairs = zip(self.sizes, self.sizes[1:], strict=False)
        return [(random.standard_normal((i, u), dtype=np.float32) / np.float32(i**0.5), np.zeros(u, np.float32)) for i, u in pairs]


NETWORKS = (Network((4, 16, 3), 16, 64), Network((784, 256, 128, 10), 64, 32), Network((1024, 2048, 2048, 10), 256, 4))


class Peer(Protocol):
    """One way to do the work."""

    def __init__(self, network: Network, threads: int) -> None:
        """Make the network with its first values."""

    def predict(self) -> Array:
        """Probabilities of the first batch, [batch, classes]."""

    def train(self, steps: int) -> list[float]:
        """Do steps on the first batch; the loss before each. Empty where the peer cannot train, or not from given values."""

    def jobs(self) -> Mapping[str, Sequence[Job]]:
        """For each job that the peer can do, the ways worth trying: the fastest is timed."""


def shuffled(network: Network, random: np.random.Generator) -> Array:
    """Row numbers of an epoch in a new order, [batches, batch]."""
    return random.permutation(network.batch * network.batches).reshape(network.batches, network.batch)


def times(action: Callable[[], object]) -> Job:
    """A job that repeats an action which is finished when it returns."""

    def job(turns: int) -> None:
        for _ in range(turns):
            action()

    return job
