"""What a training step does with its gradients, against PyTorch in f64: if these fail, a recipe that works elsewhere does not work here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'ranvier[torch]'")
F = torch.nn.functional
schedulers = torch.optim.lr_scheduler

NET = """
model net() {{
    input x: f32[7]
    target y: class[4]
    z = x -> dense(9) {options} -> tanh -> dense(4)
    predict softmax(z)
    loss cross_entropy(z, y)
}}
train {{
{train}
}}
"""
ROWS = 24
TOLERANCE = 1e-11


def rows(count: int = ROWS) -> dict[str, Any]:
    generator = np.random.default_rng(1)
    return {"x": generator.standard_normal((count, 7)) * 3, "y": generator.integers(0, 4, count).astype(np.int32)}


class Twin:
    """Our model and PyTorch's parameters with the same values."""

    def __init__(self, train: str, options: str = "") -> None:
        self.model = rv.compile(NET.format(train=train, options=options), dtype="f64", threads=2)
        self.params = {name: torch.tensor(value, requires_grad=True) for name, value in self.model.params.items()}

    def loss(self, batch: dict[str, Any]) -> Any:
        p = self.params
        h = torch.tanh(torch.tensor(batch["x"]) @ p["dense_1.weight"] + p["dense_1.b"])
        return F.cross_entropy(h @ p["dense_2.weight"] + p["dense_2.b"], torch.tensor(batch["y"]).long())

    def backward(self, batch: dict[str, Any]) -> None:
        for p in self.params.values():
            p.grad = None
        self.loss(batch).backward()

    def agree(self, theirs: dict[str, Any] | None = None) -> None:
        for name, expected in (theirs or self.params).items():
            np.testing.assert_allclose(self.model.params[name], expected.detach().numpy(), atol=TOLERANCE, rtol=0, err_msg=name)


# --- optimizers that PyTorch has under other names


def lion_step(params: list[Any], momenta: list[Any], lr: float, betas: tuple[float, float], decay: float) -> None:
    """Algorithm 2 of Chen et al. 2023."""
    with torch.no_grad():
        for p, m in zip(params, momenta, strict=True):
            direction = torch.sign(betas[0] * m + (1 - betas[0]) * p.grad)
            p -= lr * (direction + decay * p)
            m.mul_(betas[1]).add_(p.grad, alpha=1 - betas[1])


def test_lion() -> None:
    twin, batch = Twin(f"optimizer = lion(lr = 1e-3, decay = 0.1)\nbatch = {ROWS}"), rows()
    params = list(twin.params.values())
    momenta = [torch.zeros_like(p) for p in params]
    for _ in range(15):
        twin.backward(batch)
        lion_step(params, momenta, 1e-3, (0.9, 0.99), 0.1)
        twin.model.step(batch)
    twin.agree()


# --- clipping

CLIPS: dict[str, Callable[[list[Any]], object]] = {
    "clip_norm(0.05)": lambda ps: torch.nn.utils.clip_grad_norm_(ps, 0.05),
    "clip_norm(100)": lambda ps: torch.nn.utils.clip_grad_norm_(ps, 100),
    "clip_value(0.01)": lambda ps: torch.nn.utils.clip_grad_value_(ps, 0.01),
    "clip_norm_each(0.02)": lambda ps: [torch.nn.utils.clip_grad_norm_([p], 0.02) for p in ps],
    "[clip_value(0.02), clip_norm(0.05)]": lambda ps: (
        torch.nn.utils.clip_grad_value_(ps, 0.02),
        torch.nn.utils.clip_grad_norm_(ps, 0.05),
    ),
}


@pytest.mark.parametrize("clip", CLIPS)
def test_clipping(clip: str) -> None:
    twin, batch = Twin(f"optimizer = sgd(lr = 0.5, momentum = 0.9)\nclip = {clip}\nbatch = {ROWS}"), rows()
    theirs = torch.optim.SGD(twin.params.values(), lr=0.5, momentum=0.9)
    for _ in range(10):
        twin.backward(batch)
        CLIPS[clip](list(twin.params.values()))
        theirs.step()
        twin.model.step(batch)
    twin.agree()


