"""Recurrent networks against PyTorch: if these fail, an `lstm` trained here is not what everyone else calls an LSTM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import ranvier as rv

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'ranvier[torch]'")

TIMES, FEATURES, UNITS, ROWS = 6, 5, 7, 9
TOLERANCE = {"f32": 1e-5, "f64": 1e-10}
FLOAT = {"f32": torch.float32, "f64": torch.float64}
Params = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A cell here and there: how it is written, how many gates it has, its states."""

    written: str
    module: Callable[..., Any]
    gates: int
    states: tuple[str, ...]

    @property
    def name(self) -> str:
        """As in paths of parameters."""
        return self.written.partition("(")[0]


CELLS = {
    "rnn": Kind(f"rnn({UNITS})", torch.nn.RNN, 1, ("h",)),
    "relu": Kind(f"rnn({UNITS}, activation = relu)", lambda *a, **k: torch.nn.RNN(*a, nonlinearity="relu", **k), 1, ("h",)),
    "lstm": Kind(f"lstm({UNITS})", torch.nn.LSTM, 4, ("h", "c")),
    "gru": Kind(f"gru({UNITS})", torch.nn.GRU, 3, ("h",)),
}


def compiled(declared: str, body: str, output: int | str, dtype: str, *, train: str = "") -> tuple[rv.Model, Params]:
    """A model that predicts `z` with random biases, and its parameters as PyTorch's; the loss is the sum of z times a target."""
    text = (
        f"model m() {{\n{declared}\ntarget t: f32[{output}]\n{body}\npredict z\nloss sum(z * t)\n}}\n"
        f"train {{ batch = {ROWS} ; {train or 'optimizer = gd()'} }}\n"
    )
    model = rv.compile(text, dtype=dtype, threads=2)
    random = np.random.default_rng(5)
    for name in model.params:
        if name.rpartition(".")[2] not in ("W", "U", "weight"):
            model.params[name] = random.normal(size=model.params[name].shape) * 0.3
    return model, {name: torch.tensor(model.params[name], dtype=FLOAT[dtype], requires_grad=True) for name in model.params}


def batch_of(dtype: str, **shapes: Sequence[int]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        name: random.normal(size=(ROWS, *shape)).astype(np.dtype(FLOAT[dtype].__str__().removeprefix("torch.")))
        for name, shape in shapes.items()
    }


def run(kind: Kind, params: Params, path: str, x: Any, states: Sequence[Any] = ()) -> tuple[Any, tuple[Any, ...]]:
    """PyTorch's cell with our parameters: the outputs, and the last states."""
    units = params[f"{path}.U"].shape[0]
    module = kind.module(x.shape[2], units, batch_first=True, dtype=x.dtype)
    second = torch.zeros(kind.gates * units, dtype=x.dtype)
    if kind.name == "gru":
        second = torch.cat([second[: 2 * units], params[f"{path}.b_new"]])
    own = {name: params[f"{path}.{name}"] for name in ("W", "U", "b")}
    weights = {"weight_ih_l0": own["W"].T, "weight_hh_l0": own["U"].T, "bias_ih_l0": own["b"], "bias_hh_l0": second}
    first = tuple(s.expand(x.shape[0], units)[None] for s in states) or tuple(
        torch.zeros(1, x.shape[0], units, dtype=x.dtype) for _ in kind.states
    )
    y, last = torch.func.functional_call(module, weights, (x, first if kind.name == "lstm" else first[0]))
    return y, tuple(s[0] for s in (last if kind.name == "lstm" else (last,)))


