"""Rows of a table by their numbers, and the reverse: rows added up where their numbers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from .op import Array, Context, Op, ShapeError, Trait
from .types import TensorType

if TYPE_CHECKING:
    from .build import Build
    from .graph import Node


@dataclass(frozen=True)
class Take(Op):
    """`table[indices]`: a row of the table [entries, features] for every index; one outside the table counts as the nearest inside."""

    name: ClassVar[str] = "take"
    traits: ClassVar[Trait] = Trait.LOOKUP

    def infer(self, *types: TensorType) -> TensorType:
        """The shape of the indices and the features."""
        table, indices = types
        if table.rank != 2 or not table.dtype.is_float:
            raise ShapeError(f"rows are taken from a table of floats [entries, features], not {table}", (0,))
        if indices.dtype.kind not in "iu":
            raise ShapeError(f"rows of a table are numbered by whole numbers, not {indices}", (1,))
        return table.with_shape((*indices.shape, table.shape[1]))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """Indexing."""
        table, indices = arrays
        return table[np.clip(indices.astype(np.int64), 0, len(table) - 1)]

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """Each row of the table gets the sum of what flows to where it was taken."""
        table, indices = node.inputs
        entries = build.type(table).shape[0]
        assert isinstance(entries, int)
        return [build.add_op(ScatterAdd(entries), indices, cotangent), None]


@dataclass(frozen=True)
class ScatterAdd(Op):
    """A table of `entries` rows, each the sum of the values whose index it is, in the order of the indices."""

    entries: int
    name: ClassVar[str] = "scatter_add"
    traits: ClassVar[Trait] = Trait.LOOKUP

    def infer(self, *types: TensorType) -> TensorType:
        """The table."""
        indices, values = types
        if values.shape[:-1] != indices.shape or indices.dtype.kind not in "iu":
            raise ShapeError(f"{values} is not one row for each of {indices}", (0, 1))
        return values.with_shape((self.entries, values.shape[-1]))

    def evaluate(self, context: Context, *arrays: Array) -> Array:
        """One row after the other."""
        indices, values = arrays
        table = np.zeros((self.entries, values.shape[-1]), dtype=values.dtype)
        np.add.at(table, np.clip(indices.astype(np.int64), 0, self.entries - 1).reshape(-1), values.reshape(-1, values.shape[-1]))
        return table

    def gradient(self, build: Build, node: Node, cotangent: int) -> Sequence[int | None]:
        """What flows to a row flows to everything that was added to it."""
        return [None, build.add_op(Take(), cotangent, node.inputs[0])]
