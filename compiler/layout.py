"""The memory that the programs of one model share: parameters, states, statistics, optimizer state, inputs, outputs, run-time scalars."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from .ir.graph import Graph
from .ir.op import Op, Trait
from .ir.ops import Contract, Source
from .ir.scan import Scan
from .ir.types import TensorType, row_major
from .kernels.memory import lay_out
from .kernels.placement import Placement, blocked, dense
from .kernels.program import Buffer

NONE: Mapping[str, str] = {}
SPACES = ("parameter", "state", "fit", "accumulator", "runtime", "input", "output")


@dataclass
class Layout:
    """Placements by key (`parameter:dense_1.weight`), grouped in spaces; spaces grow as programs ask for more."""

    panel: int
    capacity: int
    panelled: frozenset[str] = frozenset()
    places: dict[str, dict[str, Placement]] = field(default_factory=lambda: {space: {} for space in SPACES})
    _laid: dict[str, tuple[dict[str, Buffer], int]] = field(default_factory=dict)

    def place(self, key: str, kind: TensorType, like: str | None = None) -> Placement:
        """The placement of a key, made at the first question; parameters (and what is shaped `like` one) may be panel-blocked."""
        space = key.partition(":")[0]
        known = self.places[space]
        if key not in known:
            if (like or key) in self.panelled:
                known[key] = blocked(key, kind, self.panel)
            elif space == "output":
                known[key] = _rows(key, kind)
            else:
                known[key] = dense(key, kind)
        return known[key]

    def adopt(self, place: Placement) -> None:
        """Take a placement as it was made before; its buffer's name is its key."""
        self.places[place.buffer.partition(":")[0]][place.buffer] = place

    def buffers(self, space: str) -> tuple[dict[str, Buffer], int]:
        """The buffers of a space and its size in bytes, for the capacity of rows. Those that are there stay where they are."""
        if space not in self._laid or len(self._laid[space][0]) < len(self.places[space]):
            self._laid[space] = lay_out(space, self.places[space], self.capacity)
        return self._laid[space]


def _rows(key: str, kind: TensorType) -> Placement:
    """Rows one after the other without padding, as arrays from outside are."""
    return Placement(key, kind.dtype, kind.shape, row_major(kind.shape))


def panelled_parameters(graphs: Iterable[Graph]) -> frozenset[str]:
    """Keys of the parameters that can live in panels of columns, the layout their products want.

    Such a parameter is, in some graph, the factor of a contraction whose last axis is the result's, and nowhere sliced, reshaped, taken
    rows from or read along other axes, which panels cannot express.
    """
    wanted: set[str] = set()
    refused: set[str] = set()
    for key, op, position in (use for graph in graphs for use in _matrix_uses(graph)):
        if op.has(Trait.VIEW | Trait.LOOKUP):
            refused.add(key)
        elif isinstance(op, Contract) and op.out and (op.left, op.right)[position][-1] == op.out[-1]:
            wanted.add(key)
    return frozenset(wanted - refused)


def _matrix_uses(graph: Graph, around: Mapping[str, str] = NONE) -> Iterator[tuple[str, Op, int]]:
    """Every use of a parameter of two axes or more: its key, the operation, and which operand it is.

    In the body of a loop, `around` are the parameters behind sources of the body, by key.
    """
    live = graph.live()
    for user in (node for node in graph if node.id in live):
        if isinstance(user.op, Scan):
            keys = {user.op.key(n): _parameter(graph, i, around) for n, i in enumerate(user.inputs)}
            yield from _matrix_uses(user.op.body, {inner: key for inner, key in keys.items() if key})
            continue
        for position, number in enumerate(user.inputs):
            key = _parameter(graph, number, around)
            if key and graph.type(number).rank >= 2:
                yield key, user.op, position


def _parameter(graph: Graph, number: int, around: Mapping[str, str]) -> str | None:
    """The key of the parameter that a node is."""
    source = graph[number].op
    if not isinstance(source, Source):
        return None
    return source.key if source.kind == "parameter" else around.get(source.key)
