"""Whole networks against PyTorch: if these fail, a model trained here is not the model that its file describes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from declared import declared, named
from ranvier.compiler.frontend.library import standard_sources
from ranvier.compiler.frontend.parser import parse

import ranvier as rv

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'ranvier[torch]'")
F = torch.nn.functional

NET = """
model net(hidden = 33) {{
    input x: f32[17]
    target y: class[5]
    z = x -> dense(hidden) -> {activation} -> dense(20) -> tanh -> dense(5)
    predict softmax(z)
    loss cross_entropy(z, y)
}}
train {{
    optimizer = {optimizer}
    batch = 24
}}
"""


class Lion(torch.optim.Optimizer):  # type: ignore[misc]
    """Algorithm 2 of Chen et al. 2023, which PyTorch does not have."""

    def __init__(self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self) -> None:
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                direction = torch.sign(first * momentum + (1 - first) * p.grad)
                p -= group["lr"] * (direction + group["weight_decay"] * p)
                momentum.mul_(second).add_(p.grad, alpha=1 - second)


OPTIMIZERS: dict[str, Any] = {
    "gd(lr = 0.1)": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd(lr = 0.05, momentum = 0.9)": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "sgd(lr = 0.05, momentum = 0.9, nesterov = true)": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop(lr = 1e-3)": lambda p: torch.optim.RMSprop(p, lr=1e-3),
    "rmsprop(lr = 1e-3, momentum = 0.5)": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5),
    "adagrad(lr = 1e-2)": lambda p: torch.optim.Adagrad(p, lr=1e-2),
    "adadelta(lr = 1)": lambda p: torch.optim.Adadelta(p, lr=1),
    "adam(lr = 1e-3)": lambda p: torch.optim.Adam(p, lr=1e-3),
    "rmsprop(lr = 1e-3, centered = true)": lambda p: torch.optim.RMSprop(p, lr=1e-3, centered=True),
    "amsgrad(lr = 1e-2)": lambda p: torch.optim.Adam(p, lr=1e-2, amsgrad=True),
    "adamax(lr = 2e-3)": lambda p: torch.optim.Adamax(p, lr=2e-3),
    "radam(lr = 1e-3)": lambda p: torch.optim.RAdam(p, lr=1e-3),
    "nadam(lr = 2e-3)": lambda p: torch.optim.NAdam(p, lr=2e-3),
    "nadam(lr = 1e-3, momentum_decay = 0)": lambda p: torch.optim.NAdam(p, lr=1e-3, momentum_decay=0),
    "adamw(lr = 1e-3, decay = 0.05)": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.05),
    "lion(lr = 1e-3)": lambda p: Lion(p, 1e-3, (0.9, 0.99), 0),
}
SETTINGS: dict[str, Any] = {
    "rmsprop(lr = 1e-3, decay = 0.9, eps = 1e-4, momentum = 0.5, centered = true)": lambda p: torch.optim.RMSprop(
        p, lr=1e-3, alpha=0.9, eps=1e-4, momentum=0.5, centered=True
    ),
    "adagrad(lr = 1e-2, eps = 1e-4)": lambda p: torch.optim.Adagrad(p, lr=1e-2, eps=1e-4),
    "adadelta(lr = 0.5, decay = 0.8, eps = 1e-5)": lambda p: torch.optim.Adadelta(p, lr=0.5, rho=0.8, eps=1e-5),
    "adam(lr = 2e-3, beta1 = 0.8, beta2 = 0.95, eps = 1e-4)": lambda p: torch.optim.Adam(p, lr=2e-3, betas=(0.8, 0.95), eps=1e-4),
    "amsgrad(lr = 2e-3, beta1 = 0.8, beta2 = 0.9, eps = 1e-4)": lambda p: torch.optim.Adam(
        p, lr=2e-3, betas=(0.8, 0.9), eps=1e-4, amsgrad=True
    ),
    "adamax(lr = 1e-3, beta1 = 0.8, beta2 = 0.95, eps = 1e-4)": lambda p: torch.optim.Adamax(p, lr=1e-3, betas=(0.8, 0.95), eps=1e-4),
    "radam(lr = 2e-3, beta1 = 0.8, beta2 = 0.95, eps = 1e-4)": lambda p: torch.optim.RAdam(p, lr=2e-3, betas=(0.8, 0.95), eps=1e-4),
    "nadam(lr = 1e-3, beta1 = 0.8, beta2 = 0.95, eps = 1e-4, momentum_decay = 1e-2)": lambda p: torch.optim.NAdam(
        p, lr=1e-3, betas=(0.8, 0.95), eps=1e-4, momentum_decay=1e-2
    ),
    "adamw(lr = 2e-3, beta1 = 0.8, beta2 = 0.95, eps = 1e-4, decay = 0.1)": lambda p: torch.optim.AdamW(
        p, lr=2e-3, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1
    ),
    "lion(lr = 2e-3, beta1 = 0.8, beta2 = 0.95, decay = 0.1)": lambda p: Lion(p, 2e-3, (0.8, 0.95), 0.1),
}
"""Every setting at a value of its own."""

ACTIVATIONS: dict[str, Any] = {
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": torch.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "hard_sigmoid": lambda x: torch.clamp(x / 6 + 0.5, 0, 1),  # F.hardsigmoid's gradient rounds 1/6 to f32 even in f64
    "hard_tanh": F.hardtanh,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
}

TOLERANCE = {"f32": 1e-5, "f64": 1e-10}


def twin(activation: str, optimizer: str, dtype: str) -> tuple[Any, dict[str, Any], Any, dict[str, Any]]:
    """Our model, PyTorch's parameters with the same values, its loss as a function, and a batch."""
    model = rv.compile(NET.format(activation=activation, optimizer=optimizer), dtype=dtype, threads=2)
    kind = torch.float32 if dtype == "f32" else torch.float64
    params = {name: torch.tensor(model.params[name], dtype=kind, requires_grad=True) for name in model.params}
    generator = np.random.default_rng(1)
    batch = {"x": generator.standard_normal((24, 17)).astype({"f32": "f4", "f64": "f8"}[dtype])}
    batch["y"] = generator.integers(0, 5, 24).astype(np.int32)
    x, y = torch.tensor(batch["x"]), torch.tensor(batch["y"]).long()

    def loss() -> Any:
        h = ACTIVATIONS[activation](x @ params["dense_1.weight"] + params["dense_1.b"])
        h = torch.tanh(h @ params["dense_2.weight"] + params["dense_2.b"])
        return F.cross_entropy(h @ params["dense_3.weight"] + params["dense_3.b"], y)

    return model, params, loss, batch


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_loss_and_every_gradient(activation: str, dtype: str) -> None:
    model, params, loss, batch = twin(activation, "gd()", dtype)
    value = loss()
    value.backward()
    gradients = model.gradients(batch)
    assert set(gradients) == set(params)
    for name, expected in params.items():
        np.testing.assert_allclose(gradients[name], expected.grad.numpy(), atol=TOLERANCE[dtype], rtol=0, err_msg=name)
    np.testing.assert_allclose(model.loss(batch), value.item(), atol=TOLERANCE[dtype])


