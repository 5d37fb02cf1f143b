"""A training taken up from a file ends with the same bits as one that was never interrupted, whatever it keeps between steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ranvier as rv

TEXT = """model m() {{
    input x: f32[5]
    target y: class[3]
    z = x -> dense(6) -> batchnorm -> tanh -> dropout(0.2) -> dense(3) {options}
    predict softmax(z)
    loss cross_entropy(z, y)
    metric accuracy(z, y)
}}
train {{
    batch = 8
    epochs = 5
    validate = 25%
    {train}
}}
"""
TRAIN = {
    "accumulation": "accumulate = 3 ; clip = clip_norm(0.1)",
    "a whole epoch": "accumulate = inf ; optimizer = gd(lr = 0.5)",
    "plateau": "schedule = plateau(factor = 0.5, patience = 0, threshold = 0.5) ; optimizer = nadam(lr = 0.01)",
    "one cycle": "schedule = one_cycle() ; optimizer = lion(lr = 0.01) ; regularize = weight_decay(0.1)",
    "averages": "average = ema(0.8) ; regularize = [max_norm(0.6), l1(0.01)]",
    "averages of updates": "average = swa(start = 20%) ; accumulate = 2 ; stop = patience(2)",
    "criteria": "stop = [all_of(patience(2, improvement = 0.01), after(4)), gradient_below(1e-4)] ; watch = max(accuracy) ; accumulate = 2",
}


class EndedError(Exception):
    """The training is interrupted here."""


@pytest.fixture
def rows() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(0, 1, (61, 5)).astype(np.float32), "y": rng.integers(0, 3, 61).astype(np.int32)}


@pytest.mark.parametrize("name", TRAIN)
def test_same_bits(name: str, rows: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranvier.runtime.training.TURN_SECONDS", 0.0)  # reports after every batch
    text = TEXT.format(train=TRAIN[name], options="with l2 = 1e-3")
    whole = rv.compile(text, threads=1)
    history = whole.fit(rows)
    assert len(history) > 2
    model, parts, ends = rv.compile(text, threads=2), [], 0
    for part in range(200):
        reports = 0

        def end(progress: Any, every: int = 2 + part % 3) -> None:
            nonlocal reports
            reports += 1
            if reports == every:
                raise EndedError

        try:
            parts += model.fit(rows, report=end, resume=True)
            break
        except EndedError:
            ends += 1
        model.save(tmp_path / "m.safetensors")
        model = rv.load(tmp_path / "m.safetensors", threads=1 + part % 2)
    assert ends > 3
    assert model.standing.epochs == whole.standing.epochs
    assert model.standing.watched == whole.standing.watched
    for label in whole.params:
        np.testing.assert_array_equal(model.params[label], whole.params[label])
    for label, value in whole.optimizer_states().items():
        np.testing.assert_array_equal(model.optimizer_states()[label], value)
    np.testing.assert_array_equal(model.predict(rows["x"]), whole.predict(rows["x"]))


def test_a_model_is_saved_with_its_averages_and_trains_on_without(rows: dict[str, Any], tmp_path: Path) -> None:
    text = TEXT.format(train="average = ema(0.9)", options="")
    model = rv.compile(text)
    plain = rv.compile(TEXT.format(train="", options=""))
    plain.fit(rows, epochs=2)
    model.fit(rows, epochs=2)
    assert not np.array_equal(model.params["dense_1.weight"], plain.params["dense_1.weight"])
    model.save(tmp_path / "m.safetensors")
    loaded = rv.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict(rows["x"]), model.predict(rows["x"]))
    loaded.fit(rows, epochs=1)
    plain.fit(rows, epochs=1)
    for label, value in plain.params.items():
        np.testing.assert_array_equal(loaded.optimizer_states()[f"{label}.m"], plain.optimizer_states()[f"{label}.m"])
        assert value.shape == loaded.params[label].shape


def test_assigned_parameters_are_not_undone_by_the_averages(rows: dict[str, Any]) -> None:
    model = rv.compile(TEXT.format(train="average = ema(0.9) ; optimizer = gd(lr = 0)", options=""))
    model.fit(rows, epochs=1)
    model.params["dense_1.weight"] = np.ones((5, 6))
    model.fit(rows, epochs=1)
    assert model.standing.trained["parameter:dense_1.weight"].max() == 1
