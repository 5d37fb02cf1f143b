"""What the networks predict with their first values, by NumPy in f64: nobody is timed who says something else."""

from __future__ import annotations

from typing import Any

import numpy as np

from .layers import (
    EPS,
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
from .work import Network


def probabilities(network: Network) -> Array:
    """Of the first batch, f64[batch, classes]."""
    logits = applied(network.layers, network.parameters, network.averages, network.one_batch[0].astype(np.float64))
    shares = np.exp(logits - logits.max(1, keepdims=True))
    result: Array = shares / shares.sum(1, keepdims=True)
    return result


def applied(layers: Layers, parameters: Tree, averages: Tree, x: Array) -> Array:
    """Rows after the last layer."""
    for layer, own, running in zip(layers, parameters, averages, strict=True):
        x = one_layer(layer, own, running, x)
    return x


def one_layer(layer: Layer, own: Tree, running: Tree, x: Array) -> Any:
    """Rows after a layer, as it predicts."""
    match layer:
        case Dense():
            return x @ own[0] + own[1]
        case Convolution():
            return convolved(layer, x, *own)
        case BatchNorm():
            return (x - running[0]) / np.sqrt(running[1] + EPS) * own[0] + own[1]
        case Relu():
            return np.maximum(x, 0)
        case MaxPool(size):
            return windows(x, size, size).max((-2, -1))
        case MeanPool():
            return x.mean((1, 2))
        case Flatten():
            return x.reshape(len(x), -1)
        case Cell():
            return last_value(layer, x, *own)
        case Residual(block, shortcut):
            return applied(block, own[0], running[0], x) + applied(shortcut, own[1], running[1], x)
    raise TypeError(f"no reference for {layer}")


def convolved(layer: Convolution, x: Array, kernel: Array, bias: Array | float = 0.0) -> Array:
    """A sum over windows of the padded images."""
    side = layer.kernel // 2
    framed = np.pad(x, ((0, 0), (side, side), (side, side), (0, 0)))
    result: Array = np.tensordot(windows(framed, layer.kernel, layer.stride), kernel, ((4, 5, 3), (0, 1, 2))) + bias
    return result


def last_value(cell: Cell, x: Array, of_input: Array, of_state: Array, bias: Array, *others: Array) -> Array:
    """The value of a cell at the last time."""
    states = (np.zeros((len(x), cell.units)), np.zeros((len(x), cell.units)))
    for time in range(x.shape[1]):
        states = one_time(cell, x[:, time] @ of_input + bias, states[0] @ of_state, *states, *others)
    return states[0]


def one_time(cell: Cell, of_input: Array, of_state: Array, h: Array, c: Array, *others: Array) -> tuple[Array, Array]:
    """The states after a time, from the products of what enters it."""
    match cell:
        case Rnn():
            return np.tanh(of_input + of_state), c
        case Lstm():
            i, f, g, o = np.split(of_input + of_state, 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            return sigmoid(o) * np.tanh(c), c
        case Gru():
            (xr, xz, xn), (hr, hz, hn) = (np.split(part, 3, axis=-1) for part in (of_input, of_state))
            z = sigmoid(xz + hz)
            return (1 - z) * np.tanh(xn + sigmoid(xr + hr) * (hn + others[0])) + z * h, c
    raise TypeError(f"no reference for {cell}")


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    result: Array = 1 / (1 + np.exp(-x))
    return result


def windows(x: Array, size: int, stride: int) -> Array:
    """Squares of pixels, [rows, y, x, channels, size, size]."""
    return np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))[:, ::stride, ::stride]
