"""PyTorch, eager: each of Adam's implementations, images in both memory formats, predictions by a module and by its traced graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

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
    channels_first,
)
from ..work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Job, Network, times

ADAMS = ({"fused": True}, {"foreach": True}, {"foreach": False})

Step = Callable[[Tensor, Tensor], Tensor]
Prediction = Callable[[Tensor], Tensor]


class Stacked(nn.Module):
    """A residual block."""

    def __init__(self, block: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.block, self.shortcut = block, shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both."""
        return self.block(x) + self.shortcut(x)


CELLS = {Rnn: nn.RNN, Lstm: nn.LSTM, Gru: nn.GRU}


class Last(nn.Module):
    """A cell over sequences, of its values the last. PyTorch has two biases where one would do: of the second one trains what is not
    in the first.
    """

    def __init__(self, cell: Cell, of_input: Array, of_state: Array, bias: Array, new: Array | None = None) -> None:
        super().__init__()
        self.cell = CELLS[type(cell)](len(of_input), cell.units, batch_first=True)
        second = np.zeros_like(bias)
        trained = torch.zeros(len(bias))
        if new is not None:
            second[-cell.units :], trained[-cell.units :] = new, 1
        filled(self.cell, weight_ih_l0=of_input.T, weight_hh_l0=of_state.T, bias_ih_l0=bias, bias_hh_l0=second)
        if new is None:
            self.cell.bias_hh_l0.requires_grad_(False)
        else:
            self.cell.bias_hh_l0.register_hook(lambda gradient: gradient * trained)

    def forward(self, x: Tensor) -> Tensor:
        """The value at the last time."""
        return self.cell(x)[0][:, -1]


def module(network: Network, form: torch.memory_format) -> nn.Sequential:
    """The network with its first values, giving logits."""
    values = channels_first(network.layers, network.parameters, network.shape)
    return modules(network.layers, values, network.averages).to(memory_format=form)


def modules(layers: Layers, parameters: Tree, averages: Tree) -> nn.Sequential:
    """A module for each layer."""
    made = [one_module(layer, own, running) for layer, own, running in zip(layers, parameters, averages, strict=True)]
    return nn.Sequential(*made)


def one_module(layer: Layer, own: Tree, running: Tree) -> nn.Module:
    """A layer with its values."""
    match layer:
        case Dense():
            return filled(nn.Linear(*own[0].shape), weight=own[0].T, bias=own[1])
        case Convolution(channels, kernel, stride, bias):
            convolution = nn.Conv2d(own[0].shape[1], channels, kernel, stride, kernel // 2, bias=bias)
            return filled(convolution, **dict(zip(("weight", "bias"), own, strict=False)))
        case BatchNorm():
            values = dict(zip(("weight", "bias", "running_mean", "running_var"), own + running, strict=True))
            return filled(nn.BatchNorm2d(len(own[0]), eps=EPS, momentum=1 - KEPT), **values)
        case Relu():
            return nn.ReLU(inplace=True)
        case MaxPool(size):
            return nn.MaxPool2d(size)
        case MeanPool():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case Flatten():
            return nn.Flatten()
        case Cell():
            return Last(layer, *own)
        case Residual(block, shortcut):
            return Stacked(modules(block, own[0], running[0]), modules(shortcut, own[1], running[1]))
    raise NotImplementedError(layer)


def filled(made: nn.Module, **values: Array) -> nn.Module:
    """A module with its values put in."""
    made.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in values.items()}, strict=False)
    return made


def stepper(net: nn.Module, adam: dict[str, bool]) -> Step:
    """A training step that returns the loss before it."""
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, **adam)
    cross_entropy = nn.functional.cross_entropy

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def plain(net: nn.Module, x: Tensor) -> Prediction:
    """Probabilities by the module."""
    return nn.Sequential(net, nn.Softmax(1)).eval()


def frozen(net: nn.Module, x: Tensor) -> Prediction:
    """Probabilities by its traced graph, the values constants in it."""
    with torch.inference_mode():
        return torch.jit.freeze(torch.jit.trace(plain(net, x), x))


def optimized(net: nn.Module, x: Tensor) -> Prediction:
    """Probabilities by its traced graph, frozen and with oneDNN's layouts for images."""
    with torch.inference_mode():
        return torch.jit.optimize_for_inference(torch.jit.trace(plain(net, x), x))


class Choice:
    """A module that the check trains; one more for each way to train or predict that is timed."""

    training: Sequence[Callable[[nn.Module], Step]] = [partial(stepper, adam=adam) for adam in ADAMS]
    predicting: Sequence[Callable[[nn.Module, Tensor], Prediction]] = [plain, frozen, optimized]

    def __init__(self, network: Network, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        self.network = network
        x, self.y = (torch.from_numpy(array) for array in network.data)
        images = x.movedim(-1, 1) if network.images else x
        formats = (torch.contiguous_format, torch.channels_last) if network.images else (torch.contiguous_format,)
        self.rows = {form: images.contiguous(memory_format=form) for form in formats}
        self.checked_format = formats[-1]
        self.checked = module(network, self.checked_format)
        self.step = self.training[0](self.checked)

    def batch(self, form: torch.memory_format) -> tuple[Tensor, Tensor]:
        """The first rows and their classes."""
        return self.rows[form][: self.network.batch], self.y[: self.network.batch]

    def predict(self) -> Array:
        """See `Peer`."""
        x, _ = self.batch(self.checked_format)
        net = module(self.network, self.checked_format)
        net.load_state_dict(self.checked.state_dict())
        with torch.inference_mode():
            return self.predicting[0](net, x)(x).numpy()

    def train(self, steps: int) -> list[float]:
        """See `Peer`."""
        return [self.step(*self.batch(self.checked_format)).item() for _ in range(steps)]

    def jobs(self) -> dict[str, list[Job]]:
        """See `Peer`."""
        steps = [(form, make(module(self.network, form))) for form in self.rows for make in self.training]
        return {
            "step": [times(partial(step, *self.batch(form))) for form, step in steps],
            "epoch": [epochs(self.network, step, self.rows[form], self.y) for form, step in steps],
            "infer": [job for form in self.rows for job in self.inferences(form, self.network.batch)],
            "infer one": [job for form in self.rows for job in self.inferences(form, 1)],
        }

    def inferences(self, form: torch.memory_format, rows: int) -> list[Job]:
        """Each way to predict the first rows in a memory format."""
        x = self.rows[form][:rows]
        return [inference(make(module(self.network, form), x), x) for make in self.predicting]


def epochs(network: Network, step: Step, x: Tensor, y: Tensor) -> Job:
    """Epochs over rows shuffled once each: faster than a gather a batch, and far faster than a DataLoader."""

    def job(turns: int) -> None:
        for _ in range(turns):
            order = torch.randperm(len(x))
            batches = zip(x[order].split(network.batch), y[order].split(network.batch), strict=True)
            for xb, yb in batches:
                step(xb, yb)

    return job


def inference(function: Prediction, x: Tensor) -> Job:
    """Probabilities of rows, time and again."""

    def job(turns: int) -> None:
        with torch.inference_mode():
            for _ in range(turns):
                function(x)

    return job
