"""The work that everyone is timed on: nine networks with their data and first values, and what is done with them.

All have softmax cross-entropy and Adam (learning rate 1e-3, beta 0.9 and 0.999, epsilon 1e-8), in f32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from .layers import (
    CNN,
    RESNET_20,
    Array,
    Cell,
    Gru,
    Layers,
    Lstm,
    Rnn,
    Shape,
    Tree,
    first_averages,
    first_parameters,
    perceptron,
    recurrent,
    through,
)

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
    """A network by its layers: its name, the file with it in Ranvier's language, the shape of a row (images: channels last; sequences: time
    first).

    A training step takes `batch` rows, an epoch `batches` steps. The last layer gives logits.
    """

    name: str
    file: str
    shape: Shape
    layers: Layers
    batch: int
    batches: int

    @property
    def source(self) -> Path:
        """The network in Ranvier's language."""
        return Path(__file__).parent / "models" / self.file

    @property
    def classes(self) -> int:
        """How many there are."""
        return through(self.layers, self.shape)[0]

    @property
    def images(self) -> bool:
        """Whether a row is an image."""
        return len(self.shape) == 3

    @cached_property
    def data(self) -> tuple[Array, Array]:
        """The rows of an epoch: x f32[rows, ...] and their classes i64[rows]."""
        random, rows = np.random.default_rng(0), self.batch * self.batches
        x = random.standard_normal((rows, *self.shape), dtype=np.float32)
        return x, random.integers(0, self.classes, rows)

    @property
    def one_batch(self) -> tuple[Array, Array]:
        """The first rows of an epoch."""
        x, y = self.data
        return x[: self.batch], y[: self.batch]

    @cached_property
    def parameters(self) -> Tree:
        """First values of what is trained."""
        return first_parameters(self.layers, self.shape, np.random.default_rng(1))

    @property
    def averages(self) -> Tree:
        """First values of the running averages."""
        return first_averages(self.layers, self.shape)


def of_sizes(inputs: int, *units: int, batch: int, batches: int) -> Network:
    """A perceptron with ReLU by the sizes of its layers, named by them as in `784-256-128-10`."""
    sizes = [str(size) for size in (inputs, *units)]
    return Network("-".join(sizes), f"perceptron_{'_'.join(sizes)}.nn", (inputs,), perceptron(units), batch, batches)


def of_cell(name: str, inputs: int, cell: Cell, times: int, batch: int, batches: int) -> Network:
    """A recurrent network by the sizes of its cell, named by them as in `lstm-64-256`."""
    file = f"{name}_{inputs}_{cell.units}.nn"
    return Network(f"{name}-{inputs}-{cell.units}", file, (times, inputs), recurrent(cell), batch, batches)


NETWORKS = (
    of_sizes(4, 16, 3, batch=16, batches=64),
    of_sizes(784, 256, 128, 10, batch=64, batches=32),
    of_sizes(1024, 2048, 2048, 10, batch=256, batches=4),
    Network("cnn-28", "cnn_28.nn", (28, 28, 1), CNN, batch=64, batches=8),
    Network("resnet-20", "resnet_20.nn", (32, 32, 3), RESNET_20, batch=32, batches=4),
    of_cell("lstm", 8, Lstm(32), times=24, batch=8, batches=64),
    of_cell("rnn", 32, Rnn(128), times=64, batch=32, batches=16),
    of_cell("lstm", 64, Lstm(256), times=100, batch=32, batches=4),
    of_cell("gru", 64, Gru(256), times=100, batch=32, batches=4),
)


class Peer(Protocol):
    """One way to do the work."""

    def __init__(self, network: Network, threads: int) -> None:
        """Make the network with its first values."""

    def predict(self) -> Array:
        """Probabilities of the first batch, [batch, classes], by the values that `train` has left."""

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
