"""Metrics of classes against scikit-learn and PyTorch: if these fail, a model is judged by a wrong figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv

CLASSES, TIMES, ROWS = 5, 7, 23
AVERAGES = ("macro", "weighted", "micro")
METRICS = "\n".join(f'metric {m}_{a} = {m}(z, y, average = "{a}")' for m in ("precision", "recall", "f1") for a in AVERAGES)
BODY = f"""
    z = x * 1
    predict z
    loss hinge(z, y)
    metric accuracy(z, y)
    metric top2 = top_k(z, y, 2)
    metric confusion(z, y)
    {METRICS}
}}
"""
FLAT = f"model m() {{\ninput x: f32[{CLASSES}]\ntarget y: class[{CLASSES}]\n{BODY}"
PLACES = f"model m() {{\ninput x: f32[{TIMES}, {CLASSES}]\ntarget y: class[{CLASSES}][{TIMES}]\n{BODY}"
LENGTHS = f"model m() {{\ninput x: f32[T, {CLASSES}]\ntarget y: class[{CLASSES}][T]\n{BODY}"


def expected(scores: np.ndarray, truth: np.ndarray, rows: np.ndarray) -> dict[str, Any]:
    """Figures of places given one after the other; `rows` tell of which sample each is, whose means are averaged in a few of them."""
    metrics, torch = pytest.importorskip("sklearn.metrics"), pytest.importorskip("torch")
    guess, labels = scores.argmax(1), np.arange(CLASSES)
    right = np.take_along_axis(scores, truth[:, None], 1)
    loss = torch.nn.functional.multi_margin_loss(torch.tensor(scores), torch.tensor(truth), reduction="none").numpy()
    others = np.where(labels == truth[:, None], -np.inf, scores).max(1)
    assert (loss <= np.maximum(0, 1 + others - right[:, 0]) + 1e-6).all(), "PyTorch's is the mean over the classes, this the worst of them"

    def by_sample(values: np.ndarray) -> float:
        return float(np.mean([values[rows == row].mean() for row in np.unique(rows)]))

    found: dict[str, Any] = {
        "loss": by_sample(np.maximum(0, 1 + others - right[:, 0])),
        "accuracy": by_sample(guess == truth),
        "top2": by_sample((scores > right).sum(1) < 2),
        "confusion": metrics.confusion_matrix(truth, guess, labels=labels),
    }
    for average in AVERAGES:
        figures = metrics.precision_recall_fscore_support(truth, guess, labels=labels, average=average, zero_division=0)
        found |= {f"{name}_{average}": value for name, value in zip(("precision", "recall", "f1"), figures[:3], strict=True)}
    return found


def compare(model: rv.Model, data: dict[str, np.ndarray], wanted: dict[str, Any]) -> None:
    figures = model.evaluate(data)
    assert figures.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(figures[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


def arrays(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and classes of which one never occurs."""
    random = np.random.default_rng(len(shape))
    return random.normal(size=(*shape, CLASSES)).astype(np.float32), random.integers(0, CLASSES - 1, shape)


def test_of_samples() -> None:
    x, y = arrays(ROWS)
    compare(rv.compile(FLAT, batch=8), {"x": x, "y": y}, expected(x, y, np.arange(ROWS)))


def test_of_places() -> None:
    x, y = arrays(ROWS, TIMES)
    rows = np.repeat(np.arange(ROWS), TIMES)
    compare(rv.compile(PLACES, batch=8), {"x": x, "y": y}, expected(x.reshape(-1, CLASSES), y.reshape(-1), rows))


def test_of_places_up_to_each_end() -> None:
    """What lies past an end counts in no figure."""
    x, y = arrays(ROWS, TIMES)
    lengths = np.random.default_rng(1).integers(1, TIMES + 1, ROWS)
    inside = np.arange(TIMES) < lengths[:, None]
    rows = np.repeat(np.arange(ROWS)[:, None], TIMES, 1)[inside]
    compare(rv.compile(LENGTHS, batch=8, T=TIMES), {"x": x, "y": y, "x_length": lengths}, expected(x[inside], y[inside], rows))


@pytest.mark.parametrize("metric", ["top_k(z, y)", "confusion(z, y)", "precision(z, y)", "recall(z, y)", "f1(z, y)"])
def test_a_class_for_each_place(metric: str) -> None:
    text = f"model m() {{\ninput x: f32[{CLASSES}]\ntarget y: class[{CLASSES}][3]\nz = x * 1\npredict z\nloss mean(z)\nmetric {metric}\n}}"
    with pytest.raises(rv.SourceError, match="one class a place is wanted"):
        rv.compile(text)


def test_an_average_of_another_name() -> None:
    with pytest.raises(rv.SourceError, match="macro, weighted or micro, not samples"):
        rv.compile(FLAT.replace('"micro"', '"samples"'))
