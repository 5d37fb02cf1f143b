"""A training that comes to NaN says in which step and line it began, and leaves what was sound as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ranvier.runtime.checkpoint import load_model
from ranvier.runtime.cli.application import application
from ranvier.runtime.data import split_rows

import ranvier as rv

TEXT = """model m(lr = 1) {
    input x: f32[3]
    target y: f32[2]
    hidden = x -> dense(8) -> tanh -> dropout(0.2)
    out = hidden -> dense(2)
    predict out
    loss LOSS
}
data { source = "rows.npz" }
train { optimizer = OPTIMIZER ; batch = 8 ; epochs = 20 ; validate = 20% }
"""


def source(loss: str, optimizer: str = "gd(lr = 1e-3)") -> str:
    return TEXT.replace("LOSS", loss).replace("OPTIMIZER", optimizer).replace("(lr = 1) {", "() {")


@pytest.fixture
def rows() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(100, 3)).astype(np.float32), "y": rng.normal(size=(100, 2)).astype(np.float32)}


def caught(model: rv.Model, rows: dict[str, Any], **options: Any) -> rv.NonFiniteError:
    with pytest.raises(rv.NonFiniteError) as error:
        model.fit(rows, **options)
    return error.value


def test_the_first_step_the_operation_and_the_line(rows: dict[str, Any]) -> None:
    said = caught(rv.compile(source("mse(log(out), y)"), threads=1), rows)
    assert (said.step, said.epoch) == (1, 1)
    text = str(said)
    assert text.startswith(
        "text.nn:7:14: error non-finite: the loss is not finite in step 1 (epoch 1, rows 1 to 8 of it): log first gives nan"
    )
    assert "    loss mse(log(out), y)\n" in text.replace("    7 | ", "")
    assert "elements of f32[batch, 2] are not finite" in text


@pytest.mark.parametrize("turns", [0.0, 10.0])
def test_the_step_is_the_one_that_single_steps_find(rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch, turns: float) -> None:
    """Diverging takes a while; whatever the length of a turn, the step found is the first at which the loss is not finite."""
    monkeypatch.setattr("ranvier.runtime.training.TURN_SECONDS", turns)
    text = source("mse(exp(out), y)", "gd(lr = 1)")
    model, losses = rv.compile(text, threads=1), []
    said = caught(model, rows)
    again, order = rv.compile(text, threads=1), None
    rest, _ = split_rows(100, 0.2, 0)
    training = {name: array[rest] for name, array in again.arrays(rows, targets=True).items()}
    for epoch in range(20):
        order = np.random.Generator(np.random.PCG64([0, epoch])).permutation(80)
        again.set_runtime(epoch=epoch)
        losses += [again.step({k: v[order[i : i + 8]] for k, v in training.items()}) for i in range(0, 80, 8)]
    first = int(np.argmin(np.isfinite(losses))) + 1
    assert said.step in (first, first - 1)  # a parameter may be the first to show it, in the step before
    assert said.step > 1
    assert all(np.isfinite(model.params[name]).all() for name in model.params)
    assert model.runtime("step") == said.step


def test_a_parameter_that_overflows_in_the_update(rows: dict[str, Any]) -> None:
    said = caught(rv.compile(source("mse(out, y)", "gd(lr = 1e38)"), threads=1), rows)
    assert said.step <= 2
    assert "first gives" in str(said)


def test_without_the_trap_there_is_an_error_too(rows: dict[str, Any]) -> None:
    said = caught(rv.compile(source("mse(log(out), y)"), threads=1), rows, trap_nan=False)
    assert "the loss is nan in epoch 1" in str(said)
    assert "--trap-nan" in str(said)


def test_inside_of_a_loop() -> None:
    text = """cell mine(units)(x: [inputs]) {
    param W: [inputs, units] ~ glorot_uniform
    param U: [units, units] ~ orthogonal
    state h: [units] = 0
    next h = exp(x @ W + h @ U)
    return next h
}
model m() {
    input x: f32[7, 4]
    target y: class[3]
    logits = (x -> mine(5) -> last) -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, y)
}
train { batch = 4 }
"""
    rng = np.random.default_rng(0)
    said = caught(rv.compile(text, threads=1), {"x": 3 * rng.normal(size=(40, 7, 4)), "y": rng.integers(0, 3, 40)})
    assert str(said).startswith("text.nn:5:14: error non-finite")
    assert "at time " in str(said)


def test_the_last_good_checkpoint_is_kept(rows: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "m.nn").write_text(source("mse(exp(out), y)", "gd(lr = 1)"))
    np.savez(tmp_path / "rows.npz", **rows)
    output = tmp_path / "m.safetensors"
    result = CliRunner().invoke(application, ["train", str(tmp_path / "m.nn"), "-o", str(output), "--checkpoint-every", "1 step"])
    assert result.exit_code == 1
    assert "m.nn:" in result.stderr
    assert "error non-finite" in result.stderr
    saved = load_model(output)
    assert all(np.isfinite(value).all() for value in saved.params.values())
    again = CliRunner().invoke(application, ["train", str(tmp_path / "m.nn"), "-o", str(output), "--resume", "--threads", "1"])
    assert again.exit_code == 1
    assert again.stderr.splitlines()[1:] == [line for line in result.stderr.splitlines() if not line.startswith("warning")]


def test_states_that_are_infinite_from_the_start_are_none_of_it(rows: dict[str, Any]) -> None:
    text = source("mse(out, y)").replace(
        "    predict out",
        "    state most: [] = -1e39\n    next most = max(most, max(out, over = [batch, ...]))\n    predict out",
    )
    model = rv.compile(text, threads=1)
    assert not np.isfinite(model.memory.read("state:most"))
    assert len(model.fit(rows, epochs=2)) == 2


def test_watching_changes_nothing(rows: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranvier.runtime.trap.SECONDS", 0.0)
    watched, other = (rv.compile(source("mse(out, y)", "adam()"), threads=1) for _ in range(2))
    assert watched.fit(rows) == other.fit(rows, trap_nan=False)
    for name in watched.params:
        np.testing.assert_array_equal(watched.params[name], other.params[name])


def test_what_was_not_finite_before_the_training_is_not_its_fault(rows: dict[str, Any]) -> None:
    model = rv.compile(source("mse(log(out), y)"), threads=1)
    assert np.isnan(model.loss({name: array[:8] for name, array in rows.items()}))
    assert model.fit(rows, epochs=0) == []
