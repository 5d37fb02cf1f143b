"""PyTorch, eager: each of Adam's implementations, inference as a module and as a traced and frozen graph."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..work import BETA_1, BETA_2, EPSILON, LEARNING_RATE, Array, Job, Network, times

ADAMS = ({"fused": True}, {"foreach": True}, {"foreach": False})


Step = Callable[[Tensor, Tensor], Tensor]


class Choice:
    """Modules with the network's values, one for each implementation of Adam."""

    def __init__(self, network: Network, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        self.network = network
        x, y = network.data
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        self.xb, self.yb = self.x[: network.batch], self.y[: network.batch]
        self.steps = self.steppers()
        self.module = module(network)

    def steppers(self) -> list[Step]:
        """A training step for each way to run Adam."""
        return [stepper(module(self.network), adam) for adam in ADAMS]

    def inferences(self, x: Tensor) -> list[Job]:
        """A prediction of rows for each way to run the module."""
        return inferences(self.module, x)

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
            "infer": self.inferences(self.xb),
            "infer one": self.inferences(self.x[:1]),
        }


def module(network: Network) -> torch.nn.Sequential:
    """The network with its first values, giving logits."""
    layers: list[torch.nn.Module] = []
    for weight, bias in network.parameters:
        layer = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight.T.copy()))
            layer.bias.copy_(torch.from_numpy(bias))
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def stepper(net: torch.nn.Module, adam: dict[str, bool]) -> Step:
    """A training step that returns the loss before it."""
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE, betas=(BETA_1, BETA_2), eps=EPSILON, **adam)
    cross_entropy = torch.nn.functional.cross_entropy

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def epochs(network: Network, step: Step, x: Tensor, y: Tensor) -> Job:
    """Epochs over rows shuffled once each: faster than a gather a batch, and far faster than a DataLoader."""

    def job(turns: int) -> None:
        for _ in range(turns):
            order = torch.randperm(len(x))
            batches = zip(x[order].split(network.batch), y[order].split(network.batch), strict=True)
            for xb, yb in batches:
                step(xb, yb)

    return job


def inferences(net: torch.nn.Module, x: Tensor) -> list[Job]:
    """Probabilities of rows: by the module, and by its traced and frozen graph."""
    whole = torch.nn.Sequential(net, torch.nn.Softmax(1)).eval()
    with torch.inference_mode():
        frozen = torch.jit.freeze(torch.jit.trace(whole, x))

    def job(function: Callable[[Tensor], Tensor]) -> Job:
        def run(turns: int) -> None:
            with torch.inference_mode():
                for _ in range(turns):
                    function(x)

        return run

    return [job(whole), job(frozen)]
