"""Cells in whole models: what is drawn in them, what they cost to compile, the same bits for any number of threads.

If these fail, dropout in a cell is not the one that was published, a long sequence cannot be compiled, or a run cannot be repeated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ranvier as rv

TIMES, UNITS, ROWS = 7, 40, 12

# A cell whose state says which elements were left out: h is the running sum of the mask.
MASKS = f"""
cell masks(rate)(x: [units]) {{
    param scale: [] ~ ones
    state h: [units] = 0
    next h = h + dropout(rate)(x) * scale
    return next h
}}
model m(rate = 0.4) {{
    input x: f32[{TIMES}, {UNITS}]
    target t: f32[{TIMES}, {UNITS}]
    y = masks(rate)(x)
    predict y
    loss sum(y * t)
}}
train {{ batch = {ROWS} ; optimizer = gd(lr = 0) }}
"""


def kept(model: rv.Model, time: int, unit: int, row: int) -> float:
    """What the mask multiplied one element by in the model's present step; a gradient with a target that is 1 at one place tells."""
    return float(model.gradients(probe(time, unit, row))["masks_1.scale"]) * ROWS


def probe(time: int, unit: int, row: int) -> dict[str, np.ndarray]:
    """Ones at one time of x, and a target that reads one element there."""
    x, t = np.zeros((2, ROWS, TIMES, UNITS), np.float32)
    x[:, time], t[row, time, unit] = 1, 1
    return {"x": x, "t": t}


def mask(model: rv.Model, time: int, rows: tuple[int, ...]) -> np.ndarray:
    return np.array([[kept(model, time, unit, row) for unit in range(UNITS)] for row in rows])


def test_a_draw_is_made_once_a_sequence() -> None:
    """The same elements are left out at all times, others in other samples."""
    model = rv.compile(MASKS)
    first, last = mask(model, 0, (0, 5)), mask(model, TIMES - 1, (0, 5))
    np.testing.assert_array_equal(first, last)
    np.testing.assert_allclose(np.unique(first), [0, 1 / 0.6], rtol=1e-6)
    assert (first[0] != first[1]).any()


def test_a_draw_is_another_at_every_step() -> None:
    model = rv.compile(MASKS)
    one = mask(model, 0, (3,))
    model.step(probe(0, 0, 0))
    assert (mask(model, 0, (3,)) != one).any()


def test_predictions_leave_nothing_out() -> None:
    x = np.ones((ROWS, TIMES, UNITS), np.float32)
    np.testing.assert_allclose(rv.compile(MASKS).predict(x), x.cumsum(1), rtol=1e-6)


def recurrent(cell: str, *, times: int = TIMES, features: int = 5, batch: int = ROWS) -> str:
    return f"""
    model m() {{
        input x: f32[{times}, {features}]
        target t: class[3]
        z = x -> {cell} -> last -> dense(3)
        predict softmax(z)
        loss cross_entropy(z, t)
        metric accuracy(z, t)
    }}
    train {{ batch = {batch} ; epochs = 4 ; optimizer = adam(lr = 1e-2) }}
    """


def sequences(rows: int, times: int = TIMES, features: int = 5) -> dict[str, np.ndarray]:
    """Three classes: which of the first features has the largest sum over time."""
    x = np.random.default_rng(3).normal(size=(rows, times, features)).astype(np.float32)
    return {"x": x, "t": x[:, :, :3].sum(1).argmax(1).astype(np.int32)}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_recurrent_dropout_without_a_rate_is_none(cell: str) -> None:
    """And with one, training is another while predictions from the same parameters are the same."""
    data = sequences(ROWS)
    plain, none, some = (rv.compile(recurrent(f"{cell}(8{rest})")) for rest in ("", ", recurrent_dropout = 0", ", recurrent_dropout = 0.5"))
    assert plain.loss(data) == none.loss(data)
    assert plain.predict(data["x"]).tobytes() == some.predict(data["x"]).tobytes()
    assert plain.step(data) == none.step(data) != some.step(data)


# --- whole models


@pytest.mark.parametrize("cell", ["rnn(24)", "bidirectional(lstm(24))", "stack(gru(24, recurrent_dropout = 0.2), 2)"])
def test_sequences_are_learned_with_the_same_bits_by_any_number_of_threads(cell: str) -> None:
    """Training with a last batch that is not full, several epochs, then predictions of another number of rows."""
    data, found = sequences(205), []
    for threads in (1, 2, 3):
        model = rv.compile(recurrent(cell, batch=32), threads=threads)
        history = model.fit(data)
        found.append((history, {n: model.params[n].tobytes() for n in model.params}, model.predict(data["x"][:11]).tobytes()))
    assert found[0] == found[1] == found[2]
    assert history[-1]["loss"] < history[0]["loss"]


