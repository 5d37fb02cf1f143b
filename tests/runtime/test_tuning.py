"""A search: the right settings win, numbers of the run time compile nothing anew and change no bit, an interrupted study goes on.

If these fail, a model is chosen by scores that are not its own, or a search takes hours instead of minutes.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ranvier.compiler import kept
from ranvier.compiler.errors import DataError
from ranvier.compiler.frontend.values import Live
from ranvier.runtime import fold_runs
from ranvier.runtime.cli.application import application
from ranvier.runtime.cross_validation import cross_validate, folds_of, held_out_part
from ranvier.runtime.feeding import read_split
from ranvier.runtime.model import Model
from ranvier.runtime.opening import make_blueprint, open_source
from ranvier.runtime.saving import load
from ranvier.runtime.splitting import Keys
from ranvier.runtime.tuning.bench import Bench
from ranvier.runtime.tuning.processes import recipe_of
from ranvier.runtime.tuning.search import tune_settings
from ranvier.runtime.tuning.study import digests, read_study

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


def tried(folder: Path) -> list[dict[str, Any]]:
    """The trials of a study, but for the time that they took."""
    return [{k: v for k, v in trial.items() if k != "seconds"} for trial in study_of(folder)]


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
    """The training of the best settings on all rows runs the same program, too; so do trials of other seeds and epochs."""
    made: list[str] = []
    monkeypatch.setattr(kept, "_kept_or_built", lambda *asked, make=kept._kept_or_built: made.append(asked[1]) or make(*asked))
    folder = written(tmp_path, f"{NUMBERS}\ntrain.epochs in integers(2, 4)\ntrain.seed in integers(0, 9)\nfolds = 2\ntrials = 40")
    assert "40 trials, 1 compiled" in run(folder, "--threads", "1")
    assert made.count("train") == 1


def test_shapes_and_branches_compile_their_own(tmp_path: Path) -> None:
    """A width is a shape; a rate of 0 takes another branch of `dropout` than one above."""
    folder = written(tmp_path, "hidden in [3, 5]\ndrop in [0, 0.2, 0.4]\nsearch = grid\ntrials = 99")
    output = run(folder)
    assert "6 trials, 4 compiled" in output
    found = [(t["settings"]["hidden"], t["settings"]["drop"]) for t in study_of(folder)]
    assert found == [(h, d) for h in (3, 5) for d in (0, 0.2, 0.4)]


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
    assert (folder / "p.svg").read_text(encoding="utf-8").count("<circle") == 20


@pytest.mark.parametrize("search", ["random", "tpe"])
def test_a_study_goes_on(tmp_path: Path, search: str) -> None:
    if search == "tpe":
        pytest.importorskip("optuna")
    tune = f"{NUMBERS}\nsearch = {search}\ntrials = 16\nbest = max(val.accuracy)"
    whole, parts = written(tmp_path / "a", tune), written(tmp_path / "b", tune)
    run(whole)
    run(parts, "--trials", "12")
    before = study_of(parts)
    run(parts, "--resume")
    assert study_of(parts)[:12] == before
    assert len(study_of(parts)) == 16
    assert tried(parts) == tried(whole)


def test_processes_come_to_the_same(tmp_path: Path) -> None:
    tune = f"{NUMBERS}\nfolds = 2\ntrials = 4"
    one, two = written(tmp_path / "a", tune), written(tmp_path / "b", tune)
    run(one)
    run(two, "--jobs", "2")
    assert tried(one) == tried(two)


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
    assert saved[1].origin.startswith(f"settings as written, loss {found.mean('loss'):.4f} ± {found.spread('loss'):.4f}, accuracy")
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
        ("hiden in [1]", "`hiden`\n"),
        ("train.optimiser.lr in [1]", "no setting is called"),
        ("train.optimizer in [adam(), sdg(0.1)]", "`sdg` is not defined; did you mean `std` or `sgd`"),
        ("train.batch in [8, 0]", "`batch` is a whole number from 1"),
        ("train.optimizer.lr = log(1e-4, 1e-1)", "written with `in`: `train.optimizer.lr in log(1e-4, 1e-1)`"),
        ("hidden = [8, 32]", "written with `in`: `hidden in [8, 32]`"),
        ("drop in uniform(0, 0.5)\nsearch = grid", "a grid needs a list of values"),
    ],
)
def test_a_mistake_in_a_tune_block(tmp_path: Path, tune: str, message: str) -> None:
    folder = written(tmp_path, tune)
    result = CliRunner().invoke(application, ["tune", str(folder / "m.nn"), "-o", str(folder / "m.safetensors")])
    assert result.exit_code == 1
    said = result.output + getattr(result, "stderr", "")
    assert message in said
    assert "m.nn:" in said  # with its place, before any trial
    assert "trial" not in said


def test_a_damaged_study_and_one_of_another_search_are_refused(tmp_path: Path) -> None:
    folder = written(tmp_path, "hidden in [3]")
    run(folder, "--trials", "1")
    blueprint = make_blueprint(open_source(folder / "m.nn"))
    settings, path = tune_settings(blueprint), folder / "m.study.json"
    origin = json.loads(path.read_text(encoding="utf-8"))["origin"]
    assert [t.number for t in read_study(path, settings, origin).trials] == [0]
    text = path.read_text(encoding="utf-8")
    damaged = [text[:40], "[]", "{}", "\0", text.replace('"number": 0', '"number": 7'), text.replace('"settings": {', '"settings": [{')]
    damaged += [text.replace('"failure": ""', '"failure": 3'), text.replace('"pruned": false', '"pruned": true')]
    for broken in damaged:
        path.write_text(broken, encoding="utf-8")
        with pytest.raises(rv.CheckpointError, match="to begin anew"):
            read_study(path, settings, origin)
    path.write_text(text, encoding="utf-8")
    data = rows()
    for other in (digests(blueprint, settings, {**data, "x": data["x"] + 1}, Keys()), origin | {"folds": "0"}, origin | {"file": "0"}):
        with pytest.raises(rv.CheckpointError, match="a study of another search"):
            read_study(path, settings, other)


def test_more_trials_go_on_with_those_that_are_there(tmp_path: Path) -> None:
    """What `trials` says is no part of what they were judged by; a setting of the model is."""
    folder = written(tmp_path, f"{NUMBERS}\ntrials = 2")
    run(folder)
    before = study_of(folder)
    text = (folder / "m.nn").read_text(encoding="utf-8")
    (folder / "m.nn").write_text(text.replace("trials = 2", "trials = 4"), encoding="utf-8")
    run(folder, "--resume")
    assert study_of(folder)[:2] == before
    assert len(study_of(folder)) == 4
    for argument in (["--set", "hidden=9"], ["--folds", "3"], ["--seed", "5"]):
        result = CliRunner().invoke(application, ["tune", str(folder / "m.nn"), "-o", str(folder / "m.safetensors"), "--resume", *argument])
        assert result.exit_code == 1
        assert "is a study of another search" in result.output


def test_statistics_are_fitted_inside_each_fold() -> None:
    """What is held out decides no mean: other values there, the same statistics and scores of the rest."""
    model = rv.compile(TEXT)
    data = model.arrays(rows(), targets=True)
    training, held = folds_of(model, data, 4)[0]
    model.renew()
    model.fit({name: array[training] for name, array in data.items()})
    np.testing.assert_allclose(model.memory.read("fit:standardize_1.mu"), data["x"][training].mean(0), rtol=1e-5)
    assert len(held) == 24


@pytest.mark.parametrize("judged", ["folds = 4", "train.epochs in [16]"])
def test_hopeless_trials_are_given_up_as_optuna_does(tmp_path: Path, judged: str) -> None:
    """By folds, or by epochs: a trial ends at the first rung where it is worse than the median of those before."""
    optuna = pytest.importorskip("optuna")
    folder = written(tmp_path, f"train.optimizer.lr in log(1e-6, 1)\n{judged}\nsearch = tpe\ntrials = 24\nbest = min(val.loss)")
    run(folder)
    trials = study_of(folder)
    assert 0 < sum(t["pruned"] for t in trials) < 20
    study = optuna.create_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=0))
    for trial in trials:
        asked, given_up = study.ask(), []
        for rung, value in enumerate(trial["rungs"][: 4 if trial["pruned"] else 3]):  # at the last fold nothing is left to give up
            asked.report(value, rung)
            given_up.append(asked.should_prune())
        assert given_up == [False] * (len(given_up) - trial["pruned"]) + [True] * trial["pruned"]
        study.tell(asked, None if trial["pruned"] else 0.0, optuna.trial.TrialState.PRUNED if trial["pruned"] else None)


def test_an_interrupted_search_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, ran = written(tmp_path, f"{NUMBERS}\ntrials = 6"), []
    go = Bench.run

    def interrupted(self: Bench, *given: Any) -> Any:
        ran.append(given)
        if len(ran) == 4:
            raise KeyboardInterrupt
        return go(self, *given)

    monkeypatch.setattr(Bench, "run", interrupted)
    result = CliRunner().invoke(application, ["tune", str(folder / "m.nn"), "-o", str(folder / "m.safetensors")])
    assert result.exit_code == 130
    assert "interrupted after 3 trials" in result.output
    assert "--resume goes on from there" in result.output
    assert [t["number"] for t in study_of(folder)] == [0, 1, 2]
    assert not (folder / "m.safetensors").exists()
    run(folder, "--resume")
    assert len(ran) == 4 + 3


SPLIT = """
data {
    source = "rows.csv"
    x = columns(a, b, c, d)
    y = column(kind)
    LINE
    test = 20%
}
tune { hidden in [3] }
"""


@pytest.mark.parametrize("line", ["group = column(who)", "time = column(day)"])
def test_rows_of_a_group_stay_together_and_those_of_a_time_in_order(tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the test at the end, in the folds of `tune` and of `train`, and in the part held out without folds."""
    pytest.importorskip("pandas")
    data, random = rows(), np.random.default_rng(5)
    day, who = random.permutation(96), random.integers(0, 12, 96)
    table = [",".join(map(str, [*x, y, d, f"p{w}"])) for x, y, d, w in zip(data["x"], data["y"], day, who, strict=True)]
    (tmp_path / "rows.csv").write_text("a,b,c,d,kind,day,who\n" + "\n".join(table) + "\n", encoding="utf-8")
    (tmp_path / "m.nn").write_text(TEXT + SPLIT.replace("LINE", line), encoding="utf-8")
    of_row = {x.tobytes(): d if "day" in line else w for x, d, w in zip(data["x"], day, who, strict=True)}
    seen: list[tuple[set[int], set[int]]] = []
    fit, evaluate = Model.fit, Model.evaluate_arrays

    def fitted(self: Model, given: Any, *rest: Any, **more: Any) -> Any:
        seen.append(({of_row[x.tobytes()] for x in given["x"]}, set()))
        return fit(self, given, *rest, **more)

    def evaluated(self: Model, given: Any) -> Any:
        seen[-1][1].update(of_row[x.tobytes()] for x in given["x"])
        return evaluate(self, given)

    monkeypatch.setattr(Model, "fit", fitted)
    monkeypatch.setattr(Model, "evaluate_arrays", evaluated)
    target = str(tmp_path / "m.safetensors")
    for command in (["tune", "--trials", "1"], ["tune", "--trials", "1", "--folds", "3"], ["train", "--folds", "3"]):
        result = CliRunner().invoke(application, [command[0], str(tmp_path / "m.nn"), "-o", target, "--threads", "1", *command[1:]])
        assert result.exit_code == 0, result.output
    assert len(seen) == 2 + 4 + 4
    for training, held_out in seen:
        assert held_out
        assert (max(training) < min(held_out)) if "day" in line else not training & held_out


