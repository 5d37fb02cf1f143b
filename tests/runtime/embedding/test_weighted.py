"""Libraries that train on rows which count differently: the steps of Python, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embedded import Caller, build, exported, run
from embedded_models import EXAMPLES, MLP

import ranvier as rv

COLUMN = (
    MLP
    + """
data {
    weight = column(importance)
}
"""
)
KEY = "sample weight"


def weights_of(count: int) -> np.ndarray:
    """Weights of rows, some of them 0."""
    chance = np.random.default_rng(3)
    return (chance.uniform(0, 3, count) * (chance.random(count) > 0.2)).astype(np.float32)


@pytest.mark.parametrize("name", EXAMPLES)
def test_steps_are_those_of_python(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    model, twin = example.model(), example.model()
    batches = [(example.rows(n, n), weights_of(n)) for n in (1, 5, model.capacity)]
    for rows, weights in batches:  # the library goes on from a training under way
        assert model.step(rows, sample_weight=weights) == twin.step(rows, sample_weight=weights)
    library = rv.load(exported(model, tmp_path, train=True).files[0])
    caller = Caller(tmp_path)
    caller.init()
    for rows, weights in batches:
        caller.step({**rows, KEY: weights})
    caller.parameters("parameter")
    printed = run([build(tmp_path, caller.source())])
    wanted = [twin.step(rows, sample_weight=weights) for rows, weights in batches]
    assert [library.step(rows, sample_weight=weights) for rows, weights in batches] == wanted
    assert [float.fromhex(line) for line in printed.split()] == wanted
    for number, (label, value) in enumerate(twin.params.items()):
        assert np.array_equal(caller.read(f"parameter-{number}", value), value)
        assert np.array_equal(library.params[label], value)
    rows = batches[-1][0]
    assert library.step(rows) == twin.step(rows)  # every row counts 1


def test_several_levels_take_weights(tmp_path: Path) -> None:
    example = EXAMPLES["mlp"]
    model, rows, weights = example.model(), example.rows(8), weights_of(8)
    model.weigh()
    library = rv.load(exported(model, tmp_path, train=True, multiversion=True).files[0])
    assert np.isclose(library.step(rows, sample_weight=weights), model.step(rows, sample_weight=weights), rtol=1e-5, atol=0)


def test_weights_come_from_the_column_of_the_file(tmp_path: Path) -> None:
    rows, weights = EXAMPLES["mlp"].rows(16), weights_of(16)
    model = rv.compile(COLUMN, threads=1)
    model.fit({**rows, "importance": weights}, epochs=1)
    library = rv.load(exported(model, tmp_path, train=True).files[0])
    assert library.step({**rows, "importance": weights}) == model.step({**rows, "importance": weights})
    assert library.step(rows, sample_weight=weights[::-1]) == model.step(rows, sample_weight=weights[::-1])


def test_mistakes_are_said(tmp_path: Path) -> None:
    example = EXAMPLES["mlp"]
    rows, model = example.rows(4), example.model()
    plain = rv.load(exported(model, tmp_path / "plain", train=True).files[0])
    with pytest.raises(rv.RanvierError, match="rows of this library have no weights"):
        plain.step(rows, sample_weight=np.ones(4))
    model.weigh()
    library = rv.load(exported(model, tmp_path, train=True).files[0])
    for wrong, said in ((-np.ones(4), "at least 0"), (np.ones(3), "one weight each"), (np.full(4, np.nan), "NaN|nan|finite")):
        with pytest.raises(rv.DataError, match=said):
            library.step(rows, sample_weight=wrong)
    assert library.step(rows) == model.step(rows)


def test_a_library_for_predictions_has_no_weights(tmp_path: Path) -> None:
    model = EXAMPLES["mlp"].model()
    model.weigh()
    rows = {"x": EXAMPLES["mlp"].rows(4)["x"]}
    assert np.array_equal(rv.load(exported(model, tmp_path).files[0]).predict(rows), model.predict(rows))
