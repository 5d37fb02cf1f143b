"""PyTorch with `torch.compile` (Inductor's C++ back end): the loss and its gradients compiled, Adam compiled or fused.

Recurrent networks are left out: it hands nn.RNN, nn.LSTM and nn.GRU back to eager PyTorch.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ..work import BETA_1, BETA_2, EPSILON, LEARNING_RATE
from .with_pytorch import Choice as Eager
from .with_pytorch import Prediction, Step, plain

torch._dynamo.config.cache_size_limit = 64


def stepper(net: nn.Module, *, compiled: bool) -> Step:
    """A training step that returns the loss before it; Adam is compiled too, or the fused one."""
    optimizer = torch.optim.Adam(
        net.parameters(),
        lr=torch.tensor(LEARNING_RATE) if compiled else LEARNING_RATE,
        betas=(BETA_1, BETA_2),
        eps=EPSILON,
        fused=not compiled,
    )
    loss_of = torch.compile(lambda x, y: nn.functional.cross_entropy(net(x), y), fullgraph=True)
    update = torch.compile(optimizer.step, fullgraph=False) if compiled else optimizer.step

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        update()
        return loss.detach()

    return step


def prediction(net: nn.Module, x: Tensor, *, freezing: bool) -> Prediction:
    """Probabilities by a compiled module, its weights constants or not."""
    return torch.compile(plain(net, x), fullgraph=True, dynamic=False, options={"freezing": freezing})


class Choice(Eager):
    """Compiled steps and compiled predictions of the network."""

    training = (partial(stepper, compiled=False), partial(stepper, compiled=True))
    predicting = (partial(prediction, freezing=False), partial(prediction, freezing=True))
