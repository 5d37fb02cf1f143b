"""Random loops, made by hypothesis: several carried values, sequences and outer values, bodies of smooth operations; with their data.

What a loop is made of is a plan of numbers, so that the same loop can be written into any graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.loop_writer import LoopWriter
from ranvier.compiler.ir.op import Array
from ranvier.compiler.ir.ops import Contract, Source
from ranvier.compiler.ir.scan import Scan, final, stack
from ranvier.compiler.ir.types import BATCH, F64, DType, Shape, TensorType
from ranvier.compiler.passes.autodiff import differentiate

MOVES = (
    "tanh", "sigmoid", "sin", "add", "sub", "mul", "product", "wide", "rotate", "scaled", "outer", "halved", "row sum",
    "batch sum", "choose", "attend", "pair", "turned",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """A body: moves with the positions of their operands among the values made so far, what is carried on, what is stacked."""

    length: int
    units: int
    reverse: bool
    moves: tuple[tuple[str, int, int], ...]
    carried: tuple[int, int, int]
    stacked: tuple[int, ...]
    finals: tuple[int, ...]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Sources: sequences x, z and p (of the batch but p), weights, outer values, first values of what is carried."""
        t, n = self.length, self.units
        return {
            "x": (BATCH, t, n), "z": (BATCH, t, n), "p": (t, n), "w": (n, n), "v": (n, 2 * n), "g": (n,), "o": (BATCH, n),
            "m": (BATCH, n, n),
            "h": (BATCH, n), "c": (BATCH, n), "k": (n,),
        }  # fmt: skip


@st.composite
def plans(draw: st.DrawFn, units: Sequence[int] = (1, 3), moves: Sequence[str] = MOVES) -> Plan:
    """Small loops of every kind."""
    numbers = st.integers(0, 40)
    body = draw(st.lists(st.tuples(st.sampled_from(moves), numbers, numbers), min_size=1, max_size=8))
    return Plan(
        draw(st.integers(1, 4)), draw(st.sampled_from(units)), draw(st.booleans()), tuple(body), draw(st.tuples(numbers, numbers, numbers)),
        tuple(draw(st.lists(numbers, max_size=3))), tuple(sorted(draw(st.sets(st.integers(0, 2), min_size=1)))),
    )  # fmt: skip


def write(build: Build, plan: Plan, sources: Mapping[str, int]) -> list[int]:
    """Append the loop; returns its results: what is carried last, then stacks."""
    writer = LoopWriter(build.graph)
    body = _Body(Build(writer.body, build.real), writer, sources, plan.units)
    pool = [*(writer.carry(sources[name]) for name in "hc"), body.spread(k := writer.carry(sources["k"]))]
    pool += [writer.step(sources["x"]), writer.step(sources["z"]), body.spread(writer.step(sources["p"]))]
    for name, a, b in plan.moves:
        pool += body.move(name, pool[-1 - a % len(pool)], pool[-1 - b % len(pool)])
    inside, chosen = body.build, [pool[-1 - n % len(pool)] for n in plan.carried]
    h = inside.apply("tanh", inside.add(chosen[0], pool[0]))
    c = inside.add(inside.scale(pool[1], 0.5), chosen[1])
    following = [h, c, inside.apply("tanh", inside.add(k, inside.mul(writer.outer(sources["g"]), body.total(chosen[2]))))]
    loop = writer.write(following, plan.length, reverse=plan.reverse)
    op = build.graph[loop].op
    assert isinstance(op, Scan)
    results = [final(op, n) for n in plan.finals] + [stack(op, pool[-1 - n % len(pool)]) for n in plan.stacked]
    return [build.add_op(result, loop) for result in results]


