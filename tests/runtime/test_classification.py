"""What is said of each class, against scikit-learn: a wrong matrix would send people after the wrong mistake."""

from __future__ import annotations

import numpy as np
import pytest
from ranvier.runtime.classification import judge
from ranvier.runtime.cli.class_tables import class_table, confusion_text

import ranvier as rv

CLASSES = "model m() {\n input x: f32[4]\n target y: class[4]\n predict x * 1\n loss cross_entropy(x, y)\n}"
ANSWERS = "model m() {\n input x: f32[]\n target y: KIND\n predict x * 1\n loss mse(x, float(y))\n}"
TIMES = "model m() {\n input x: f32[T, 4]\n target y: class[4][T]\n predict x * 1\n loss cross_entropy(x, y)\n}"


def rows(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(*shape, 4)).astype(np.float32), random.integers(0, 3, shape)


def test_of_classes() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    x, y = rows(50)
    judged = judge(rv.compile(CLASSES), {"x": x, "y": y.astype(np.int32)})
    assert judged is not None
    guess, labels = x.argmax(1), range(4)
    np.testing.assert_array_equal(judged.counts, metrics.confusion_matrix(y, guess, labels=labels))
    report = metrics.classification_report(y, guess, labels=labels, zero_division=0, output_dict=True)
    for n, figures in enumerate(judged.figures):
        assert [*figures, judged.support[n]] == pytest.approx(list(report[str(n)].values()))
    for ours, theirs in (("mean", "macro avg"), ("weighted mean", "weighted avg")):
        assert list(judged.averages()[ours]) == pytest.approx(list(report[theirs].values())[:3])
    assert judged.accuracy == pytest.approx(metrics.accuracy_score(y, guess))
    wrong = judged.confusions()
    assert sum(times for _, _, times in wrong) == (guess != y).sum()
    assert [times for _, _, times in wrong] == sorted((times for _, _, times in wrong), reverse=True)


@pytest.mark.parametrize("kind", ["class[2]", "bool[]"])
def test_of_answers(kind: str) -> None:
    random = np.random.default_rng(1)
    x, y = random.random(40).astype(np.float32), random.integers(0, 2, 40)
    judged = judge(rv.compile(ANSWERS.replace("KIND", kind)), {"x": x, "y": y.astype(bool if kind == "bool[]" else np.int32)})
    assert judged is not None
    np.testing.assert_array_equal(judged.counts, [[((y == t) & ((x > 0.5) == s)).sum() for s in (0, 1)] for t in (0, 1)])


def test_a_number_is_no_answer() -> None:
    x = np.zeros(3, np.float32)
    assert judge(rv.compile(ANSWERS.replace("KIND", "f32[]")), {"x": x, "y": x}) is None


def test_what_lies_past_an_end_is_not_counted() -> None:
    x, y = rows(20, 6)
    lengths = np.random.default_rng(2).integers(1, 7, 20)
    model = rv.compile(TIMES, T=6)
    judged = judge(model, model.arrays({"x": x, "y": y, "x_length": lengths}, targets=True))
    assert judged is not None
    inside = np.arange(6) < lengths[:, None]
    expected = np.zeros((4, 4), int)
    np.add.at(expected, (y[inside], x.argmax(-1)[inside]), 1)
    np.testing.assert_array_equal(judged.counts, expected)


def test_classes_are_called_by_their_names_and_many_are_cut() -> None:
    count = 60
    text = CLASSES.replace("[4]", f"[{count}]")
    model, x = rv.compile(text), np.eye(count, dtype=np.float32)
    model.vocabularies["y"] = [f"kind {n}" for n in range(count)]
    y = np.arange(count)
    y[:2] = 1, 0
    judged = judge(model, {"x": x, "y": y})
    assert judged is not None
    table = class_table(judged)
    assert [row[0] for row in table.rows[:3]] == ["kind 0", "kind 1", "kind 2"]
    assert table.rows[-3][0] == "… 20 better ones"
    assert confusion_text(judged).splitlines()[2:] == ["kind 0  kind 1     1", "kind 1  kind 0     1"]


def test_too_many_classes_for_a_matrix_are_not_judged() -> None:
    count = 100_000
    model = rv.compile(CLASSES.replace("[4]", f"[{count}]"))
    assert judge(model, {"x": np.zeros((1, count), np.float32), "y": np.zeros(1, np.int32)}) is None


def test_losses_of_rows_are_what_the_loss_averages() -> None:
    x, y = rows(50)
    model = rv.compile(CLASSES, batch=16)
    losses = model.losses({"x": x, "y": y})
    truth = x[np.arange(50), y]
    np.testing.assert_allclose(losses, np.log(np.exp(x).sum(1)) - truth, rtol=1e-5, atol=1e-6)
    assert losses.mean() == pytest.approx(model.evaluate({"x": x, "y": y})["loss"], rel=1e-5)
    np.testing.assert_array_equal(model.losses(x, y), losses)
