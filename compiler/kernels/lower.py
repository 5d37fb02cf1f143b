"""From clusters of the op graph to a program: every cluster becomes a kernel, every stored value a buffer, in an order that is legal.

An output may be placed on the memory of a source (a parameter's new value on the parameter): its kernel then runs after every other
reader of the old value, or, where that is impossible, writes beside it and is copied at the end.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from ..deadline import check
from ..ir.affine import Point
from ..ir.graph import Graph, Node
from ..ir.op import Trait
from ..ir.ops import Concat, Contract, Source
from ..ir.scan import CARRY, OUTER, STACK, STEP, Result, Scan
from ..ir.take import ScatterAdd
from ..ir.types import Shape, TensorType
from ..ir.views import Reshape
from ..ir.windows import Pad, Weave
from ..passes.fusion import Cluster, Fusion, base, fuse_body
from ..source import Span
from .body import Body, access, identity, is_placed, place_of
from .loops import LoopPlan, Moving, plan_loop, sequence_slots, step_of
from .model import Access, Axis, Constant, Extents, Kernel, Load, Nest, Store, kernel_axes, loads, stores
from .model import Contract as ContractKernel
from .model import Lookup as LookupKernel
from .placement import Frame, Placement, blocked, dense, elements, framed, part_of, reshaped, strips, with_frame
from .program import Buffer, Launch, Loop

EARLY_POINTS = 4096
"""Points of work that may be done long before it is needed: what it leaves is small enough to be still in the cache."""


@dataclass
class Lowered:
    """Kernels in order and the temporary buffers they use (by name)."""

    launches: list[Launch]
    temporaries: dict[str, Placement]
    loops: dict[int, Loop] = field(default_factory=dict)
    moving: dict[str, Moving] = field(default_factory=dict)
    before: list[Launch] = field(default_factory=list)

    @property
    def names(self) -> dict[str, str]:
        """The buffers behind those that move with time."""
        return {name: each.buffer for name, each in self.moving.items()}

    def buffers(self, found: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """The buffers that move with time, once it is known where the others lie."""
        return {name: each.resolved(found[each.buffer]) for name, each in self.moving.items()}


@dataclass
class _Lowering:
    """`rows` is the capacity; `prefix` sets the temporaries of a loop's body apart; `before` is done once, before the loop."""

    fusion: Fusion
    panel: int
    rows: int
    prefix: str = ""
    places: dict[int, Placement] = field(default_factory=dict)
    temporaries: dict[str, Placement] = field(default_factory=dict)
    extra: dict[int, list[Placement]] = field(default_factory=dict)
    packed: dict[tuple[int, str], Placement] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)
    before: list[Launch] = field(default_factory=list)
    plans: dict[int, LoopPlan] = field(default_factory=dict)
    loops: dict[int, Loop] = field(default_factory=dict)
    moving: dict[str, Moving] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        """The op graph."""
        return self.fusion.graph

    # placing

    def place(self, sources: Mapping[str, Placement], outputs: Mapping[str, Placement]) -> None:
        """Sources where they are, outputs where they are wanted, other stored values in temporaries."""
        for node in self.graph:
            if isinstance(node.op, Source):
                self.places[node.id] = sources[node.op.key]
        live = [self.graph[number] for number in sorted(self.graph.live())]
        gapless = read_whole(self.graph, live)
        frames = wanted_frames(live, self.fusion.stored - gapless)
        whole = gapless | self.fusion.free | frames.keys()
        self.place_loops(whole)
        held = {p.buffer for p in sources.values()}
        for name, number in self.graph.outputs.items():
            wanted = outputs[name]
            read_later = wanted.buffer in held and self.fusion.readers.get(number)
            looked_up = self.graph[number].op.has(Trait.LOOKUP)
            if number in self.fusion.home and number not in self.places and not read_later and not looked_up:
                self.places[number] = wanted
            else:
                self.extra.setdefault(number, []).append(wanted)
        for number in sorted(self.fusion.stored, reverse=True):  # a join before its operands, which are made in its place
            if number not in self.places:
                self.places[number] = self.temporary(f"{self.prefix}t{number}", self.graph.type(number), *frames.get(number, ()))
            if self.graph[number].op.has(Trait.JOIN):
                self.place_operands(number, whole)
        for node in live:
            if isinstance(node.op, Pad | Reshape) and base(self.graph, node.id) in self.places:
                self.view_or_copy(node)

    def place_loops(self, whole: Set[int]) -> None:
        """What loops leave behind, in buffers of their own; what they go through, but for `whole` values, one time after the other."""
        for cluster in self.fusion.clusters:
            op = self.graph[cluster.nodes[0]].op
            if not isinstance(op, Scan):
                continue
            results = {n: r for n in cluster.nodes if isinstance(r := self.graph[n].op, Result)}
            plan = plan_loop(op, list(results.values()), f"{self.prefix}loop{cluster.nodes[0]}", self.rows)
            self.plans[cluster.nodes[0]] = plan
            self.temporaries |= {place.buffer: place for place in plan.buffers()}
            self.places |= {number: plan.result(result) for number, result in results.items()}
            for number in self.steps(self.graph[cluster.nodes[0]], op):
                if number in self.fusion.stored - self.places.keys() - whole and number not in self.graph.outputs.values():
                    slots = sequence_slots(f"{self.prefix}t{number}", self.graph.type(number), self.rows)
                    self.temporaries[slots.one.buffer] = slots.whole
                    self.places[number] = slots.sequence(0, op.length)

    def view_or_copy(self, node: Node) -> None:
        """A frame or a reshape that cannot be seen where the value lies is a copy of it."""
        if place_of(self.graph, self.places, node.id) is not None:
            return
        inner = self.graph.type(node.inputs[0])
        if isinstance(node.op, Pad):
            self.framed_copy(node, node.op)
        else:
            self.places[node.id] = place = self.temporary(f"{self.prefix}t{node.id}", node.type)
            under = reshaped(place, inner.shape)
            assert under is not None, "what lies dense can be seen under any shape"
            self.copy(node.inputs[0], under)

    def place_operands(self, number: int, whole: Set[int]) -> None:
        """Operands of a join in their parts of it, but for `whole` values, which cannot have gaps.

        Not where another operand is made from one: who reads a part waits for the whole buffer.
        """
        operands = self.graph[number].inputs
        for operand, part in zip(operands, self.parts(number), strict=True):
            if operand in self.places or operand not in self.fusion.stored or operand in whole or operands.count(operand) > 1:
                continue
            if operand not in self.graph.ancestors([o for o in operands if o != operand]):
                self.places[operand] = part

    def framed_copy(self, node: Node, op: Pad) -> None:
        """A value copied into a frame, because it lies in none that would do."""
        inner = self.graph.type(node.inputs[0])
        target = self.temporary(f"{self.prefix}t{node.id}", inner, tuple(zip(op.before, op.after, strict=True)), op.value)
        whole = with_frame(target, op)
        assert whole is not None
        self.places[node.id] = whole
        self.copy(node.inputs[0], target)

    def temporary(self, name: str, kind: TensorType, frame: Frame = (), fill: float = 0.0) -> Placement:
        """A fresh dense buffer, with a frame if need be; a frame of zeros stays as it was when the memory was new, others are written."""
        self.temporaries[name] = place = framed(name, kind, frame, fill) if frame else dense(name, kind)
        for strip in strips(place) if fill else ():
            axes = domain_axes(strip.shape)
            address, _ = access(strip, identity(axes))
            self.add(Nest(axes, (), (Constant(fill, kind.dtype),), (Store(address, 0),)), "frame", [])
        return place

    def operand(self, number: int) -> Placement:
        """The placement of a contraction's operand."""
        found = place_of(self.graph, self.places, number)
        assert found is not None, "what a contraction reads is stored, and views of it are seen or copied"
        return found

    def copy(self, number: int, target: Placement) -> None:
        """A kernel that writes a value to another place."""
        axes = domain_axes(self.graph.type(number).shape)
        body = Body(self.graph, self.places, frozenset(), identity(axes), self.fusion.free)
        value = body.value(number, identity(axes))
        address, split = access(target, identity(axes))
        kernel = Nest(split_axes(axes, body.split | split), (), tuple(body.instructions), (Store(address, value),))
        self.add(kernel, "copy", [number])

    # kernels

    def cluster(self, cluster: Cluster) -> None:
        """The kernel of a cluster."""
        check("writing kernels")
        first = self.graph[cluster.nodes[0]]
        if first.op.has(Trait.JOIN):
            self.join(first.id)
        elif first.op.has(Trait.LOOKUP):
            self.lookup(cluster, first)
        elif first.op.has(Trait.LOOP):
            self.loop(first, self.plans[first.id])
        elif cluster.contraction is not None:
            self.contraction(cluster, cluster.contraction)
        else:
            self.nest(cluster)

    def lookup(self, cluster: Cluster, node: Node) -> None:
        """Rows taken from a table, or added into one."""
        add = isinstance(node.op, ScatterAdd)
        first, second = (self.located(i) for i in node.inputs)
        own = self.places[node.id]
        table, index, rows = (own, first, second) if add else (first, second, own)
        axes = domain_axes(rows.shape)
        points, feature = axes[:-1], axes[-1]
        entry = Axis("entry", table.shape[0])
        accesses = [access(p, identity(a))[0] for p, a in ((index, points), (table, (entry, feature)), (rows, axes))]
        self.add(LookupKernel(points, entry, feature, accesses[0], accesses[1], accesses[2], add), self.label(cluster), cluster.nodes)

    def loop(self, node: Node, plan: LoopPlan) -> None:
        """The kernels of a loop's body, run time after time, and what must be done before."""
        op, name = plan.op, plan.name
        for carry in range(op.carries):
            self.copy(node.inputs[carry], plan.first(carry))
        moving = [slots.moving(f"{name}.before{n}", plan.read, op.length) for n, slots in enumerate(plan.carried)]
        steps = [step_of(self.located(i), f"{name}.step{n}", op.length, self.rows) for n, i in enumerate(self.steps(node, op))]
        sources = {f"{CARRY}:{n}": each.place for n, each in enumerate(moving)}
        sources |= {f"{STEP}:{n}": each.place for n, each in enumerate(steps)}
        outers = node.inputs[op.carries + op.steps :]
        sources |= {f"{OUTER}:{n}": self.located(i) for n, i in enumerate(outers)}
        written = {f"next:{n}": slots.moving(f"{name}.after{n}", 1 - plan.read, op.length) for n, slots in enumerate(plan.carried)}
        written |= {f"{STACK}:{n}": slots.moving(f"{name}.at{n}", 0, op.length) for n, slots in plan.stacked.items()}
        inner = lower(
            fuse_body(op, plan.stacked), sources, {k: v.place for k, v in written.items()}, self.panel, self.rows, prefix=f"{name}."
        )
        number = len(self.loops) + 1
        self.loops[number] = Loop(op.length, op.reverse)
        self.launches += [*inner.before, *(replace(launch, loop=number) for launch in inner.launches)]
        self.temporaries |= inner.temporaries
        self.moving |= {each.place.buffer: each for each in (*moving, *steps, *written.values())}

    def steps(self, node: Node, op: Scan) -> tuple[int, ...]:
        """The sequences that a loop goes through."""
        return node.inputs[op.carries : op.carries + op.steps]

    def located(self, number: int) -> Placement:
        """The placement of what a loop reads; what has none, since it is computed where it is used, is written down."""
        found = place_of(self.graph, self.places, number)
        if found is None:
            found = self.temporary(f"{self.prefix}t{number}", self.graph.type(number))
            self.copy(number, found)
            self.places[number] = found
        return found

    def nest(self, cluster: Cluster) -> None:
        """A map or reduction."""
        every = domain_axes(cluster.domain)
        over = cluster.over or ()
        outer = tuple(a for n, a in enumerate(every) if n not in over)
        folded = tuple(a for n, a in enumerate(every) if n in over)
        body = Body(self.graph, self.places, frozenset(cluster.nodes), identity(every), self.fusion.free)
        written = self.stores(cluster, body, identity(every), identity(outer))
        split = body.split
        kernel = Nest(split_axes(outer, split), split_axes(folded, split), tuple(body.instructions), written)
        self.add(kernel, self.label(cluster), cluster.nodes)

    def stores(self, cluster: Cluster, body: Body, domain: Point, outer: Point) -> tuple[Store, ...]:
        """A store for every value of the cluster that leaves it."""
        written = []
        for number in cluster.nodes:
            if number not in self.fusion.stored and number not in self.places:
                continue
            whole = self.graph.type(number).shape == cluster.domain
            point = domain if whole and len(domain) == len(self.graph.type(number).shape) else outer
            address, split = access(self.places[number], point)
            body.split |= split
            written.append(Store(address, body.value(number, point)))
        return tuple(written)

    def join(self, number: int) -> None:
        """A copy of every operand that was not made in its place."""
        for operand, part in zip(self.graph[number].inputs, self.parts(number), strict=True):
            if self.places.get(operand) != part:
                self.copy(operand, part)

    def parts(self, number: int) -> list[Placement]:
        """Where the operands of a join lie in the result."""
        node = self.graph[number]
        assert isinstance(node.op, Concat | Weave)
        shapes = [self.graph.type(i).shape for i in node.inputs]
        return [part_of(self.places[number], node.op, n, shapes) for n in range(len(shapes))]

    def contraction(self, cluster: Cluster, number: int) -> None:
        """A contraction and the elementwise work on its result."""
        node = self.graph[number]
        op = node.op
        assert isinstance(op, Contract)
        sizes = op.sizes(*(self.graph.type(i) for i in node.inputs))
        axis = {label: Axis(f"x{label}", size) for label, size in sizes.items()}
        n = op.out[-1]
        (a, a_labels), (b, b_labels) = (node.inputs[0], op.left), (node.inputs[1], op.right)
        if n in op.left:
            (a, a_labels), (b, b_labels) = (b, b_labels), (a, a_labels)
        batch = [x for x in op.out[:-1] if x in b_labels]
        m = [x for x in op.out[:-1] if x not in batch]
        k = [x for x in a_labels if x not in op.out]
        a_access, _ = access(self.operand(a), identity([axis[x] for x in a_labels]))
        b_place = self.factor(b, b_labels, n, axis)
        order = b_labels if b_place[1] else (*(x for x in b_labels if x != n), n)
        b_access, split = access(b_place[0], identity([axis[x] for x in order]))
        point = identity([axis[x] for x in op.out])
        body = Body(self.graph, self.places, frozenset(cluster.nodes), point, self.fusion.free, number)
        body.split |= split
        written = self.stores(cluster, body, point, point)
        axis = {label: replace(x, split=body.split.get(x.name, 0)) for label, x in axis.items()}
        kernel = ContractKernel(
            tuple(axis[x] for x in batch), tuple(axis[x] for x in m), axis[n], tuple(axis[x] for x in k),
            a_access, b_access, tuple(body.instructions), written, node.type.dtype,
        )  # fmt: skip
        self.add(kernel, self.label(cluster), cluster.nodes)

    def factor(self, number: int, labels: Sequence[int], n: int, axis: Mapping[int, Axis]) -> tuple[Placement, bool]:
        """Where the second factor is read: as it lies when its columns are neighbours, else a copy in panels, made once a run.

        A loop reads it time after time, which pays for panels where neighbouring rows are far apart.
        The flag says whether axes stand in the operand's own order (a copy has the columns last).
        """
        placed = self.operand(number)
        position = labels.index(n)
        batched = placed.shape != tuple(d for d in placed.shape if isinstance(d, int))
        near = placed.strides[position] == 1 and not (self.is_outer(number) and max(placed.strides) > self.panel)
        straight = position == len(labels) - 1 if placed.panel else near
        if straight or batched:
            return placed, True
        key = (number, str(n))
        if key not in self.packed:
            rest = [x for x in labels if x != n]
            kind = TensorType(placed.dtype, tuple(axis[x].extent for x in (*rest, n)))
            copy = blocked(f"{self.prefix}p{number}.{n}", kind, self.panel)
            self.temporaries[copy.buffer] = copy
            source, split = access(placed, identity([axis[x] for x in labels]))
            target, more = access(copy, identity([axis[x] for x in (*rest, n)]))
            axes = split_axes([axis[x] for x in (*rest, n)], split | more)
            self.add(Nest(axes, (), (Load(source),), (Store(target, 0),)), "pack", [number])
            if self.is_outer(number):
                self.before.append(self.launches.pop())
            self.packed[key] = copy
        return self.packed[key], False

    def is_outer(self, number: int) -> bool:
        """Whether a value in the body of a loop is the same at all times."""
        source = self.graph[base(self.graph, number)].op
        return isinstance(source, Source) and source.kind == OUTER

    # bookkeeping

    def label(self, cluster: Cluster) -> str:
        """The layer that the cluster works for, and its operations."""
        names = [self.graph[n].op.name for n in cluster.nodes]
        layers = [self.graph[n].where.layer for n in cluster.nodes if self.graph[n].where.layer]
        shown = "+".join(dict.fromkeys(names))
        return f"{layers[0]}: {shown}" if layers else shown

    def add(self, kernel: Kernel, label: str, numbers: Sequence[int]) -> None:
        """Append a launch with the places its nodes came from."""
        places: list[Span] = []
        for number in numbers:
            where = self.graph[number].where
            for span in (where.user_span, where.span):
                if span is not None and span not in places:
                    places.append(span)
        self.launches.append(Launch(kernel, label, tuple(places)))