@pytest.fixture
def scalars(dtype: str) -> Iterator[None]:
    """PyTorch keeps scalars of its own, such as NAdam's product of momenta, in its default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if dtype == "f64" else torch.float32)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("scalars")
@pytest.mark.parametrize(("optimizer", "dtype"), [*((o, d) for o in OPTIMIZERS for d in ("f32", "f64")), *((o, "f64") for o in SETTINGS)])
def test_twenty_steps_of_an_optimizer(optimizer: str, dtype: str) -> None:
    model, params, loss, batch = twin("relu", optimizer, dtype)
    theirs = (OPTIMIZERS | SETTINGS)[optimizer](list(params.values()))
    for _ in range(20):
        theirs.zero_grad()
        value = loss()
        value.backward()
        theirs.step()
        assert abs(model.step(batch) - value.item()) < TOLERANCE[dtype]
    for name, expected in params.items():
        np.testing.assert_allclose(model.params[name], expected.detach().numpy(), atol=TOLERANCE[dtype], rtol=0, err_msg=name)


def test_every_optimizer_and_each_of_its_settings_is_compared() -> None:
    """Whoever adds one to the library adds it to the tables above, or this fails."""
    assert declared("optimizers.nn") == named(OPTIMIZERS)
    for definition in parse(standard_sources()["optimizers.nn"]).definitions:
        cases = [case for case in (*OPTIMIZERS, *SETTINGS) if case.startswith(f"{definition.name.id}(")]
        for setting in definition.settings or ():
            assert any(f"{setting.name.id} =" in case for case in cases), f"no case of {definition.name.id} sets {setting.name.id}"


LOSSES: dict[str, tuple[str, Any]] = {
    "mse(x -> dense(4), t)": ("f32[4]", lambda z, t: F.mse_loss(z, t)),
    "mae(x -> dense(4), t)": ("f32[4]", lambda z, t: F.l1_loss(z, t)),
    "huber(x -> dense(4), t, delta = 0.7)": ("f32[4]", lambda z, t: F.huber_loss(z, t, delta=0.7)),
    "binary_cross_entropy(x -> dense(4), t)": ("f32[4]", lambda z, t: F.binary_cross_entropy_with_logits(z, t)),
    "binary_cross_entropy(x -> dense(4), t, smoothing = 0.1)": (
        "f32[4]",
        lambda z, t: F.binary_cross_entropy_with_logits(z, 0.9 * t + 0.05),
    ),
    "poisson(x -> dense(4), t)": ("f32[4]", lambda z, t: F.poisson_nll_loss(z, t)),
    "kl_divergence(log_softmax(x -> dense(4)), t)": ("f32[4]", lambda z, t: F.kl_div(torch.log_softmax(z, 1), t, reduction="batchmean")),
    "cross_entropy_probabilities(x -> dense(4), t)": ("f32[4]", lambda z, t: F.cross_entropy(z, t)),
    "cross_entropy(x -> dense(4), t)": ("class[4]", lambda z, t: F.cross_entropy(z, t)),
    "cross_entropy(x -> dense(4), t, smoothing = 0.1)": ("class[4]", lambda z, t: F.cross_entropy(z, t, label_smoothing=0.1)),
    "nll(log_softmax(x -> dense(4)), t)": ("class[4]", lambda z, t: F.nll_loss(torch.log_softmax(z, 1), t)),
    "hinge(x -> dense(4), t)": (
        "class[4]",
        lambda z, t: torch.stack(
            [max(0 * z[i, 0], 1 + max(z[i, j] for j in range(4) if j != t[i]) - z[i, t[i]]) for i in range(len(t))]
        ).mean(),
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_their_gradients(loss: str) -> None:
    kind, theirs = LOSSES[loss]
    text = f"model m() {{\n input x: f32[3]\n target t: {kind}\n loss {loss}\n}}\ntrain {{ batch = 9 }}\n"
    model = rv.compile(text, dtype="f64")
    generator = np.random.default_rng(2)
    x = generator.standard_normal((9, 3))
    t = generator.integers(0, 4, 9).astype(np.int32) if kind.startswith("class") else generator.dirichlet(np.ones(4), 9)
    w, b = (torch.tensor(model.params[n], requires_grad=True) for n in ("dense_1.weight", "dense_1.b"))
    target = torch.tensor(t).long() if kind.startswith("class") else torch.tensor(t)
    value = theirs(torch.tensor(x) @ w + b, target)
    value.backward()
    gradients = model.gradients({"x": x, "t": t})
    np.testing.assert_allclose(gradients["dense_1.weight"], w.grad.numpy(), atol=1e-10)
    np.testing.assert_allclose(gradients["dense_1.b"], b.grad.numpy(), atol=1e-10)
    np.testing.assert_allclose(model.evaluate({"x": x, "t": t})["loss"], value.item(), atol=1e-10)


def test_every_loss_and_activation_is_compared() -> None:
    """Whoever adds one to the library adds it to the tables above, or this fails."""
    assert declared("losses.nn", with_settings=False) - {"chosen"} == named(LOSSES)  # `chosen` picks from a table
    assert declared("activations.nn", with_settings=False) <= set(ACTIVATIONS)


def test_layernorm_and_penalties() -> None:
    text = """
    model m() {
        input x: f32[6]
        target t: f32[4]
        h = x -> dense(8) -> layernorm -> relu
        loss mse(h -> dense(4) with regularize = l1(0.02, biases = true), t)
    }
    train { batch = 10 ; regularize = l2(0.01) }
    """
    model = rv.compile(text, dtype="f64")
    generator = np.random.default_rng(3)
    x, t = generator.standard_normal((10, 6)), generator.standard_normal((10, 4))
    p = {n: torch.tensor(model.params[n], requires_grad=True) for n in model.params}
    h = torch.tensor(x) @ p["dense_1.weight"] + p["dense_1.b"]
    h = torch.relu(F.layer_norm(h, (8,), p["layernorm_1.gain"], p["layernorm_1.shift"]))
    data = F.mse_loss(h @ p["dense_2.weight"] + p["dense_2.b"], torch.tensor(t))
    whole = data + 0.01 * (p["dense_1.weight"] ** 2).sum() + 0.02 * (p["dense_2.weight"].abs().sum() + p["dense_2.b"].abs().sum())
    whole.backward()
    for name, gradient in model.gradients({"x": x, "t": t}).items():
        np.testing.assert_allclose(gradient, p[name].grad.numpy(), atol=1e-10, err_msg=name)