def test_windows_held_out_share_no_rows_with_training() -> None:
    text = (
        TEXT.replace("x: f32[4]", "x: f32[6, 4]").replace("y: class[3]", "y: class[3][6]").replace("z = x ->", "z = mean(x, over = [0]) ->")
    )
    model = rv.compile(text.replace("(z, y)", "(z, y[0])") + 'data {\nsource = "s.csv"\nwindow = 6\nstride = 2\n}')
    data = {"x": np.zeros((40, 6, 4), np.float32), "y": np.zeros((40, 6), np.int32)}
    for training, held_out in [*folds_of(model, data, 4), held_out_part(model, data)]:
        assert training.max() * 2 + 6 <= held_out.min() * 2, "the last row of training stands before the first one held out"


def test_from_python(tmp_path: Path) -> None:
    text = TEXT + f"tune {{\n{NUMBERS}\nfolds = 3\ntrials = 5\n}}"
    found = rv.tune(text, rows(), study=tmp_path / "s.json")
    more = rv.tune(text, rows(), trials=7, jobs=2, study=tmp_path / "s.json", resume=True)
    assert [t.folds for t in more.study.trials[:5]] == [t.folds for t in found.study.trials]
    assert len(more.study.trials) == 7
    again = rv.compile(text, **more.study.best.settings)
    again.fit(rows())
    np.testing.assert_array_equal(again.predict(rows()["x"]), more.model.predict(rows()["x"]))
    with pytest.raises(rv.RanvierError, match="`jobs` is at least 1"):
        rv.tune(text, rows(), jobs=0)
    with pytest.raises(rv.DataError, match="`groups` has shape"):
        rv.tune(text, rows(), groups=[1, 2, 3])


