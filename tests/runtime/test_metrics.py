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
    with pytest.raises(rv.SourceError, match=r"one class a place is wanted|a score for each class"):
        rv.compile(text)


def test_an_average_of_another_name() -> None:
    with pytest.raises(rv.SourceError, match="auto, macro, weighted, micro, binary or none, not samples"):
        rv.compile(FLAT.replace('"micro"', '"samples"'))


def test_binary_is_of_two_classes() -> None:
    with pytest.raises(rv.SourceError, match="for two classes"):
        rv.compile(FLAT.replace('"micro"', '"binary"'))


def test_a_predicted_class_is_no_score_of_a_yes_or_no() -> None:
    with pytest.raises(rv.SourceError, match="a score for each class is wanted"):
        rv.compile(FLAT.replace("accuracy(z, y)", "accuracy(argmax(z), y)"))


# --- yes/no targets

ANSWERS = """model m() {
    input x: f32[SHAPE]
    target y: TYPE
    p = x * 1
    predict p
    loss mse(p, float(y))
    metric accuracy(p, y)
    metric strict = accuracy(p, y, threshold = 0.8)
    metric confusion(p, y)
    metric precision(p, y)
    metric recall(p, y)
    metric f1(p, y)
    metric each = f1(p, y, average = "none")
    metric macro = f1(p, y, average = "macro")
    metric weighted = f1(p, y, average = "weighted")
    metric auc(p, y)
}
"""


