"""JAX: the whole training step under `jit`, its buffers donated; batches gathered inside the step. Images are channels last."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..layers import (
    EPS,
    KEPT,
    Array,
    BatchNorm,
    Cell,
    Convolution,
    Dense,
    Flatten,
    Gru,
    Layer,
    Layers,
    Lstm,
    MaxPool,
    MeanPool,
    Relu,
    Residual,
    Rnn,
    Tree,
)
from ..work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Job, Network, shuffled


class Choice:
    """Parameters, running averages and Adam's moments on the device, and the functions that use them."""

    def __init__(self, network: Network, threads: int) -> None:
        self.network, layers = network, network.layers
        x, y = network.data
        self.x, self.y = jnp.asarray(x), jnp.asarray(y.astype(np.int32))
        self.xb, self.yb = self.x[: network.batch], self.y[: network.batch]
        self.state = start(network)
        self.random = np.random.default_rng(2)
        self.step = jax.jit(partial(one, layers), donate_argnums=0)
        self.step_of_rows = jax.jit(lambda state, x, y, rows: one(layers, state, x[rows], y[rows]), donate_argnums=0)
        self.probabilities = jax.jit(partial(predicted, layers))

    def predict(self) -> Array:
        """See `Peer`."""
        return np.asarray(self.probabilities(*self.state[:2], self.xb))

    def train(self, steps: int) -> list[float]:
        """See `Peer`."""
        return [self.one_step() for _ in range(steps)]

    def one_step(self) -> float:
        """A step on the first batch; the loss before it."""
        self.state, loss = self.step(self.state, self.xb, self.yb)
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
            self.state, _ = self.step(self.state, self.xb, self.yb)
        jax.block_until_ready(self.state)

    def epochs_gathering(self, turns: int) -> None:
        """Epochs in which the step gathers its rows."""
        for _ in range(turns):
            for rows in shuffled(self.network, self.random):
                self.state, _ = self.step_of_rows(self.state, self.x, self.y, rows)
        jax.block_until_ready(self.state)

    def epochs_feeding(self, turns: int) -> None:
        """Epochs in which NumPy gathers the rows."""
        x, y = self.network.data
        for _ in range(turns):
            for rows in shuffled(self.network, self.random):
                self.state, _ = self.step(self.state, x[rows], y[rows].astype(np.int32))
        jax.block_until_ready(self.state)

    def predictions(self, x: jax.Array, turns: int) -> None:
        """Probabilities, each waited for: a caller wants them."""
        parameters, averages = self.state[:2]
        for _ in range(turns):
            self.probabilities(parameters, averages, x).block_until_ready()


def start(network: Network) -> Tree:
    """First parameters and averages, zero moments, step 0."""
    parameters, averages = (jax.tree.map(jnp.array, tree) for tree in (network.parameters, network.averages))
    first, second = (jax.tree.map(jnp.zeros_like, parameters) for _ in range(2))
    return parameters, averages, first, second, jnp.float32(0)


def applied(layers: Layers, parameters: Tree, averages: Tree, x: jax.Array, *, training: bool) -> tuple[jax.Array, Tree]:
    """Rows after the last layer, and the new averages."""
    renewed = []
    for layer, own, running in zip(layers, parameters, averages, strict=True):
        x, new = one_layer(layer, own, running, x, training=training)
        renewed.append(new)
    return x, tuple(renewed)


def one_layer(layer: Layer, own: Tree, running: Tree, x: jax.Array, *, training: bool) -> tuple[jax.Array, Tree]:
    """Rows after a layer, and its new averages."""
    match layer:
        case Dense():
            return x @ own[0] + own[1], ()
        case Convolution():
            return convolved(layer, x, *own), ()
        case BatchNorm():
            return normalised(x, own, running, training=training)
        case Relu():
            return jax.nn.relu(x), ()
        case MaxPool(size):
            return largest(x, size, training=training), ()
        case MeanPool():
            return x.mean((1, 2)), ()
        case Flatten():
            return x.reshape(len(x), -1), ()
        case Cell():
            return last_value(layer, x, *own), ()
        case Residual(block, shortcut):
            y, new = applied(block, own[0], running[0], x, training=training)
            beside, newer = applied(shortcut, own[1], running[1], x, training=training)
            return y + beside, (new, newer)
    raise NotImplementedError(layer)


