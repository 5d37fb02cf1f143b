"""States that can never be negative: found for what squares, not claimed of what does not, and never in contradiction with training."""

from __future__ import annotations

import numpy as np
import pytest
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import F32, TensorType
from ranvier.compiler.passes.signs import nonnegative_states

import ranvier as rv

KIND = TensorType(F32, (3,))


def kept(following: str, first: bool = True) -> bool:
    """Whether a state is known not to be negative when its next value is computed so, g being of any sign."""
    graph = Graph("update")
    b = Build(graph, F32)
    s, g = b.add_op(Source("state", "s", KIND)), b.add_op(Source("gradient", "g", KIND))
    c, d = b.constant_like(0.9, s), b.constant_like(-0.1, s)
    graph.outputs["state:s"] = eval(following, {"b": b, "s": s, "g": g, "c": c, "d": d})
    return nonnegative_states(graph, {"s": first}) == ["s"]


@pytest.mark.parametrize(
    "following",
    [
        "b.add(b.mul(c, s), b.mul(b.mul(c, g), g))",
        "b.add(s, b.mul(g, b.mul(g, c)))",
        "b.mul(b.mul(g, d), b.mul(d, g))",
        "b.apply('max', s, b.apply('abs', g))",
        "b.apply('max', g, s)",
        "b.exp(g)",
        "b.apply('sqrt', b.mul(g, g))",
        "b.select(b.lt(g, d), s, c)",
    ],
)
def test_what_cannot_be_negative(following: str) -> None:
    assert kept(following)
    assert not kept(following, first=False)


@pytest.mark.parametrize(
    "following",
    [
        "g",
        "b.add(b.mul(c, s), g)",
        "b.add(b.mul(d, s), b.mul(g, g))",
        "b.mul(b.mul(g, g), g)",
        "b.sub(s, b.mul(g, g))",
        "b.apply('min', s, g)",
        "b.select(b.lt(g, d), s, g)",
        "b.neg(s)",
    ],
)
def test_what_can(following: str) -> None:
    assert not kept(following)


def test_one_state_that_falls_takes_those_that_lean_on_it() -> None:
    graph = Graph("update")
    b = Build(graph, F32)
    s, t, g = (b.add_op(Source(*key, KIND)) for key in (("state", "s"), ("state", "t"), ("gradient", "g")))
    graph.outputs = {"state:s": b.add(s, t), "state:t": b.add(t, g)}
    assert nonnegative_states(graph, {"s": True, "t": True}) == []


def test_a_long_chain_of_products_costs_no_more_than_its_length() -> None:
    graph = Graph("update")
    b = Build(graph, F32)
    s, g = b.add_op(Source("state", "s", KIND)), b.add_op(Source("gradient", "g", KIND))
    value, other = g, s
    for _ in range(3000):
        value, other = b.mul(value, other), value
    graph.outputs["state:s"] = value
    assert nonnegative_states(graph, {"s": True}) == []


@pytest.mark.parametrize("optimizer", ["adam(lr = 0.1)", "rmsprop(momentum = 0.9)", "adagrad()", "adadelta()", "sgd(momentum = 0.9)"])
def test_training_never_contradicts(optimizer: str) -> None:
    text = """model m() { input x: f32[3] ; target y: f32[2]
        out = x -> dense(4) -> batchnorm -> tanh -> dense(2)
        predict out
        loss mse(out, y) }
    train { optimizer = %s ; batch = 8 ; epochs = 3 }"""
    model = rv.compile(text % optimizer)
    rng = np.random.default_rng(0)
    model.fit({"x": rng.normal(size=(64, 3)), "y": rng.normal(size=(64, 2))})
    states = {**model.blueprint.inference.states, **model.blueprint.optimizer_states}
    found = nonnegative_states(model.blueprint.objective.graph, dict.fromkeys(states, True))
    assert "batchnorm_1.var" in found
    assert len(found) > 1 or optimizer.startswith("sgd")
    negative = [label for label in states if (model.memory.read(f"state:{label}") < 0).any()]
    assert not set(found) & set(negative)