def of_answers(scores: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    metrics = pytest.importorskip("sklearn.metrics")
    guess = scores > 0.5
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(truth, guess, average="binary", zero_division=0)
    averages = {name: metrics.f1_score(truth, guess, average=name) for name in ("macro", "weighted")}
    return {
        "accuracy": metrics.accuracy_score(truth, guess),
        "strict": metrics.accuracy_score(truth, scores > 0.8),
        "confusion": metrics.confusion_matrix(truth, guess),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "each": metrics.f1_score(truth, guess, average=None),
        **averages,
    }


@pytest.mark.parametrize("kind", ["class[2]", "bool[]", "f32[]"])
def test_yes_or_no(kind: str) -> None:
    random = np.random.default_rng(2)
    y = random.integers(0, 2, 97)
    x = np.clip(random.normal(0.4 + 0.3 * y, 0.3), 0, 1).astype(np.float32)
    truth = {"class[2]": y, "bool[]": y.astype(bool), "f32[]": y.astype(np.float32)}[kind]
    figures = rv.compile(ANSWERS.replace("SHAPE", "").replace("TYPE", kind), batch=8).evaluate({"x": x, "y": truth})
    for name, value in of_answers(x, y).items():
        np.testing.assert_allclose(figures[name], value, rtol=2e-5, err_msg=name)


def test_yes_or_no_at_each_time() -> None:
    random = np.random.default_rng(3)
    y = random.integers(0, 2, (ROWS, TIMES))
    x = np.clip(random.normal(0.4 + 0.3 * y, 0.3), 0, 1).astype(np.float32)
    lengths = random.integers(1, TIMES + 1, ROWS)
    inside = np.arange(TIMES) < lengths[:, None]
    model = rv.compile(ANSWERS.replace("SHAPE", "T").replace("TYPE", "bool[T]"), batch=8, T=TIMES)
    figures = model.evaluate({"x": x, "y": y.astype(bool), "x_length": lengths})
    wanted = of_answers(x[inside], y[inside])
    for name in wanted.keys() - {"accuracy", "strict"}:
        np.testing.assert_allclose(figures[name], wanted[name], rtol=2e-5, err_msg=name)
    right = ((x > 0.5) == y) & inside
    np.testing.assert_allclose(figures["accuracy"], (right.sum(1) / lengths).mean(), rtol=2e-5)
    np.testing.assert_allclose(figures["auc"], pytest.importorskip("sklearn.metrics").roc_auc_score(y[inside], x[inside]), atol=2e-3)


# --- areas, perplexity, regression


def one_figure(target: str, metric: str, shape: str = "") -> str:
    loss = "loss sum(z)" if shape else "loss z"
    return f"model m() {{\ninput x: f32[{shape}]\ntarget y: {target}\nz = x * 1\npredict z\n{loss}\nmetric figure = {metric}\n}}"


@pytest.mark.parametrize("kind", ["probabilities", "logits", "close", "far", "ties", "constant"])
@pytest.mark.parametrize("rows", [10, 1000, 20000])
def test_area(kind: str, rows: int) -> None:
    """Whatever the scores are like, the area differs by less than the share of pairs that one of 1024 ranks may hold."""
    random = np.random.default_rng(rows)
    y = random.permutation(np.arange(rows) % 2)
    z = random.normal(1.5 * y, 2.0)
    made = {"probabilities": 1 / (1 + np.exp(-4 * z)), "logits": z, "close": 0.5 + 1e-3 * z, "far": 1e3 * z**5}
    x = (made | {"ties": np.round(z), "constant": 0 * z})[kind].astype(np.float32)
    figure = rv.compile(one_figure("class[2]", "auc(z, y)"), batch=64).evaluate({"x": x, "y": y})["figure"]
    assert figure == pytest.approx(pytest.importorskip("sklearn.metrics").roc_auc_score(y, x), abs=5e-4)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_area_of_classes_against_the_rest(average: str) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(5)
    y = random.choice(CLASSES, 500, p=[0.4, 0.3, 0.1, 0.1, 0.1])
    x = random.normal(size=(500, CLASSES)) + np.eye(CLASSES)[y]
    x = (np.exp(x) / np.exp(x).sum(1, keepdims=True)).astype(np.float32)
    text = one_figure(f"class[{CLASSES}]", f'auc(z, y, average = "{average}")', str(CLASSES))
    figure = rv.compile(text, batch=64).evaluate({"x": x, "y": y})["figure"]
    assert figure == pytest.approx(metrics.roc_auc_score(y, x / x.sum(1, keepdims=True), multi_class="ovr", average=average), abs=1e-3)


def test_area_of_classes_up_to_each_end() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    x, _ = arrays(ROWS, TIMES)
    y = np.random.default_rng(9).integers(0, CLASSES, (ROWS, TIMES))
    lengths = np.random.default_rng(1).integers(1, TIMES + 1, ROWS)
    inside = np.arange(TIMES) < lengths[:, None]
    text = one_figure(f"class[{CLASSES}][T]", "auc(softmax(z), y)", f"T, {CLASSES}")
    figure = rv.compile(text, batch=8, T=TIMES).evaluate({"x": x, "y": y, "x_length": lengths})["figure"]
    shares = np.exp(x[inside].astype(np.float64))
    wanted = metrics.roc_auc_score(y[inside], shares / shares.sum(1, keepdims=True), multi_class="ovr")
    assert figure == pytest.approx(wanted, abs=1e-3)


def test_area_while_training_is_shown_for_probabilities() -> None:
    random = np.random.default_rng(6)
    y = random.integers(0, 2, 512)
    x = random.normal(y, 1.0).astype(np.float32)
    text = "model m() { input x: f32[1]\n target y: class[2]\n z = sum(x -> dense(1))\n predict sigmoid(z)\n"
    text += "loss binary_cross_entropy(z, float(y))\n metric auc(sigmoid(z), y)\n}\n"
    text += "train { optimizer = sgd(lr = 0) ; batch = 64 ; epochs = 1 }"
    model = rv.compile(text, seed=3)
    history = model.fit({"x": x[:, None], "y": y})
    wanted = pytest.importorskip("sklearn.metrics").roc_auc_score(y, model.predict(x[:, None]))
    assert history[0]["auc"] == pytest.approx(wanted, abs=2e-3)


def test_perplexity_is_of_places() -> None:
    """Sequences of different lengths count by their places, as in the definition for texts."""
    torch = pytest.importorskip("torch")
    x, y = arrays(ROWS, TIMES)
    lengths = np.random.default_rng(1).integers(1, TIMES + 1, ROWS)
    inside = np.arange(TIMES) < lengths[:, None]
    text = one_figure(f"class[{CLASSES}][T]", "perplexity(z, y)", f"T, {CLASSES}")
    figure = rv.compile(text, batch=8, T=TIMES).evaluate({"x": x, "y": y, "x_length": lengths})["figure"]
    loss = torch.nn.functional.cross_entropy(torch.tensor(x[inside]), torch.tensor(y[inside]))
    assert figure == pytest.approx(float(loss.exp()), rel=1e-5)


@pytest.mark.parametrize(("average", "theirs"), [("macro", "uniform_average"), ("weighted", "variance_weighted"), ("none", "raw_values")])
def test_r2_of_several_numbers(average: str, theirs: str) -> None:
    """Far from 0 too, where a sum of squares would lose the variance; one number never changes."""
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(7)
    y = (random.normal(size=(200, 3)) * [1, 5, 0] + [2000, -1, 3]).astype(np.float32)
    x = (y + random.normal(size=y.shape) * [0.5, 1, 0]).astype(np.float32)
    figure = rv.compile(one_figure("f32[3]", f'r2(z, y, average = "{average}")', "3"), batch=16).evaluate({"x": x, "y": y})["figure"]
    np.testing.assert_allclose(figure, metrics.r2_score(y, x, multioutput=theirs), rtol=1e-4)


def test_errors_of_regression() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(8)
    y = random.normal(size=300).astype(np.float32)
    x = (y + random.normal(size=300)).astype(np.float32)
    for ours, theirs in (("mae", metrics.mean_absolute_error), ("rmse", metrics.root_mean_squared_error), ("r2", metrics.r2_score)):
        figure = rv.compile(one_figure("f32[]", f"{ours}(z, y)"), batch=16).evaluate({"x": x, "y": y})["figure"]
        assert figure == pytest.approx(theirs(y, x), rel=1e-5), ours


def test_figures_are_the_same_bits_for_any_number_of_threads() -> None:
    x, y = arrays(300)
    text = FLAT.replace("metric accuracy(z, y)", "metric accuracy(z, y)\nmetric auc(z, y)")
    one, two = (rv.compile(text, batch=32, threads=threads).evaluate({"x": x, "y": y}) for threads in (1, 2))
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
