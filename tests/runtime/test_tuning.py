"""A search: the right settings win, numbers of the run time compile nothing anew and change no bit, an interrupted study goes on.

If these fail, a model is chosen by scores that are not its own, or a search takes hours instead of minutes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ranvier.compiler.frontend.values import Live
from ranvier.runtime import tuning
from ranvier.runtime.cli.application import application
from ranvier.runtime.cross_validation import cross_validate
from ranvier.runtime.model import Model
from ranvier.runtime.opening import make_blueprint, open_source
from ranvier.runtime.saving import load

import ranvier as rv

TEXT = """
model m(hidden = 6, drop = 0.25) {
    input x: f32[4]
    target y: class[3]
    z = x -> standardize -> dense(hidden) -> relu -> dropout(drop) -> dense(3)
    predict softmax(z)
    loss cross_entropy(z, y)
    metric accuracy(z, y)
}
train {
    optimizer = adam(lr = 1e-2)
    regularize = l2(1e-3)
    batch = 16
    epochs = 4
    validate = 0
}
"""
NUMBERS = "train.optimizer.lr in log(1e-4, 1e-1)\ndrop in uniform(0.1, 0.6)\ntrain.regularize.strength in log(1e-6, 1e-1)"


def rows(count: int = 96) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(2)
    y = random.integers(0, 3, count)
    return {"x": (random.normal(size=(count, 4)) + y[:, None] * [2, -1, 0, 1]).astype(np.float32), "y": y}


def written(folder: Path, tune: str) -> Path:
    folder.mkdir(exist_ok=True)
    np.savez(folder / "rows.npz", **rows())
    (folder / "m.nn").write_text(TEXT + f'data {{ source = "rows.npz" }}\ntune {{\n{tune}\n}}\n', encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(application, ["tune", str(folder / "m.nn"), "-o", str(folder / "m.safetensors"), *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def study_of(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "m.study.json").read_text(encoding="utf-8"))["trials"])


LIVE = [{"train.optimizer.lr": 3e-3}, {"drop": 0.4}, {"train.regularize.strength": 0.02}, {"train.optimizer.beta1": 0.8, "drop": 0.1}]


@pytest.mark.parametrize("chosen", LIVE, ids=lambda chosen: " ".join(chosen))
def test_numbers_of_the_run_time_give_the_bits_of_those_in_the_file(chosen: dict[str, float]) -> None:
    own = {k: v for k, v in chosen.items() if "." not in k}
    overrides = {k: v for k, v in chosen.items() if "." in k}
    plain = Model(make_blueprint(open_source(TEXT), own, overrides))
    blueprint = make_blueprint(open_source(TEXT))
    blueprint.settings = {k: Live(k, 0.3) for k in own}
    blueprint.overrides = {k: Live(k, 0.3) for k in overrides}
    live = Model(blueprint)
    live.set_runtime(**{f"set:{k}": v for k, v in chosen.items()})
    for model in (plain, live):
        model.fit(rows())
    for name in plain.params:
        assert plain.params[name].tobytes() == live.params[name].tobytes()
    np.testing.assert_array_equal(plain.predict(rows()["x"]), live.predict(rows()["x"]))


def test_forty_trials_of_run_time_numbers_compile_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    compiled = Model.entry

    def counted(self: Model, name: str) -> Any:
        if name not in self._entries:
            made.append(name)
        return compiled(self, name)

    monkeypatch.setattr(Model, "entry", counted)
    folder = written(tmp_path, f"{NUMBERS}\nfolds = 2\ntrials = 40")
    assert "40 trials, 1 compiled" in run(folder)
    searched, trained = made.count("train"), 1
    assert searched == 1 + trained, "one for all trials, one for the best settings at the end"


def test_shapes_and_branches_compile_their_own(tmp_path: Path) -> None:
    """A width is a shape; a rate of 0 takes another branch of `dropout` than one above."""
    folder = written(tmp_path, "hidden in [3, 5]\ndrop in [0, 0.2, 0.4]\nsearch = grid\ntrials = 99")
    output = run(folder)
    assert "6 trials, 4 compiled" in output
    tried = [(t["settings"]["hidden"], t["settings"]["drop"]) for t in study_of(folder)]
    assert tried == [(h, d) for h in (3, 5) for d in (0, 0.2, 0.4)]


def test_a_trial_scores_as_its_settings_do_when_written_in_the_file(tmp_path: Path) -> None:
    folder = written(tmp_path, f"{NUMBERS}\nhidden in integers(3, 9)\nfolds = 3\ntrials = 4\nbest = max(val.accuracy)")
    run(folder)
    for trial in study_of(folder):
        model = rv.compile(TEXT, **trial["settings"])
        found = cross_validate(model, model.arrays(rows(), targets=True), 3)
        assert list(found.folds) == trial["folds"]


def test_the_best_is_trained_saved_and_says_how_it_was_chosen(tmp_path: Path) -> None:
    folder = written(tmp_path, f"{NUMBERS}\nfolds = 3\ntrials = 5\nbest = max(val.accuracy)")
    run(folder, "--picture", str(folder / "p.svg"))
    scores = [np.mean([fold["accuracy"] for fold in t["folds"]]) for t in study_of(folder)]
    best = study_of(folder)[int(np.argmax(scores))]
    saved = load(folder / "m.safetensors")
    assert saved.origin.startswith(f"trial {best['number'] + 1} of 5 (random), accuracy ")
    assert "on 3 folds" in saved.origin
    again = rv.compile(TEXT, **best["settings"])
    again.fit(rows())
    for name in again.params:
        np.testing.assert_array_equal(saved.params[name], again.params[name])
    assert (folder / "p.svg").read_text(encoding="utf-8").count("<circle") == 15


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_study_goes_on(tmp_path: Path, search: str) -> None:
    if search == "tpe":
        pytest.importorskip("optuna")
    tune = f"{NUMBERS}\nsearch = {search}\ntrials = 6"
    whole, parts = written(tmp_path / "a", tune), written(tmp_path / "b", tune)
    run(whole)
    run(parts, "--trials", "3")
    before = study_of(parts)
    run(parts, "--resume")
    assert study_of(parts)[:3] == before
    assert len(study_of(parts)) == 6
    if search == "random":
        assert study_of(parts) == study_of(whole)


def test_processes_come_to_the_same(tmp_path: Path) -> None:
    tune = f"{NUMBERS}\nfolds = 2\ntrials = 4"
    one, two = written(tmp_path / "a", tune), written(tmp_path / "b", tune)
    run(one)
    run(two, "--jobs", "2")
    assert study_of(one) == study_of(two)


def test_training_with_folds_scores_them_and_trains_as_without(tmp_path: Path) -> None:
    folder, saved = written(tmp_path, "hidden in [3]"), []
    for name, more in (("a", []), ("b", ["--folds", "3"])):
        target = folder / f"{name}.safetensors"
        result = CliRunner().invoke(application, ["train", str(folder / "m.nn"), "-o", str(target), *more])
        assert result.exit_code == 0, result.output
        saved.append(load(target))
    model = rv.compile(TEXT)
    found = cross_validate(model, model.arrays(rows(), targets=True), 3)
    line = next(line.split() for line in result.output.splitlines() if line.startswith("mean"))
    assert line[1:] == [f"{found.mean(name):.4f}" for name in found.figures]
    assert all(saved[0].params[name].tobytes() == saved[1].params[name].tobytes() for name in saved[0].params)


def test_what_a_trial_cannot_do_is_its_result(tmp_path: Path) -> None:
    folder = written(tmp_path, "drop in [0.2, 1.5]\nsearch = grid")
    output = run(folder)
    assert "failed: " in output
    assert "the rate of dropout lies in [0, 1), not at " in output
    assert study_of(folder)[0]["failure"] == ""


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ("hidden in []", "`hidden` has no choices"),
        ("hidden in log(0, 1)", "from a smaller to a greater number, numbers above 0"),
        ("hidden in integers(1.5, 3)", "between whole numbers"),
        ("hidden in [1]\nfolds = 1", "`folds` is a whole number of at least 2"),
        ("hidden in [1]\nbest = accuracy", "`best` is `min"),
        ("hidden in [1]\nsearch = annealing", "`search` is random, grid or tpe"),
        ("trials = 3", "names nothing to search"),
        ("hiden in [1]", "`hiden`"),
        ("train.optimiser.lr in [1]", "no setting is called"),
        ("drop in uniform(0, 0.5)\nsearch = grid", "a grid needs a list of values"),
    ],
)
def test_a_mistake_in_a_tune_block(tmp_path: Path, tune: str, message: str) -> None:
    folder = written(tmp_path, tune)
    result = CliRunner().invoke(application, ["tune", str(folder / "m.nn"), "-o", str(folder / "m.safetensors")])
    assert result.exit_code == 1
    assert message in result.output + getattr(result, "stderr", "")


def test_a_damaged_study_and_one_of_another_block_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, "hidden in [3]")
    run(folder, "--trials", "1")
    settings = tuning.tune_settings(make_blueprint(open_source(folder / "m.nn")))
    text = (folder / "m.study.json").read_text(encoding="utf-8")
    for broken in (text[:40], "[]", "{}", text.replace("hidden in [3]", "hidden in [4]"), text.replace('"number": 0', '"number": 7')):
        (folder / "m.study.json").write_text(broken, encoding="utf-8")
        with pytest.raises(rv.CheckpointError, match="to begin anew"):
            tuning.read_study(folder / "m.study.json", settings)


def test_statistics_are_fitted_inside_each_fold() -> None:
    """What is held out decides no mean: other values there, the same statistics and scores of the rest."""
    model = rv.compile(TEXT)
    data = model.arrays(rows(), targets=True)
    from ranvier.runtime.cross_validation import folds_of

    training, held = folds_of(model, data, 4)[0]
    model.renew()
    model.fit({name: array[training] for name, array in data.items()})
    np.testing.assert_allclose(model.memory.read("fit:standardize_1.mu"), data["x"][training].mean(0), rtol=1e-5)
    assert len(held) == 24
