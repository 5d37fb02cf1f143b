"""What runs: the entries of a program in memory, and all that must be known to call them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..kernels.program import Gather
from . import jit
from .entry import Layout
from .threads import team_code


@dataclass(frozen=True)
class Executable:
    """The entries of a program; their addresses are valid as long as this object lives.

    `spaces` are the sizes in bytes of the memory it works in, `gathers` say how an epoch's batches are put together. Every thread needs
    `scratch_stride` bytes of scratch; the whole is aligned to 64. Any number of threads may run it: the whole team only if `parallel`.
    """

    name: str
    spaces: Mapping[str, int]
    gathers: tuple[Gather, ...]
    scratch_stride: int
    parallel: bool
    linked: jit.Linked

    @property
    def layout(self) -> Layout:
        """The words of the context that the entries are called with."""
        return Layout(tuple(self.spaces), len(self.gathers))

    @property
    def body(self) -> int:
        """Address of the entry that runs one batch."""
        return self.linked[body_symbol(self.name)]

    @property
    def epoch(self) -> int:
        """Address of the entry that runs batch after batch over a range of an order; 0 when the program gathers nothing."""
        return self.linked[epoch_symbol(self.name)] if self.gathers else 0


def body_symbol(name: str) -> str:
    """The symbol of a program's entry for one batch."""
    return f"{_symbol(name)}_body"


def epoch_symbol(name: str) -> str:
    """The symbol of a program's entry for batch after batch."""
    return f"{_symbol(name)}_epoch"


def _symbol(name: str) -> str:
    """A name as it may stand in assembly and in C."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)[:64] or "program"


def link(objects: Sequence[bytes], exports: Sequence[str]) -> jit.Linked:
    """Kernels and entries in memory, with what they import of the team."""
    return jit.link(objects, {"team_barrier": team_code()["team_barrier"]}, exports)