def wanted_frames(nodes: Iterable[Node], values: Set[int]) -> dict[int, tuple[Frame, float]]:
    """The frame that each of the values is best placed in: as wide as the frames of its most frequent number."""
    pads: dict[int, list[Pad]] = {}
    for node in nodes:
        if isinstance(node.op, Pad) and node.inputs[0] in values:
            pads.setdefault(node.inputs[0], []).append(node.op)
    return {number: _widest(frames) for number, frames in pads.items()}


def _widest(frames: Sequence[Pad]) -> tuple[Frame, float]:
    fills = [op.value for op in frames]
    fill = max(fills, key=fills.count)
    sides = [zip(op.before, op.after, strict=True) for op in frames if op.value == fill]
    return tuple((max(b for b, _ in axis), max(a for _, a in axis)) for axis in zip(*sides, strict=True)), fill


def read_whole(graph: Graph, nodes: Iterable[Node]) -> set[int]:
    """Values that a reshape reads as they lie (not in a frame, which has a copy if need be): they want no gaps."""
    inner = (node.inputs[0] for node in nodes if isinstance(node.op, Reshape))
    return {base(graph, number) for number in inner if not is_placed(graph, {}, number)}


def domain_axes(shape: Shape) -> tuple[Axis, ...]:
    """One axis a dimension."""
    return tuple(Axis(f"i{n}", size) for n, size in enumerate(shape))


