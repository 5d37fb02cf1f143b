"""A compiled model as Python users meet it: what it accepts, what it gives back, what it says when the data is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import ranvier as rv

LINEAR = """
model linear() {
    input x: f32[3]
    target y: f32[1]
    z = x -> dense(1)
    predict z
    loss mse(z, y)
    metric rmse(z, y)
    metric r2(z, y)
}
train { optimizer = adam(lr = 0.05) ; batch = 16 ; epochs = 40 }
"""

CLASSES = """
model classes() {
    input x: f32[4]
    target y: class[3]
    z = x -> standardize -> dense(3)
    predict softmax(z)
    loss cross_entropy(z, y)
    metric accuracy(z, y)
    metric top2 = top_k(z, y, 2)
    metric precision(z, y)
    metric recall(z, y)
    metric f1(z, y)
    metric confusion(z, y)
    metric perplexity(z, y)
}
train { batch = 32 ; epochs = 5 }
"""


def line(rows: int = 200) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((rows, 3)).astype(np.float32)
    return {"x": x, "y": (x @ [[1.0], [-2.0], [0.5]] + 0.25).astype(np.float32)}


def blobs(rows: int = 150) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    y = generator.integers(0, 3, rows).astype(np.int32)
    return {"x": (generator.standard_normal((rows, 4)) + 1.5 * y[:, None]).astype(np.float32), "y": y}


def test_a_line_is_learned() -> None:
    model, data = rv.compile(LINEAR), line()
    history = model.fit(data)
    assert len(history) == 40
    assert history[-1]["loss"] < 1e-3 < history[0]["loss"]
    np.testing.assert_allclose(model.params["dense_1.weight"].ravel(), [1, -2, 0.5], atol=0.02)


def test_regression_metrics_see_all_rows_at_once() -> None:
    model, data = rv.compile(LINEAR), line(75)
    figures, guess = model.evaluate(data), model.predict(data["x"])
    np.testing.assert_allclose(figures["rmse"], np.sqrt(np.mean((guess - data["y"]) ** 2)), rtol=1e-5)
    rest = np.sum((guess - data["y"]) ** 2) / np.sum((data["y"] - data["y"].mean()) ** 2)
    np.testing.assert_allclose(figures["r2"], 1 - rest, rtol=1e-4)


def test_classification_metrics_agree_with_their_definitions() -> None:
    model, data = rv.compile(CLASSES), blobs()
    model.fit(data)
    figures, scores = model.evaluate(data), model.predict(data["x"])
    guess, truth = scores.argmax(1), data["y"]
    matrix = np.zeros((3, 3))
    np.add.at(matrix, (truth, guess), 1)
    np.testing.assert_array_equal(figures["confusion"], matrix)
    precision, recall = np.diag(matrix) / matrix.sum(0), np.diag(matrix) / matrix.sum(1)
    np.testing.assert_allclose(figures["accuracy"], np.mean(guess == truth), rtol=1e-6)
    np.testing.assert_allclose(figures["precision"], precision.mean(), rtol=1e-5)
    np.testing.assert_allclose(figures["recall"], recall.mean(), rtol=1e-5)
    np.testing.assert_allclose(figures["f1"], (2 * precision * recall / (precision + recall)).mean(), rtol=1e-5)
    second = np.argsort(-scores, 1)[:, :2]
    np.testing.assert_allclose(figures["top2"], np.mean((second == truth[:, None]).any(1)), rtol=1e-6)
    np.testing.assert_allclose(figures["perplexity"], np.exp(figures["loss"]), rtol=1e-5)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)


def test_statistics_come_from_the_training_rows() -> None:
    model, data = rv.compile(CLASSES), blobs()
    model.fit(data, epochs=0)
    np.testing.assert_allclose(model.memory.read("fit:standardize_1.mu"), data["x"].mean(0), rtol=1e-5)
    np.testing.assert_allclose(model.memory.read("fit:standardize_1.sigma"), data["x"].std(0), rtol=1e-5)


@pytest.mark.parametrize("columns", [3, 40, 700])
@pytest.mark.parametrize("work", ["step", "gradients"])
def test_the_first_step_computes_statistics_before_anything_reads_memory(columns: int, work: str) -> None:
    """Programs that compute statistics may move memory, which a call that was bound before would still point at."""
    text = f"""
    model scaled() {{
        input x: f32[{columns}]
        target y: f32
        fit centre = mean(y, over = [batch])
        estimate = (x -> standardize -> dense(8) -> tanh -> dense(1))[0]
        predict centre + estimate
        loss (estimate - (y - centre))^2
    }}
    """
    rows = {"x": np.random.default_rng(0).normal(5, 2, (7, columns)).astype(np.float32), "y": np.arange(7, dtype=np.float32)}
    for _ in range(5):
        model, other = rv.compile(text), rv.compile(text)
        other.fit_statistics(other.arrays(rows, targets=True))
        found, wanted = (getattr(each, work)(rows) for each in (model, other))
        assert found == wanted if work == "step" else all(np.array_equal(found[name], wanted[name]) for name in wanted)
        assert all(np.array_equal(model.params[name], other.params[name]) for name in other.params)


def test_predicting_before_fitting_statistics_is_refused() -> None:
    with pytest.raises(rv.RanvierError, match="fit"):
        rv.compile(CLASSES).predict(blobs()["x"])


@pytest.mark.parametrize("rows", [1, 2, 31, 32, 33, 64, 150])
def test_predict_takes_any_number_of_rows(rows: int) -> None:
    model, data = rv.compile(CLASSES), blobs()
    model.fit_statistics(data)
    whole = model.predict(data["x"])
    assert model.predict(data["x"][:rows]).tobytes() == whole[:rows].tobytes()


def test_parameters_are_read_and_assigned_in_logical_shapes() -> None:
    model = rv.compile(LINEAR)
    assert set(model.params) == {"dense_1.weight", "dense_1.b"}
    model.params["dense_1.weight"] = np.array([[1.0], [2.0], [3.0]])
    model.params["dense_1.b"] = [0.5]
    np.testing.assert_allclose(model.predict(np.ones((2, 3), np.float32)), [[6.5], [6.5]])
    with pytest.raises(rv.DataError, match=r"\[3, 1\]"):
        model.params["dense_1.weight"] = np.zeros((1, 3))
    with pytest.raises(KeyError, match=r"dense_1\.weight"):
        model.params["dense_1.wieght"]


@pytest.mark.parametrize("label", [-1, 3, 2**31 - 1])
def test_a_class_out_of_range_changes_nothing(label: int) -> None:
    model, data = rv.compile(CLASSES), blobs(32)
    model.fit_statistics(data)
    before = {n: model.params[n] for n in model.params}
    data["y"][7] = label
    with pytest.raises(rv.DataError, match="y"):
        model.step(data)
    for name, value in before.items():
        assert model.params[name].tobytes() == value.tobytes()


def test_a_batch_larger_than_the_capacity_is_refused() -> None:
    with pytest.raises(rv.DataError, match="16"):
        rv.compile(LINEAR).step(line(17))


def test_a_partial_batch_counts_its_own_rows() -> None:
    model, data = rv.compile(LINEAR), line(5)
    expected = np.mean((data["x"] @ model.params["dense_1.weight"] + model.params["dense_1.b"] - data["y"]) ** 2)
    np.testing.assert_allclose(model.step(data), expected, rtol=1e-5)


def test_settings_are_given_by_keyword() -> None:
    text = "model m(width = 4) {\n input x: f32[2]\n predict x -> dense(width)\n}\n"
    assert rv.compile(text, width=9).predict(np.zeros((1, 2), np.float32)).shape == (1, 9)
    with pytest.raises(rv.SourceError, match="width"):
        rv.compile(text, widht=9).predict(np.zeros((1, 2), np.float32))


def test_early_stopping_restores_the_best() -> None:
    text = LINEAR.replace("epochs = 40", "epochs = 60 ; validate = 20% ; stop = patience(3)").replace("0.05", "0.4")
    model, data = rv.compile(text), line(60)
    data["y"] += np.random.default_rng(5).standard_normal(data["y"].shape).astype(np.float32)
    history = model.fit(data)
    assert len(history) < 60
    best = min(h["validation_loss"] for h in history)
    assert history[-1]["validation_loss"] > best


def test_dropout_is_only_in_training() -> None:
    text = "model m() {\n input x: f32[50]\n target y: f32[50]\n z = x -> dropout(0.5)\n predict z\n loss mse(z -> dense(50), y)\n}\n"
    model = rv.compile(text)
    x = np.ones((4, 50), np.float32)
    np.testing.assert_array_equal(model.predict(x), x)


RUNNING = """
layer center(momentum = 0.9)(x: [..., channels]) {
    param gain: [channels] ~ ones
    state average: [channels] = 0
    m = average
    if training {
        m = mean(x, over = [batch, ...])
        next average = momentum * average + (1 - momentum) * m
    }
    return (x - m) * gain
}
model running() {
    input x: f32[5, 3]
    target y: f32[15]
    h = x -> center -> flatten
    predict h
    loss mse(h -> dense(15), y)
}
train { batch = 8 }
"""


def test_a_state_follows_the_batches_and_is_used_when_predicting() -> None:
    """`...` in `over` is what it is in the signature: all axes but the channels."""
    model, generator = rv.compile(RUNNING), np.random.default_rng(0)
    average = np.zeros(3)
    for _ in range(3):
        x = generator.standard_normal((8, 5, 3)).astype(np.float32) + 2
        model.step({"x": x, "y": np.zeros((8, 15), np.float32)})
        average = 0.9 * average + 0.1 * x.mean((0, 1))
    np.testing.assert_allclose(model.memory.read("state:center_1.average"), average, rtol=1e-5)
    expected = (x - average) * model.params["center_1.gain"]
    np.testing.assert_allclose(model.predict(x), expected.reshape(8, 15), rtol=1e-4, atol=1e-5)


def test_many_short_epochs() -> None:
    """A turn of native steps is at most an epoch, however fast epochs go by."""
    assert len(rv.compile(LINEAR).fit(line(16), epochs=2000)) == 2000


def test_a_setting_that_is_a_tensor_is_that_of_each_application() -> None:
    """A layer applied twice makes its inner layers once; what they are given is not what the first application gave."""
    text = """
    layer times(factor)(x) { return x * factor }
    layer own()(x: [n]) { return x -> times(sum(x) / n) }
    model m() {
        input a: f32[3]
        input b: f32[3]
        shared = own()
        predict concat([shared(a), shared(b)])
    }
    """
    found = rv.compile(text).predict({"a": np.full((1, 3), 1, np.float32), "b": np.full((1, 3), 2, np.float32)})
    np.testing.assert_allclose(found, [[1, 1, 1, 4, 4, 4]], rtol=1e-6)