# --- schedules, with validation figures of PyTorch's own choice where they are asked for

EPOCHS = 12
SCHEDULES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "step(every = 3, factor = 0.5)": ("epoch", lambda o: schedulers.StepLR(o, 3, 0.5)),
    "exponential(decay = 0.8)": ("epoch", lambda o: schedulers.ExponentialLR(o, 0.8)),
    "milestones([2, 5, 9], factor = 0.3)": ("epoch", lambda o: schedulers.MultiStepLR(o, [2, 5, 9], 0.3)),
    "restarts(first = 4, floor = 0.1)": ("epoch", lambda o: schedulers.CosineAnnealingWarmRestarts(o, 4, 1, eta_min=0.01)),
    "restarts(first = 2, growth = 2)": ("epoch", lambda o: schedulers.CosineAnnealingWarmRestarts(o, 2, 2)),
    "polynomial(power = 2)": ("step", lambda o: schedulers.PolynomialLR(o, EPOCHS * 3 - 1, 2)),
    "cosine(floor = 0.2)": ("step", lambda o: schedulers.CosineAnnealingLR(o, EPOCHS * 3 - 1, eta_min=0.02)),
    "one_cycle()": ("step", lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=EPOCHS * 3, cycle_momentum=False)),
    "one_cycle(warmup = 25%, start = 0.1, floor = 0.001, linear = true)": (
        "step",
        lambda o: schedulers.OneCycleLR(
            o, 0.1, total_steps=EPOCHS * 3, pct_start=0.25, div_factor=10, final_div_factor=100, anneal_strategy="linear",
            cycle_momentum=False,
        ),
    ),
    "constant(warmup = 9)": ("step", lambda o: schedulers.LinearLR(o, 1 / 9, 1, total_iters=8)),
    "inverse_sqrt(warmup = 6)": ("step", lambda o: schedulers.LambdaLR(o, lambda n: min((n + 1) / 6, 1) * min(6 / (n + 1), 1) ** 0.5)),
    "plateau(factor = 0.5, patience = 1, threshold = 0.15)": (
        "figure",
        lambda o: schedulers.ReduceLROnPlateau(o, factor=0.5, patience=1, threshold=0.15),
    ),
    "plateau(factor = 0.3, patience = 0, threshold = 0.2, cooldown = 2, floor = 0.01)": (
        "figure",
        lambda o: schedulers.ReduceLROnPlateau(o, factor=0.3, patience=0, threshold=0.2, cooldown=2, min_lr=0.001),
    ),
}  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules(schedule: str) -> None:
    """A weight that moves by the learning rate at every step shows the whole schedule: its loss is w, its gradient 1."""
    when, make = SCHEDULES[schedule]
    text = f"""
    model m() {{
        input x: f32
        param w: [1] ~ 0
        loss sum(w) + x
    }}
    train {{ optimizer = gd(lr = 0.1) ; schedule = {schedule} ; batch = 4 ; epochs = {EPOCHS} }}
    """
    model = rv.compile(text, dtype="f64")
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    theirs = make(optimizer)
    figures, expected = [], []

    def report(progress: Any) -> None:
        if progress.finished:
            figures.append((progress.validation["loss"], float(model.params["w"][0])))

    model.fit({"x": np.full(12, 5.0)}, validation={"x": np.full(3, 5.0)}, report=report)
    for loss, _ in figures:
        for _ in range(3):
            weight.grad = torch.ones(1, dtype=torch.float64)
            optimizer.step()
            if when == "step" and len(expected) * 3 < EPOCHS * 3:
                advance(theirs, optimizer)
        if when == "epoch":
            theirs.step()
        elif when == "figure":
            theirs.step(loss)
        expected.append(float(weight.detach()))
    np.testing.assert_allclose([w for _, w in figures], expected, atol=1e-12, rtol=1e-12)
    rates = -np.diff([0.0, *expected])
    assert rates.min() < 0.99 * rates.max(), "the schedule did nothing"