def split_axes(axes: Sequence[Axis], split: Mapping[str, int]) -> tuple[Axis, ...]:
    """Axes with the panels that some access asks for."""
    return tuple(replace(a, split=split.get(a.name, 0)) for a in axes)


def lower(
    fusion: Fusion, sources: Mapping[str, Placement], outputs: Mapping[str, Placement], panel: int, rows: int, prefix: str = ""
) -> Lowered:
    """The launches of a fused graph for a capacity of rows: `sources` by key and `outputs` by name say where they live.

    `panel` is the width of packed copies; `prefix` begins the names of temporaries.
    """
    work = _Lowering(fusion, panel, rows, prefix)
    work.place(sources, outputs)
    for cluster in fusion.clusters:
        work.cluster(cluster)
    for number, targets in work.extra.items():
        for target in targets:
            work.copy(number, target)
    written = {p.buffer for p in outputs.values()}
    in_place = {p.buffer: p for p in sources.values() if p.buffer in written}
    lowered = Lowered([], work.temporaries, work.loops, work.moving, work.before)
    lowered.launches = schedule(work.launches, in_place, work.temporaries, lowered.names)
    return lowered


def schedule(
    launches: Sequence[Launch], in_place: Mapping[str, Placement], temporaries: dict[str, Placement], names: Mapping[str, str]
) -> list[Launch]:
    """An order in which every value is written before it is read, old values of `in_place` buffers before they are replaced.

    The launches of a loop stay together; `names` are those of the buffers behind buffers that move with time.
    """
    units = [tuple(group) for _, group in itertools.groupby(launches, lambda launch: launch.loop or object())]
    waiting = _Waiting(units, in_place, names)
    early = _early(units)
    pending, result, late = sorted(range(len(units)), key=lambda n: n not in early), list[Launch](), list[Launch]()
    while pending:
        check("ordering kernels")
        number = next((n for n in pending if waiting.may_read(n) and waiting.may_replace(n)), None)
        if number is not None:
            unit = units[number]
        else:
            number = next(n for n in pending if waiting.may_read(n) and len(units[n]) == 1)
            launch, copies = _beside(units[number][0], in_place, temporaries)
            unit, late = (launch,), late + copies
        pending.remove(number)
        waiting.done(number)
        result += unit
    return result + late


