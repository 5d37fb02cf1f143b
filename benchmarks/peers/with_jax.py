"""JAX: the whole training step under `jit`, its buffers donated; batches gathered inside the step."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Array, Job, Network, shuffled

Tree = Any


class Choice:
    """Parameters and Adam's moments on the device, and the functions that use them."""

    def __init__(self, network: Network, threads: int) -> None:
        self.network = network
        x, y = network.data
        self.x, self.y = jnp.asarray(x), jnp.asarray(y.astype(np.int32))
        self.xb, self.yb = self.x[: network.batch], self.y[: network.batch]
        self.state = start(network)
        self.parameters = start(network)[0]
        self.random = np.random.default_rng(2)

    def predict(self) -> Array:
        """See `Peer`."""
        return np.asarray(predict(self.parameters, self.xb))

    def train(self, steps: int) -> list[float]:
        """See `Peer`."""
        return [self.one_step() for _ in range(steps)]

    def one_step(self) -> float:
        """A step on the first batch; the loss before it."""
        self.state, loss = step(self.state, self.xb, self.yb)
        return float(loss)

    def jobs(self) -> dict[str, list[Job]]:
        """See `Peer`."""
        return {
            "step": [self.steps],
            "epoch": [self.epochs_gathering, self.epochs_feeding],
            "infer": [partial(self.predictions, self.xb)],
            "infer one": [partial(self.predictions, self.x[:1])],
        }

    def steps(self, turns: int) -> None:
        """Steps on the first batch, waited for at the end."""
        for _ in range(turns):
            self.state, _ = step(self.state, self.xb, self.yb)
        jax.block_until_ready(self.state)

    def epochs_gathering(self, turns: int) -> None:
        """Epochs in which the step gathers its rows."""
        for _ in range(turns):
            for rows in shuffled(self.network, self.random):
                self.state, _ = step_of_rows(self.state, self.x, self.y, rows)
        jax.block_until_ready(self.state)

    def epochs_feeding(self, turns: int) -> None:
        """Epochs in which NumPy gathers the rows."""
        x, y = self.network.data
        for _ in range(turns):
            for rows in shuffled(self.network, self.random):
                self.state, _ = step(self.state, x[rows], y[rows].astype(np.int32))
        jax.block_until_ready(self.state)

    def predictions(self, x: jax.Array, turns: int) -> None:
        """Probabilities, each waited for: a caller wants them."""
        for _ in range(turns):
            predict(self.parameters, x).block_until_ready()


def start(network: Network) -> tuple[Tree, Tree, Tree, jax.Array]:
    """First parameters, zero moments, step 0."""
    parameters = [(jnp.array(weight), jnp.array(bias)) for weight, bias in network.parameters]
    first, second = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
    return parameters, first, second, jnp.float32(0)


def logits_of(parameters: Tree, x: jax.Array) -> jax.Array:
    """The network."""
    for weight, bias in parameters[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = parameters[-1]
    return x @ weight + bias


def loss_of(parameters: Tree, x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    scores = jax.nn.log_softmax(logits_of(parameters, x))
    return -jnp.mean(jnp.take_along_axis(scores, y[:, None], 1))


def one(state: Tree, x: jax.Array, y: jax.Array) -> tuple[Tree, jax.Array]:
    """A training step: the new state and the loss before it."""
    parameters, first, second, count = state
    loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
    count += 1
    first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, second, gradients)
    unbiased_1, unbiased_2 = 1 / (1 - BETA_1**count), 1 / (1 - BETA_2**count)

    def update(w: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        return w - LEARNING_RATE * (m * unbiased_1) / (jnp.sqrt(v * unbiased_2) + EPSILON)

    return (jax.tree.map(update, parameters, first, second), first, second, count), loss


step = jax.jit(one, donate_argnums=0)
step_of_rows = jax.jit(lambda state, x, y, rows: one(state, x[rows], y[rows]), donate_argnums=0)
predict = jax.jit(lambda parameters, x: jax.nn.softmax(logits_of(parameters, x)))
