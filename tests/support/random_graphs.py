"""Random op graphs with data, made by hypothesis; and the comparison of two graphs by running them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.elementwise import ROWS
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Array, ShapeError
from ranvier.compiler.ir.ops import Position, Source
from ranvier.compiler.ir.types import BATCH, F64, I32, U8, Shape, TensorType
from ranvier.compiler.ir.views import Broadcast

ROWS_EXTENT = 3
SHAPES: tuple[Shape, ...] = ((), (1,), (3,), (2, 3), (6,), (BATCH,), (BATCH, 3), (BATCH, 2, 3), (BATCH, 6), (BATCH, 1, 3))
# On small whole numbers these are exact, so that sums and products may be taken in any order.
EXACT = ("add", "sub", "mul", "max", "min", "neg", "abs", "lt", "le", "gt", "ge", "eq", "ne", "and", "or", "xor", "not")
NUMBERS = (0.0, 1.0, -1.0, 2.0, 3.0, 0.5, -4.0)


@dataclass(frozen=True)
class Sample:
    """A graph and arrays for its sources."""

    graph: Graph
    arrays: dict[str, Array]

    def run(self, graph: Graph | None = None) -> dict[str, Array]:
        """The outputs of the graph, or of another on the same arrays."""
        return evaluate(self.graph if graph is None else graph, self.arrays, rows=ROWS_EXTENT)


def assert_same(sample: Sample, other: Graph) -> None:
    """Every output of the other graph has the same numbers (NaN where NaN is; 0 and -0 are the same number)."""
    expected, found = sample.run(), sample.run(other)
    assert list(expected) == list(found)
    for name, array in expected.items():
        assert array.dtype == found[name].dtype
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@st.composite
def samples(draw: st.DrawFn, rows: Sequence[str] = EXACT, steps: int = 20) -> Sample:
    """A graph of random operations; with `EXACT` rows all its numbers are small dyadic fractions."""
    graph = Graph("random")
    build = Build(graph, F64)
    arrays = {}
    for number, shape in enumerate(draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))):
        dtype = draw(st.sampled_from((F64, F64, I32, U8)))
        build.add_op(Source("input", f"x{number}", TensorType(dtype, shape)))
        extents = tuple(d if isinstance(d, int) else ROWS_EXTENT for d in shape)
        low = 0 if dtype == U8 else -4
        whole = draw(st.lists(st.integers(low, 4), min_size=math.prod(extents), max_size=math.prod(extents)))
        arrays[f"x{number}"] = np.array(whole, dtype=dtype.numpy).reshape(extents)
    for _ in range(draw(st.integers(1, steps))):
        make = draw(st.sampled_from((_row, _row, _row, *MOVES)))
        try:
            make(draw, build, rows)
        except ShapeError:
            continue
    ends = draw(st.lists(st.integers(0, len(graph) - 1), min_size=1, max_size=3))
    graph.outputs = {f"y{n}": value for n, value in enumerate([*ends, len(graph) - 1])}
    return Sample(graph, arrays)


Move = Callable[[st.DrawFn, Build, Sequence[str]], object]


def _any(draw: st.DrawFn, build: Build) -> int:
    """A value, the latest ones more often."""
    last = len(build.graph) - 1
    return draw(st.one_of(st.integers(max(0, last - 3), last), st.integers(0, last)))


def _row(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    row = draw(st.sampled_from(tuple(rows)))
    result = build.apply(row, *(_any(draw, build) for _ in range(ROWS[row].arity)))
    if row == "mul":
        _clamp(build, result)
    return result


def _clamp(build: Build, value: int) -> int:
    """Numbers stay small, so that arithmetic on them stays exact."""
    like = build.constant_like(16, value)
    return build.apply("max", build.apply("min", value, like), build.apply("sub", like, build.add(like, like)))


def _number(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    value = build.cast(_any(draw, build), F64)
    constant = build.constant_like(draw(st.sampled_from(NUMBERS)), value)
    row = draw(st.sampled_from(("add", "sub", "mul", "max")))
    pair = draw(st.permutations((value, constant)))
    return _clamp(build, build.apply(row, *pair))


def _halved(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    value = build.cast(_any(draw, build), F64)
    return build.div(value, build.constant_like(draw(st.sampled_from((1, 2, -4, 8))), value))


def _powered(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    value = build.cast(_any(draw, build), F64)
    return _clamp(build, build.pow(value, build.constant_like(draw(st.sampled_from((0, 1, 2, 3))), value)))


def _cast(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    return build.cast(_any(draw, build), draw(st.sampled_from((F64, I32))))  # a negative float as u8 is undefined, in NumPy too


def _select(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    condition = build.lt(_any(draw, build), _any(draw, build))
    return build.select(condition, _any(draw, build), _any(draw, build))


def _reshape(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    return build.reshape(_any(draw, build), draw(st.sampled_from(SHAPES)))


def _transpose(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    value = _any(draw, build)
    return build.transpose(value, draw(st.permutations(range(build.type(value).rank))))


def _broadcast(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    value = _any(draw, build)
    shape = draw(st.sampled_from(SHAPES))
    axes = draw(st.sets(st.integers(0, max(0, len(shape) - 1)), max_size=build.type(value).rank))
    return build.add_op(Broadcast(shape, tuple(sorted(axes))), value)


def _slice(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    value = _any(draw, build)
    sized = [(n, d) for n, d in enumerate(build.type(value).shape) if isinstance(d, int)]
    if not sized:
        return None
    axis, size = draw(st.sampled_from(sized))
    start = draw(st.integers(0, size - 1))
    return build.slice_axis(value, axis, start, draw(st.integers(start + 1, size)), draw(st.integers(1, 2)))


def _concat(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    value = _any(draw, build)
    return build.concat([value, value], draw(st.integers(0, 2)))


def _reduce(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    value = build.cast(_any(draw, build), F64)
    axes = draw(st.sets(st.integers(0, max(0, build.type(value).rank - 1)), min_size=1))
    result = build.reduce(draw(st.sampled_from(("sum", "sum", "max", "argmax"))), value, sorted(axes))
    return _clamp(build, result)


def _position(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    shape = draw(st.sampled_from(SHAPES))
    return build.add_op(Position(shape, tuple(draw(st.integers(0, 3)) for _ in shape)))


def _matmul(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    return _clamp(build, build.matmul(_any(draw, build), _any(draw, build)))


def _stop(draw: st.DrawFn, build: Build, rows: Sequence[str]) -> object:
    return build.stop_gradient(_any(draw, build))


MOVES: tuple[Move, ...] = (
    _number, _number, _halved, _powered, _cast, _select, _reshape, _reshape, _transpose, _broadcast, _slice, _concat, _reduce, _position,
    _matmul, _stop,
)  # fmt: skip
