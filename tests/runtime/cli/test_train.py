"""Training from the command line: what is said, what is saved, settings, data, and an interruption that costs nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

import ranvier as rv

Run = Callable[..., Result]

FLOWERS = """model flowers(hidden = 8) {
    input features: f32[2]
    target kind: class[3]
    logits = features -> standardize -> dense(hidden) -> tanh -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, kind)
    metric accuracy(logits, kind)
}
data { source = "rows.csv" ; features = columns(width, height) ; kind = column(species) ; test = 25% }
train { optimizer = adam(lr = 0.05) ; batch = 16 ; epochs = 20 }
"""


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A model, and a table with text labels."""
    rng = np.random.default_rng(3)
    kinds = rng.integers(0, 3, 120)
    points = rng.normal(0, 0.4, (120, 2)) + np.array([[0, 0], [3, 0], [0, 3]])[kinds]
    names = ["setosa", "iris", "virginica"]
    rows = [f"{w!r},{h!r},{names[k]}" for (w, h), k in zip(points.tolist(), kinds, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["width,height,species", *rows]) + "\n")
    (tmp_path / "flowers.nn").write_text(FLOWERS)
    return tmp_path


def test_one_plain_line_an_epoch_and_the_test_rows(trained: Any) -> None:
    lines = trained.printed.splitlines()
    assert [line.split()[1] for line in lines[:2]] == ["1/2", "2/2"]
    assert all("validation loss" in line and "rows/s" in line for line in lines[:2])
    assert lines[2].startswith("test (359 rows)  loss")
    assert lines[-1] == f"saved {trained.model}"


def test_the_saved_model_predicts_the_same_bits_everywhere(run: Run, trained: Any, tmp_path: Path) -> None:
    rows = dict(np.load(trained.data))
    expected = rv.load(trained.model).predict(rows["image"])
    assert expected.shape == (1797, 10)
    assert run("predict", trained.model, "--data", trained.data, "-o", tmp_path / "p.npz").exit_code == 0
    written = np.load(tmp_path / "p.npz")
    np.testing.assert_array_equal(written["prediction"], expected)
    np.testing.assert_array_equal(written["class"], expected.argmax(axis=1))
    model = rv.compile(trained.source, hidden=16, threads=2)
    for name, value in rv.load(trained.model).params.items():
        model.params[name] = value
    np.testing.assert_array_equal(model.predict(rows["image"]), expected)


def test_eval_gives_the_scores_of_the_model(run: Run, trained: Any) -> None:
    result = run("eval", trained.model, "--data", trained.data)
    assert result.exit_code == 0
    scores = rv.load(trained.model).evaluate(dict(np.load(trained.data)))
    first = result.stdout.splitlines()[0]
    assert first == f"1,797 rows  loss {scores['loss']:.4{'g' if scores['loss'] >= 1 else 'f'}}  accuracy {scores['accuracy']:.4f}"


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("hiden=3", "did you mean `hidden`?"),
        ("train.epoch=3", "did you mean `train.epochs`"),
        ("train.optimizer.lrr=3", "did you mean `train.optimizer.lr`"),
        ("tran.epochs=3", "did you mean `train.epochs`"),
        ("train.epochs=many", "`many` is not defined"),
        ("train.epochs=3 } model", "train.epochs = 3 } model"),
        ("train.batch=0", "from 1 to"),
    ],
)
def test_settings_that_are_none(run: Run, trained: Any, setting: str, said: str) -> None:
    result = run("train", trained.source, "--set", setting)
    assert result.exit_code == 1
    assert said in result.stderr


def test_the_same_seed_gives_the_same_file(run: Run, trained: Any, tmp_path: Path) -> None:
    outputs = [tmp_path / f"{n}.safetensors" for n in range(3)]
    for output, seed, threads in zip(outputs, (7, 7, 8), (1, 2, 1), strict=True):
        arguments = ("--set", "hidden=8", "--set", "train.epochs=1", "--seed", seed, "--threads", threads)
        assert run("train", trained.source, "-o", output, *arguments).exit_code == 0
    first, second, third = (output.read_bytes() for output in outputs)
    assert first == second
    assert first != third


def test_columns_and_text_labels(run: Run, flowers: Path) -> None:
    model = flowers / "m.safetensors"
    result = run("train", flowers / "flowers.nn", "-o", model)
    assert result.exit_code == 0, result.output
    assert "test (30 rows)" in result.stdout
    shown = run("predict", model, "--data", flowers / "rows.csv")
    assert shown.stdout.splitlines()[0].split()[:3] == ["row", "class", "label"]
    assert run("predict", model, "--data", flowers / "rows.csv", "-o", flowers / "p.csv").exit_code == 0
    lines = (flowers / "p.csv").read_text().splitlines()
    assert lines[0] == "prediction_0,prediction_1,prediction_2,class,label"
    truth = [line.split(",")[2] for line in (flowers / "rows.csv").read_text().splitlines()[1:]]
    found = [line.split(",")[4] for line in lines[1:]]
    assert sum(a == b for a, b in zip(truth, found, strict=True)) > 110
    values = np.array([line.split(",")[:3] for line in lines[1:]]).astype(np.float32)
    table = np.array([line.split(",")[:2] for line in (flowers / "rows.csv").read_text().splitlines()[1:]]).astype(np.float32)
    np.testing.assert_array_equal(values, rv.load(model).predict(table))


