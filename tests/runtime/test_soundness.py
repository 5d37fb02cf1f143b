"""A whole file whose values no training gives is refused with their name, and taken as it is when a person insists."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ranvier.runtime.checkpoint import load_model, save_model
from ranvier.runtime.cli.application import application

import ranvier as rv

TEXT = """model m() {
    input x: f32[3]
    target y: f32[2]
    out = x -> standardize -> dense(4) -> batchnorm -> tanh -> dense(2)
    predict out
    loss mse(out, y)
}
data { source = "rows.npz" }
train { batch = 8 ; epochs = 2 }
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A training of two epochs."""
    rng = np.random.default_rng(0)
    rows = {"x": rng.normal(size=(40, 3)).astype(np.float32), "y": rng.normal(size=(40, 2)).astype(np.float32)}
    np.savez(tmp_path / "rows.npz", **rows)
    (tmp_path / "m.nn").write_text(TEXT)
    model = rv.compile(tmp_path / "m.nn", threads=1)
    model.fit(rows, epochs=2)
    model.save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def change(path: Path, group: str, label: str, value: float) -> None:
    """Rewrite a file with the first element of a tensor, or a figure of progress, changed; its digests are right."""
    saved = load_model(path)
    values: dict[str, Any] = dict(getattr(saved, group))
    if group == "progress":
        values[label] = value
    else:
        values[label] = values[label].copy()
        values[label].reshape(-1)[0] = value
    save_model(path, dataclasses.replace(saved, **{group: values}))


@pytest.mark.parametrize(
    ("group", "label", "value", "said"),
    [
        ("params", "dense_1.weight", np.nan, "`param/dense_1.weight` holds NaN or an infinity"),
        ("fit", "standardize_1.mu", np.inf, "`fit/standardize_1.mu` holds NaN or an infinity"),
        ("state", "batchnorm_1.var", -1.0, "`batchnorm_1.var` holds negative numbers"),
        ("optimizer", "dense_1.weight.v", -1e-6, "`dense_1.weight.v` holds negative numbers"),
        ("progress", "step", 0, "its `step` is 0"),
        ("progress", "step", 2**60, "its `step` is 11529"),
        ("progress", "seed", -1, "its `seed` is -1"),
        ("progress", "seed", 0.5, "its `seed` is 0.5"),
        ("progress", "position", -8, "its `position` is -8"),
        ("progress", "finished", -1, "its `finished` is -1"),
    ],
)
def test_what_no_training_gives(path: Path, group: str, label: str, value: float, said: str) -> None:
    change(path, group, label, value)
    with pytest.raises(rv.CheckpointError, match="allow-nonfinite") as caught:
        rv.load(path)
    assert said in str(caught.value)
    result = CliRunner().invoke(application, ["train", str(path.with_suffix(".nn")), "-o", str(path), "--resume"])
    assert result.exit_code == 1
    assert said in result.stderr


@pytest.mark.parametrize(("group", "label", "value"), [("params", "dense_1.weight", np.nan), ("optimizer", "dense_1.weight.v", -1.0)])
def test_a_person_may_insist(path: Path, group: str, label: str, value: float) -> None:
    change(path, group, label, value)
    model = rv.load(path, allow_nonfinite=True)
    assert model.predict(np.zeros((2, 3))).shape == (2, 2)
    rows = str(path.with_name("rows.npz"))
    for verb in ("eval", "predict"):
        assert CliRunner().invoke(application, [verb, str(path), "--data", rows]).exit_code == 1
        assert CliRunner().invoke(application, [verb, str(path), "--data", rows, "--allow-nonfinite"]).exit_code == 0


def test_negative_numbers_where_they_belong(path: Path) -> None:
    for group, label in (("optimizer", "dense_1.weight.m"), ("state", "batchnorm_1.mean"), ("params", "dense_1.weight")):
        change(path, group, label, -3.0)
    assert rv.load(path).epoch == 2
