"""JAX with a whole epoch in one `lax.scan`: what an expert writes when the steps are small."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from ..work import Job, shuffled
from .with_jax import Choice as Stepwise
from .with_jax import one


class Choice(Stepwise):
    """The epoch alone: the other jobs are those of JAX without it."""

    def jobs(self) -> dict[str, list[Job]]:
        """See `Peer`."""
        return {"epoch": [self.epochs]}

    def epochs(self, turns: int) -> None:
        """Epochs over rows in a new order each."""
        for _ in range(turns):
            self.state = epoch(self.state, self.x, self.y, shuffled(self.network, self.random))
        jax.block_until_ready(self.state)


def all_batches(state: Any, x: jax.Array, y: jax.Array, order: np.ndarray) -> Any:
    """The state after a step on each batch of rows."""
    return jax.lax.scan(lambda state, rows: one(state, x[rows], y[rows]), state, order)[0]


epoch = jax.jit(all_batches, donate_argnums=0)
