"""What a primitive operation is: one class holding its shape rule, NumPy reference, gradient, cost, traits and how it lowers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Flag, auto
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .types import Symbol, TensorType

if TYPE_CHECKING:
    from .build import Build
    from .graph import Node

Array = np.ndarray[Any, Any]


class ShapeError(Exception):
    """Operands do not fit an operation. `operands` names the guilty ones by position, so that their places can be shown."""

    def __init__(self, message: str, operands: Sequence[int] = (), help: str | None = None) -> None:
        super().__init__(message)
        self.operands = tuple(operands)
        self.help = help


class Trait(Flag):
    """What passes may ask of an operation instead of its name."""

    NONE = 0
    SOURCE = auto()
    ELEMENTWISE = auto()
    VIEW = auto()
    REDUCTION = auto()
    CONTRACTION = auto()
    CONSTANT = auto()
    COMMUTATIVE = auto()
    JOIN = auto()
    LOOP = auto()
    RESULT = auto()
    LOOKUP = auto()


@dataclass(frozen=True)
class Op:
    """Base of all operations: a frozen description, so that equal operations on equal operands are the same value."""

    name: ClassVar[str] = ""
    traits: ClassVar[Trait] = Trait.NONE

    def infer(self, *types: TensorType) -> TensorType:
        """The result's type; raises `ShapeError`."""
        raise NotImplementedError

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """The NumPy reference."""
        raise NotImplementedError

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """Cotangents of the operands (None where nothing flows), given that of the result."""
        return [None] * len(node.inputs)

    def flops(self, result: TensorType, *types: TensorType) -> int:
        """Arithmetic operations a point of the result takes (1 for a fused multiply-add's half)."""
        return 0

    def attributes(self) -> Mapping[str, object]:
        """What the printer shows between brackets."""
        return {k: v for k, v in vars(self).items() if not k.startswith("_")}

    def has(self, trait: Trait) -> bool:
        """True when the operation has the trait."""
        return self.traits._value_ & trait._value_ != 0  # in numbers: asked for some ten thousand times while compiling


@dataclass(frozen=True)
class Context:
    """What the reference evaluator knows beside operands: arrays of the sources by name, and run-time extents."""

    sources: Mapping[str, Array]
    sizes: Mapping[str, int]

    def shape(self, shape: Sequence[int | Symbol]) -> tuple[int, ...]:
        """A shape with symbols replaced by their extents."""
        return tuple(self.sizes[d.name] if isinstance(d, Symbol) else d for d in shape)
