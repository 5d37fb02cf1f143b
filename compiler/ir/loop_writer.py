"""Writes a loop: a body graph, and beside it the values of the graph around it that the body is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .graph import NOWHERE, Graph, Where
from .ops import Source
from .scan import CARRY, OUTER, STEP, Scan, at_one_time


@dataclass
class LoopWriter:
    """`body` is being written; every value from `graph` that it uses is asked for here, and is a source of the body from then on."""

    graph: Graph
    body: Graph = field(default_factory=lambda: Graph("loop"))
    firsts: list[int] = field(default_factory=list)
    sequences: dict[int, int] = field(default_factory=dict)
    outers: dict[int, int] = field(default_factory=dict)

    def carry(self, first: int) -> int:
        """A value that is carried from time to time, `first` before the first: what it is before this one."""
        self.firsts.append(first)
        return self.body.add(Source(CARRY, str(len(self.firsts) - 1), self.graph.type(first)))

    def step(self, sequence: int) -> int:
        """This time's part of a sequence."""
        if sequence not in self.sequences:
            kind = at_one_time(self.graph.type(sequence))
            self.sequences[sequence] = self.body.add(Source(STEP, str(len(self.sequences)), kind))
        return self.sequences[sequence]

    def outer(self, value: int) -> int:
        """A value that is the same at all times."""
        if value not in self.outers:
            self.outers[value] = self.body.add(Source(OUTER, str(len(self.outers)), self.graph.type(value)))
        return self.outers[value]

    def write(self, following: Sequence[int], length: int, *, reverse: bool, where: Where = NOWHERE) -> int:
        """Append the loop to the graph; `following` are the values of the body that are carried on, in the order of `carry`."""
        self.body.outputs = {f"next:{number}": value for number, value in enumerate(following)}
        op = Scan(self.body, length, reverse, len(self.firsts), len(self.sequences))
        return self.graph.add(op, (*self.firsts, *self.sequences, *self.outers), where)
