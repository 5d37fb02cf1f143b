"""JAX with a whole epoch in one `lax.scan`: what an expert writes when the steps are small.

Networks with convolutions are left out: in the loop a step of the small one took nine times as long as outside (0.48 s, not 0.05).
"""

from __future__ import annotations

from functools import partial

import jax

from ..layers import Array, Layers, Tree
from ..work import Job, Network, shuffled
from .with_jax import Choice as Stepwise
from .with_jax import one


class Choice(Stepwise):
    """The epoch alone: the other jobs are those of JAX without it."""

    def __init__(self, network: Network, threads: int) -> None:
        super().__init__(network, threads)
        self.epoch = jax.jit(partial(all_batches, network.layers), donate_argnums=0)

    def jobs(self) -> dict[str, list[Job]]:
        """See `Peer`."""
        return {"epoch": [self.epochs]}

    def epochs(self, turns: int) -> None:
        """Epochs over rows in a new order each."""
        for _ in range(turns):
            self.state = self.epoch(self.state, self.x, self.y, shuffled(self.network, self.random))
        jax.block_until_ready(self.state)


def all_batches(layers: Layers, state: Tree, x: jax.Array, y: jax.Array, order: Array) -> Tree:
    """The state after a step on each batch of rows."""
    return jax.lax.scan(lambda state, rows: one(layers, state, x[rows], y[rows]), state, order)[0]