def test_data_that_does_not_fit_is_told_with_its_place(run: Run, flowers: Path) -> None:
    text = (flowers / "rows.csv").read_text().replace("width,height", "width,heigth")
    (flowers / "rows.csv").write_text(text)
    result = run("train", flowers / "flowers.nn", "-o", flowers / "m.safetensors")
    assert result.exit_code == 1
    assert "no column `height`" in result.stderr
    assert "did you mean `heigth`?" in result.stderr
    assert not (flowers / "m.safetensors").exists()


def test_a_file_may_not_name_data_outside_its_folder(run: Run, flowers: Path) -> None:
    folder = flowers / "inner"
    folder.mkdir()
    for source in ("../rows.csv", "/etc/passwd", "link.csv"):
        (folder / "flowers.nn").write_text(FLOWERS.replace("rows.csv", source))
        if not (folder / "link.csv").is_symlink():
            (folder / "link.csv").symlink_to(flowers / "rows.csv")
        result = run("train", folder / "flowers.nn")
        assert result.exit_code == 1
        assert "--data" in result.stderr
    given = run("train", folder / "flowers.nn", "--data", flowers / "rows.csv", "-o", folder / "m.safetensors", "--set", "train.epochs=1")
    assert given.exit_code == 0, given.output


def test_no_data_at_all(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.nn").write_text("model m() { input x: f32[2] ; target y: f32[2] ; predict x ; loss mse(x -> dense(2), y) }\n")
    result = run("train", tmp_path / "m.nn")
    assert result.exit_code == 1
    assert "--data PATH" in result.stderr


def test_resume_with_nothing_to_resume_begins_anew(run: Run, trained: Any, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    result = run("train", trained.source, "-o", output, "--resume", "--set", "hidden=16", "--set", "train.epochs=1", "--threads", 1)
    assert result.exit_code == 0
    assert "begins anew" in result.stderr
    assert output.exists()


def test_resume_of_another_model_is_refused_and_harms_nothing(run: Run, trained: Any, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    shutil.copy(trained.model, output)
    result = run("train", trained.source, "-o", output, "--resume", "--set", "hidden=17")
    assert result.exit_code == 1
    assert "`dense_1.weight` has shape [64, 16], not [64, 17]" in result.stderr
    assert output.read_bytes() == trained.model.read_bytes()


def test_an_interrupted_training_goes_on_to_the_same_bits(run: Run, trained: Any, tmp_path: Path) -> None:
    whole, parted = tmp_path / "whole.safetensors", tmp_path / "parted.safetensors"
    settings = ["--set", "hidden=48", "--set", "train.epochs=60", "--set", "train.stop=patience(1000)", "--threads", "1"]
    assert run("train", trained.source, "-o", whole, *settings).exit_code == 0
    command = [sys.executable, "-m", "ranvier", "train", str(trained.source), "-o", str(parted), *settings]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout is not None
    assert process.stdout.readline().startswith("epoch")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"saved {parted}" in errors
    assert "Traceback" not in errors
    assert rv.load(parted).predict(np.zeros((2, 8, 8, 1), np.uint8)).shape == (2, 10)
    assert run("train", trained.source, "-o", parted, "--resume", *settings).exit_code == 0
    assert parted.read_bytes() == whole.read_bytes()


def test_what_stands_beside_the_model(run: Run, flowers: Path) -> None:
    model = flowers / "m.safetensors"
    result = run("train", flowers / "flowers.nn", "-o", model, "--checkpoint-every", "epoch", "--log", flowers / "log")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert {p.name for p in flowers.glob("m.*")} == {"m.safetensors", "m.previous.safetensors", "m.best.safetensors"}
    assert len((flowers / "log" / "log.csv").read_text().splitlines()) == 21
    assert run("eval", flowers / "m.best.safetensors", "--data", flowers / "rows.csv").exit_code == 0


def test_a_second_training_in_one_place_is_refused(run: Run, flowers: Path) -> None:
    from ranvier.runtime.lock import lock_beside, unlock

    handle = lock_beside(flowers / "m.safetensors")
    result = run("train", flowers / "flowers.nn", "-o", flowers / "m.safetensors")
    unlock(flowers / "m.safetensors", handle)
    assert result.exit_code == 1
    assert f"another training writes there (process {os.getpid()})" in result.stderr


def test_times_that_are_none(run: Run, flowers: Path) -> None:
    result = run("train", flowers / "flowers.nn", "--checkpoint-every", "5 minuten")
    assert result.exit_code == 2
    assert "`1000 steps`" in result.stderr


def test_resume_of_a_damaged_model_goes_back_one(run: Run, flowers: Path) -> None:
    whole, model = flowers / "whole.safetensors", flowers / "m.safetensors"
    assert run("train", flowers / "flowers.nn", "-o", whole).exit_code == 0
    short = ("train", flowers / "flowers.nn", "-o", model, "--set", "train.epochs=9", "--checkpoint-every", "1 step")
    assert run(*short).exit_code == 0
    assert run("train", flowers / "flowers.nn", "-o", model, "--resume", "--checkpoint-every", "1 step").exit_code == 0
    assert model.read_bytes() == whole.read_bytes()
    model.write_bytes(model.read_bytes()[:-7])
    result = run("train", flowers / "flowers.nn", "-o", model, "--resume")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {model}: is damaged")
    assert f"going on from {flowers / 'm.previous.safetensors'} after" in result.stderr
    assert model.read_bytes() == whole.read_bytes()


# --- what is told at the end


def test_the_classes_are_told_by_name(run: Run, flowers: Path) -> None:
    """Of rows that were not trained on: each class by itself, and what is taken for what."""
    result = run("train", flowers / "flowers.nn", "-o", flowers / "m.safetensors", "--threads", 1)
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    start = lines.index(["class", "precision", "recall", "f1", "rows"])
    assert [line[0] for line in lines[start + 1 : start + 6]] == ["iris", "setosa", "virginica", "mean", "weighted"]
    assert sum(int(line[-1]) for line in lines[start + 1 : start + 4]) == 30
    matrix = lines.index(["iris", "setosa", "virginica"])
    rows = [list(map(int, line[1:])) for line in lines[matrix + 1 : matrix + 4]]
    assert [sum(row) for row in rows] == [int(line[-1]) for line in lines[start + 1 : start + 4]]
    again = run("eval", flowers / "m.safetensors", "--data", flowers / "rows.csv")
    assert "weighted mean" in again.stdout
    assert "rows: true kind; columns: said" in again.stdout


def test_a_confusion_matrix_of_the_model_is_told_once_and_by_name(run: Run, flowers: Path) -> None:
    text = FLOWERS.replace("metric accuracy", "metric confusion(logits, kind)\n    metric accuracy")
    (flowers / "flowers.nn").write_text(text)
    result = run("train", flowers / "flowers.nn", "-o", flowers / "m.safetensors", "--set", "train.epochs=1", "--threads", 1)
    assert result.exit_code == 0, result.output
    assert sum(line.split() == ["iris", "setosa", "virginica"] for line in result.stdout.splitlines()) == 1


def test_rows_held_out_are_told_where_there_is_no_test(run: Run, flowers: Path) -> None:
    (flowers / "flowers.nn").write_text(FLOWERS.replace("test = 25%", "").replace("epochs = 20", "epochs = 2 ; validate = 25%"))
    result = run("train", flowers / "flowers.nn", "-o", flowers / "m.safetensors", "--threads", 1)
    lines = result.stdout.splitlines()
    told = next(line for line in lines if line.startswith("validation (30 rows)"))
    assert told.partition("loss ")[2].split()[0] == lines[1].partition("validation loss ")[2].split()[0]


def test_curves(run: Run, flowers: Path) -> None:
    options = ("--set", "train.epochs=3", "--threads", 1)
    result = run("train", flowers / "flowers.nn", "-o", flowers / "m.safetensors", "--curves", flowers / "c.svg", *options)
    assert result.exit_code == 0, result.output
    assert f"wrote {flowers / 'c.svg'}" in result.stdout
    assert (flowers / "c.svg").read_text().count("<polyline") == 2


@pytest.mark.parametrize(("file", "said"), [("c.jpg", ".svg or .png, not .jpg"), ("none/c.svg", "does not exist")])
def test_a_picture_that_cannot_be_is_said_before_training(run: Run, flowers: Path, file: str, said: str) -> None:
    result = run("train", flowers / "flowers.nn", "--curves", flowers / file)
    assert result.exit_code == 2
    assert said in result.output
    assert "epoch" not in result.stdout


def test_a_png_says_what_to_install(run: Run, flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranvier.runtime.show.learning_curves.find_spec", lambda name: None)
    result = run("train", flowers / "flowers.nn", "--curves", flowers / "c.png")
    assert result.exit_code == 1
    assert "pip install 'ranvier[pictures]'" in result.output
