"""Gradients against central finite differences, in f64."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Array
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import BATCH, F64, Shape, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.passes.autodiff import differentiate

STEP = 1e-5


def shape_of(array: Array, *, batched: bool) -> Shape:
    """The shape of an array, its first axis the batch when asked."""
    return (BATCH, *array.shape[1:]) if batched else array.shape


def check_gradients(
    make: Callable[..., int], arrays: Mapping[str, Array], *, rows: int = 1, batched: bool | Collection[str] = False
) -> None:
    """The gradient of a weighted sum of `make(build, *sources)` is that of finite differences, for every source.

    The weights make every element of the result count differently. `batched` says which sources have a batch axis.
    """
    graph = Graph("gradient")
    build = Build(graph, F64)
    held = (arrays if batched else ()) if isinstance(batched, bool) else batched
    sources = [build.add_op(Source("input", k, TensorType(F64, shape_of(a, batched=k in held)))) for k, a in arrays.items()]
    result = make(build, *sources)
    shape = build.type(result).shape
    weight = build.add_op(Source("input", "weight", TensorType(F64, shape)))
    loss = build.sum(build.mul(result, weight), range(len(shape)))
    cotangents = differentiate(build, loss, sources)
    graph.outputs = {"loss": loss, **{f"d{k}": c for k, c in zip(arrays, cotangents, strict=True)}}
    verify(graph, "differentiate")
    extents = tuple(d if isinstance(d, int) else rows for d in shape)
    bound = {**arrays, "weight": np.cos(np.arange(np.prod(extents, dtype=int), dtype=np.float64)).reshape(extents) + 1.5}
    found = evaluate(graph, bound, rows=rows)
    graph.outputs = {"loss": loss}
    for name, array in arrays.items():
        expected = _differences(lambda a, name=name: float(evaluate(graph, {**bound, name: a}, rows=rows)["loss"]), np.asarray(array))
        np.testing.assert_allclose(found[f"d{name}"], expected, rtol=2e-6, atol=2e-7, err_msg=f"gradient of {name}")


def _differences(loss: Callable[[Array], float], array: Array) -> Array:
    result = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        up, down = array.copy(), array.copy()
        up[index] += STEP
        down[index] -= STEP
        result[index] = (loss(up) - loss(down)) / (2 * STEP)
    return result
