"""Same file, same data, same seed: the same bits for any number of threads and from run to run. Else no result can be trusted twice."""

from __future__ import annotations

import numpy as np
import pytest
from ranvier.compiler.backend import schedule
from ranvier.compiler.backend.program import build
from ranvier.compiler.driver import SINGLE

import ranvier as rv

WIDE = """
model wide() {
    input x: u8[40]
    target y: class[7]
    z = x -> scale(1/16) -> standardize -> dense(300) -> gelu -> dropout(0.3) -> dense(130) -> layernorm -> relu -> dense(7)
    predict softmax(z)
    loss cross_entropy(z, y, smoothing = 0.1)
    metric accuracy(z, y)
    metric f1(z, y)
}
train { optimizer = adamw(lr = 3e-3) ; schedule = cosine(warmup = 10%) ; regularize = l2(1e-4) ; batch = 96 ; epochs = 3 ; validate = 20% }
"""


def rows(count: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 7, count).astype(np.int32)
    x = (generator.integers(0, 10, (count, 40)) + y[:, None]).astype(np.uint8)
    return {"x": x, "y": y}


def trained(threads: int) -> tuple[dict[str, np.ndarray], list[dict[str, float]], np.ndarray, dict[str, float]]:
    model = rv.compile(WIDE, threads=threads)
    data = rows(1003)
    history = model.fit(data)
    return {n: model.params[n] for n in model.params}, history, model.predict(data["x"]), model.evaluate(data)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_training_gives_the_same_bits(threads: int) -> None:
    params, history, predictions, figures = trained(threads)
    expected = trained(1)
    for name, value in expected[0].items():
        assert value.tobytes() == params[name].tobytes(), name
    assert history == expected[1]
    assert predictions.tobytes() == expected[2].tobytes()
    assert figures == expected[3]
    assert np.isfinite(predictions).all()


IMAGES = """
model images() {
    input x: f32[13, 14, 2]
    target y: class[4]
    z = x -> conv2d(8) -> relu -> maxpool -> conv2d(12, padding = 1) -> batchnorm -> relu -> maxpool(3, stride = 2)
    w = z -> conv2d(12, padding = 1) -> relu
    v = relu(z + w) -> conv2d(12, kernel = 1) -> tanh -> avgpool -> flatten -> dense(20) -> relu -> dense(4)
    predict softmax(v)
    loss cross_entropy(v, y)
}
train { optimizer = adam(lr = 3e-3) ; batch = 13 ; epochs = 2 ; validate = 20% }
"""


@pytest.mark.parametrize(("threads", "block"), [(1, 1 << 14), (1, 1), (2, 1 << 14), (3, 1), (3, 1 << 15)])
def test_blocks_of_rows_of_any_size_give_the_same_bits(threads: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that are run block of rows by block of rows keep in few rows what none but they read."""
    generator = np.random.default_rng(2)
    data = {"x": generator.standard_normal((45, 13, 14, 2)).astype(np.float32), "y": generator.integers(0, 4, 45).astype(np.int32)}
    expected = rv.compile(IMAGES, threads=1)
    expected_history = expected.fit(data)
    monkeypatch.setenv("RANVIER_CACHE", "off")  # else a program that was planned for another size of blocks would be found there
    monkeypatch.setattr(schedule, "BLOCK_BYTES", block)
    model = rv.compile(IMAGES, threads=threads)
    history = model.fit(data)
    for name in ("train", "predict"):
        native = build(model.blueprint.program(name), model.blueprint.target, threads)
        assert any(step.local for step in native.steps), name
    assert history == expected_history
    for name in expected.params:
        assert model.params[name].tobytes() == expected.params[name].tobytes(), name
    for count in (45, 13, 1, 0):
        assert model.predict(data["x"][:count]).tobytes() == expected.predict(data["x"][:count]).tobytes()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_row_alone_comes_to_the_same_bits(threads: int) -> None:
    """A single row has a program of its own, whose threads share what is within the row."""
    wide = IMAGES.replace("f32[13, 14, 2]", "f32[31, 30, 3]").replace("(8)", "(24)").replace("(12", "(48").replace("z + w", "w + z")
    cell = """
    model cell() {
        input x: f32[20, 40]
        target y: class[4]
        z = x -> lstm(200) -> last -> dense(4)
        predict softmax(z)
        loss cross_entropy(z, y)
    }
    """
    for text, shape in ((wide, (31, 30, 3)), (cell, (20, 40))):
        x = np.random.default_rng(3).standard_normal((7, *shape)).astype(np.float32)
        model = rv.compile(text, threads=threads, batch=64)
        together = model.predict(x)
        for row in (0, 6):
            assert model.predict(x[row : row + 1]).tobytes() == together[row].tobytes()
        native = build(model.blueprint.program(SINGLE), model.blueprint.target, threads)
        assert any(step.mode == schedule.BY_GRID for step in native.steps) == (threads > 1)
        assert model.predict(x).tobytes() == together.tobytes()


def test_another_seed_is_another_run() -> None:
    first, second = (rv.compile(WIDE, seed=s) for s in (0, 1))
    assert first.params["dense_1.weight"].tobytes() != second.params["dense_1.weight"].tobytes()


def test_steps_by_hand_equal_an_epoch() -> None:
    """`step` and the native epoch run the same program: twenty batches one way are twenty batches the other way."""
    by_hand, by_epoch = (rv.compile(WIDE, threads=2) for _ in range(2))
    data = rows(300)
    for model in (by_hand, by_epoch):
        model.fit_statistics(data)
    order = np.arange(300, dtype=np.int64)
    by_epoch.run_epoch("train", by_epoch.arrays(data, targets=True), order, 0, 300, 96)
    for start in range(0, 300, 96):
        by_hand.step({k: v[start : start + 96] for k, v in data.items()})
    for name in by_hand.params:
        assert by_hand.params[name].tobytes() == by_epoch.params[name].tobytes()
