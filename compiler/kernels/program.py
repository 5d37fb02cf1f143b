"""A program: kernels in straight-line order over buffers at fixed offsets of a few spaces; what the backend turns into one native entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..ir.types import DType
from ..source import Span
from .model import Kernel

ARENA = "arena"


@dataclass(frozen=True)
class Buffer:
    """`elements` of `dtype` (at full batch capacity) at byte `offset` of a space.

    A space is one allocation: the arena of a program, or memory shared between the programs of a model (parameters, gradients, one a
    state, inputs, scalars). Offsets are multiples of 64.
    """

    name: str
    dtype: DType
    elements: int
    space: str
    offset: int

    @property
    def bytes(self) -> int:
        """Size at full capacity."""
        return self.elements * self.dtype.bytes


@dataclass(frozen=True)
class Launch:
    """One kernel of a program, the lines of source it came from (most telling first) and a short label for `bench`."""

    kernel: Kernel
    label: str
    where: tuple[Span, ...] = ()


@dataclass(frozen=True)
class Gather:
    """Rows of a data set copied into an input buffer, by the order of an epoch: `row_bytes` each.

    Rows of the data set lie end to end; those of the buffer begin every `stride` bytes (0: end to end too).
    """

    buffer: str
    row_bytes: int
    stride: int = 0


@dataclass(frozen=True)
class Program:
    """What one native call does.

    `capacity` is the most rows a call may have. The first `checks` launches only write the scalar i32 buffer `fault`; when it is
    non-zero after them the call returns its value and nothing else has been touched. `gathers` says how a batch is put together
    when the program runs a whole epoch by itself.
    """

    name: str
    capacity: int
    buffers: Mapping[str, Buffer]
    spaces: Mapping[str, int]
    launches: tuple[Launch, ...]
    checks: int = 0
    fault: str | None = None
    gathers: tuple[Gather, ...] = ()
