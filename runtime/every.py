"""How often something is done while training: by the clock, by steps or by epochs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..compiler.errors import RanvierError

DEFAULT_EVERY = "30s"
MOST = 10.0**15
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)?\s*(s|m|h|steps?|epochs?)\s*")


@dataclass(frozen=True)
class Every:
    """How often: so many `seconds`, `steps` or `epochs`, of which one is given."""

    seconds: float = 0.0
    steps: int = 0
    epochs: int = 0


def read_every(text: str) -> Every:
    """`30s`, `5m`, `2h`, `1000 steps`, `epoch`, `2 epochs`; raises RanvierError for anything else."""
    found = AMOUNT.fullmatch(text)
    amount = float(found[1] or 1) if found else 0.0
    counted = found is not None and found[2] not in SECONDS
    if found is None or not 0 < amount < MOST or (counted and not amount.is_integer()):
        raise RanvierError(f"checkpoints are written every `30s`, `5m`, `2h`, `1000 steps` or `epoch`, not {text!r}")
    if not counted:
        return Every(seconds=amount * SECONDS[found[2]])
    return Every(steps=int(amount)) if found[2].startswith("step") else Every(epochs=int(amount))
