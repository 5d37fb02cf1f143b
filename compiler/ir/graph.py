"""The op graph: one node a primitive operation. The only module that meets networkx.

Nodes are numbered in the order they are made and an operand is made before its user, so walking by number is a topological order and
the same file always gives the same code. Operand order lives in the node; the networkx edges (a multigraph, so `x * x` has two) serve
questions about paths and users.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..deadline import check
from ..source import Span
from .types import TensorType

if TYPE_CHECKING:
    from .op import Op


@dataclass(frozen=True)
class Where:
    """Where a node came from: its span, the layer application it belongs to (`dense_1`), and the calls that led there, innermost first."""

    span: Span | None = None
    layer: str = ""
    calls: tuple[Span, ...] = ()

    def __str__(self) -> str:
        return str(self.span) if self.span else "-"

    @property
    def places(self) -> tuple[Span, ...]:
        """The span and the calls, innermost first."""
        return (*((self.span,) if self.span else ()), *self.calls)

    @property
    def user_span(self) -> Span | None:
        """The outermost place: the line of the user's own file that asked for this."""
        return self.calls[-1] if self.calls else self.span


NOWHERE = Where()


@dataclass(frozen=True)
class Node:
    """One operation applied to earlier nodes."""

    id: int
    op: Op
    inputs: tuple[int, ...]
    type: TensorType
    where: Where = field(default=NOWHERE, compare=False)


class Graph:
    """A function from sources (inputs, parameters, states, run-time scalars) to named outputs."""

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.outputs: dict[str, int] = {}
        self._nodes: list[Node] = []
        self._edges: Any = None
        self._sources: dict[str, int] = {}
        self._searched = 0

    def add(self, op: Op, inputs: Sequence[int] = (), where: Where = NOWHERE) -> int:
        """Append a node and return its number; raises `ShapeError` when the operands do not fit the operation."""
        operands = tuple(inputs)
        result = op.infer(*[self._nodes[i].type for i in operands])
        node = Node(len(self._nodes), op, operands, result, where)
        self._nodes.append(node)
        return node.id

    def adopt(self, node: Node, inputs: tuple[int, ...]) -> int:
        """Append a copy of another graph's node whose operands have the types that they had there, so that its own is known.

        The node itself where its number stays too: passes leave most of a graph as it is, and this is most of what they do.
        """
        number = len(self._nodes)
        same = number == node.id and inputs == node.inputs
        self._nodes.append(node if same else Node(number, node.op, inputs, node.type, node.where))
        return number

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def __getitem__(self, number: int) -> Node:
        return self._nodes[number]

    def type(self, number: int) -> TensorType:
        """The type of a node's value."""
        return self._nodes[number].type

    def sources(self) -> dict[str, int]:
        """The node of every source by its key; of several with one key, the latest. Kept, so that asking again costs what was added."""
        for node in self._nodes[self._searched :]:
            key = getattr(node.op, "key", None)
            if key is not None:
                self._sources[key] = node.id
        self._searched = len(self._nodes)
        return self._sources

    def users(self, number: int) -> tuple[int, ...]:
        """The nodes that use a value, each once, in order."""
        return tuple(sorted(self._connected().successors(number)))

    def _connected(self) -> Any:
        # Made when first asked for, then extended: most passes walk by number alone, and the edges of 100 000 nodes take seconds.
        if self._edges is None:
            import networkx as nx

            self._edges = nx.MultiDiGraph()
        for node in self._nodes[self._edges.number_of_nodes() :]:
            self._edges.add_node(node.id)
            self._edges.add_edges_from((operand, node.id, {"operand": position}) for position, operand in enumerate(node.inputs))
        return self._edges

    def live(self) -> set[int]:
        """Numbers of the nodes that some output depends on."""
        seen = set(self.outputs.values())
        for node in reversed(self._nodes):
            if node.id in seen:
                seen.update(node.inputs)
        return seen

    def ancestors(self, roots: Sequence[int]) -> set[int]:
        """The roots and everything they depend on."""
        seen = set(roots)
        for node in reversed(self._nodes[: max(seen, default=-1) + 1]):
            if node.id in seen:
                seen.update(node.inputs)
        return seen

    def descendants(self, roots: Sequence[int]) -> set[int]:
        """The roots and everything that depends on them."""
        seen = set(roots)
        for node in self._nodes[min(seen, default=len(self._nodes)) :]:
            if not seen.isdisjoint(node.inputs):
                seen.add(node.id)
        return seen


NODES_A_CHECK = 256

Rule = Callable[[Graph, Node, tuple[int, ...]], int | None]


def rewrite(graph: Graph, rule: Rule, *, keep: set[int] | None = None) -> Graph:
    """A new graph, node by node: `rule(new, node, operands)` gives the replacement's number, or None to copy the node as it is.

    `operands` are the numbers of the node's inputs in the new graph. With `keep`, other nodes are dropped. Provenance is copied.
    """
    new = Graph(graph.name)
    number = [-1] * len(graph)
    retyped: set[int] = set()
    for node in graph:
        if not node.id % NODES_A_CHECK:
            check("rewriting the graph")
        if keep is not None and node.id not in keep:
            continue
        operands = tuple([number[i] for i in node.inputs])
        replacement = rule(new, node, operands)
        if replacement is None and retyped.isdisjoint(node.inputs):
            number[node.id] = new.adopt(node, operands)
            continue
        if replacement is None:
            replacement = new.add(node.op, operands, node.where)
        if new.type(replacement) != node.type:
            retyped.add(node.id)
        number[node.id] = replacement
    new.outputs = {name: number[value] for name, value in graph.outputs.items()}
    return new
