"""Ranvier itself."""

from __future__ import annotations

import numpy as np

import ranvier as rv

from ..layers import Array, leaves
from ..work import Job, Network, times


class Choice:
    """A model for training and batches, and one compiled for single rows."""

    def __init__(self, network: Network, threads: int) -> None:
        self.network, self.threads = network, threads
        self.model = self.compiled(network.batch)
        x, y = network.data
        self.rows = {"x": x, "y": y.astype(np.int32)}
        self.one_batch = {name: np.ascontiguousarray(array[: network.batch]) for name, array in self.rows.items()}

    def compiled(self, batch: int) -> rv.Model:
        """The model for at most so many rows a call, with the first values."""
        model = rv.compile(self.network.source, batch=batch, threads=self.threads)
        for name, value in zip(model.params, leaves(self.network.parameters), strict=True):
            model.params[name] = value
        return model

    def predict(self) -> Array:
        """See `Peer`."""
        return self.model.predict(self.one_batch["x"])

    def train(self, steps: int) -> list[float]:
        """See `Peer`."""
        return [self.model.step(self.one_batch) for _ in range(steps)]

    def jobs(self) -> dict[str, list[Job]]:
        """See `Peer`."""
        x = self.one_batch["x"]
        row, single = x[:1].copy(), self.compiled(batch=1)
        return {
            "step": [times(lambda: self.model.step(self.one_batch))],
            "epoch": [lambda turns: void(self.model.fit(self.rows, epochs=turns, validation=0))],
            "infer": [times(lambda: self.model.predict(x))],
            "infer one": [times(lambda: single.predict(row))],
        }


def void(_: object) -> None:
    """Nothing."""
