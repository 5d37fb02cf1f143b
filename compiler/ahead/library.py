"""A library as data: what it takes and gives, and for each CPU level the programs and the memory that they work in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..backend.program import Generated
from ..ir.types import DType
from ..kernels.placement import Placement
from ..kernels.program import Buffer
from .levels import Level

PREDICT, TRAIN = "predict", "train"


@dataclass(frozen=True)
class Tensor:
    """What a caller gives or gets, row-major: `shape` is that of one row, of a parameter all of it.

    Whole numbers lie within `low` to `high` where these are given; `classes` are their names, by number, and `count` says how many
    classes there are (0: it is no class). `length` is the input that says how much of the first axis each row has.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    low: int | None = None
    high: int | None = None
    classes: tuple[str, ...] = ()
    count: int = 0
    length: str = ""
    gaps: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of one row, or of a parameter."""
        size = self.dtype.bytes
        for extent in self.shape:
            size *= extent
        return size


@dataclass(frozen=True)
class Face:
    """What callers see of a library. `fields` are inputs and targets in the order of the model, whose numbers are those of its faults.

    `scalars` are the numbers of the run time that may be set, from their names to their keys. `weights` names the
    file of the weights when they are not in the library. Where rows count as much as their weights say, `row_weight` is what a step of
    training is given of these, and `weight_column` the column that the model's file names for them.
    """

    name: str
    capacity: int
    fields: tuple[Tensor, ...]
    targets: frozenset[str]
    output: Tensor | None
    parameters: tuple[Tensor, ...]
    scalars: Mapping[str, str]
    train: bool
    weights: str
    row_weight: Tensor | None = None
    weight_column: str = ""

    @property
    def outside(self) -> bool:
        """Whether the weights come from outside."""
        return bool(self.weights)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a prediction is made from."""
        return tuple(each for each in self.fields if each.name not in self.targets)

    @property
    def trained(self) -> tuple[Tensor, ...]:
        """What a step of training is made from."""
        return self.fields if self.row_weight is None else (*self.fields, self.row_weight)


@dataclass(frozen=True)
class Memory:
    """The shared memory of programs: where values lie in its spaces, the bytes of these, and what they hold at the start."""

    buffers: Mapping[str, Buffer]
    places: Mapping[str, Placement]
    spaces: Mapping[str, int]
    start: Mapping[str, bytes]


@dataclass(frozen=True)
class Part:
    """A level of a library: its programs by name, and the shared memory that they work in."""

    level: Level
    programs: Mapping[str, Generated]
    memory: Memory
