"""PyTorch with `torch.compile` (Inductor's C++ back end): the loss and its gradients compiled, Adam compiled or fused."""

from __future__ import annotations

import torch
from torch import Tensor

from ..work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Job
from .with_pytorch import Choice as Eager
from .with_pytorch import Step, module


class Choice(Eager):
    """Compiled steps and compiled predictions of the network."""

    def steppers(self) -> list[Step]:
        """With Adam fused, and with Adam compiled."""
        torch._dynamo.config.cache_size_limit = 64
        return [stepper(module(self.network), compiled=compiled) for compiled in (False, True)]

    def inferences(self, x: Tensor) -> list[Job]:
        """With the weights as constants of the code, and not."""
        return [prediction(self.module, x, freezing=freezing) for freezing in (False, True)]


def stepper(net: torch.nn.Module, *, compiled: bool) -> Step:
    """A training step that returns the loss before it; Adam is compiled too, or the fused one."""
    optimizer = torch.optim.Adam(
        net.parameters(),
        lr=torch.tensor(LEARNING_RATE) if compiled else LEARNING_RATE,
        betas=(BETA_1, BETA_2),
        eps=EPSILON,
        fused=not compiled,
    )
    loss_of = torch.compile(lambda x, y: torch.nn.functional.cross_entropy(net(x), y), fullgraph=True)
    update = torch.compile(optimizer.step, fullgraph=False) if compiled else optimizer.step

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        update()
        return loss.detach()

    return step


def prediction(net: torch.nn.Module, x: Tensor, *, freezing: bool) -> Job:
    """Probabilities of rows by a compiled module, its weights constants or not."""
    whole = torch.nn.Sequential(net, torch.nn.Softmax(1)).eval()
    function = torch.compile(whole, fullgraph=True, dynamic=False, options={"freezing": freezing})

    def job(turns: int) -> None:
        with torch.inference_mode():
            for _ in range(turns):
                function(x)

    return job
