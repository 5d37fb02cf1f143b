"""A program: kernels in straight-line order over buffers at fixed offsets of a few spaces; what the backend turns into one native entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..ir.types import DType
from ..source import Span
from .model import Kernel

ARENA = "arena"


@dataclass(frozen=True)
class Turn:
    """How a buffer moves with the time of the loop in which it is used: it lies `bytes` further on at each time.

    At time t it is slot t + phase, modulo `slots` if that is not 0. Over all times it reaches `reach` bytes from its offset on.
    """

    bytes: int
    phase: int
    slots: int
    reach: int


@dataclass(frozen=True)
class Buffer:
    """`elements` of `dtype` (at full batch capacity) at byte `offset` of a space.

    A space is one allocation: the arena of a program, or memory shared between the programs of a model (parameters, gradients, one a
    state, inputs, scalars). Offsets are multiples of 64. With a `turn`, `offset` is that of slot 0;
    `behind` is the buffer that holds the slots.
    """

    name: str
    dtype: DType
    elements: int
    space: str
    offset: int
    turn: Turn | None = None
    behind: str = ""

    @property
    def bytes(self) -> int:
        """Size at full capacity."""
        return self.elements * self.dtype.bytes

    @property
    def reach(self) -> int:
        """Bytes from the offset on that are touched in all."""
        return self.turn.reach if self.turn else self.bytes


@dataclass(frozen=True)
class Loop:
    """Launches run for `turns` times, from the last time to the first if `reverse`."""

    turns: int
    reverse: bool


@dataclass(frozen=True)
class Launch:
    """One kernel of a program, the lines of source it came from (most telling first) and a short label for `bench`.

    Neighbours with the same `loop` (not 0) are run in turn, time after time.
    """

    kernel: Kernel
    label: str
    where: tuple[Span, ...] = ()
    loop: int = 0


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
    loops: Mapping[int, Loop] = field(default_factory=dict)

    def turns(self, launch: Launch) -> int:
        """How often a launch runs in one call."""
        return self.loops[launch.loop].turns if launch.loop else 1
