"""The body of a kernel: values of the op graph written as instructions at a point of the kernel's domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..ir.affine import Affine, Point
from ..ir.elementwise import Cast, Elementwise, Select, StopGradient
from ..ir.graph import Graph, Node
from ..ir.op import Trait
from ..ir.ops import Constant, Extent, Position, Reduce
from ..ir.views import Reshape, View
from ..ir.windows import Pad
from ..passes.fusion import base
from .model import Access, Accumulator, Apply, Axis, Extents, Fold, Index, Instruction, Load
from .model import Constant as Number
from .placement import Placement, view


def identity(axes: Sequence[Axis]) -> Point:
    """The point whose index along each axis is the loop's own."""
    return tuple(Affine(((axis.name, 1),)) for axis in axes)


def access(placement: Placement, point: Point) -> tuple[Access, dict[str, int]]:
    """The address of a placed value at a point, and the axes that its panels split (with the panel's width)."""
    strides: dict[str, int] = {}
    offset, split = placement.offset, {}
    for axis, (stride, index) in enumerate(zip(placement.strides, point, strict=True)):
        if placement.panel and axis == len(placement.strides) - 1:
            if index.constant or len(index.terms) != 1 or index.terms[0][1] != 1:
                raise AssertionError("the blocked axis of a parameter is walked by one loop")
            name = index.terms[0][0]
            strides[name], strides[name + "/"] = 1, placement.panel_stride
            split[name] = placement.panel
            continue
        offset += stride * index.constant
        for name, factor in index.terms:
            strides[name] = strides.get(name, 0) + stride * factor
    kept = tuple((name, stride) for name, stride in strides.items() if stride)
    return Access(placement.buffer, placement.dtype, kept, offset), split


def place_of(graph: Graph, places: Mapping[int, Placement], number: int) -> Placement | None:
    """The placement of a stored value, or of a view of one; None when it has none."""
    if number in places:
        return places[number]
    node = graph[number]
    if not node.op.has(Trait.VIEW):
        return None
    source = place_of(graph, places, node.inputs[0])
    return None if source is None else view(graph, number, source)


def is_placed(graph: Graph, places: Mapping[int, Placement], number: int) -> bool:
    """True for a view that has a place of its own, or shows one that has: it is read there, however cheap it would be to compute."""
    while graph[number].op.has(Trait.VIEW):
        if number in places or isinstance(graph[number].op, Pad):
            return True
        if isinstance(graph[number].op, Reshape) and base(graph, number) in places:
            return True  # the point that it shows may have no formula
        number = graph[number].inputs[0]
    return False


@dataclass
class Body:
    """Instructions being gathered for one cluster; `members` and `free` values are computed here, placed ones loaded, the rest inlined."""

    graph: Graph
    places: Mapping[int, Placement]
    members: frozenset[int]
    domain: Point
    free: frozenset[int] = frozenset()
    anchor: int | None = None
    instructions: list[Instruction] = field(default_factory=list)
    split: dict[str, int] = field(default_factory=dict)
    _known: dict[tuple[Instruction, str], int] = field(default_factory=dict)
    _values: dict[tuple[int, Point], int] = field(default_factory=dict)

    def emit(self, instruction: Instruction) -> int:
        """The position of an instruction; equal ones are written once."""
        spelled = str(instruction.value) if isinstance(instruction, Number) else ""  # 0.0 and -0.0 are equal, and two numbers
        key = (instruction, spelled)
        if key not in self._known:
            self._known[key] = len(self.instructions)
            self.instructions.append(instruction)
        return self._known[key]

    def value(self, number: int, point: Point) -> int:
        """The instruction that holds a value of the graph at a point.

        Walks what the value is made of on a list of its own: a chain of operations may be longer than Python's calls may nest.
        """
        pending = [(number, point)]
        while pending:
            key = pending[-1]
            missing = [] if key in self._values else [need for need in self._needs(*key) if need not in self._values]
            if key not in self._values and not missing:
                self._values[key] = self._make(self.graph[key[0]], key[1])
            if missing:
                pending.extend(reversed(missing))
            else:
                pending.pop()
        return self._values[number, point]

    def _placement(self, number: int) -> Placement | None:
        """Where a value is loaded from; None when it is computed here."""
        source = base(self.graph, number)
        if source in self.members or (source in self.free and not is_placed(self.graph, self.places, number)):
            return None
        return place_of(self.graph, self.places, number)

    def _needs(self, number: int, point: Point) -> list[tuple[int, Point]]:
        """The values, each at its point, that a value is computed from."""
        node = self.graph[number]
        if number == self.anchor or self._placement(number) is not None:
            return []
        match node.op:
            case Elementwise() | Select() | Cast() | StopGradient():
                return [(i, point) for i in node.inputs]
            case Reduce():
                return [(node.inputs[0], self.domain)]
            case View():
                return [(node.inputs[0], node.op.through(point, self.graph.type(node.inputs[0]).shape))]
            case _:
                return []

    def _make(self, node: Node, point: Point) -> int:
        if node.id == self.anchor:
            return self.emit(Accumulator(node.type.dtype))
        placement = self._placement(node.id)
        if placement is not None:
            address, split = access(placement, point)
            self.split |= split
            return self.emit(Load(address))
        return self._compute(node, point)

    def _compute(self, node: Node, point: Point) -> int:
        needs = [self._values[need] for need in self._needs(node.id, point)]
        match node.op:
            case Elementwise() | Select() | Cast():
                return self.emit(Apply(node.op.name, tuple(needs), node.type.dtype))
            case StopGradient():
                return needs[0]
            case Constant():
                return self.emit(Number(node.op.value, node.op.dtype))
            case Extent():
                return self.emit(Extents(node.op.symbol, node.type.dtype))
            case Position():
                return self._position(node.op, point)
            case Reduce():
                return self.emit(Fold(node.op.kind, needs[0], node.type.dtype))
            case View():
                return needs[0]
            case _:
                raise AssertionError(f"{node.op.name} is stored, not computed at a point")

    def _position(self, op: Position, point: Point) -> int:
        terms: dict[str, int] = {}
        offset = 0
        for stride, index in zip(op.strides, point, strict=True):
            offset += stride * index.constant
            for name, factor in index.terms:
                terms[name] = terms.get(name, 0) + stride * factor
        return self.emit(Index(tuple((n, f) for n, f in terms.items() if f), offset, op.dtype))
