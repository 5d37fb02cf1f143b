"""Weighted rows and classes: loss, metrics and gradients as scikit-learn and PyTorch weight them; a weight of 2 is a row twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranvier.compiler.errors import DataError

import ranvier as rv

CLASSES = """model m() {
    input x: f32[4]
    target y: class[3]
    logits = x -> standardize -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, y)
    metric accuracy(logits, y)
    metric precision(logits, y)
    metric recall(logits, y)
    metric f1(logits, y)
    metric confusion(logits, y)
}
DATA
train { batch = 32 ; epochs = 3 ; optimizer = adam(lr = 0.05) }
"""
NUMBERS = """model m() {
    input x: f32[4]
    target y: f32
    z = sum(x -> dense(1))
    predict z
    loss mse(z, y)
    metric rmse(z, y)
    metric r2(z, y)
    metric mae(z, y)
}
train { batch = 32 ; epochs = 2 }
"""


def rows(count: int = 100) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(count, 4)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 1), rng.uniform(0, 2, count).astype(np.float32)


def trained(text: str = CLASSES.replace("DATA", ""), **given: Any) -> Any:
    x, y, _ = rows()
    model = rv.compile(text, seed=3)
    model.fit(x, y, **given)
    return model


@pytest.mark.filterwarnings("ignore:The y_prob values")
def test_loss_and_metrics_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    x, y, w = rows()
    model = trained()
    p = model.predict(x).astype(np.float64)
    found, guess = model.evaluate(x, y, sample_weight=w), p.argmax(axis=1)
    assert found["loss"] == pytest.approx(metrics.log_loss(y, p, sample_weight=w), rel=1e-5)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, guess, sample_weight=w), rel=1e-6)
    for name in ("precision", "recall", "f1"):
        expected = getattr(metrics, f"{name}_score")(y, guess, sample_weight=w, average="macro", zero_division=0)
        assert found[name] == pytest.approx(expected, rel=1e-4), name
    np.testing.assert_allclose(found["confusion"], metrics.confusion_matrix(y, guess, sample_weight=w), rtol=1e-5)


def test_metrics_of_numbers_are_those_of_scikit_learn() -> None:
    from sklearn import metrics

    x, y, w = rows()
    model = trained(NUMBERS)
    p, found = model.predict(x), model.evaluate(x, y, sample_weight=w)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, p, sample_weight=w), rel=1e-5)
    assert found["r2"] == pytest.approx(metrics.r2_score(y, p, sample_weight=w), rel=1e-4)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, p, sample_weight=w), rel=1e-5)


def test_a_weight_of_two_is_a_row_twice_and_of_one_changes_nothing() -> None:
    x, y, _ = rows(30)
    model = trained()
    twice, weights = np.repeat(np.arange(30), 1 + np.arange(30) % 3), 1 + np.arange(30) % 3
    plain, single = model.evaluate(x[twice], y[twice]), model.evaluate(x, y)
    weighted = model.evaluate(x, y, sample_weight=weights)
    for name, value in weighted.items():
        np.testing.assert_allclose(value, plain[name], rtol=1e-5, err_msg=name)
    for name, value in model.evaluate(x, y).items():  # of a model that knows weights by now
        np.testing.assert_allclose(value, single[name], rtol=1e-6, err_msg=name)


def test_gradients_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    x, y, w = rows(32)
    model = rv.compile(NUMBERS, seed=1)
    weight, bias = (torch.tensor(model.params[n], requires_grad=True) for n in ("dense_1.weight", "dense_1.b"))
    z = (torch.tensor(x) @ weight + bias)[:, 0]
    ((z - torch.tensor(y)) ** 2 * torch.tensor(w)).sum().div(torch.tensor(w).sum()).backward()
    found = model.gradients({"x": x, "y": y}, sample_weight=w)
    np.testing.assert_allclose(found["dense_1.weight"], weight.grad, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["dense_1.b"], bias.grad, rtol=1e-4, atol=1e-6)
    before = model.params["dense_1.b"].copy()
    loss = model.step({"x": x, "y": y}, sample_weight=w)
    assert loss == pytest.approx(np.average((z.detach().numpy() - y) ** 2, weights=w), rel=1e-5)
    assert (model.params["dense_1.b"] != before).any()


def test_rows_of_no_weight_teach_nothing() -> None:
    x, y, w = rows(64)
    w[:32] = 0
    x[:32] = 50
    zeros, absent = (rv.compile(NUMBERS, seed=1, batch=64) for _ in range(2))
    zeros.step({"x": x, "y": y}, sample_weight=w)
    absent.step({"x": x[32:], "y": y[32:]}, sample_weight=w[32:])
    np.testing.assert_allclose(zeros.params["dense_1.weight"], absent.params["dense_1.weight"], rtol=1e-5)


def test_balanced_classes_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    x, y, _ = rows()
    factors = compute_class_weight("balanced", classes=np.arange(3), y=y)
    by_name, by_number = trained(class_weight="balanced"), trained(class_weight=factors.tolist())
    by_row = trained(sample_weight=factors[y])
    in_file = rv.compile(CLASSES.replace("DATA", "data { class_weight = balanced }"), seed=3)
    in_file.fit(x, y)
    for name, value in by_name.params.items():
        for other in (by_number, by_row, in_file):
            np.testing.assert_array_equal(value, other.params[name])
    assert not np.array_equal(trained().params["dense_1.weight"], by_name.params["dense_1.weight"])


def test_classes_by_label() -> None:
    x, y, _ = rows()
    names = np.array(["no", "so", "yes"])
    text = rv.compile(CLASSES.replace("DATA", ""), seed=3)
    text.fit(x, names[y], class_weight={"yes": 4, "no": 0.5})
    np.testing.assert_array_equal(text.params["dense_1.weight"], trained(class_weight={2: 4, 0: 0.5}).params["dense_1.weight"])


def test_a_column_of_weights(tmp_path: Path) -> None:
    from ranvier.runtime.feeding import read_split

    x, y, w = rows()
    np.savez(tmp_path / "rows.npz", x=x, y=y, count=w)
    model = rv.compile(CLASSES.replace("DATA", "data { weight = column(count) ; test = 20% }"), seed=3)
    model.fit({"x": x, "y": y, "count": w})
    np.testing.assert_array_equal(model.params["dense_1.weight"], trained(sample_weight=w).params["dense_1.weight"])
    split = read_split(model, tmp_path / "rows.npz")
    model.fit(split.training)
    assert split.test is not None
    assert model.evaluate_arrays(split.test)["loss"] < 2
    with pytest.raises(DataError, match="the data has no column `count` to weigh rows by"):
        model.fit({"x": x, "y": y})
    np.savez(tmp_path / "rows.npz", x=x, y=y)
    with pytest.raises(DataError, match="has no column `count` to weigh rows by"):
        read_split(model, tmp_path / "rows.npz")


def test_weights_that_cannot_be() -> None:
    x, y, w = rows()
    model = rv.compile(CLASSES.replace("DATA", ""))
    for weights, words in (
        (-w, "a weight is at least 0"),
        (w * 0, "none of them counts"),
        (w[:5], r"shape \[5\], and there are 100 rows"),
        (w * np.nan, "`sample_weight` row 0 is nan"),
    ):
        with pytest.raises(DataError, match=words):
            model.fit(x, y, sample_weight=weights)
    for classes, words in (
        ("even", "'balanced', a number for each class"),
        ([1, 2], "2 numbers, and `y` has 3 classes"),
        ({"a": 1}, "names the class 'a'"),
        ({0: -1}, "a number of at least 0"),
    ):
        with pytest.raises(DataError, match=words):
            model.fit(x, y, class_weight=classes)
    with pytest.raises(DataError, match="`y` holds measurements"):
        rv.compile(NUMBERS).fit(x, y + 0.5, class_weight="balanced")


def test_an_interrupted_fit_goes_on_to_the_bit(tmp_path: Path) -> None:
    x, y, w = rows(3000)
    given = {"sample_weight": w, "class_weight": "balanced", "validation": 0.2}
    whole = rv.compile(CLASSES.replace("DATA", ""), seed=3, batch=8, threads=2)
    whole.fit(x, y, **given)
    cut = rv.compile(CLASSES.replace("DATA", ""), seed=3, batch=8, threads=1)

    def end(progress: Any) -> None:
        if progress.finished and progress.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut.fit(x, y, report=end, **given)
    cut.save(tmp_path / "m.safetensors")
    again = rv.load(tmp_path / "m.safetensors")
    again.fit(x, y, resume=True, **given)
    for name, value in whole.params.items():
        np.testing.assert_array_equal(value, again.params[name])
