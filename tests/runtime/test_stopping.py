"""Criteria stop training when they say they do, on the figure that is watched: else it runs too long, or ends too early."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ranvier.compiler.errors import RanvierError, SourceError
from ranvier.runtime.opening import open_blueprint
from ranvier.runtime.stopping import should_stop

import ranvier as rv

TEXT = """model m() {{
    input x: f32[4]
    target y: class[3]
    z = x -> dense(3)
    predict softmax(z)
    loss cross_entropy(z, y)
    metric accuracy(z, y)
    metric spread = variance(sum(z), over = [batch])
    metric confusion(z, y)
}}
train {{ batch = 10 ; epochs = 30 ; optimizer = gd(lr = 0.5) ; {train} }}
"""


def ends(stop: str, values: list[float], gradients: list[float] | None = None, watch: str = "min(loss)") -> int | None:
    """The epoch after which a criterion stops."""
    blueprint = open_blueprint(TEXT.format(train=f"stop = {stop} ; watch = {watch}"))
    for epoch in range(1, len(values) + 1):
        if should_stop(blueprint, values[:epoch], gradients[epoch - 1] if gradients else 1.0):
            return epoch
    return None


FALLING = [1.0, 0.5, 0.4, 0.35, 0.33, 0.32, 0.315, 0.313, 0.312, 0.3119, 0.3118, 0.3118, 0.3118, 0.3118]


def keras_patience(values: list[float], patience: int, improvement: float) -> int | None:
    """`EarlyStopping(patience, min_delta)` of Keras, whose reference value moves at each improvement by more than `min_delta`."""
    best, waited = float("inf"), 0
    for epoch, value in enumerate(values, 1):
        waited = 0 if value < best - improvement else waited + 1
        best = value if value < best - improvement else best
        if waited >= patience:
            return epoch
    return None


@pytest.mark.parametrize("patience", [1, 2, 5])
@pytest.mark.parametrize("seed", range(6))
def test_patience_is_that_of_keras(patience: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 1, 25).cumsum().tolist()
    assert ends(f"patience({patience})", values) == keras_patience(values, patience, 0)


@pytest.mark.parametrize(("stop", "epoch"), [
    ("patience(2, improvement = 0.01)", 8),
    ("patience(3, improvement = 0.001)", 12),
    ("reach(0.4)", 3),
    ("steady(tolerance = 0.01, epochs = 2)", 9),
    ("after(6)", 6),
    ("all_of(reach(0.4), after(6))", 6),
    ("any_of(reach(0.4), after(6))", 3),
    ("[after(6), reach(0.4)]", 3),
    ("all_of(any_of(reach(0.1), after(4)), reach(0.34))", 5),
])  # fmt: skip
def test_criteria(stop: str, epoch: int) -> None:
    assert ends(stop, FALLING) == epoch


def test_gradient() -> None:
    assert ends("gradient_below(1e-2)", FALLING[:4], [1.0, 0.1, 0.01, 0.001]) == 3


def test_a_goal_is_above_when_more_is_better() -> None:
    assert ends("reach(0.9)", [-0.5, -0.8, -0.91, -0.95], watch="max(accuracy)") == 3


@pytest.fixture
def rows() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (90, 4)).astype(np.float32)
    return {"x": x, "y": np.argmax(x[:, :3], axis=1).astype(np.int32)}


def test_training_stops_at_a_watched_accuracy(rows: dict[str, Any]) -> None:
    model = rv.compile(TEXT.format(train="watch = max(accuracy) ; stop = reach(0.8) ; validate = 30%"))
    history = model.fit(rows)
    assert 1 <= len(history) < 30
    assert history[-1]["validation_accuracy"] >= 0.8 > max([h["validation_accuracy"] for h in history[:-1]], default=0)
    assert model.standing.watched == tuple(-h["validation_accuracy"] for h in history)


def test_the_norm_is_that_of_the_whole_gradient(rows: dict[str, Any]) -> None:
    """Full-batch descent: the norm at the parameters before the epoch's one update, whatever the batches."""
    model = rv.compile(TEXT.format(train="stop = gradient_below(1e-9) ; accumulate = inf ; regularize = l2(0.01)"), dtype="f64")
    whole = rv.compile(TEXT.format(train="regularize = l2(0.01)"), dtype="f64", **{"train.batch": 90})
    for _ in range(3):
        for name in model.params:
            whole.params[name] = model.params[name]
        expected = np.sqrt(sum((g**2).sum() for g in whole.gradients(rows).values()))
        model.fit(rows, epochs=1)
        assert model.runtime("norm") == pytest.approx(expected, rel=1e-10)


def test_full_batch_descent_ends_at_a_small_gradient(rows: dict[str, Any]) -> None:
    model = rv.compile(TEXT.format(train="stop = gradient_below(0.05) ; accumulate = inf ; regularize = l2(0.05)"))
    history = model.fit(rows, epochs=500)
    assert 3 < len(history) < 500
    assert model.runtime("norm") <= 0.05


def test_what_cannot_be_watched_is_said(rows: dict[str, Any]) -> None:
    with pytest.raises(RanvierError, match="rows held out only"):
        rv.compile(TEXT.format(train="watch = max(spread)")).fit(rows)
    with pytest.raises(SourceError, match="no metric of the model"):
        rv.compile(TEXT.format(train="watch = max(acuracy)"))
    with pytest.raises(SourceError, match="not one number"):
        rv.compile(TEXT.format(train="watch = max(confusion)"))
    with pytest.raises(SourceError, match="at least 1 epoch"):
        rv.compile(TEXT.format(train="stop = patience(0)")).fit(rows)


def test_settings_inside_lists_and_calls_can_be_given() -> None:
    text = TEXT.format(train="stop = [all_of(patience(3), after(4))] ; regularize = [l2(1), l1(2)]")
    blueprint = open_blueprint(
        text, overrides={"train.stop.all_of.first.epochs": 7, "train.regularize.l1.strength": 0.5, "train.clip": "clip_norm(3)"}
    )
    settings = blueprint.train_settings
    assert settings.stop[0].settings["first"].settings["epochs"] == 7  # type: ignore[union-attr]
    assert [each.settings["strength"] for each in settings.regularize] == [1, 0.5]
    assert settings.clip[0].settings["limit"] == 3
