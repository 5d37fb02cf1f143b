"""Fusion: which operations share a kernel, and which values are stored between kernels.

Before:  %3 = contract(...) ; %4 = add(%3, bias) ; %5 = max(%4, 0) ; %6 = contract(%5, ...)
After:   {%3 %4 %5} one contraction with its epilogue, storing %5 ; {%6}

A cluster is either one contraction with elementwise work on its result, or a nest: elementwise work on one domain and reductions of it
over one set of axes (so softmax, its loss and their gradients are one pass over the rows). Values made of constants, positions and
run-time scalars are *free*: they are computed where they are used. A value that few operations make from stored ones is *light* and is
recomputed rather than stored. Joining is legal when the merged clusters stay acyclic and every value of the cluster is read at the
point where it is made. What profits is fewer bytes moved: work for reductions alone, or for the many parts of a weave, is done by them on
the stored result of a contraction, not written by the contraction.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..deadline import check
from ..ir.graph import Graph, Node, rewrite
from ..ir.op import Trait
from ..ir.ops import Reduce, Source
from ..ir.scan import STACK, Result, Scan
from ..ir.types import Shape, elements
from ..ir.views import Broadcast, Reshape
from ..ir.windows import Pad, Weave

PLACED = Trait.CONTRACTION | Trait.JOIN | Trait.LOOP | Trait.LOOKUP
"""What reads its operands in places of its own."""
LIGHT_FLOPS = 4
LIGHT_LOADS = 2
SPREAD = 64
"""How many points must share an operand for it to count as no load: it stays in the first cache meanwhile."""
SCALAR_FLOPS = 4
MOST_NODES = 500
MOST_READS = 100
"""The longest cluster, in operations and in operands from elsewhere: a kernel takes time to compile that grows with the square of its
length, and gains nothing by more.
"""


@dataclass
class Cluster:
    """One kernel to be. `domain` is the shape its points are counted in (of a contraction: its result); `over` the folded axes.

    `reads` counts operands from elsewhere.
    """

    number: int
    contraction: int | None
    domain: Shape
    over: tuple[int, ...] | None = None
    nodes: list[int] = field(default_factory=list)
    reads: int = 0

    @property
    def outer(self) -> Shape:
        """The domain without the folded axes."""
        return tuple(d for a, d in enumerate(self.domain) if a not in (self.over or ()))


@dataclass(frozen=True)
class Fusion:
    """The clusters in an order that runs, the cluster of each clustered node, and the values that are stored.

    `readers` are the other clusters that read a value; `free` values are computed where they are used, even where they are stored too.
    """

    graph: Graph
    clusters: tuple[Cluster, ...]
    home: dict[int, int]
    stored: frozenset[int]
    readers: dict[int, tuple[int, ...]]
    free: frozenset[int]


def base(graph: Graph, number: int) -> int:
    """The value behind views."""
    while graph[number].op.has(Trait.VIEW):
        number = graph[number].inputs[0]
    return number


def _bases(graph: Graph) -> list[int]:
    """The value behind views of every node."""
    found: list[int] = []
    for node in graph:
        found.append(found[node.inputs[0]] if node.op.has(Trait.VIEW) else node.id)
    return found


@dataclass
class _Fuser:
    """Places one node after another.

    `base` is the value behind views of every node; `above` are the clusters that each cluster depends on, as bits, and `awaited` those
    that some cluster depends on.
    """

    graph: Graph
    live: set[int]
    base: list[int]
    clusters: list[Cluster] = field(default_factory=list)
    home: dict[int, int] = field(default_factory=dict)
    above: list[int] = field(default_factory=list)
    awaited: int = 0
    free: set[int] = field(default_factory=set)
    light: dict[int, tuple[int, frozenset[int]]] = field(default_factory=dict)
    stored: set[int] = field(default_factory=set)
    readers: dict[int, list[int]] = field(default_factory=dict)
    reduced: set[int] = field(default_factory=set)
    scalars: Cluster | None = None

    def run(self) -> None:
        """Place every live node, in order."""
        self.must_store()
        self.find_reduced()
        for node in self.graph:
            if node.id in self.live:
                check("fusing operations")
                self.place(node)

    def must_store(self) -> None:
        """What a contraction or a join reads, what is reshaped or framed, and what leaves the graph."""
        self.stored.update(self.base[v] for v in self.graph.outputs.values())
        for node in self.graph:
            if node.id not in self.live:
                continue
            if node.op.has(PLACED) or isinstance(node.op, Reshape | Pad):
                self.stored.update(self.base[i] for i in node.inputs)

    def find_reduced(self) -> None:
        """Elementwise work for nothing but reductions and parts of weaves."""
        other: set[int] = set(self.graph.outputs.values())
        for node in reversed([n for n in self.graph if n.id in self.live]):
            inner = node.op.has(Trait.ELEMENTWISE) and node.id not in other
            if inner:
                self.reduced.add(node.id)
            elif not isinstance(node.op, Weave | Reduce):
                other.update(node.inputs)

    def place(self, node: Node) -> None:
        """One node: a source, free, light, or a member of a cluster."""
        if node.op.has(Trait.SOURCE):
            if isinstance(node.op, Source) and node.op.kind == "runtime":
                self.free.add(node.id)
            return
        operands = [self.base[i] for i in node.inputs]
        if node.op.has(Trait.RESULT):
            self.stored.add(node.id)
            self.join(node, self.clusters[self.home[node.inputs[0]]])
            return
        if node.op.has(Trait.VIEW):
            if operands[0] in self.free and node.id not in self.stored:
                self.free.add(node.id)
            return
        pointwise = node.op.has(Trait.ELEMENTWISE)
        if pointwise and not node.type.shape and self.is_scalar_work(node, operands):
            self.scalars = self.scalars or self.new(node)
            self.join(node, self.scalars)
            return
        made_anywhere = not operands and not node.op.has(Trait.LOOP)
        if made_anywhere or (pointwise and all(o in self.free for o in operands)):
            self.free.add(node.id)
            if node.id in self.stored:
                self.join(node, self.new(node))
            return
        if pointwise and node.id not in self.stored and self.is_light(node, operands):
            return
        self.join(node, self.choose(node, operands))

    def is_scalar_work(self, node: Node, operands: list[int]) -> bool:
        """True for arithmetic on run-time scalars that is worth doing once a step (the powers of a bias correction) and what follows."""
        scalars = [o for o in operands if self.scalars and self.home.get(o) == self.scalars.number]
        ready = all(o in self.free or o in scalars for o in operands)
        varies = bool(scalars) or any(not self.graph[o].op.has(Trait.CONSTANT) for o in operands)
        return ready and varies and bool(scalars or node.op.flops(node.type) >= SCALAR_FLOPS)

    def is_light(self, node: Node, operands: list[int]) -> bool:
        """True when recomputing costs less than a load and a store: few operations on few values that are stored anyway."""
        flops = node.op.flops(node.type)
        loads: set[int] = set()
        for operand in operands:
            if operand in self.free:
                continue
            if operand in self.light:
                flops += self.light[operand][0]
                loads |= self.light[operand][1]
            elif operand in self.stored or self.graph[operand].op.has(Trait.SOURCE) or self.is_small(operand, node):
                loads.add(operand)
            else:
                return False
        if flops > LIGHT_FLOPS or sum(not self.is_small(value, node) for value in loads) > LIGHT_LOADS:
            return False
        self.light[node.id] = (flops, frozenset(loads))
        return True

    def is_small(self, operand: int, node: Node) -> bool:
        """True for a value that stays in the cache while the points of a node pass by."""
        return SPREAD * elements(self.graph.type(operand).shape) <= elements(node.type.shape)

    def memory(self, number: int) -> list[int]:
        """The stored or clustered values that computing `number` reads."""
        if number in self.light:
            return sorted(self.light[number][1])
        return [] if number in self.free else [number]

    def choose(self, node: Node, operands: list[int]) -> Cluster:
        """The cluster a node joins: that of an operand (the latest first), one that reads the same values, or a new one."""
        if node.op.has(PLACED):
            return self.new(node)
        needed = [m for o in operands for m in self.memory(o)]
        own = sorted({self.home[m] for m in needed if m in self.home}, reverse=True)
        readers = {c for m in needed for c in self.readers.get(m, ()) if self.clusters[c].contraction is None}
        siblings = sorted(readers.difference(own), reverse=True)
        for number in (*own, *siblings):
            cluster = self.clusters[number]
            if node.id in self.reduced and cluster.contraction is not None:
                continue
            if self.fits(node, cluster) and self.legal(needed, cluster):
                return cluster
        return self.new(node)

    def fits(self, node: Node, cluster: Cluster) -> bool:
        """True when the node's points are the cluster's and it reads the cluster's values where they are made."""
        if len(cluster.nodes) >= MOST_NODES or cluster.reads >= MOST_READS:
            return False
        if cluster.nodes and self.graph[cluster.nodes[0]].op.has(Trait.JOIN | Trait.LOOP | Trait.LOOKUP):
            return False
        if isinstance(node.op, Reduce):
            shape = self.graph.type(node.inputs[0]).shape
            if cluster.contraction is not None or shape != cluster.domain or cluster.over not in (None, node.op.axes):
                return False
            if cluster.over is None and any(self.graph.type(n).shape != shape for n in cluster.nodes):
                return False
            return all(self.aligned(i, cluster, shape) for i in node.inputs)
        shape = node.type.shape
        if shape != cluster.domain and (cluster.over is None or shape != cluster.outer):
            return False
        read = {self.home.get(m) for i in node.inputs for m in self.memory(self.base[i])}
        if shape != cluster.domain and cluster.number not in read:
            return False
        return all(self.aligned(i, cluster, shape) for i in node.inputs)

    def aligned(self, number: int, cluster: Cluster, shape: Shape) -> bool:
        """True when `number`, as an operand over `shape`, meets values of the cluster at the point where they are made."""
        node = self.graph[number]
        if self.home.get(number) == cluster.number:
            return node.type.shape == shape
        if node.op.has(Trait.VIEW):
            source = node.inputs[0]
            if self.home.get(self.base[source]) != cluster.number:
                return True
            kept = tuple(a for a in range(len(cluster.domain)) if a not in (cluster.over or ()))
            spread = isinstance(node.op, Broadcast) and shape == cluster.domain and node.op.axes == kept
            return spread and self.home.get(source) == cluster.number and self.graph.type(source).shape == cluster.outer
        if number in self.light or number in self.free:
            return all(self.aligned(i, cluster, shape) for i in node.inputs)
        return True

    def legal(self, needed: list[int], cluster: Cluster) -> bool:
        """True when no operand from elsewhere depends on the cluster."""
        bit = 1 << cluster.number
        homes = {self.home[m] for m in needed if m in self.home}
        return not any(h != cluster.number and self.above[h] & bit for h in homes)

    def new(self, node: Node) -> Cluster:
        """A cluster for a node that joins none."""
        contraction = node.id if node.op.has(Trait.CONTRACTION) else None
        domain = self.graph.type(node.inputs[0]).shape if isinstance(node.op, Reduce) else node.type.shape
        cluster = Cluster(len(self.clusters), contraction, domain)
        self.clusters.append(cluster)
        self.above.append(0)
        return cluster

    def join(self, node: Node, cluster: Cluster) -> None:
        """Add a node to a cluster; what it reads from elsewhere is stored."""
        cluster.nodes.append(node.id)
        if isinstance(node.op, Reduce):
            cluster.over = node.op.axes
        self.home[node.id] = cluster.number
        below = 1 << cluster.number
        before = 0
        for operand in node.inputs:
            for value in self.memory(self.base[operand]):
                cluster.reads += self.home.get(value) != cluster.number
                self.readers.setdefault(value, [])
                if cluster.number not in self.readers[value]:
                    self.readers[value].append(cluster.number)
                other = self.home.get(value)
                if other is not None and other != cluster.number:
                    self.stored.add(value)
                    before |= (1 << other) | self.above[other]
        if before & ~self.above[cluster.number]:  # else who depends on the cluster depends on all of that already
            self.above[cluster.number] |= before
            self.awaited |= before
            if self.awaited & below:
                self.above = [mask | before if mask & below else mask for mask in self.above]


