"""Cells that no library ships, in whole models: gradients against finite differences, and the same bits for any number of threads.

If these fail, the cell that a person writes is a second-class citizen: it compiles, and learns something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest

import ranvier as rv

ROWS = 7
STEP = 1e-6


@dataclass(frozen=True)
class Case:
    """Definitions, the model's body up to `z`, and the shapes of its inputs and of z."""

    definitions: str
    body: str
    inputs: dict[str, Sequence[int]]
    output: Sequence[int]

    @property
    def text(self) -> str:
        """The file."""
        inputs = "\n".join(f"input {name}: f32{_spelled(shape)}" for name, shape in self.inputs.items())
        body = f"{inputs}\ntarget t: f32{_spelled(self.output)}\n{self.body}\npredict z\nloss mse(z, t)\nmetric rmse(z, t)"
        return f"{self.definitions}\nmodel m() {{\n{body}\n}}\ntrain {{ batch = {ROWS} ; epochs = 2 ; optimizer = adam(lr = 0.01) }}\n"

    @cached_property
    def data(self) -> dict[str, np.ndarray]:
        """More rows than a batch, and a last one that is not full."""
        random = np.random.default_rng(4)
        return {name: random.normal(size=(2 * ROWS + 5, *shape)) for name, shape in (*self.inputs.items(), ("t", self.output))}


def _spelled(shape: Sequence[int]) -> str:
    return str(list(shape)) if shape else ""


CONVOLVED = """
cell convolved(channels)(x: [height, width, inputs]) {
    state h, c: [height, width, channels] = 0
    i, f, g, o = split(conv2d(4 * channels)(x) + conv2d(4 * channels, bias = false)(h), 4)
    next c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    next h = sigmoid(o) * tanh(next c)
    return next h
}
"""
POOLED = CONVOLVED.replace("return next h", "return next h -> maxpool(2) -> flatten")
ATTENDING = """
cell attending(units)(x: [inputs], memory: [times, features]) {
    param W: [inputs, units] ~ glorot_uniform
    param Q: [units, features] ~ glorot_uniform
    param V: [features, units] ~ glorot_uniform
    state h: [units] = 0
    scores = softmax(einsum("f,tf->t", h @ Q, memory))
    next h = tanh(x @ W + einsum("t,tf->f", scores, memory) @ V + 0.1 * h)
    return next h, scores
}
"""
NESTED = """
cell nested(units)(x: [inputs]) {
    one = lstm(units)(x)
    two = gru(units)(one)
    return two + one
}
"""
CHOOSING = """
cell choosing(units)(x: [inputs]) {
    param W: [inputs, units] ~ glorot_uniform
    param U: [units, units] ~ orthogonal
    state h: [units] = 0
    state count = 0
    state best: [units] = -1
    y = x @ W + h @ U
    next count = count + 1
    next h = tanh(y) / next count if max(y) > 0.1 else 0.5 * h
    next best = max(best, next h)
    return next h, next best, argmax(y), next count > 2
}
"""
OVER_THE_BATCH = """
cell over_the_batch(units)(x: [inputs]) {
    param W: [inputs, units] ~ glorot_uniform
    state h: [units] = 0
    y = x @ W + 0.3 * h
    m = mean(y, over = [batch])
    next h = tanh((y - m) * rsqrt(variance(y, over = [batch]) + 1e-3))
    return next h
}
"""
AVERAGE = """
cell average()(x: []) {
    param a: [] ~ zeros
    state h: [] = 0
    k = sigmoid(a)
    next h = k * h + (1 - k) * x
    return next h
}
"""
KEPT = """
cell kept()(x: [inputs]) {
    state h: [inputs] = 0
    next h = x
    return x, h, 3
}
"""
CASES = {
    "convolutions": Case(CONVOLVED, "z = x -> convolved(3) -> last -> global_avgpool -> dense(3)", {"x": (3, 6, 5, 2)}, (3,)),
    "pools": Case(POOLED, "z = last(convolved(2)(x))", {"x": (3, 4, 4, 2)}, (8,)),
    "attention": Case(ATTENDING, "h, s = attending(6)(x, y -> gru(4))\nz = last(h) + sum(s * s)", {"x": (5, 3), "y": (7, 4)}, (6,)),
    "two loops": Case("", "h, c = final(lstm(6))(x)\nz = lstm(6)(y, h = h, c = c) -> dense(2)", {"x": (5, 3), "y": (4, 2)}, (4, 2)),
    "cells in a cell": Case(NESTED, "z = x -> nested(6) -> last", {"x": (5, 3)}, (6,)),
    "choices": Case(
        CHOOSING,
        "h, b, k, q = x -> choosing(6)\nz = last(h) + sum(b, over = [0]) + 0.01 * sum(k) + 0.1 * sum(float(q))", {"x": (5, 3)}, (6,),
    ),
    "the batch": Case(OVER_THE_BATCH, "z = x -> over_the_batch(6) -> last", {"x": (5, 3)}, (6,)),
    "single numbers": Case(AVERAGE, "z = last(average()(x))", {"x": (9,)}, ()),
    "what is given": Case(KEPT, "a, b, c = kept()(x -> dense(3))\nz = a + b + sum(c)", {"x": (5, 3)}, (5, 3)),
    "a trained sequence": Case(
        "", "param p: [4, 3] ~ glorot_uniform\nz = last(gru(6)(p)) + last(rnn(6)(p, h = x -> dense(6)))", {"x": (5,)}, (6,)
    ),
    "one way and the other": Case("", "e = rnn(6)\nz = e(x) + reverse(e)(x) * reverse(reverse(e))(x)", {"x": (5, 3)}, (5, 6)),
    "one unit": Case("", "z = x -> lstm(1) -> gru(1) -> last", {"x": (9, 1)}, (1,)),
    "one time": Case("", "z = x -> bidirectional(gru(5)) -> last -> dense(3)", {"x": (1, 4)}, (3,)),
    "inner normalisation": Case("", "z = x -> batchnorm -> lstm(5, recurrent_dropout = 0.3) -> batchnorm -> last", {"x": (4, 3)}, (5,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    """Along a random direction of each parameter."""
    case = CASES[name]
    model, random = rv.compile(case.text, dtype="f64", threads=2), np.random.default_rng(1)
    batch = {key: array[:ROWS] for key, array in case.data.items()}
    gradients = model.gradients(batch)
    assert gradients
    for key, gradient in gradients.items():
        value, direction = model.params[key].copy(), random.normal(size=gradient.shape)
        losses = []
        for sign in (1, -1):
            model.params[key] = value + sign * STEP * direction
            losses.append(model.loss(batch))
        model.params[key] = value
        np.testing.assert_allclose((losses[0] - losses[1]) / (2 * STEP), (gradient * direction).sum(), rtol=1e-6, atol=2e-8, err_msg=key)


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_for_any_number_of_threads(name: str) -> None:
    case, found = CASES[name], []
    inputs = {key: array.astype(np.float32) for key, array in case.data.items()}
    for threads in (1, 2, 3):
        model = rv.compile(case.text, threads=threads)
        history, figures = model.fit(inputs), model.evaluate(inputs)
        predictions = model.predict({key: array for key, array in inputs.items() if key != "t"})
        assert np.isfinite(predictions).all()
        found.append((history, figures, predictions.tobytes(), {key: model.params[key].tobytes() for key in model.params}))
    assert found[0] == found[1] == found[2]