def advance(scheduler: Any, optimizer: Any) -> None:
    """One step of a scheduler; OneCycleLR refuses one after its last."""
    if scheduler.last_epoch + 1 < getattr(scheduler, "total_steps", 10**9):
        scheduler.step()


# --- regularisers


def penalty(name: str, params: dict[str, Any]) -> Any:
    matrices = [p for p in params.values() if p.ndim > 1]
    every = list(params.values())
    return {
        "l2(0.01)": lambda: 0.01 * sum((p**2).sum() for p in matrices),
        "l2(0.01, biases = true)": lambda: 0.01 * sum((p**2).sum() for p in every),
        "l1(0.02)": lambda: 0.02 * sum(p.abs().sum() for p in matrices),
        "elastic(0.03, ratio = 0.2)": lambda: 0.03 * sum(0.2 * p.abs().sum() + 0.8 * (p**2).sum() for p in matrices),
        "[l1(0.02), l2(0.01, biases = true)]": lambda: (
            0.02 * sum(p.abs().sum() for p in matrices) + 0.01 * sum((p**2).sum() for p in every)
        ),
    }[name]()


@pytest.mark.parametrize(
    "regularize", ["l2(0.01)", "l2(0.01, biases = true)", "l1(0.02)", "elastic(0.03, ratio = 0.2)", "[l1(0.02), l2(0.01, biases = true)]"]
)
def test_penalties(regularize: str) -> None:
    twin, batch = Twin(f"optimizer = adam(lr = 1e-2)\nregularize = {regularize}\nbatch = {ROWS}"), rows()
    theirs = torch.optim.Adam(twin.params.values(), lr=1e-2)
    for _ in range(10):
        theirs.zero_grad()
        (twin.loss(batch) + penalty(regularize, twin.params)).backward()
        theirs.step()
        twin.model.step(batch)
    twin.agree()


def test_decoupled_decay_leaves_biases_out_unless_they_are_wanted() -> None:
    for biases in ("false", "true"):
        regularize = f"weight_decay(0.1, biases = {biases})"
        train = f"optimizer = adam(lr = 1e-2)\nschedule = exponential(0.5)\nregularize = {regularize}\nbatch = {ROWS}"
        twin, batch = Twin(train), rows()
        groups = [{"params": [p], "weight_decay": 0.1 if p.ndim > 1 or biases == "true" else 0.0} for p in twin.params.values()]
        theirs = torch.optim.AdamW(groups, lr=1e-2)
        for _ in range(10):
            twin.backward(batch)
            theirs.step()
            twin.model.step(batch)
        twin.agree()


@pytest.mark.parametrize("options", ["with max_norm = 0.4", "with regularize = max_norm(0.4)", ""])
def test_max_norm_after_each_update(options: str) -> None:
    regularize = "" if options else "regularize = max_norm(0.4)\n"
    twin, batch = Twin(f"optimizer = sgd(lr = 0.3, momentum = 0.9)\n{regularize}batch = {ROWS}", options), rows()
    theirs = torch.optim.SGD(twin.params.values(), lr=0.3, momentum=0.9)
    for _ in range(10):
        twin.backward(batch)
        theirs.step()
        with torch.no_grad():
            for name in ("dense_1.weight",) if options else ("dense_1.weight", "dense_2.weight"):
                p = twin.params[name]
                p *= torch.clamp(0.4 / p.norm(dim=0), max=1)
        twin.model.step(batch)
    twin.agree()
    assert np.linalg.norm(twin.model.params["dense_1.weight"], axis=0).max() <= 0.4 + 1e-12


@pytest.mark.parametrize(
    ("regularize", "holds"),
    [
        ("non_negative", lambda w: (w >= 0).all() and (w > 0).any()),
        ("fixed_norm(2)", lambda w: np.allclose(np.linalg.norm(w, axis=0), 2)),
        ("[max_norm(0.5), non_negative]", lambda w: (w >= 0).all() and np.linalg.norm(w, axis=0).max() < 0.5 + 1e-12),
    ],
)
def test_constraints_hold_after_every_update(regularize: str, holds: Callable[[Any], bool]) -> None:
    twin, batch = Twin(f"optimizer = sgd(lr = 0.3)\nregularize = {regularize}\nbatch = {ROWS}"), rows()
    for _ in range(3):
        twin.model.step(batch)
        assert all(holds(w) for w in twin.model.params.values() if w.ndim > 1)


