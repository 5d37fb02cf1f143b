"""What a training step does with its gradients, against PyTorch in f64: if these fail, a recipe that works elsewhere does not work here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from declared import declared, named

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
LAST = EPOCHS * 3 - 1
RISE = 9


class Risen:
    """A scheduler of PyTorch whose rate rises on a line over the first steps, whatever it comes to: `every` steps are one of its own."""

    def __init__(self, inner: Any, every: int) -> None:
        self.inner, self.every, self.count = inner, every, 0
        self.groups = inner.optimizer.param_groups
        self.rates = [group["lr"] for group in self.groups]
        self._damp()

    def step(self) -> None:
        self.count += 1
        if self.count % self.every == 0:
            self.advance()
        self._damp()

    def advance(self, *figures: float) -> None:
        for group, rate in zip(self.groups, self.rates, strict=True):
            group["lr"] = rate
        self.inner.step(*figures)
        self.rates = [group["lr"] for group in self.groups]
        self._damp()

    def _damp(self) -> None:
        for group, rate in zip(self.groups, self.rates, strict=True):
            group["lr"] = rate * min((self.count + 1) / RISE, 1)


def after_a_rise(optimizer: Any, make: Callable[[Any], Any]) -> Any:
    """A line up over the first steps, and a scheduler that begins when it is at its end."""
    rise = schedulers.LinearLR(optimizer, 1 / RISE, 1, total_iters=RISE - 1)
    return schedulers.SequentialLR(optimizer, [rise, make(optimizer)], [RISE])


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
    "polynomial(power = 3, floor = 0.1)": ("step", lambda o: schedulers.LambdaLR(o, lambda n: 0.1 + 0.9 * max(1 - n / LAST, 1e-12) ** 3)),
    "step(every = 3, factor = 0.5, warmup = 9)": ("step", lambda o: Risen(schedulers.StepLR(o, 3, 0.5), 3)),
    "exponential(decay = 0.8, warmup = 9)": ("step", lambda o: Risen(schedulers.ExponentialLR(o, 0.8), 3)),
    "milestones([2, 5, 9], factor = 0.3, warmup = 25%)": ("step", lambda o: Risen(schedulers.MultiStepLR(o, [2, 5, 9], 0.3), 3)),
    "restarts(first = 2, growth = 2, warmup = 9)": ("step", lambda o: Risen(schedulers.CosineAnnealingWarmRestarts(o, 2, 2), 3)),
    "polynomial(power = 2, warmup = 25%)": ("step", lambda o: after_a_rise(o, lambda o: schedulers.PolynomialLR(o, LAST - RISE, 2))),
    "cosine(warmup = 9)": ("step", lambda o: after_a_rise(o, lambda o: schedulers.CosineAnnealingLR(o, LAST - RISE))),
    "plateau(factor = 0.5, patience = 1, threshold = 0.15, warmup = 9)": (
        "both",
        lambda o: Risen(schedulers.ReduceLROnPlateau(o, factor=0.5, patience=1, threshold=0.15), 10**9),
    ),
    "sweep(low = 1e-4, high = 1)": ("step", lambda o: schedulers.LambdaLR(o, lambda n: 1e-3 * 1e4 ** (n / LAST))),
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


def test_every_schedule_is_compared_with_a_rise_and_without() -> None:
    """Whoever adds one to the library adds it to the table above, or this fails."""
    assert declared("schedules.nn") | declared("finding.nn") == named(SCHEDULES)
    assert named(case for case in SCHEDULES if "warmup" in case) == named(SCHEDULES) - {"sweep"}


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
            if when in ("step", "both") and len(expected) * 3 < EPOCHS * 3:
                advance(theirs, optimizer)
        if when == "epoch":
            theirs.step()
        elif when == "figure":
            theirs.step(loss)
        elif when == "both":
            theirs.advance(loss)
        expected.append(float(weight.detach()))
    np.testing.assert_allclose([w for _, w in figures], expected, atol=1e-12, rtol=1e-12)
    rates = -np.diff([0.0, *expected])
    assert rates.min() < 0.99 * rates.max(), "the schedule did nothing"


def advance(scheduler: Any, optimizer: Any) -> None:
    """One step of a scheduler; OneCycleLR refuses one after its last."""
    if getattr(scheduler, "last_epoch", 0) + 1 < getattr(scheduler, "total_steps", 10**9):
        scheduler.step()


# --- regularisers


def squares(params: list[Any]) -> Any:
    return sum((p**2).sum() for p in params)


def sizes(params: list[Any]) -> Any:
    return sum(p.abs().sum() for p in params)


PENALTIES: dict[str, Callable[[list[Any], list[Any]], Any]] = {
    "l2(0.01)": lambda matrices, _: 0.01 * squares(matrices),
    "l2(0.01, biases = true)": lambda _, every: 0.01 * squares(every),
    "l1(0.02)": lambda matrices, _: 0.02 * sizes(matrices),
    "elastic(0.03, ratio = 0.2)": lambda matrices, _: 0.03 * (0.2 * sizes(matrices) + 0.8 * squares(matrices)),
    "elastic(0.03, biases = true)": lambda _, every: 0.015 * (sizes(every) + squares(every)),
    "[l1(0.02), l2(0.01, biases = true)]": lambda matrices, every: 0.02 * sizes(matrices) + 0.01 * squares(every),
}


def penalty(name: str, params: dict[str, Any]) -> Any:
    return PENALTIES[name]([p for p in params.values() if p.ndim > 1], list(params.values()))


@pytest.mark.parametrize("regularize", PENALTIES)
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


def bounded(w: Any, limit: float) -> Any:
    """torch.renorm(w, 2, 1, limit) without the 1e-7 that it adds to each norm."""
    return w * torch.clamp(limit / w.norm(dim=0), max=1)


CONSTRAINTS: dict[str, Callable[[Any], Any]] = {
    "max_norm(0.4)": lambda w: bounded(w, 0.4) if w.ndim > 1 else w,
    "max_norm(0.4, biases = true)": lambda w: bounded(w, 0.4) if w.ndim > 1 else torch.clamp(w, -0.4, 0.4),
    "fixed_norm(2)": lambda w: 2 * F.normalize(w, dim=0) if w.ndim > 1 else w,
    "non_negative()": lambda w: torch.clamp(w, min=0) if w.ndim > 1 else w,
    "non_negative(biases = true)": lambda w: torch.clamp(w, min=0),
    "[max_norm(0.5), non_negative()]": lambda w: torch.clamp(bounded(w, 0.5), min=0) if w.ndim > 1 else w,
}


@pytest.mark.parametrize(
    ("regularize", "options"),
    [*((name, "") for name in CONSTRAINTS), ("max_norm(0.4)", "with max_norm = 0.4"), ("max_norm(0.4)", "with regularize = max_norm(0.4)")],
)
def test_constraints_after_each_update(regularize: str, options: str) -> None:
    """Of the whole model, or of its first layer alone."""
    train = "optimizer = sgd(lr = 0.3, momentum = 0.9)\n" + ("" if options else f"regularize = {regularize}\n")
    twin, batch = Twin(f"{train}batch = {ROWS}", options), rows()
    theirs = torch.optim.SGD(twin.params.values(), lr=0.3, momentum=0.9)
    changed = 0.0
    for _ in range(10):
        twin.backward(batch)
        theirs.step()
        with torch.no_grad():
            for name, p in twin.params.items():
                if not options or name == "dense_1.weight":
                    new = CONSTRAINTS[regularize](p)
                    changed += float((new - p).abs().sum())
                    p.copy_(new)
        twin.model.step(batch)
    twin.agree()
    assert changed > 0.01, "the constraint never bound"


def test_every_regulariser_clip_and_average_is_compared() -> None:
    """Whoever adds one to the library adds it to the tables of this file, or this fails."""
    assert declared("regularisers.nn") == named(PENALTIES) | named(CONSTRAINTS) | {"weight_decay"}  # which has a test of its own
    assert declared("clipping.nn") == named(CLIPS)
    assert declared("averaging.nn") == named(AVERAGES)


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

AVERAGES: dict[str, tuple[int, Callable[[], Any]]] = {
    "ema(0.9)": (1, lambda: torch.optim.swa_utils.get_ema_avg_fn(0.9)),
    "swa(start = 1)": (2, lambda: torch.optim.swa_utils.get_swa_avg_fn()),
    "swa(start = 50%)": (7, lambda: torch.optim.swa_utils.get_swa_avg_fn()),
    "ema(0.7, ramp = true)": (1, lambda: ramped),
}
"""The step from which PyTorch averages, and how."""


def ramped(average: Any, now: Any, count: Any) -> Any:
    """The decay of TensorFlow's `ExponentialMovingAverage` with its number of updates."""
    keep = min(0.7, (2 + float(count)) / (11 + float(count)))
    return keep * average + (1 - keep) * now


@pytest.mark.parametrize("average", AVERAGES)
def test_averages(average: str) -> None:
    train = f"optimizer = adam(lr = 1e-2)\naverage = {average}\nbatch = 8\nepochs = 4"
    twin, data = Twin(train), rows()
    holder = torch.nn.ParameterList(list(twin.params.values()))
    first, make = AVERAGES[average]
    averaged, step = torch.optim.swa_utils.AveragedModel(holder, avg_fn=make()), 0
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
            step += 1
            if step >= first:
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
