"""Where NaN comes from is the operation a person would name, not the last one that shows it, nor a mask's rightful infinity."""

from __future__ import annotations

import numpy as np
import pytest
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.nonfinite import Birth, first_nonfinite
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import F32, TensorType

KIND = TensorType(F32, (3,))


def search(expression: str, x: list[float]) -> Birth | None:
    graph = Graph("g")
    b = Build(graph, F32)
    source = b.add_op(Source("input", "x", KIND))
    inf = b.constant_like(float("-inf"), source)
    graph.outputs = {"fine": b.neg(source), "result": eval(expression, {"b": b, "x": source, "inf": inf})}
    return first_nonfinite(graph, {"input:x": np.array(x, np.float32)}, ["fine", "result"], rows=1)


@pytest.mark.parametrize(
    ("expression", "x", "op", "found", "ranges"),
    [
        ("b.exp(b.neg(x))", [1, 2, -200], "exp", "inf", ((-2, 200),)),
        ("b.log(x)", [0, 1, 2], "log", "-inf", ((0, 2),)),
        ("b.mul(b.log(x), x)", [0, 1, 2], "log", "-inf", ((0, 2),)),
        ("b.sub(b.exp(x), b.exp(x))", [200, 0, 0], "exp", "inf", ((0, 200),)),
        ("b.div(b.sub(x, x), b.sub(x, x))", [1, 1, 1], "div", "nan", ((0, 0), (0, 0))),
        ("b.mul(b.apply('sqrt', x), b.neg(x))", [-1, 1, 4], "sqrt", "nan", ((-1, 4),)),
        ("b.add(b.mul(x, x), inf)", [1, 1, 1], "add", "-inf", ((1, 1), (-np.inf, -np.inf))),
        ("b.sub(inf, b.mul(b.neg(x), inf))", [-1, -1, -1], "mul", "-inf", ((1, 1), (-np.inf, -np.inf))),
    ],
)
def test_the_operation_that_began_it(expression: str, x: list[float], op: str, found: str, ranges: object) -> None:
    birth = search(expression, x)
    assert birth is not None
    assert (birth.node.op.name, birth.found, birth.ranges) == (op, found, ranges)


@pytest.mark.parametrize("expression", ["b.exp(b.add(x, inf))", "b.apply('max', x, inf)", "b.add(x, x)", "b.div(x, b.exp(b.mul(x, x)))"])
def test_infinities_that_come_to_nothing_are_no_mistake(expression: str) -> None:
    assert search(expression, [10, 20, 30]) is None


def test_how_many_and_where() -> None:
    birth = search("b.log(x)", [0, -1, 1])
    assert birth is not None
    assert (birth.wrong, birth.count, birth.found) == (2, 3, "nan")