@dataclass
class _Body:
    build: Build
    writer: LoopWriter
    sources: Mapping[str, int]
    units: int

    def spread(self, value: int) -> int:
        """A value of no sample for every sample."""
        return self.build.broadcast_to(value, (BATCH, self.units))

    def total(self, value: int) -> int:
        """The sum over the batch, small."""
        return self.build.scale(self.build.sum(value, [0]), 0.1)

    def outer(self, name: str) -> int:
        return self.writer.outer(self.sources[name])

    def move(self, name: str, a: int, b: int) -> list[int]:
        """The values that one move makes of two."""
        build, n = self.build, self.units
        match name:
            case "tanh" | "sigmoid" | "sin":
                return [build.apply(name, a)]
            case "add" | "sub":
                return [build.apply(name, a, b)]
            case "mul":
                return [build.apply("tanh", build.mul(a, b))]
            case "product":
                return [build.matmul(a, self.outer("w"))]
            case "wide":
                both = build.add(build.matmul(a, self.outer("v")), build.concat([b, a], 1))
                return [build.slice_axis(both, 1, 0, n), build.slice_axis(both, 1, n, 2 * n)]
            case "rotate":
                return [build.concat([build.slice_axis(a, 1, n - 1, n), build.slice_axis(a, 1, 0, n - 1)], 1)] if n > 1 else [a]
            case "scaled":
                return [build.mul(a, self.outer("g"))]
            case "outer":
                return [build.mul(a, build.apply("sigmoid", self.outer("o")))]
            case "halved":
                return [build.scale(a, 0.5)]
            case "row sum":
                return [build.broadcast(build.sum(a, [1]), (BATCH, n), (0,))]
            case "attend":
                return [build.add_op(Contract((0, 1), (0, 1, 2), (0, 2)), a, self.outer("m"))]
            case "pair":
                pairs = build.add_op(Contract((0, 1), (0, 2), (0, 1, 2)), a, b)
                return [build.apply("tanh", build.sum(pairs, [2])), build.apply("tanh", build.sum(build.transpose(pairs, (0, 2, 1)), [2]))]
            case "turned":
                turned = build.transpose(build.reshape(build.concat([a, b], 1), (BATCH, 2, n)), (0, 2, 1))
                flat = build.reshape(turned, (BATCH, 2 * n))
                return [build.slice_axis(flat, 1, 0, n), build.slice_axis(flat, 1, n, 2 * n)]
            case "batch sum":
                return [self.spread(self.total(a))]
            case _:
                return [build.select(build.lt(build.apply("sin", self.outer("g")), build.constant(0.1, build.real)), a, b)]


@dataclass(frozen=True)
class LoopCase:
    """A loop in a graph of its own with outputs `y0`, … and, when asked for, `d…`: the gradient of a smooth sum of all of them."""

    plan: Plan
    graph: Graph
    arrays: dict[str, Array] = field(default_factory=dict)


def case_of(plan: Plan, rows: int, *, gradients: bool = True, real: DType = F64) -> LoopCase:
    """The graph and numbers for its sources."""
    graph = Graph("loop")
    build = Build(graph, real)
    sources = {name: build.add_op(Source("input", name, TensorType(real, shape))) for name, shape in plan.shapes.items()}
    results = write(build, plan, sources)
    graph.outputs = {f"y{n}": value for n, value in enumerate(results)}
    if gradients:
        found = differentiate(build, smooth_sum(build, results), list(sources.values()))
        graph.outputs |= {f"d{name}": value for name, value in zip(sources, found, strict=True)}
    return LoopCase(plan, graph, numbers_for(plan, rows))


def smooth_sum(build: Build, values: Sequence[int]) -> int:
    """A scalar in which every element counts differently."""
    total = build.constant(0.0, build.real)
    for value in values:
        waves = build.apply("sin", build.scale(value, 2.0))
        total = build.add(total, build.sum(waves, range(len(build.type(value).shape))))
    return total


def numbers_for(plan: Plan, rows: int) -> dict[str, Array]:
    """Numbers for the sources of a loop."""
    random = np.random.default_rng(plan.length + 7 * plan.units)
    extents = {name: [d if isinstance(d, int) else rows for d in shape] for name, shape in plan.shapes.items()}
    return {name: random.normal(size=shape) * 0.6 for name, shape in extents.items()}