def test_a_row_is_predicted_alike_in_any_company() -> None:
    data = sequences(40)
    model = rv.compile(recurrent("lstm(24)", batch=32), threads=2)
    whole = model.predict(data["x"])
    for rows in (1, 3, 31):
        np.testing.assert_allclose(model.predict(data["x"][:rows]), whole[:rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", ["rnn(16)", "lstm(16)", "gru(16)", "bidirectional(lstm(8))", "stack(gru(8), 2)"])
def test_the_code_does_not_grow_with_the_length(cell: str) -> None:
    """As many kernels for 500 times as for 5, but for one a bias: a sum over a batch is made sample by sample from 8 points on."""
    five, nine, many = (kernels(recurrent(cell, times=times)) for times in (5, 9, 500))
    assert nine == many
    assert five["predict"] == many["predict"]
    assert 0 <= many["train"][0] - five["train"][0] <= 4


def kernels(text: str) -> dict[str, Any]:
    """How many kernels the programs of a model run, and how many lines of operations they have."""
    blueprint = rv.compile(text).blueprint
    found = {}
    for name in ("train", "predict"):
        program = blueprint.program(name)
        found[name] = len(program.launches), sum(len(launch.kernel.body) for launch in program.launches)
    return found


def test_a_cell_applied_twice_to_one_sequence_is_one_loop() -> None:
    """Its last states and its outputs come from the same loop, and so do their gradients."""
    text = recurrent("lstm(8)").replace("z = x -> lstm(8) -> last", "e = lstm(8)\nh, c = final(e)(x)\nz = concat([h, c, last(e(x))])")
    blueprint = rv.compile(text).blueprint
    assert [loop.reverse for loop in blueprint.program("predict").loops.values()] == [False]
    assert [loop.reverse for loop in blueprint.program("train").loops.values()] == [False, True]


def test_a_saved_model_goes_on(tmp_path: Any) -> None:
    data = sequences(64)
    model = rv.compile(recurrent("bidirectional(gru(8))", batch=32))
    model.fit(data)
    model.save(tmp_path / "m.safetensors")
    assert rv.load(tmp_path / "m.safetensors").predict(data["x"]).tobytes() == model.predict(data["x"]).tobytes()


def test_two_sequences_and_what_is_the_same_at_all_times() -> None:
    """A second input with a time axis is a sequence too; one without is the same at all times; a setting may be a layer or a tensor."""
    text = """
    layer times(factor)(x) { return x * factor }
    cell sums(inner)(a: [n], b: [n], c: [n]) {
        state h: [n] = 0
        next h = h + inner(a) * b + c
        return next h, h
    }
    model m() {
        input a: f32[4, 3]
        input b: f32[4, 3]
        input c: f32[3]
        input d: f32[3]
        after, before = sums(times(d))(a, b, c)
        predict concat([after, before], axis = -1)
    }
    """
    random = np.random.default_rng(0)
    data = {n: random.normal(size=(5, *shape)).astype(np.float32) for n, shape in (("a", (4, 3)), ("b", (4, 3)), ("c", (3,)), ("d", (3,)))}
    expected = (data["a"] * data["d"][:, None] * data["b"] + data["c"][:, None]).cumsum(1)
    before = np.concatenate([np.zeros((5, 1, 3)), expected[:, :-1]], 1)
    np.testing.assert_allclose(rv.compile(text).predict(data), np.concatenate([expected, before], 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("first", ["3", "s", "v"])
def test_first_values_of_every_shape(first: str) -> None:
    """A number, one a sample, one an element."""
    text = f"""
    cell sums()(x: [n]) {{
        state h: [n] = 0.5
        next h = h + x
        return next h
    }}
    model m() {{
        input x: f32[4, 3]
        input s: f32
        input v: f32[3]
        predict sums()(x, h = {first}) + 0 * s + 0 * v
    }}
    """
    random = np.random.default_rng(0)
    data = {n: random.normal(size=(5, *shape)).astype(np.float32) for n, shape in (("x", (4, 3)), ("s", ()), ("v", (3,)))}
    start: Any = {"3": 3.0, "s": data["s"][:, None, None], "v": data["v"][:, None]}[first]
    np.testing.assert_allclose(rv.compile(text).predict(data), start + data["x"].cumsum(1), rtol=1e-5, atol=1e-5)


def test_metrics_while_training_are_those_of_the_model() -> None:
    """A cell applied twice is one loop; the running figures must be read from the graph in which it is."""
    text = """
        model m() {
            input x: f32[6, 3]
            target y: class[2]
            read = gru(4)
            a = x -> read -> last
            b = x -> read -> last
            logits = a * 2 + b -> dense(2)
            predict logits
            loss cross_entropy(logits, y)
            metric accuracy(logits, y)
        }
        train {
            optimizer = gd(lr = 1e-9)
            batch = 16
            validate = 0
        }
        """
    random = np.random.default_rng(0)
    data = {"x": random.normal(size=(32, 6, 3)).astype(np.float32), "y": random.integers(0, 2, 32)}
    model = rv.compile(text)
    (history,) = model.fit(data, epochs=1)
    assert history == pytest.approx(model.evaluate(data), rel=1e-5)
    assert history.keys() == {"loss", "accuracy"}
