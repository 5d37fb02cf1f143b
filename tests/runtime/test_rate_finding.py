"""The learning rate that is suggested trains, and the search does what it says: else a person begins with a bad one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ranvier.compiler.errors import RanvierError
from ranvier.runtime.model import Model
from ranvier.runtime.opening import open_blueprint
from ranvier.runtime.rate_finding import UPDATES, find_rate, finding_blueprint

TEXT = """model m() {{
    input x: f32[6]
    target y: f32
    z = sum(x -> standardize -> dense(1))
    predict z
    loss mse(z, y)
}}
train {{ optimizer = {optimizer} ; batch = 20 ; schedule = exponential(0.5) ; accumulate = {accumulate} }}
"""


@pytest.fixture
def rows() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (190, 6)).astype(np.float32)
    return {"x": x, "y": (x @ np.arange(1, 7) + rng.normal(0, 1, 190)).astype(np.float32)}


def searched(optimizer: str = "gd()", accumulate: int = 1, **overrides: object) -> Model:
    blueprint = open_blueprint(TEXT.format(optimizer=optimizer, accumulate=accumulate), overrides=overrides)
    return Model(finding_blueprint(blueprint), threads=1)


@pytest.mark.parametrize(("optimizer", "accumulate"), [("gd()", 1), ("adam()", 1), ("gd()", 3)])
def test_the_suggested_rate_learns_and_a_thousand_times_more_does_not(optimizer: str, accumulate: int, rows: dict[str, Any]) -> None:
    finding = find_rate(searched(optimizer, accumulate), rows)
    assert finding.rates[0] == pytest.approx(1e-7)
    assert len(finding.rates) == len(finding.losses) == len(finding.smooth) <= UPDATES
    assert finding.suggestion <= finding.steepest <= finding.least
    losses = []
    for rate in (finding.suggestion, 1e-3 * finding.suggestion):
        model = Model(open_blueprint(TEXT.format(optimizer=optimizer, accumulate=accumulate), overrides={"train.optimizer.lr": rate}))
        losses.append(model.fit(rows, epochs=8)[-1]["loss"])
    assert losses[0] < 0.9 * losses[1]


def test_it_ends_where_the_loss_bursts(rows: dict[str, Any]) -> None:
    finding = find_rate(searched(), rows)
    assert len(finding.rates) < UPDATES  # gradient descent diverges well below 10
    assert finding.losses[-1] > 2 * finding.losses[0]


def test_settings_of_the_search_can_be_given(rows: dict[str, Any]) -> None:
    finding = find_rate(searched(**{"train.schedule.high": 1e-2, "train.schedule.decay": 0.7}), rows)
    assert finding.rates[-1] == pytest.approx(1e-2)


def test_what_cannot_be_searched_is_said(rows: dict[str, Any]) -> None:
    with pytest.raises(RanvierError, match="has no setting `lr`"):
        find_rate(Model(finding_blueprint(open_blueprint(TEXT.format(optimizer="fixed()", accumulate=1) + FIXED))), rows)
    with pytest.raises(RanvierError, match="at the smallest rates"):
        find_rate(searched(**{"train.schedule.low": 100, "train.schedule.high": 1000}), rows)


FIXED = """
optimizer fixed(rate = 0.1)(w, g) {
    return w - rate * g
}
"""
