"""A model among other work of one process: odd arrays, forks, threads, float modes. Else a model and its host break each other."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import numpy as np
import pytest

import ranvier as rv

TEXT = """
model mixed(width = 64) {
    input x: f32[4]
    input k: u8[3]
    target y: class[3]
    z = concat([x, float(k) / 255]) -> dense(width) -> relu -> dropout(0.2) -> dense(3)
    predict softmax(z)
    loss cross_entropy(z, y)
    metric accuracy(z, y)
}
train { batch = 32 ; epochs = 2 }
"""

Rows = dict[str, Any]


def rows(count: int = 32) -> Rows:
    chance = np.random.default_rng(0)
    x, k = chance.standard_normal((count, 4)).astype(np.float32), chance.integers(0, 255, (count, 3)).astype(np.uint8)
    return {"x": x, "k": k, "y": chance.integers(0, 3, count).astype(np.int32)}


def model(**settings: Any) -> rv.Model:
    return rv.compile(TEXT, threads=2, **settings)


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def misaligned(array: np.ndarray) -> np.ndarray:
    block = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    block[...] = array
    return block


def every_method(made: rv.Model, data: Rows) -> list[bytes]:
    """What all methods that take rows give, from the same start."""
    start = {name: made.params[name] for name in made.params}
    inputs = {name: value for name, value in data.items() if name != "y"}
    scores, figures = made.predict(inputs), made.evaluate(data)
    made.set_runtime(step=1)
    gradients = made.gradients(data)
    loss = made.step(data)
    for name, value in start.items():
        made.params[name] = value
    return [scores.tobytes(), repr(figures).encode(), *(g.tobytes() for g in gradients.values()), repr(loss).encode()]


SAME = {
    "f64": lambda a: a.astype(np.float64),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "column-major": np.asfortranarray,
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "backwards": lambda a: a[::-1].copy()[::-1],
    "columns backwards": lambda a: a[..., ::-1].copy()[..., ::-1],
    "read-only": read_only,
    "misaligned": misaligned,
    "lists": np.ndarray.tolist,
    "objects": lambda a: a.astype(object),
}


@pytest.mark.parametrize("form", SAME)
def test_the_same_numbers_in_any_form_give_the_same_bits(form: str) -> None:
    made, data = model(), rows()
    assert every_method(made, {name: SAME[form](value) for name, value in data.items()}) == every_method(made, data)


WRONG = {
    "a column short": {"x": np.zeros((32, 3), np.float32)},
    "flat": {"x": np.zeros(128, np.float32)},
    "rows short": {"x": np.zeros((31, 4), np.float32)},
    "no rows": {"x": np.zeros((0, 4), np.float32), "k": np.zeros((0, 3), np.uint8), "y": np.zeros(0, np.int32)},
    "one value": {"k": 5},
    "none": {"k": None},
    "complex": {"x": np.zeros((32, 4), np.complex64)},
    "text": {"x": np.full((32, 4), "a")},
    "dates": {"x": np.zeros((32, 4), "M8[s]")},
    "ragged": {"x": [[1, 2, 3, 4], [1]]},
    "not a number": {"x": np.full((32, 4), np.nan)},
    "beyond f32": {"x": np.full((32, 4), 1e300)},
    "beyond a byte": {"k": np.full((32, 3), 256)},
    "below a byte": {"k": np.full((32, 3), -1)},
    "half a byte": {"k": np.full((32, 3), 0.5)},
    "a class too high": {"y": np.full(32, 3)},
    "a class far too high": {"y": np.full(32, 2**63, np.uint64)},
    "half a class": {"y": np.full(32, 0.5)},
    "one-hot": {"y": np.eye(3)[np.zeros(32, int)]},
    "too many rows": {"x": np.zeros((33, 4)), "k": np.zeros((33, 3)), "y": np.zeros(33)},
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_rows_are_refused_and_change_nothing(what: str) -> None:
    made, data = model(), {**rows(), **WRONG[what]}
    before = every_method(made, rows())
    whole = (made.step, made.gradients, made.loss)
    for method in whole if what == "too many rows" else (*whole, made.evaluate, made.fit):
        with pytest.raises(rv.RanvierError):
            method(data)
    if "y" not in WRONG[what]:
        with pytest.raises(rv.RanvierError):
            made.predict({name: data[name] for name in ("x", "k")})
    assert every_method(made, rows()) == before


@pytest.mark.parametrize("data", [None, 5, "rows", [1, 2], {}, {1: 2}, {"x": np.zeros((32, 4))}, np.zeros((32, 4))])
def test_what_is_no_dictionary_of_the_inputs_is_refused(data: Any) -> None:
    made = model()
    for method in (made.step, made.gradients, made.predict, made.evaluate, made.fit):
        with pytest.raises(rv.RanvierError):
            method(data)


@pytest.mark.parametrize("value", [np.zeros((7, 64), complex), np.full((7, 64), "a"), np.full((7, 64), None), np.full((7, 64), 1e300),
                                   np.full((7, 64), np.nan), [[1], [2, 3]], 1.0, np.zeros((64, 7))])  # fmt: skip
def test_wrong_parameters_are_refused(value: Any) -> None:
    made = model()
    before = made.params["dense_1.weight"]
    with pytest.raises(rv.DataError, match=r"dense_1\.weight"):
        made.params["dense_1.weight"] = value
    np.testing.assert_array_equal(made.params["dense_1.weight"], before)


@pytest.mark.parametrize("wrong", [{"epochs": -1}, {"epochs": 1.5}, {"epochs": "3"}, {"validation": 2.0}, {"validation": "a"}])
def test_wrong_arguments_of_fit_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(rv.RanvierError):
        model().fit(rows(), **wrong)


@pytest.mark.parametrize("units", [100_000_000, 1_000_000_000])
def test_a_model_that_cannot_fit_is_refused_before_it_is_tried(units: int) -> None:
    text = f"model m() {{\ninput x: f32[2]\nparam p: [{units}] ~ normal\npredict sum(x) * p\n}}\n"
    wide = f"model m() {{\ninput x: f32[8]\npredict concat([x, fill([{units}], 1)])\n}}\ntrain {{ batch = 16777216 }}\n"
    with pytest.raises(rv.RanvierError, match="GiB"):
        rv.compile(wide).predict(np.zeros((1, 8), np.float32))
    if units > 500_000_000:
        with pytest.raises(rv.ResourceError, match="GiB"):
            rv.compile(text)


def test_a_fork_after_threads_ran_gives_the_same_bits() -> None:
    made, data = model(), rows()
    expected = every_method(made, data)
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = os.fork()
    if child == 0:
        try:
            sender.send(every_method(made, data))
        finally:
            os._exit(0)
    assert receiver.poll(60)
    assert receiver.recv() == expected
    assert os.waitpid(child, 0)[1] == 0
    assert every_method(made, data) == expected


def test_models_in_one_process_do_not_meet() -> None:
    data = rows()
    alone = [trained(width, data) for width in (8, 300)]
    first, second = model(width=8), model(width=300)
    for _ in range(5):
        first.step(data)
        second.step(data)
    assert [first.predict(inputs(data)).tobytes(), second.predict(inputs(data)).tobytes()] == alone


def test_models_in_two_threads_give_the_same_bits() -> None:
    data, widths, found = rows(), (8, 300, 64, 33), dict[int, bytes]()
    threads = [threading.Thread(target=lambda w=w: found.update({w: trained(w, data)})) for w in widths]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {width: trained(width, data) for width in widths}


def inputs(data: Rows) -> Rows:
    return {name: data[name] for name in ("x", "k")}


def trained(width: int, data: Rows) -> bytes:
    """The predictions after five steps."""
    made = model(width=width)
    for _ in range(5):
        made.step(data)
    return made.predict(inputs(data)).tobytes()


def denormals_live() -> bool:
    """True when this thread neither takes denormals for zero nor flushes results to it."""
    small = np.array([1e-40, 1.5e-38], np.float32)
    return bool(small[0] * np.float32(1) != 0 and small[1] * np.float32(0.25) != 0 and (small * np.float32(0.5) != 0).all())


@pytest.mark.parametrize("threads", [1, 2])
def test_the_float_mode_of_the_caller_is_left_as_it_was(threads: int) -> None:
    made, data = rv.compile(TEXT, threads=threads), rows()
    assert denormals_live()
    made.step(data)
    assert denormals_live()
    made.predict(inputs(data))
    made.evaluate(data)
    made.fit(data, epochs=1)
    assert denormals_live()
    with pytest.raises(rv.DataError):
        made.step({**data, "y": np.full(32, 7, np.int32)})
    assert denormals_live()
