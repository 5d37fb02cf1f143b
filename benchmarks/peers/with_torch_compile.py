"""PyTorch with `torch.compile` (Inductor's C++ back end): the loss and its gradients compiled, Adam compiled or fused."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Array, Job, Network, times
from .with_pytorch import epochs, module


class Choice:
    """Compiled steps and compiled predictions of the network."""

    def __init__(self, network: Network, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        torch._dynamo.config.cache_size_limit = 64
        self.network = network
        x, y = network.data
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.xb, self.yb = self.x[: network.batch], self.y[: network.batch]
        self.steps = [stepper(module(network), compiled=compiled) for compiled in (False, True)]
        self.module = module(network)

    def predict(self) -> Array:
        """See `Peer`."""
        with torch.inference_mode():
            return torch.softmax(self.module(self.xb), 1).numpy()

    def train(self, steps: int) -> list[float]:
        """See `Peer`."""
        return [self.steps[0](self.xb, self.yb).item() for _ in range(steps)]

    def jobs(self) -> dict[str, list[Job]]:
        """See `Peer`."""
        return {
            "step": [times(lambda step=step: step(self.xb, self.yb)) for step in self.steps],
            "epoch": [epochs(self.network, step, self.x, self.y) for step in self.steps],
            "infer": [prediction(self.module, self.xb, freezing=freezing) for freezing in (False, True)],
            "infer one": [prediction(self.module, self.x[:1], freezing=freezing) for freezing in (False, True)],
        }


def stepper(net: torch.nn.Module, *, compiled: bool) -> Callable[[Tensor, Tensor], Tensor]:
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
