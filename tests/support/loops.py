"""Loops to test with: a plain recurrent cell and an LSTM as op graphs with data, and the same in NumPy."""

from __future__ import annotations

import numpy as np
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.loop_writer import LoopWriter
from ranvier.compiler.ir.op import Array
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.scan import Scan, final, stack
from ranvier.compiler.ir.types import BATCH, F64, DType, Shape, TensorType


def scan_of(graph: Graph, number: int) -> Scan:
    """The operation of a loop."""
    op = graph[number].op
    assert isinstance(op, Scan)
    return op


def elman(length: int, features: int, units: int, *, reverse: bool = False, real: DType = F64) -> Graph:
    """h = tanh(x W + h U) over [batch, length, features]: outputs `y` (h at all times), `h` (at the end)."""
    graph = Graph("elman")
    build = Build(graph, real)
    shapes: tuple[tuple[str, str, Shape], ...] = (
        ("input", "x", (BATCH, length, features)), ("parameter", "w", (features, units)), ("parameter", "u", (units, units)),
        ("input", "h", (BATCH, units)),
    )  # fmt: skip
    x, w, u, first = (build.add_op(Source(kind, label, TensorType(real, shape))) for kind, label, shape in shapes)
    writer = LoopWriter(graph)
    inside = Build(writer.body, real)
    h = writer.carry(first)
    new = inside.apply("tanh", inside.add(inside.matmul(writer.step(x), writer.outer(w)), inside.matmul(h, writer.outer(u))))
    loop = writer.write([new], length, reverse=reverse)
    op = scan_of(graph, loop)
    graph.outputs = {"y": build.add_op(stack(op, new), loop), "h": build.add_op(final(op, 0), loop)}
    return graph


def lstm(length: int, features: int, units: int, *, reverse: bool = False, real: DType = F64) -> Graph:
    """An LSTM over [batch, length, features]: outputs `h` (all times), `c` (at the end)."""
    graph = Graph("lstm")
    build = Build(graph, real)
    x, w, u, b = (build.add_op(Source(kind, label, TensorType(real, shape))) for kind, label, shape in _sources(length, features, units))
    zero = build.broadcast(build.constant(0.0, real), (BATCH, units), ())
    writer = LoopWriter(graph)
    inside = Build(writer.body, real)
    h, c = writer.carry(zero), writer.carry(zero)
    gates = inside.add(inside.matmul(writer.step(x), writer.outer(w)), inside.matmul(h, writer.outer(u)))
    gates = inside.add(gates, writer.outer(b))
    i, f, g, o = (inside.slice_axis(gates, 1, n * units, (n + 1) * units) for n in range(4))
    i, f, o = (inside.apply("sigmoid", v) for v in (i, f, o))
    c = inside.add(inside.mul(f, c), inside.mul(i, inside.apply("tanh", g)))
    h = inside.mul(o, inside.apply("tanh", c))
    loop = writer.write([h, c], length, reverse=reverse)
    op = scan_of(graph, loop)
    graph.outputs = {"h": build.add_op(stack(op, h), loop), "c": build.add_op(final(op, 1), loop)}
    return graph


def _sources(length: int, features: int, units: int) -> tuple[tuple[str, str, Shape], ...]:
    return (
        ("input", "x", (BATCH, length, features)),
        ("parameter", "w", (features, 4 * units)),
        ("parameter", "u", (units, 4 * units)),
        ("parameter", "b", (4 * units,)),
    )


def arrays_of(graph: Graph, rows: int, seed: int = 0) -> dict[str, Array]:
    """Numbers for the sources of a graph, by label."""
    random = np.random.default_rng(seed)
    shapes = {n.op.label: n.type.shape for n in graph if isinstance(n.op, Source)}
    return {label: random.normal(size=[d if isinstance(d, int) else rows for d in shape]) * 0.5 for label, shape in shapes.items()}


def numpy_lstm(arrays: dict[str, Array], *, reverse: bool = False) -> tuple[Array, Array]:
    """All h and the last c of the same LSTM."""
    x, units = arrays["x"], arrays["u"].shape[0]
    h = c = np.zeros((len(x), units))
    found = np.zeros((len(x), x.shape[1], units))
    for time in reversed(range(x.shape[1])) if reverse else range(x.shape[1]):
        i, f, g, o = np.split(x[:, time] @ arrays["w"] + h @ arrays["u"] + arrays["b"], 4, axis=-1)
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        found[:, time] = h
    return found, c


def numpy_elman(arrays: dict[str, Array], *, reverse: bool = False) -> tuple[Array, Array]:
    """All h and the last one of the same cell."""
    x, h = arrays["x"], arrays["h"]
    found = np.zeros((*x.shape[:2], h.shape[1]))
    for time in reversed(range(x.shape[1])) if reverse else range(x.shape[1]):
        h = found[:, time] = np.tanh(x[:, time] @ arrays["w"] + h @ arrays["u"])
    return found, h
