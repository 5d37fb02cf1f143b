"""A program that was compiled before is loaded: nothing is generated, nothing else is computed, and whatever changes it is noticed."""

from pathlib import Path

import numpy as np
import pytest
from ranvier.compiler import driver, kept
from ranvier.compiler.backend import cache, jit

import ranvier as rv

NET = """
model net(hidden = 5) {
    input x: f32[3]
    target y: class[2]
    logits = x -> dense(hidden) -> tanh -> dense(2)
    predict softmax(logits)
    loss cross_entropy(logits, y)
    metric accuracy(logits, y)
}
train {
    optimizer = adam(lr = 0.1)
    batch = 8
    epochs = 2
}
"""
ROWS = {"x": np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3), "y": np.arange(8, dtype=np.int32) % 2}


class Made:
    """What was done since it was last asked."""

    def __init__(self) -> None:
        self.programs, self.objects = 0, 0

    def since(self) -> tuple[int, int]:
        done = self.programs, self.objects
        self.programs, self.objects = 0, 0
        return done


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Counts graphs that are lowered and modules that are compiled; the cache is empty."""
    found, lower, compile_object = Made(), driver.lower, jit.compile_object

    def lowering(*arguments: object) -> object:
        found.programs += 1
        return lower(*arguments)  # type: ignore[arg-type]

    def compiling(*arguments: object) -> object:
        found.objects += 1
        return compile_object(*arguments)  # type: ignore[arg-type]

    monkeypatch.delenv("RANVIER_CACHE", raising=False)
    monkeypatch.setenv("RANVIER_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(driver, "lower", lowering)
    monkeypatch.setattr(jit, "compile_object", compiling)
    return found


def trained(**settings: object) -> tuple[list[float], np.ndarray]:
    """Losses and predictions of a new model after some steps and an epoch."""
    model = rv.compile(NET, **settings)
    losses = [model.step(ROWS) for _ in range(3)]
    model.fit(ROWS, epochs=1, validation=0)
    return [*losses, model.evaluate(ROWS)["loss"]], model.predict(ROWS["x"])


def test_the_second_time_nothing_is_generated_and_all_is_the_same(made: Made) -> None:
    first = trained()
    assert min(made.since()) > 0
    second = trained()
    assert made.since() == (0, 0)
    assert second[0] == first[0]
    np.testing.assert_array_equal(second[1], first[1])


@pytest.mark.parametrize(
    ("settings", "same"),
    [({"hidden": 6}, False), ({"batch": 9}, True), ({"dtype": "f64"}, False), ({"threads": 2}, True), ({"train.optimizer.lr": 0.2}, False)],
    ids=str,
)
def test_another_setting_is_another_program(made: Made, settings: dict[str, object], same: bool) -> None:
    before = trained(threads=1)
    made.since()
    after = trained(**{"threads": 1, **settings})
    assert made.since()[0] > 0
    assert (after[0] == before[0]) == same


def test_another_text_is_another_program(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    before = trained()
    monkeypatch.setitem(globals(), "NET", NET.replace("tanh", "relu"))
    made.since()
    assert trained()[0] != before[0]
    assert made.since()[0] > 0


def test_a_changed_compiler_makes_its_own_programs(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    trained()
    made.since()
    monkeypatch.setattr(kept, "_own_code", lambda: "another compiler")
    trained()
    assert made.since()[0] > 0


def test_the_order_in_which_programs_are_asked_for_does_not_matter(made: Made) -> None:
    """Each places its values in the memory that they share, so where they lie depends on what was there before."""
    one = rv.compile(NET)
    expected = one.predict(ROWS["x"])
    one.step(ROWS)
    other = rv.compile(NET)
    other.step(ROWS)
    made.since()
    again = rv.compile(NET)
    np.testing.assert_array_equal(again.predict(ROWS["x"]), expected)
    again.step(ROWS)
    assert made.since() == (0, 0)
    np.testing.assert_array_equal(again.predict(ROWS["x"]), one.predict(ROWS["x"]))
    np.testing.assert_array_equal(again.predict(ROWS["x"]), other.predict(ROWS["x"]))


def test_a_program_whose_code_is_gone_is_made_again(made: Made, tmp_path: Path) -> None:
    first = trained()
    for file in (tmp_path / "kept").iterdir():
        if cache.load(file.name) and b'"objects"' not in (cache.load(file.name) or b""):
            file.unlink()
            break
    made.since()
    assert trained()[0] == first[0]
    assert made.since()[1] == 1


def test_without_a_cache_everything_is_made_each_time(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANVIER_CACHE", "off")
    first = trained()
    count = made.since()
    assert trained()[0] == first[0]
    assert made.since() == count != (0, 0)
