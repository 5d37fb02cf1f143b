"""A model as boxes and arrows: one box for each thing its author wrote (a layer, an activation, a loss), not for each operation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...compiler.driver import Blueprint
from ...compiler.ir.graph import Graph, Node
from ...compiler.ir.op import Trait
from ...compiler.ir.ops import Source
from ...compiler.ir.scan import Result, Scan
from .summary import declared, parameter_sizes

LONGEST = 36


@dataclass(frozen=True)
class Box:
    """`title` above `detail`; `kind` is input, target, layer, step or output and decides the colour."""

    title: str
    detail: str
    kind: str


@dataclass(frozen=True)
class Arrow:
    """From one box to another, by number, with the type of the value that flows (a sample)."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Picture:
    """Boxes in an order in which every arrow goes forward."""

    title: str
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


Key = tuple[str, object]


class _Groups:
    """Operations gathered into boxes. Two operations of one key share a box unless a value leaves the box between them and comes back:
    then it is another application of the same thing.
    """

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.box: dict[int, int] = {}
        self._before: list[int] = []
        self._latest: dict[Key, int] = {}

    def put(self, number: int, key: Key, operands: list[int]) -> None:
        """Put a node into the latest box of its key, or into a new one. `_before` holds the boxes upstream of a box as a bit set."""
        sources = {self.box[i] for i in operands if i in self.box}
        box = self._latest.get(key)
        if box is None or any(s != box and self._before[s] >> box & 1 for s in sources):
            box = len(self.keys)
            self._latest[key] = box
            self.keys.append(key)
            self._before.append(0)
        for source in sources - {box}:
            self._before[box] |= self._before[source] | 1 << source
        self.box[number] = box


def draw(blueprint: Blueprint) -> Picture:
    """The picture of a model as it predicts, with its loss and metrics."""
    graph = blueprint.inference.graph
    flowing = _flowing(graph)
    groups = _Groups()
    for number in sorted(flowing):
        groups.put(number, _key(graph, graph[number]), [i for i in graph[number].inputs if i in flowing])
    boxes = [_box(blueprint, key, [n for n, b in groups.box.items() if b == number]) for number, key in enumerate(groups.keys)]
    arrows = list(dict.fromkeys(_arrows(graph, groups.box)))
    for name, value in graph.outputs.items():
        if not name.startswith(("next:", "fit:")) and value in groups.box:
            boxes.append(Box(name.removeprefix("metric:"), "metric" if name.startswith("metric:") else "", "output"))
            arrows.append(Arrow(groups.box[value], len(boxes) - 1, _type(graph, value)))
    return _sorted(Picture(blueprint.unit.model.name.id, tuple(boxes), tuple(arrows)))


def _flowing(graph: Graph) -> set[int]:
    """Live nodes whose value differs from sample to sample; the rest (numbers, parameters) belongs to the box that uses it."""
    live = graph.live()
    found: set[int] = set()
    for node in graph:
        given = isinstance(node.op, Source) and node.op.kind == "input"
        if node.id in live and (given or not found.isdisjoint(node.inputs)):
            found.add(node.id)
    return found


def _key(graph: Graph, node: Node) -> Key:
    """What the author wrote: an outermost layer application (a cell with its loop is one), or the outermost call."""
    if isinstance(node.op, Source):
        return node.op.label, "input"
    if isinstance(node.op, Result) and graph[node.inputs[0]].where.user_span == node.where.user_span:
        return _key(graph, graph[node.inputs[0]])
    layer = node.where.layer
    if isinstance(node.op, Scan):
        layer = layer or next((inner.where.layer for inner in node.op.body if inner.where.layer), "")
    return layer.partition(".")[0], node.where.user_span


def _box(blueprint: Blueprint, key: Key, nodes: list[int]) -> Box:
    path, span = key
    if span == "input":
        kind = "target" if path in blueprint.inference.targets else "input"
        return Box(path, declared(blueprint, path), kind)
    text = " ".join(getattr(span, "text", "").split())
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    if not path:
        graph = blueprint.inference.graph
        return Box(text or graph[nodes[-1]].op.name, "", "step")
    owned = sum(size for label, size in parameter_sizes(blueprint).items() if label.startswith(path + "."))
    return Box(path, f"{text}, {owned:,} parameters" if owned else text, "layer")


def _arrows(graph: Graph, box: dict[int, int]) -> Iterator[Arrow]:
    for number, end in box.items():
        for operand in graph[number].inputs:
            start = box.get(operand, end)
            if start != end:
                flowing = number if graph[operand].op.has(Trait.LOOP) else operand
                yield Arrow(start, end, _type(graph, flowing))


def _type(graph: Graph, number: int) -> str:
    kind = graph.type(number)
    return f"{kind.dtype}[{', '.join(str(d) for d in kind.shape if isinstance(d, int))}]"


def _sorted(picture: Picture) -> Picture:
    """The boxes numbered so that every arrow goes forward, otherwise in the order of the file."""
    waiting = {n: {a.start for a in picture.arrows if a.end == n} for n in range(len(picture.boxes))}
    order: list[int] = []
    while waiting:
        ready = next((n for n, before in waiting.items() if before <= set(order)), min(waiting))
        order.append(ready)
        del waiting[ready]
    place = {old: new for new, old in enumerate(order)}
    arrows = tuple(Arrow(place[a.start], place[a.end], a.label) for a in picture.arrows)
    return Picture(picture.title, tuple(picture.boxes[n] for n in order), arrows)