def _early(units: Sequence[Sequence[Launch]]) -> set[int]:
    """Launches of little work that wait for no row (factors of a normalisation): done first, they part no work by rows later."""
    found: set[int] = set()
    written = {a.buffer for unit in units for launch in unit for a in stores(launch.kernel)}
    for number, (launch, *others) in enumerate(units):
        if others or launch.loop:
            continue
        axes = kernel_axes(launch.kernel)
        size = math.prod(a.extent for a in axes if isinstance(a.extent, int))
        fixed = all(isinstance(a.extent, int) for a in axes) and not any(isinstance(i, Extents) for i in launch.kernel.body)
        if fixed and size <= EARLY_POINTS and not any(a.buffer in written for a in loads(launch.kernel)):
            found.add(number)
            written -= {a.buffer for a in stores(launch.kernel)}
    return found


class _Waiting:
    """What units of launches wait for: how many that still have to run read and write each buffer."""

    def __init__(self, units: Sequence[Sequence[Launch]], in_place: Mapping[str, Placement], names: Mapping[str, str]) -> None:
        self.reads = [{names.get(a.buffer, a.buffer) for launch in unit for a in loads(launch.kernel)} for unit in units]
        self.writes = [{names.get(a.buffer, a.buffer) for launch in unit for a in stores(launch.kernel)} for unit in units]
        self.readers = Counter(buffer for buffers in self.reads for buffer in buffers)
        self.writers = Counter(buffer for buffers in self.writes for buffer in buffers)
        self.waited = [buffers - in_place.keys() for buffers in self.reads]
        self.replaced = [buffers & in_place.keys() for buffers in self.writes]

    def may_read(self, number: int) -> bool:
        """Whether all that a unit reads is written (old values of buffers in place are there from the beginning)."""
        return all(self.writers[b] == (b in self.writes[number]) for b in self.waited[number])

    def may_replace(self, number: int) -> bool:
        """Whether nobody else needs the old values that a unit replaces."""
        return all(self.readers[b] == (b in self.reads[number]) for b in self.replaced[number])

    def done(self, number: int) -> None:
        """A unit has run."""
        self.readers.subtract(self.reads[number])
        self.writers.subtract(self.writes[number])


def _beside(launch: Launch, in_place: Mapping[str, Placement], temporaries: dict[str, Placement]) -> tuple[Launch, list[Launch]]:
    """The launch with its in-place stores redirected to temporaries, and the copies that finish the work."""
    kernel, copies, written = launch.kernel, [], []
    assert not isinstance(kernel, LookupKernel), "what a lookup gives lies in a buffer of its own"
    for store in kernel.stores:
        name = store.access.buffer
        if name not in in_place:
            written.append(store)
            continue
        beside = replace(in_place[name], buffer=f"{name}.new")
        temporaries[beside.buffer] = beside
        written.append(Store(replace(store.access, buffer=beside.buffer), store.value))
        flat = (Axis("element", elements(beside, 0)),)
        source, target = (Access(b, beside.dtype, (("element", 1),), 0) for b in (beside.buffer, name))
        copies.append(Launch(Nest(flat, (), (Load(source),), (Store(target, 0),)), "copy", launch.where))
    return replace(launch, kernel=replace(kernel, stores=tuple(written))), copies