@pytest.mark.parametrize("rate", [0, 0.1])
def test_a_layer_may_have_a_learning_rate_of_its_own(rate: float) -> None:
    train = f"optimizer = adamw(lr = 1e-2, decay = 0.1)\nschedule = exponential(0.5)\nregularize = l2(0.01)\nbatch = {ROWS}"
    twin, batch = Twin(train, options=f"with rate = {rate}"), rows()
    groups = [{"params": [p], "lr": 1e-2 * (rate if name.startswith("dense_1") else 1)} for name, p in twin.params.items()]
    theirs = torch.optim.AdamW(groups, weight_decay=0.1)
    for _ in range(10):
        theirs.zero_grad()
        (twin.loss(batch) + penalty("l2(0.01)", twin.params)).backward()
        theirs.step()
        twin.model.step(batch)
    twin.agree()


# --- averages

AVERAGES: dict[str, Callable[[], Any]] = {
    "ema(0.9)": lambda: torch.optim.swa_utils.get_ema_avg_fn(0.9),
    "swa(start = 1)": lambda: torch.optim.swa_utils.get_swa_avg_fn(),
}


@pytest.mark.parametrize("average", AVERAGES)
def test_averages(average: str) -> None:
    train = f"optimizer = adam(lr = 1e-2)\naverage = {average}\nbatch = 8\nepochs = 4"
    twin, data = Twin(train), rows()
    holder = torch.nn.ParameterList(list(twin.params.values()))
    averaged = torch.optim.swa_utils.AveragedModel(holder, avg_fn=AVERAGES[average]())
    theirs = torch.optim.Adam(holder.parameters(), lr=1e-2)
    for epoch in range(4):
        order = np.random.Generator(np.random.PCG64([0, epoch])).permutation(ROWS)
        for start in range(0, ROWS, 8):
            batch = {k: v[order[start : start + 8]] for k, v in data.items()}
            for p, mine in zip(holder, twin.params, strict=True):
                twin.params[mine] = p
            theirs.zero_grad()
            twin.loss(batch).backward()
            theirs.step()
            if average.startswith("swa") and epoch == 0 and start == 0:
                continue
            averaged.update_parameters(holder)
    twin.model.fit(data)  # both take over the first value that they see
    twin.agree(dict(zip(twin.params, averaged.module, strict=True)))


# --- accumulation


@pytest.mark.parametrize("count", [22, 24, 29])
def test_batches_that_make_one_update_are_one_batch_with_all_their_rows(count: int) -> None:
    """The last update of an epoch takes what is left, in both."""
    train = (
        "optimizer = adam(lr = 1e-2) ; schedule = cosine(warmup = 2) ; clip = clip_norm(0.1) ; regularize = [l2(0.01), weight_decay(0.1)]"
    )
    common = f"{train.replace(' ; ', chr(10))}\naverage = ema(0.8)\nepochs = 5"
    wide, narrow = Twin(f"{common}\nbatch = 12").model, Twin(f"{common}\nbatch = 4\naccumulate = 3").model
    data = rows(count)
    wide.fit(data)
    narrow.fit(data)
    assert narrow.updates == wide.updates == 5 * -(-count // 12)
    for name in wide.params:
        np.testing.assert_allclose(narrow.params[name], wide.params[name], atol=TOLERANCE, rtol=0, err_msg=name)


def test_a_whole_epoch_may_be_one_update() -> None:
    whole = Twin(f"optimizer = gd(lr = 0.5)\nbatch = {ROWS}\nepochs = 6").model
    parts = Twin("optimizer = gd(lr = 0.5)\nbatch = 5\naccumulate = inf\nepochs = 6").model
    data = rows()
    whole.fit(data)
    parts.fit(data)
    assert parts.updates == 6
    for name in whole.params:
        np.testing.assert_allclose(parts.params[name], whole.params[name], atol=TOLERANCE, rtol=0, err_msg=name)