def test_a_whole_optimizer_is_searched_with_its_own_settings(tmp_path: Path) -> None:
    folder = written(
        tmp_path, "train.optimizer in [adam(), sgd(momentum = 0.9), rmsprop]\ntrain.optimizer.lr in log(1e-4, 1e-1)\ntrials = 9"
    )
    output = run(folder)
    assert "failed" not in output
    kinds = {t["settings"]["train.optimizer"] for t in study_of(folder)}
    assert f"9 trials, {len(kinds)} compiled" in output
    for trial in study_of(folder)[:3]:
        model = rv.compile(TEXT, **trial["settings"])
        training, held_out = held_out_part(model, model.arrays(rows(), targets=True))
        model.fit({k: v[training] for k, v in rows().items()})
        assert model.evaluate({k: v[held_out] for k, v in rows().items()})["loss"] == trial["folds"][0]["loss"]


def test_folds_on_threads_of_their_own_come_to_the_same() -> None:
    found = [rv.cross_validate(TEXT, rows(), folds=5, threads=threads) for threads in (1, 2, 3, 10)]
    assert all(each.folds == found[0].folds for each in found)


def test_folds_that_nobody_waits_for_end(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rv.compile(TEXT, threads=2, **{"train.epochs": 10**6})
    data = model.arrays(rows(), targets=True)
    first = fold_runs.run_fold

    def short(own: Model, *given: Any) -> Any:
        if own.blueprint.train_settings.epochs == 10**6 and short.__dict__.setdefault("done", 0) == 0:
            short.__dict__["done"] = 1
            return {"loss": 0.0}
        return first(own, *given)

    monkeypatch.setattr(fold_runs, "run_fold", short)
    runs = fold_runs.run_folds(model, data, folds_of(model, data, 4))
    assert next(iter(runs)) == {"loss": 0.0}
    runs.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ranvier-fold")]


@pytest.mark.parametrize("arguments", [("--threads", "1"), ("--jobs", "2"), ("--folds", "2"), ("--folds", "2", "--jobs", "2")])
def test_rows_that_stay_in_their_files_give_the_same_trials(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    folders = [written(tmp_path / how, f"{NUMBERS}\ntrials = 3") for how in ("true", "false")]
    for folder in folders:
        run(folder, *arguments, "--set", f"data.stream={folder.name}", "--set", "data.test=20%")
    assert tried(folders[0]) == tried(folders[1])
    x = rows()["x"]
    np.testing.assert_array_equal(*(load(folder / "m.safetensors").predict(x) for folder in folders))


def test_a_study_of_streamed_rows_goes_on_with_these_rows_only(tmp_path: Path) -> None:
    folder = written(tmp_path, f"{NUMBERS}\ntrials = 2")
    options = ("--set", "data.stream=true")
    run(folder, *options)
    assert "after 2 trials" in run(folder, *options, "--resume", "--trials", "3")
    np.savez(folder / "rows.npz", **{**rows(), "x": rows()["x"] + 1})
    result = CliRunner().invoke(application, ["tune", str(folder / "m.nn"), "-o", str(folder / "m.safetensors"), *options, "--resume"])
    assert result.exit_code == 1
    assert "its rows differ" in result.output


def test_files_that_change_during_a_search_are_refused(tmp_path: Path) -> None:
    """A process that opens them later than the search did."""
    folder = written(tmp_path, NUMBERS)
    blueprint = make_blueprint(open_source(folder / "m.nn"), {}, {"data.stream": True})
    model = Model(blueprint, initialise=False)
    bench = Bench(model.blueprint, read_split(model, folder / "rows.npz").seen, 0)
    recipe = recipe_of(bench)
    np.savez(folder / "rows.npz", **{**rows(), "x": rows()["x"] + 1})
    with pytest.raises(DataError, match=r"rows.npz: .*was changed while it was read"):
        recipe.bench(1).run({}, "loss", None)
