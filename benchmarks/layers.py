"""What the networks are made of, as data: each peer reads the description and makes the layers in its own way.

Images are [height, width, channels] here, kernels [height, width, inputs, channels], weights [inputs, units], sequences [time, inputs].
Values are trees: a tuple for each layer, empty where it has none; for a residual block the tree of its block and that of its shortcut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Tree = Any
"""Nested tuples of arrays."""

KEPT, EPS = 0.9, 1e-5
"""Of batch normalisation: the share of a running average that a training step keeps, and what is added to the variance."""


@dataclass(frozen=True)
class Layer:
    """One that has no values and keeps the shape, unless its class says otherwise."""

    def after(self, shape: Shape) -> Shape:
        """The shape of a row that leaves it."""
        return shape

    def parameters(self, shape: Shape, random: np.random.Generator) -> Tree:
        """First values of what is trained."""
        return ()

    def averages(self, shape: Shape) -> Tree:
        """First values of what training steps keep up and predictions use."""
        return ()


Layers = tuple[Layer, ...]


@dataclass(frozen=True)
class Dense(Layer):
    """x W + b."""

    units: int

    def after(self, shape: Shape) -> Shape:
        """[units]."""
        return (self.units,)

    def parameters(self, shape: Shape, random: np.random.Generator) -> Tree:
        """The weight [inputs, units] and the bias [units]."""
        return weight(random, *shape, self.units), near(0, random, self.units)


@dataclass(frozen=True)
class Convolution(Layer):
    """A square kernel of an odd size, with half of it (rounded down) as padding on every side."""

    channels: int
    kernel: int = 3
    stride: int = 1
    bias: bool = True

    def after(self, shape: Shape) -> Shape:
        """A pixel for every `stride` pixels, rounded up."""
        return (*(-(-size // self.stride) for size in shape[:2]), self.channels)

    def parameters(self, shape: Shape, random: np.random.Generator) -> Tree:
        """The kernel and, where there is one, the bias [channels]."""
        kernel = weight(random, self.kernel, self.kernel, shape[-1], self.channels)
        return (kernel, near(0, random, self.channels)) if self.bias else (kernel,)


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Channels normalised over rows and pixels, then scaled and shifted; predictions use running averages (the unbiased variance)."""

    def parameters(self, shape: Shape, random: np.random.Generator) -> Tree:
        """The gain and the shift of each channel."""
        return near(1, random, shape[-1]), near(0, random, shape[-1])

    def averages(self, shape: Shape) -> Tree:
        """The mean and the variance of each channel."""
        return np.zeros(shape[-1], np.float32), np.ones(shape[-1], np.float32)


