"""Variants of dropout leave out what they say, keep the mean they promise, and do nothing to predictions."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np
import pytest
from declared import declared

import ranvier as rv

ROWS = 400
SHAPE = (6, 5, 8)


def outputs(layer: str, shape: tuple[int, ...] = SHAPE, value: float = 1.0, seed: int = 0) -> Any:
    """What a layer makes of constant rows while training: the gradient of a sum over a trained tensor added to its output tells it."""
    sizes = ", ".join(map(str, shape))
    text = f"""
    model m() {{
        input x: f32[{sizes}]
        input row: class[{ROWS}]
        param seen: [{ROWS}, {int(np.prod(shape))}] ~ 0
        y = x -> {layer}
        predict y
        loss {ROWS} * sum(take(seen, row) * reshape_to(y, [{int(np.prod(shape))}]))
    }}
    train {{ batch = {ROWS} }}
    """
    model = rv.compile(text, dtype="f64", seed=seed)
    batch = {"x": np.full((ROWS, *shape), value), "row": np.arange(ROWS, dtype=np.int32)}
    np.testing.assert_array_equal(model.predict({"x": batch["x"], "row": batch["row"]}), batch["x"])
    return model.gradients(batch)["seen"].reshape(ROWS, *shape)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_whole_channels(rate: float) -> None:
    y = outputs(f"spatial_dropout({rate})")
    assert set(np.unique(y.round(9))) == {0, round(1 / (1 - rate), 9)}
    assert (y == y[:, :1, :1, :]).all(), "a channel of a sample is left out as a whole"
    assert abs((y[:, 0, 0, :] == 0).mean() - rate) < 4 * (rate * (1 - rate) / (ROWS * 8)) ** 0.5


def test_whole_samples() -> None:
    y = outputs("drop_path(0.3)")
    assert set(np.unique(y.round(9))) == {0, round(1 / 0.7, 9)}
    assert (y == y[:, :1, :1, :1]).all()
    assert abs((y[:, 0, 0, 0] == 0).mean() - 0.3) < 0.1


def test_normal_factors() -> None:
    y = outputs("gaussian_dropout(0.2)") - 1
    assert abs(y.mean()) < 0.01
    assert abs(y.std() - 0.5) < 0.01
    assert abs((np.abs(y) < 0.5).mean() - 0.6827) < 0.01  # within one standard deviation of a normal distribution


PYTORCHS = ["dropout(0.3)", "spatial_dropout(0.3)"]


@pytest.mark.parametrize("layer", PYTORCHS)
def test_dropout_is_that_of_pytorch(layer: str) -> None:
    """The same values, left out as often, and channel by channel or one by one."""
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'ranvier[torch]'")
    drop = torch.nn.functional.dropout if layer.startswith("dropout") else torch.nn.functional.dropout2d
    theirs = drop(torch.full((ROWS, 8, 6, 5), 0.7, dtype=torch.float64), 0.3, training=True).permute(0, 2, 3, 1).numpy()
    ours = outputs(layer, value=0.7)
    np.testing.assert_allclose(np.unique(ours.round(9)), np.unique(theirs.round(9)))
    assert ((ours == ours[:, :1, :1]).all(), (ours == ours[:, :, :, :1]).all()) == (
        (theirs == theirs[:, :1, :1]).all(),
        (theirs == theirs[:, :, :, :1]).all(),
    )
    assert abs((ours == 0).mean() - (theirs == 0).mean()) < 0.05


def test_alpha_dropout_is_that_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'ranvier[torch]'")
    rate, value = 0.3, 0.7
    y = outputs(f"alpha_dropout({rate})", value=value)
    theirs = torch.nn.functional.alpha_dropout(torch.full((10000,), value, dtype=torch.float64), rate, training=True).numpy()
    np.testing.assert_allclose(np.unique(y.round(6)), np.unique(theirs.round(6)), atol=1e-6)
    assert abs((y == y.min()).mean() - rate) < 0.01


def test_weights_left_out_at_each_step() -> None:
    text = """
    model m() {
        input x: f32[30]
        y = x -> dropconnect(40, rate = 0.4)
        predict y
        loss sum(y)
    }
    train { batch = 1 ; optimizer = gd(lr = 0) }
    """
    model = rv.compile(text, dtype="f64")
    x = np.ones((1, 30))
    np.testing.assert_allclose(model.predict(x), x @ model.params["dropconnect_1.weight"])
    seen = []
    for _ in range(3):
        gradient = model.gradients({"x": x})["dropconnect_1.weight"]
        assert set(np.unique(gradient.round(9))) == {0, round(1 / 0.6, 9)}
        assert abs((gradient == 0).mean() - 0.4) < 0.06
        seen.append(gradient)
        model.step({"x": x})
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


def test_every_variant_has_a_test() -> None:
    """Gaussian dropout, drop path and dropconnect, which PyTorch does not have, by the formulas of their papers."""
    variants = {name for name in declared("layers.nn") if name.startswith("drop") or name.endswith("dropout")}
    tests = (test_dropout_is_that_of_pytorch, test_alpha_dropout_is_that_of_pytorch, test_normal_factors, test_whole_samples)
    text = "".join(map(inspect.getsource, (*tests, test_weights_left_out_at_each_step))) + " ".join(map(str, PYTORCHS))
    assert variants == {name for name in variants if re.search(rf"\b{name}\(", text)}


@pytest.mark.parametrize("layer", ["spatial_dropout(1)", "alpha_dropout(-0.1)", "gaussian_dropout(1)", "drop_path(1.5)"])
def test_a_rate_outside_its_range_is_refused(layer: str) -> None:
    with pytest.raises(rv.SourceError, match=r"lies in \[0, 1\)"):
        rv.compile(f"model m() {{\n input x: f32[4, 4]\n predict x -> {layer}\n}}\n")