def fuse(graph: Graph) -> Fusion:
    """The clusters of a graph."""
    fuser = _Fuser(graph, graph.live(), _bases(graph))
    fuser.run()
    stored = frozenset(v for v in fuser.stored if v in fuser.home)
    readers = {value: tuple(c for c in clusters if c != fuser.home.get(value)) for value, clusters in fuser.readers.items()}
    free = frozenset(n for n in fuser.free if not graph[n].op.has(Trait.SOURCE))
    return Fusion(graph, tuple(_ordered(fuser)), fuser.home, stored, readers, free)


def _ordered(fuser: _Fuser) -> list[Cluster]:
    """Clusters so that each comes after those it reads from, by number where free to choose."""
    done, result = 0, []
    pending = list(fuser.clusters)
    while pending:
        ready = next(c for c in pending if fuser.above[c.number] & ~done & ~(1 << c.number) == 0)
        pending.remove(ready)
        done |= 1 << ready.number
        result.append(ready)
    return result


def fuse_body(loop: Scan, stacked: Iterable[int]) -> Fusion:
    """The clusters of a loop's body, of whose nodes some are wanted at all times."""
    body = rewrite(loop.body, lambda new, node, operands: None)
    body.outputs |= {f"{STACK}:{number}": number for number in stacked}
    return fuse(body)