@dataclass(frozen=True)
class Relu(Layer):
    """max(x, 0)."""


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest value of each square of pixels; the squares do not overlap."""

    size: int = 2

    def after(self, shape: Shape) -> Shape:
        """A pixel for each whole square."""
        return (shape[0] // self.size, shape[1] // self.size, shape[2])


@dataclass(frozen=True)
class MeanPool(Layer):
    """The mean of each channel over all pixels."""

    def after(self, shape: Shape) -> Shape:
        """[channels]."""
        return shape[-1:]


@dataclass(frozen=True)
class Flatten(Layer):
    """A row as one axis, the channels of a pixel side by side."""

    def after(self, shape: Shape) -> Shape:
        """[height * width * channels]."""
        return (math.prod(shape),)


@dataclass(frozen=True)
class Cell(Layer):
    """A cell over a sequence, its states zero before; of its values the last. Gates stand side by side in its weights."""

    units: int
    gates: ClassVar[int]

    def after(self, shape: Shape) -> Shape:
        """[units]."""
        return (self.units,)

    def parameters(self, shape: Shape, random: np.random.Generator) -> Tree:
        """The weight of the input [inputs, gates * units], that of the state [units, gates * units], the bias [gates * units]."""
        columns = self.gates * self.units
        return weight(random, shape[-1], columns), weight(random, self.units, columns), near(0, random, columns)


@dataclass(frozen=True)
class Rnn(Cell):
    """h = tanh(x W + h U + b)."""

    gates: ClassVar[int] = 1


@dataclass(frozen=True)
class Lstm(Cell):
    """i, f, g, o are the parts of x W + h U + b; c = sigmoid(f) c + sigmoid(i) tanh(g), h = sigmoid(o) tanh(c)."""

    gates: ClassVar[int] = 4


@dataclass(frozen=True)
class Gru(Cell):
    """r, z, n are the parts; n = tanh(x W + b + sigmoid(r) (h U + b_new)), h = (1 - sigmoid(z)) n + sigmoid(z) h."""

    gates: ClassVar[int] = 3

    def parameters(self, shape: Shape, random: np.random.Generator) -> Tree:
        """Those of a cell, and the bias `b_new` [units], which the reset gate scales."""
        return *super().parameters(shape, random), near(0, random, self.units)


@dataclass(frozen=True)
class Residual(Layer):
    """The sum of what a block and a shortcut make of the same rows; a shortcut without layers hands them on."""

    block: Layers
    shortcut: Layers = ()

    def after(self, shape: Shape) -> Shape:
        """What the block leaves."""
        return through(self.block, shape)

    def parameters(self, shape: Shape, random: np.random.Generator) -> Tree:
        """Those of the block and those of the shortcut."""
        return first_parameters(self.block, shape, random), first_parameters(self.shortcut, shape, random)

    def averages(self, shape: Shape) -> Tree:
        """Those of the block and those of the shortcut."""
        return first_averages(self.block, shape), first_averages(self.shortcut, shape)


def weight(random: np.random.Generator, *shape: int) -> Array:
    """Normal values that keep the size of what they are multiplied by: of variance 1 / inputs."""
    return random.standard_normal(shape, dtype=np.float32) / np.float32(math.prod(shape[:-1]) ** 0.5)


def near(centre: float, random: np.random.Generator, size: int) -> Array:
    """A value for each channel, not all alike: a peer that mistakes one for another is found out."""
    return np.float32(centre) + np.float32(0.1) * random.standard_normal(size, dtype=np.float32)


def entered(layers: Layers, shape: Shape) -> Iterator[tuple[Layer, Shape]]:
    """Each layer with the shape of the rows that enter it."""
    for layer in layers:
        yield layer, shape
        shape = layer.after(shape)


def through(layers: Layers, shape: Shape) -> Shape:
    """The shape of a row that leaves the last layer."""
    for layer in layers:
        shape = layer.after(shape)
    return shape


def first_parameters(layers: Layers, shape: Shape, random: np.random.Generator) -> Tree:
    """The tree of what is trained."""
    return tuple(layer.parameters(entering, random) for layer, entering in entered(layers, shape))


def first_averages(layers: Layers, shape: Shape) -> Tree:
    """The tree of running averages."""
    return tuple(layer.averages(entering) for layer, entering in entered(layers, shape))


def leaves(tree: Tree) -> list[Array]:
    """The arrays of a tree in the order of the layers, a block before its shortcut."""
    return [leaf for branch in tree for leaf in leaves(branch)] if isinstance(tree, tuple) else [tree]


def kinds(layers: Layers) -> set[type[Layer]]:
    """The classes of all layers, those inside of residual blocks too."""
    inner = [layer.block + layer.shortcut for layer in layers if isinstance(layer, Residual)]
    return {type(layer) for layer in layers}.union(*map(kinds, inner))


def channels_first(layers: Layers, parameters: Tree, shape: Shape) -> Tree:
    """The parameters for a peer whose images are [channels, height, width]: kernels [channels, inputs, height, width].

    The rows of the weight after a `Flatten` come in the order in which such an image is flattened.
    """
    converted: list[Tree] = []
    order: Array | slice = slice(None)
    for (layer, entering), own in zip(entered(layers, shape), parameters, strict=True):
        match layer:
            case Convolution():
                own = (own[0].transpose(3, 2, 0, 1), *own[1:])
            case Flatten():
                order = flattened_channels_first(entering)
            case Dense():
                own, order = (own[0][order], own[1]), slice(None)
            case Residual(block, shortcut):
                own = channels_first(block, own[0], entering), channels_first(shortcut, own[1], entering)
        converted.append(own)
    return tuple(converted)


def flattened_channels_first(shape: Shape) -> Array:
    """For each place of an image that was flattened channels first, its place in one that was flattened channels last."""
    places = np.arange(math.prod(shape)).reshape(shape)
    return np.moveaxis(places, -1, 0).ravel()


def perceptron(units: Sequence[int]) -> Layers:
    """Fully connected layers with ReLU between them."""
    return tuple(layer for size in units for layer in (Dense(size), Relu()))[:-1]


def residual(channels: int, stride: int = 1, *, projection: bool = False) -> Layers:
    """A residual block of two convolutions (He et al. 2016), whose shortcut is a convolution of single pixels where shapes change."""
    block = (convolution(channels, stride=stride), BatchNorm(), Relu(), convolution(channels), BatchNorm())
    shortcut = (convolution(channels, kernel=1, stride=stride), BatchNorm()) if projection else ()
    return Residual(block, shortcut), Relu()


def convolution(channels: int, kernel: int = 3, stride: int = 1) -> Convolution:
    """One without a bias, which the normalisation after it would take away."""
    return Convolution(channels, kernel, stride, bias=False)


CNN = (Convolution(32), Relu(), MaxPool(), Convolution(64), Relu(), MaxPool(), Flatten(), Dense(128), Relu(), Dense(10))

RESNET_20 = (
    *(convolution(16), BatchNorm(), Relu()),
    *(3 * residual(16)),
    *(residual(32, stride=2, projection=True) + 2 * residual(32)),
    *(residual(64, stride=2, projection=True) + 2 * residual(64)),
    *(MeanPool(), Dense(10)),
)


def recurrent(cell: Cell) -> Layers:
    """A cell and ten classes told from its last value."""
    return cell, Dense(10)
