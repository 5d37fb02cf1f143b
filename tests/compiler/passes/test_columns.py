"""Contractions without columns become sums of products with the same value."""

from __future__ import annotations

import numpy as np
import pytest
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Trait
from ranvier.compiler.ir.ops import Contract, Source
from ranvier.compiler.ir.types import F64, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.passes.columns import give_columns

SIZES = {0: 3, 1: 4, 2: 5}
FORMS = [((0, 1), (1,), (0,)), ((0, 1), (0, 1), ()), ((0, 1), (0, 1), (0,)), ((1, 0), (0, 2, 1), (0, 2, 1)), ((0, 1), (1, 2), (0, 2))]


@pytest.mark.parametrize("form", FORMS)
def test_same_value(form: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> None:
    build = Build(Graph("form"), F64)
    generator, arrays, nodes = np.random.default_rng(0), {}, []
    for name, labels in zip("ab", form[:2], strict=True):
        shape = tuple(SIZES[x] for x in labels)
        nodes.append(build.add_op(Source("input", name, TensorType(F64, shape))))
        arrays[name] = generator.standard_normal(shape)
    build.graph.outputs["y"] = build.add_op(Contract(*form), *nodes)
    after = verify(give_columns(build.graph), "columns")
    np.testing.assert_allclose(evaluate(after, arrays)["y"], evaluate(build.graph, arrays)["y"], rtol=1e-13)
    straight = form[2] and (form[2][-1] in form[0]) != (form[2][-1] in form[1])
    assert any(n.op.has(Trait.CONTRACTION) for n in after if n.id in after.live()) == bool(straight)