def print_fusion(fusion: Fusion) -> str:
    """The graph as clusters: what `show --after fusion` prints. A loop with the clusters of its body."""
    from ..ir.printer import print_node

    lines = [f"graph {fusion.graph.name} {{"]
    for cluster in fusion.clusters:
        kind = "contract" if cluster.contraction is not None else "reduce" if cluster.over else "map"
        if fusion.graph[cluster.nodes[0]].op.has(Trait.LOOP):
            kind = "loop"
        if fusion.graph[cluster.nodes[0]].op.has(Trait.LOOKUP):
            kind = "lookup"
        over = f" over {list(cluster.over)}" if cluster.over else ""
        lines.append(f"  {kind} {list(cluster.domain)}{over} {{")
        for number in cluster.nodes:
            mark = "  -> stored" if number in fusion.stored else ""
            lines.append(f"    {print_node(fusion.graph[number])}{mark}")
        if isinstance(loop := fusion.graph[cluster.nodes[0]].op, Scan):
            results = [r for number in cluster.nodes if isinstance(r := fusion.graph[number].op, Result) and r.kind == STACK]
            lines += [f"    {line}" for line in print_fusion(fuse_body(loop, [r.number for r in results])).splitlines()]
        lines.append("  }")
    lines += [f"  return {name} = %{value}" for name, value in fusion.graph.outputs.items()]
    return "\n".join([*lines, "}"])
