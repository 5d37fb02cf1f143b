"""Random programs run natively as the NumPy reference runs them. Else the compiler is wrong on some combination that no example holds."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from programs import ROWS, Program, programs
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.updating import RUNTIME

import ranvier as rv

TOLERANCE = 1e-10
"""In f64, relative to the largest element of each result: sums are taken in another order, and elementary functions to an ulp or two."""


def reference(model: rv.Model, graph: Graph, data: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a graph by NumPy, with the parameters of the model."""
    sources = {**dict.fromkeys(RUNTIME, 1.0), "seed": float(model.seed), **{f"input:{n}": a for n, a in data.items()}}
    sources |= {f"parameter:{n}": model.params[n] for n in model.params}
    return {name.removeprefix("output:"): value for name, value in evaluate(graph, sources, rows=ROWS).items()}


def assert_close(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale, err_msg=what)


def bits(text: str, data: dict[str, np.ndarray], threads: int, dtype: str) -> dict[str, bytes]:
    """Predictions, loss, gradients and parameters after two steps, to the bit."""
    model = rv.compile(text, threads=threads, dtype=dtype)
    inputs = {n: a for n, a in data.items() if n not in model.blueprint.inference.targets}
    found = {"predict": model.predict(inputs), "loss": np.float64(model.loss(data)), **model.gradients(data)}
    found |= {f"step {n}": np.float64(model.step(data)) for n in range(2)}
    return {name: value.tobytes() for name, value in {**found, **{f"new {n}": model.params[n] for n in model.params}}.items()}


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs())
def test_native_is_the_reference(program: Program) -> None:
    model, data = rv.compile(program.text, dtype="f64", threads=1), program.data
    inputs = {n: a for n, a in data.items() if n not in model.blueprint.inference.targets}
    assert_close(model.predict(inputs), reference(model, model.blueprint.predict_graph(), data)["predict"], program.text)
    expected = reference(model, model.blueprint.gradient_graph(), data)
    assert_close(np.float64(model.loss(data)), expected["loss"], program.text)
    for name, gradient in model.gradients(data).items():
        assert_close(gradient, expected[f"gradient:{name}"], f"{name}\n{program.text}")


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(programs(), st.sampled_from(["f32", "f64"]))
def test_one_thread_and_three_give_the_same_bits(program: Program, dtype: str) -> None:
    assert bits(program.text, program.data, 1, dtype) == bits(program.text, program.data, 3, dtype), program.text
