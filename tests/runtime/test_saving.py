"""A saved model comes back whole: what it predicts, how it trains on, with its imports; what does not fit is refused untouched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranvier.runtime.checkpoint import load_model, save_model
from ranvier.runtime.saving import restore, to_saved
from ranvier.runtime.snapshot import take
from repository import EXAMPLES

import ranvier as rv

LAYERS = """layer narrow(units)(x) {
    return x -> dense(units) -> tanh
}
"""

TEXT = """import "layers.nn"

model m(hidden = 4, act = relu) {
    input x: f32[3]
    target y: f32[2]
    out = x -> standardize -> narrow(hidden) -> act -> dense(2)
    predict out
    loss mse(out, y)
    metric rmse(out, y)
}
train { optimizer = adam(lr = 0.01) ; batch = 8 ; epochs = 6 ; validate = 20% ; stop = patience(2) }
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "layers.nn").write_text(LAYERS)
    (folder / "m.nn").write_text(TEXT)
    return folder / "m.nn"


@pytest.fixture
def rows() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(2, 3, (70, 3)).astype(np.float32)
    return {"x": x, "y": np.stack([x.sum(axis=1), x[:, 0] - x[:, 1]], axis=1).astype(np.float32)}


def test_everything_comes_back_without_the_source_files(source: Path, rows: dict[str, Any], tmp_path: Path) -> None:
    model = rv.compile(source, hidden=5, act="tanh", seed=3)
    model.fit(rows, epochs=2)
    model.save(tmp_path / "m.safetensors")
    for file in source.parent.iterdir():
        file.unlink()
    loaded = rv.load(tmp_path / "m.safetensors", threads=1)
    assert (loaded.seed, loaded.epoch) == (3, 2)
    np.testing.assert_array_equal(loaded.predict(rows["x"]), model.predict(rows["x"]))
    assert loaded.evaluate(rows) == model.evaluate(rows)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()


def test_a_loaded_model_trains_on_as_the_saved_one_would(source: Path, rows: dict[str, Any], tmp_path: Path) -> None:
    model = rv.compile(source)
    model.fit(rows, epochs=2)
    model.save(tmp_path / "m.safetensors")
    loaded = rv.load(tmp_path / "m.safetensors")
    assert model.fit(rows, epochs=3) == loaded.fit(rows, epochs=3)
    for name in model.params:
        np.testing.assert_array_equal(model.params[name], loaded.params[name])


def test_a_fit_ended_anywhere_and_taken_up_from_a_file_ends_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ranvier.runtime.training.TURN_SECONDS", 0.0)  # reports after every batch
    rows = dict(np.load(EXAMPLES / "data" / "digits.npz"))
    settings = {"hidden": 8, "train.epochs": 12, "train.optimizer.lr": 0.05, "train.stop": "patience(2)"}
    whole = rv.compile(EXAMPLES / "digits.nn", **settings)
    history = whole.fit(rows)
    model, parts, ends = rv.compile(EXAMPLES / "digits.nn", **settings), [], 0
    reports = 0

    class EndedError(Exception):
        pass

    def end(progress: Any) -> None:
        nonlocal reports
        reports += 1
        if reports % 11 == 0:
            raise EndedError

    while True:
        try:
            parts += model.fit(rows, report=end, resume=ends > 0)
            break
        except EndedError:
            ends += 1
            model.save(tmp_path / "m.safetensors")
            model = rv.load(tmp_path / "m.safetensors")
    assert ends >= 5
    assert parts[-1:] in (history[-1:], [])
    assert dataclasses.replace(model.standing) == whole.standing
    for name in whole.params:
        np.testing.assert_array_equal(model.params[name], whole.params[name])


def test_an_untrained_model_is_saved_too(source: Path, rows: dict[str, Any], tmp_path: Path) -> None:
    model = rv.compile(source)
    model.save(tmp_path / "m.safetensors")
    loaded = rv.load(tmp_path / "m.safetensors")
    assert not loaded.fitted
    with pytest.raises(rv.RanvierError, match="not fitted"):
        loaded.predict(rows["x"])


def test_double_precision_stays(source: Path, rows: dict[str, Any], tmp_path: Path) -> None:
    model = rv.compile(source, dtype="f64")
    model.fit(rows, epochs=1)
    model.save(tmp_path / "m.safetensors")
    loaded = rv.load(tmp_path / "m.safetensors")
    assert loaded.params["dense_1.weight"].dtype == np.float64
    np.testing.assert_array_equal(loaded.predict(rows["x"]), model.predict(rows["x"]))


def test_the_file_tells_nothing_of_the_folders_it_was_made_in(source: Path, tmp_path: Path) -> None:
    rv.compile(source).save(tmp_path / "m.safetensors")
    assert str(source.parent).encode() not in (tmp_path / "m.safetensors").read_bytes()
    assert list(load_model(tmp_path / "m.safetensors").sources) == ["m.nn", "layers.nn"]


def test_tensors_of_another_model_are_refused_and_nothing_changes(source: Path, tmp_path: Path) -> None:
    model = rv.compile(source)
    before = {name: model.params[name] for name in model.params}
    other = to_saved(take(rv.compile(source, hidden=7)))
    with pytest.raises(rv.CheckpointError, match=r"\[3, 7\], not \[3, 4\]"):
        restore(model, other, "other.safetensors")
    with pytest.raises(rv.CheckpointError, match="float64"):
        restore(model, to_saved(take(rv.compile(source, dtype="f64"))), "double.safetensors")
    for name, value in before.items():
        np.testing.assert_array_equal(model.params[name], value)


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("settings", {}, "its settings"),
        ("settings", {"model": {"hidden": 3}, "overrides": {}, "real": "f32", "capacity": None}, "its settings"),
        ("settings", {"model": {}, "overrides": {}, "real": "f16", "capacity": None}, "its settings"),
        ("settings", {"model": {}, "overrides": {}, "real": "f32", "capacity": 2**60}, "its settings"),
        ("settings", {"model": {}, "overrides": {"train.epochs": "1 } data { x = 1"}, "real": "f32", "capacity": None}, "train.epochs"),
        ("sources", {}, "no source"),
        ("sources", {"m.nn": 'import "../../../etc/passwd"\n'}, "is not in"),
        ("sources", {"m.nn": "model"}, "m.nn:1"),
        ("params", {}, "no `dense_1.weight`"),
    ],
)
def test_a_file_made_by_anybody_is_refused_in_one_message(source: Path, tmp_path: Path, part: str, value: Any, said: str) -> None:
    saved = dataclasses.replace(to_saved(take(rv.compile(source))), **{part: value})
    save_model(tmp_path / "m.safetensors", saved)
    with pytest.raises(rv.RanvierError, match=said.replace("[", r"\[")):
        rv.load(tmp_path / "m.safetensors")
