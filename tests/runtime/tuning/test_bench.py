"""Which numbers a search may change without compiling anew: one program for all values of a kind, and the bits of each written in the file.

If these fail, a search takes hours instead of minutes, or its scores are not those of the model that is saved.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ranvier.runtime.model import Model
from ranvier.runtime.opening import make_blueprint, open_source
from ranvier.runtime.tuning.bench import Bench

import ranvier as rv

TEXT = """
model m(hidden = 6, drop = 0.25, strength = 1e-3, deviation = 0.1, smooth = 0.1, slope = 0.1, eps = 1e-5, keep = 0.9) {
    input x: f32[4]
    target y: class[3]
    h = x -> standardize -> (dense(hidden, init = normal(std = deviation)) with l2 = strength) -> batchnorm(momentum = keep, eps = eps)
    z = h -> leaky_relu(slope) -> dropout(drop) -> dense(3)
    predict softmax(z)
    loss cross_entropy(z, y, smoothing = smooth)
}
train {
    optimizer = OPTIMIZER
    schedule = SCHEDULE
    regularize = elastic(1e-3, ratio = 0.5)
    clip = clip_norm(1.0)
    average = ema(decay = 0.9)
    batch = 16
    epochs = 3
}
"""
RANDOM = np.random.default_rng(2)
Y = RANDOM.integers(0, 3, 80)
ROWS = {"x": (RANDOM.normal(size=(80, 4)) + Y[:, None] * [2, -1, 0, 1]).astype(np.float32), "y": Y}

CASES = [
    # the setting, values, programs, optimizer, schedule
    ("drop", (0.1, 0.5, 0.0), 2),
    ("strength", (1e-4, 1e-1), 1),
    ("deviation", (0.1, 0.5), 2),
    ("smooth", (0.05, 0.2), 1),
    ("slope", (0.05, 0.3), 1),
    ("eps", (1e-5, 1e-2), 1),
    ("keep", (0.5, 0.95), 1),
    ("hidden", (4, 5, 4), 2),
    ("train.epochs", (1, 4), 1),
    ("train.seed", (3, 4), 1),
    ("train.validate", (0.1, 0.3), 1),
    ("train.batch", (8, 16), 2),
    ("train.regularize.strength", (1e-2, 1e-4), 1),
    ("train.regularize.ratio", (0.1, 0.9), 1),
    ("train.clip.limit", (0.1, 2), 1),
    ("train.average.decay", (0.5, 0.99), 1),
    ("train.optimizer.lr", (1e-3, 0.03), 1, "adam()"),
    ("train.optimizer.beta1", (0.8, 0.95), 1, "adam()"),
    ("train.optimizer.decay", (1e-3, 0.1), 1, "adamw()"),
    ("train.optimizer.momentum", (0.5, 0.9, 0.0), 2, "sgd(lr = 0.1)"),
    ("train.optimizer.eps", (1e-6, 1e-4), 1, "adadelta()"),
    ("train.schedule.warmup", (0.1, 0.3, 3), 1, "adam()", "cosine(floor = 0.1)"),
    ("train.schedule.factor", (0.1, 0.5), 1, "sgd(lr = 0.1)", "step(every = 2)"),
    ("train.schedule.power", (1, 0.5, 3), 1, "adam()", "polynomial()"),
]


def source(optimizer: str = "adam(lr = 1e-2)", schedule: str = "cosine(warmup = 5%)") -> str:
    return TEXT.replace("OPTIMIZER", optimizer).replace("SCHEDULE", schedule)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_one_program_for_all_values(case: tuple[Any, ...]) -> None:
    name, values, programs, *blocks = case
    base = make_blueprint(open_source(source(*blocks)))
    bench = Bench(base, Model(base, initialise=False).arrays(ROWS, targets=True), 0, threads=1)
    for value in values:
        shared, written = bench.model({name: value}), rv.compile(source(*blocks), threads=1, **{name: value})
        for model in (shared, written):
            model.fit(ROWS)
        assert shared.predict(ROWS["x"]).tobytes() == written.predict(ROWS["x"]).tobytes()
        for label in written.params:
            assert shared.params[label].tobytes() == written.params[label].tobytes(), label
    assert len(bench.models) == programs


def test_a_trial_that_fails_decides_nothing_for_the_next() -> None:
    base = make_blueprint(open_source(source()))
    bench = Bench(base, Model(base, initialise=False).arrays(ROWS, targets=True), 0, threads=1)
    with pytest.raises(rv.SourceError, match="the rate of dropout"):
        bench.model({"drop": 1.5})
    assert len({id(bench.model({"drop": rate})) for rate in (0.1, 0.2)}) == 1