def convolved(layer: Convolution, x: jax.Array, kernel: jax.Array, bias: jax.Array | float = 0.0) -> jax.Array:
    """A convolution of images."""
    sides = ((layer.kernel // 2, layer.kernel // 2),) * 2
    return lax.conv_general_dilated(x, kernel, (layer.stride,) * 2, sides, dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias


def largest(x: jax.Array, size: int, *, training: bool) -> jax.Array:
    """The largest value of each square: an axis for each side of it trains several times as fast as XLA's windows, which predict faster."""
    if not training:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, size, size, 1), "VALID")
    rows, height, width, channels = x.shape
    whole = x[:, : height // size * size, : width // size * size]
    return whole.reshape(rows, height // size, size, width // size, size, channels).max((2, 4))


def normalised(x: jax.Array, own: Tree, running: Tree, *, training: bool) -> tuple[jax.Array, Tree]:
    """Batch normalisation: by the batch, which renews the averages, or by the averages."""
    mean, variance = running
    if training:
        axes = tuple(range(x.ndim - 1))
        mean, variance, count = x.mean(axes), x.var(axes), x.size // x.shape[-1]
        now = mean, variance * (count / (count - 1))
        running = tuple(KEPT * old + (1 - KEPT) * new for old, new in zip(running, now, strict=True))
    return (x - mean) * lax.rsqrt(variance + EPS) * own[0] + own[1], running


def last_value(cell: Cell, x: jax.Array, of_input: jax.Array, of_state: jax.Array, bias: jax.Array, *others: jax.Array) -> jax.Array:
    """The value of a cell at the last time.

    The product of the input stays in the loop: one before it, over all times, took a quarter longer; unrolled loops trained slower too.
    """

    def one_time(states: Tree, x: jax.Array) -> tuple[Tree, None]:
        h, c = states
        return following(cell, x @ of_input + bias, h @ of_state, h, c, *others), None

    zero = jnp.zeros((len(x), cell.units))
    return lax.scan(one_time, (zero, zero), x.swapaxes(0, 1))[0][0]


def following(cell: Cell, of_input: jax.Array, of_state: jax.Array, h: jax.Array, c: jax.Array, *others: jax.Array) -> Tree:
    """The states after a time, from the products of what enters it."""
    sigmoid = jax.nn.sigmoid
    match cell:
        case Rnn():
            return jnp.tanh(of_input + of_state), c
        case Lstm():
            i, f, g, o = jnp.split(of_input + of_state, 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
            return sigmoid(o) * jnp.tanh(c), c
        case Gru():
            (xr, xz, xn), (hr, hz, hn) = (jnp.split(part, 3, axis=-1) for part in (of_input, of_state))
            z = sigmoid(xz + hz)
            return (1 - z) * jnp.tanh(xn + sigmoid(xr + hr) * (hn + others[0])) + z * h, c
    raise NotImplementedError(cell)


def loss_of(layers: Layers, parameters: Tree, averages: Tree, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Tree]:
    """Mean cross-entropy, and the new averages."""
    logits, averages = applied(layers, parameters, averages, x, training=True)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)), averages


def predicted(layers: Layers, parameters: Tree, averages: Tree, x: jax.Array) -> jax.Array:
    """Probabilities of rows."""
    return jax.nn.softmax(applied(layers, parameters, averages, x, training=False)[0])


def one(layers: Layers, state: Tree, x: jax.Array, y: jax.Array) -> tuple[Tree, jax.Array]:
    """A training step: the new state and the loss before it."""
    parameters, averages, first, second, count = state
    (loss, averages), gradients = jax.value_and_grad(partial(loss_of, layers), has_aux=True)(parameters, averages, x, y)
    count += 1
    first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, second, gradients)
    unbiased_1, unbiased_2 = 1 / (1 - BETA_1**count), 1 / (1 - BETA_2**count)

    def update(w: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        return w - LEARNING_RATE * (m * unbiased_1) / (jnp.sqrt(v * unbiased_2) + EPSILON)

    return (jax.tree.map(update, parameters, first, second), averages, first, second, count), loss