def assert_agrees(model: rv.Model, params: Params, batch: dict[str, np.ndarray], z: Any, dtype: str) -> None:
    """Predictions, the loss, and the gradients of all parameters."""
    inputs = {name: array for name, array in batch.items() if name != "t"}
    np.testing.assert_allclose(model.predict(inputs), z.detach().numpy(), rtol=0, atol=TOLERANCE[dtype])
    loss = (z * torch.tensor(batch["t"])).flatten(1).sum(1).mean()
    loss.backward()
    np.testing.assert_allclose(model.loss(batch), loss.item(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    gradients = model.gradients(batch)
    assert set(gradients) == set(params)
    for name, parameter in params.items():
        expected = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        np.testing.assert_allclose(gradients[name], expected, rtol=0, atol=TOLERANCE[dtype], err_msg=name)


X = f"input x: f32[{TIMES}, {FEATURES}]"
each_cell = pytest.mark.parametrize("cell", CELLS)
each_dtype = pytest.mark.parametrize("dtype", ["f32", "f64"])


@each_dtype
@each_cell
def test_outputs_at_all_times(cell: str, dtype: str) -> None:
    kind, batch = CELLS[cell], batch_of(dtype, x=(TIMES, FEATURES), t=(TIMES, UNITS))
    model, params = compiled(X, f"z = x -> {kind.written}", f"{TIMES}, {UNITS}", dtype)
    y, _ = run(kind, params, f"{kind.name}_1", torch.tensor(batch["x"]))
    assert_agrees(model, params, batch, y, dtype)


@each_dtype
@each_cell
def test_the_last_output_and_the_final_states(cell: str, dtype: str) -> None:
    """One cell applied twice with the same parameters: what it returns last, and what it carries last."""
    kind = CELLS[cell]
    size = (1 + len(kind.states)) * UNITS
    batch = batch_of(dtype, x=(TIMES, FEATURES), t=(size,))
    states = ", ".join(kind.states)
    model, params = compiled(X, f"e = {kind.written}\n{states} = final(e)(x)\nz = concat([last(e(x)), {states}])", size, dtype)
    y, last = run(kind, params, f"{kind.name}_1", torch.tensor(batch["x"]))
    assert_agrees(model, params, batch, torch.cat([y[:, -1], *last], 1), dtype)


@each_dtype
@each_cell
def test_first_states_for_every_sample(cell: str, dtype: str) -> None:
    """They come from a layer, so that its gradient is that of the first states."""
    kind = CELLS[cell]
    declared = "\n".join([X, *(f"input {s}0: f32[4]" for s in kind.states)])
    batch = batch_of(dtype, x=(TIMES, FEATURES), **{f"{s}0": (4,) for s in kind.states}, t=(TIMES, UNITS))
    given = ", ".join(f"{s} = {s}0 -> dense({UNITS}, bias = false)" for s in kind.states)
    model, params = compiled(declared, f"z = {kind.written}(x, {given})", f"{TIMES}, {UNITS}", dtype)
    first = [torch.tensor(batch[f"{s}0"]) @ params[f"dense_{n}.weight"] for n, s in enumerate(kind.states, 1)]
    y, _ = run(kind, params, f"{kind.name}_1", torch.tensor(batch["x"]), first)
    assert_agrees(model, params, batch, y, dtype)


@each_dtype
@each_cell
def test_first_states_for_all_alike(cell: str, dtype: str) -> None:
    """They are parameters, and the cell runs on from what it carried last."""
    kind = CELLS[cell]
    declared = "\n".join([X, *(f"param {s}0: [{UNITS}] ~ zeros" for s in kind.states)])
    batch = batch_of(dtype, x=(TIMES, FEATURES), t=(TIMES, UNITS))
    given, states = ", ".join(f"{s} = {s}0" for s in kind.states), ", ".join(kind.states)
    again = ", ".join(f"{s} = {s}" for s in kind.states)
    body = f"e = {kind.written}\n{states} = final(e)(x, {given})\nz = e(x, {again})"
    model, params = compiled(declared, body, f"{TIMES}, {UNITS}", dtype)
    x = torch.tensor(batch["x"])
    _, last = run(kind, params, f"{kind.name}_1", x, [params[f"{s}0"] for s in kind.states])
    y, _ = run(kind, params, f"{kind.name}_1", x, last)
    assert_agrees(model, params, batch, y, dtype)


@each_dtype
@each_cell
def test_from_the_last_time_to_the_first(cell: str, dtype: str) -> None:
    kind = CELLS[cell]
    batch = batch_of(dtype, x=(TIMES, FEATURES), t=((TIMES + 1) * UNITS,))
    states = ", ".join((kind.states[0], *(f"_{s}" for s in kind.states[1:])))
    body = f"e = reverse({kind.written})\n{states} = final(e)(x)\nz = concat([flatten()(e(x)), {kind.states[0]}])"
    model, params = compiled(X, body, (TIMES + 1) * UNITS, dtype)
    y, last = run(kind, params, f"{kind.name}_1", torch.tensor(batch["x"]).flip(1))
    assert_agrees(model, params, batch, torch.cat([y.flip(1).flatten(1), last[0]], 1), dtype)


@each_dtype
@pytest.mark.parametrize("layers", [1, 2])
@each_cell
def test_both_directions(cell: str, layers: int, dtype: str) -> None:
    kind = CELLS[cell]
    batch = batch_of(dtype, x=(TIMES, FEATURES), t=(TIMES, 2 * UNITS))
    both = f"bidirectional({kind.written})"
    model, params = compiled(X, f"z = x -> {both if layers == 1 else f'stack({both}, {layers})'}", f"{TIMES}, {2 * UNITS}", dtype)
    y = torch.tensor(batch["x"])
    for layer in range(1, layers + 1):
        path = f"bidirectional_{layer}.{kind.name}" if layers == 1 else f"stack_1.bidirectional_{layer}.{kind.name}"
        forth, _ = run(kind, params, f"{path}_1", y)
        back, _ = run(kind, params, f"{path}_2", y.flip(1))
        y = torch.cat([forth, back.flip(1)], 2)
    assert_agrees(model, params, batch, y, dtype)


@each_dtype
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_twenty_steps_of_adam(cell: str, dtype: str) -> None:
    kind = CELLS[cell]
    batch = batch_of(dtype, x=(TIMES, FEATURES), t=(2,))
    body = f"z = x -> stack({kind.written}, 2) -> last -> dense(2)"
    model, params = compiled(X, body, 2, dtype, train="optimizer = adam(lr = 1e-3)")
    optimizer = torch.optim.Adam(list(params.values()), lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        y, _ = run(kind, params, f"stack_1.{kind.name}_1", torch.tensor(batch["x"]))
        y, _ = run(kind, params, f"stack_1.{kind.name}_2", y)
        z = y[:, -1] @ params["dense_1.weight"] + params["dense_1.b"]
        loss = (z * torch.tensor(batch["t"])).sum(1).mean()
        loss.backward()
        optimizer.step()
        assert abs(model.step(batch) - loss.item()) < TOLERANCE[dtype]
    for name, expected in params.items():
        np.testing.assert_allclose(model.params[name], expected.detach().numpy(), rtol=0, atol=TOLERANCE[dtype], err_msg=name)


# --- cells that are written in a file


LSTM_AGAIN = """
cell again(units)(x: [inputs]) {
    param W: [inputs, 4 * units] ~ glorot_uniform
    param U: [units, 4 * units] ~ orthogonal
    param b: [4 * units] ~ zeros
    state h, c: [units] = 0
    i, f, g, o = split(x @ W + h @ U + b, 4)
    next c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    next h = sigmoid(o) * tanh(next c)
    return next h
}
"""

MINIMAL_GATED = """
cell minimal_gated(units)(x: [inputs]) {
    param W: [inputs, 2 * units] ~ glorot_uniform
    param U: [units, 2 * units] ~ orthogonal
    param b: [2 * units] ~ zeros
    state h: [units] = 0
    xf, xn = split(x @ W + b, 2)
    hf, hn = split(h @ U, 2)
    f = sigmoid(xf + hf)
    next h = (1 - f) * h + f * tanh(xn + f * hn)
    return next h
}
"""

PEEPHOLES = """
cell peepholes(units)(x: [inputs]) {
    param W: [inputs, 4 * units] ~ glorot_uniform
    param U: [units, 4 * units] ~ orthogonal
    param pi: [units] ~ zeros
    param pf: [units] ~ zeros
    param po: [units] ~ zeros
    param h0: [units] ~ zeros
    state h: [units] = h0
    state c: [units] = 0
    i, f, g, o = split(layernorm()(x @ W) + layernorm()(h @ U), 4)
    next c = sigmoid(f + pf * c) * c + sigmoid(i + pi * c) * tanh(g)
    next h = sigmoid(o + po * next c) * tanh(layernorm()(next c))
    return next h
}
"""


def with_cell(source: str, text: str, dtype: str = "f64") -> rv.Model:
    model = rv.compile(f"{source}\n{text}", dtype=dtype, threads=2)
    random = np.random.default_rng(5)
    for name in model.params:
        model.params[name] = model.params[name] + random.normal(size=model.params[name].shape) * 0.2
    return model


SMALL = f"""
model m() {{{{
    input x: f32[4, 3]
    target t: f32[4, {{size}}]
    z = {{z}}
    predict z
    loss sum(z * t)
}}}}
train {{{{ batch = {ROWS} }}}}
"""


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_a_copy_of_the_library_s_cell_is_as_good(dtype: str) -> None:
    """The same bits, in what it says and in what it learns: the library has no other means than a person's file."""
    batch = batch_of(dtype, x=(4, 3), t=(4, 5))
    theirs, ours = (
        rv.compile(f"{LSTM_AGAIN}\n{SMALL.format(z=f'{name}(5)(x)', size=5)}", dtype=dtype, threads=2) for name in ("lstm", "again")
    )
    for name in ("W", "U", "b"):
        ours.params[f"again_1.{name}"] = theirs.params[f"lstm_1.{name}"]
    for _ in range(3):
        assert theirs.step(batch) == ours.step(batch)
    assert theirs.predict(batch["x"]).tobytes() == ours.predict(batch["x"]).tobytes()
    for name in ("W", "U", "b"):
        assert theirs.params[f"lstm_1.{name}"].tobytes() == ours.params[f"again_1.{name}"].tobytes()


def minimal_gated_there(p: Params, x: Any) -> Any:
    h, found = torch.zeros(x.shape[0], 5, dtype=x.dtype), []
    for time in range(x.shape[1]):
        xf, xn = (x[:, time] @ p["minimal_gated_1.W"] + p["minimal_gated_1.b"]).chunk(2, 1)
        hf, hn = (h @ p["minimal_gated_1.U"]).chunk(2, 1)
        f = torch.sigmoid(xf + hf)
        h = (1 - f) * h + f * torch.tanh(xn + f * hn)
        found.append(h)
    return torch.stack(found, 1)


def peepholes_there(p: Params, x: Any) -> Any:
    p = {name.removeprefix("peepholes_1."): value for name, value in p.items()}

    def norm(value: Any, number: int) -> Any:
        return torch.nn.functional.layer_norm(value, value.shape[1:], p[f"layernorm_{number}.gain"], p[f"layernorm_{number}.shift"])

    h, c, found = p["h0"].expand(x.shape[0], 5), torch.zeros(x.shape[0], 5, dtype=x.dtype), []
    for time in range(x.shape[1]):
        i, f, g, o = (norm(x[:, time] @ p["W"], 1) + norm(h @ p["U"], 2)).chunk(4, 1)
        c = torch.sigmoid(f + p["pf"] * c) * c + torch.sigmoid(i + p["pi"] * c) * torch.tanh(g)
        h = torch.sigmoid(o + p["po"] * c) * torch.tanh(norm(c, 3))
        found.append(h)
    return torch.stack(found, 1)


OWN = {
    "minimal_gated(5)": (MINIMAL_GATED, minimal_gated_there),
    "peepholes(5)": (PEEPHOLES, peepholes_there),
}


@pytest.mark.parametrize("cell", OWN)
def test_own_cells(cell: str) -> None:
    source, there = OWN[cell]
    model, batch = with_cell(source, SMALL.format(z=f"{cell}(x)", size=5)), batch_of("f64", x=(4, 3), t=(4, 5))
    params = {name: torch.tensor(model.params[name], requires_grad=True) for name in model.params}
    assert_agrees(model, params, batch, there(params, torch.tensor(batch["x"])), "f64")


@pytest.mark.parametrize("cell", OWN)
@pytest.mark.parametrize(("around", "size"), [("{}", 5), ("reverse({})", 5), ("bidirectional({})", 10)])
def test_own_cells_by_finite_differences(cell: str, around: str, size: int) -> None:
    model, batch = with_cell(OWN[cell][0], SMALL.format(z=f"{around.format(cell)}(x)", size=size)), batch_of("f64", x=(4, 3), t=(4, size))
    gradients, random, step = model.gradients(batch), np.random.default_rng(2), 1e-6
    for name, gradient in gradients.items():
        value, direction = model.params[name].copy(), random.normal(size=gradient.shape)
        losses = []
        for sign in (1, -1):
            model.params[name] = value + sign * step * direction
            losses.append(model.loss(batch))
        model.params[name] = value
        np.testing.assert_allclose((losses[0] - losses[1]) / (2 * step), (gradient * direction).sum(), rtol=1e-6, atol=1e-8, err_msg=name)
