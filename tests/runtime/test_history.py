"""The figures of every epoch are kept: in a loaded model, over an interruption, and where a figure is no number."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from ranvier.runtime.history import history_arrays, history_of, series

import ranvier as rv

TEXT = """model m() {
    input x: f32[2]
    target y: f32[1]
    z = x -> dense(1)
    predict z
    loss mse(z, y)
    metric mae(z, y)
}
train { batch = 8 ; epochs = 4 ; validate = 25% }
"""


def rows() -> dict[str, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    return {"x": x, "y": x[:, :1]}


def test_a_loaded_model_knows_its_history(tmp_path: Path) -> None:
    model = rv.compile(TEXT)
    records = model.fit(rows())
    assert model.history == records
    assert len(records) == 4
    model.save(tmp_path / "m.safetensors")
    assert rv.load(tmp_path / "m.safetensors").history == records


def test_an_interrupted_history_is_the_same(tmp_path: Path) -> None:
    whole, first = rv.compile(TEXT), rv.compile(TEXT)
    whole.fit(rows())
    first.fit(rows(), epochs=2)
    first.save(tmp_path / "m.safetensors")
    going_on = rv.load(tmp_path / "m.safetensors")
    assert len(going_on.fit(rows(), resume=True)) == 2
    assert going_on.history[:2] == first.history
    assert len(going_on.history) == 4
    assert [record.keys() for record in going_on.history] == [record.keys() for record in whole.history]


def test_a_new_fit_begins_a_new_history() -> None:
    model = rv.compile(TEXT)
    model.fit(rows())
    model.fit(rows(), epochs=1)
    assert len(model.history) == 1


def test_a_figure_may_be_infinite_or_missing() -> None:
    saved = history_of(history_arrays(({"loss": 1.0}, {"loss": 2.0, "area": math.inf, "validation_loss": 3.0})))
    assert [list(record) for record in saved] == [["loss", "area", "validation_loss"]] * 2
    assert math.isnan(saved[0]["area"])
    assert saved[1] == {"loss": 2.0, "area": math.inf, "validation_loss": 3.0}
    assert series(saved)["loss"][0] == [1.0, 2.0]
    assert math.isnan(series(saved)["loss"][1][0])
    assert series(saved)["loss"][1][1] == 3.0


@pytest.mark.parametrize(
    "arrays",
    [{"history:loss": np.zeros((2, 2))}, {"history:loss": np.zeros(2), "history:mae": np.zeros(3)}, {"history:loss": np.zeros(2, "i4")}],
)
def test_what_is_no_history_is_left(arrays: dict[str, np.ndarray]) -> None:
    assert history_of(arrays) == ()


def test_an_infinite_metric_can_be_saved_and_loaded(tmp_path: Path) -> None:
    model = rv.compile(TEXT)
    model.fit(rows(), epochs=1)
    model.standing.history = ({"loss": 1.0, "mae": math.inf},)
    model.save(tmp_path / "m.safetensors")
    assert rv.load(tmp_path / "m.safetensors").history == [{"loss": 1.0, "mae": math.inf}]
