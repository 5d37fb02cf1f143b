"""scikit-learn's MLPClassifier: `partial_fit` trains a batch, or an epoch of batches."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from ..layers import Array, Dense
from ..work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Job, Network, times


class Choice:
    """A classifier that has seen one batch, with the network's values put in afterwards for the check."""

    def __init__(self, network: Network, threads: int) -> None:
        warnings.simplefilter("ignore")
        threadpool_limits(threads)
        self.network = network
        self.classifier = MLPClassifier(
            [layer.units for layer in network.layers if isinstance(layer, Dense)][:-1],
            alpha=0.0,
            batch_size=network.batch,
            learning_rate_init=LEARNING_RATE,
            beta_1=BETA_1,
            beta_2=BETA_2,
            epsilon=EPSILON,
            random_state=0,
        )
        x, y = network.one_batch
        self.classifier.partial_fit(x, y, classes=np.arange(network.classes))

    def predict(self) -> Array:
        """See `Peer`."""
        for number, (weight, bias) in enumerate(filter(None, self.network.parameters)):
            self.classifier.coefs_[number][:] = weight
            self.classifier.intercepts_[number][:] = bias
        probabilities: Array = self.classifier.predict_proba(self.network.one_batch[0])
        return probabilities

    def train(self, _: int) -> list[float]:
        """See `Peer`: it draws its own first values, and its first step comes with them."""
        return []

    def jobs(self) -> dict[str, list[Job]]:
        """See `Peer`."""
        (x, y), (xb, yb) = self.network.data, self.network.one_batch
        row = xb[:1].copy()
        return {
            "step": [times(lambda: self.classifier.partial_fit(xb, yb))],
            "epoch": [times(lambda: self.classifier.partial_fit(x, y))],
            "infer": [times(lambda: self.classifier.predict_proba(xb))],
            "infer one": [times(lambda: self.classifier.predict_proba(row))],
        }
