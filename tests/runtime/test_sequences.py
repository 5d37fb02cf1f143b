"""Rows of varying length reach a model: in lists, padded arrays, with and without lengths; the first wrong one is named by its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranvier.compiler.errors import DataError, RanvierError
from ranvier.compiler.ir.types import F32, I32
from ranvier.runtime.data import Field
from ranvier.runtime.sequences import longest, padded
from ranvier.runtime.table import Origin, Table

import ranvier as rv

TIMES = 4
LENGTH = Field("x_length", I32, (), most=TIMES)
FIELD = Field("x", F32, (TIMES, 2), length="x_length")
FIELDS = [LENGTH, FIELD]
RAGGED = [np.full((n, 2), n, np.float32) for n in (2, 4, 1)]


def fitted(data: Any, fields: list[Field] = FIELDS) -> tuple[np.ndarray, list[int]]:
    found = padded(fields, data)
    return found["x"], found["x_length"].tolist()


def refused(words: str, data: Any) -> None:
    with pytest.raises(DataError) as caught:
        padded(FIELDS, data)
    assert str(caught.value) == words


# --- what is right


def objects(rows: list[Any]) -> np.ndarray:
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


@pytest.mark.parametrize("form", [list, tuple, objects, lambda rows: [row.tolist() for row in rows]])
def test_rows_of_their_own_lengths(form: Callable[[list[Any]], Any]) -> None:
    x, lengths = fitted({"x": form(RAGGED)})
    assert lengths == [2, 4, 1]
    assert x.shape == (3, TIMES, 2)
    for row, n in zip(x, lengths, strict=True):
        assert (row[:n] == n).all()
        assert not row[n:].any()


def test_lengths_beside_an_array() -> None:
    x, lengths = fitted({"x": np.full((3, TIMES, 2), np.nan, np.float32), "x_length": [1, 2, 4]})
    assert lengths == [1, 2, 4]
    np.testing.assert_array_equal(np.isnan(x).all(2), np.arange(TIMES) < np.array(lengths)[:, None])


def test_without_lengths_all_rows_have_all_times() -> None:
    x, lengths = fitted({"x": np.ones((2, 3, 2), np.float32)})
    assert lengths == [3, 3]
    assert x[:, :3].all()
    assert not x[:, 3:].any()


def test_an_array_with_more_times_than_there_is_room_for_may_be_padded_so() -> None:
    x, lengths = fitted({"x": np.ones((2, 9, 2), np.float32), "x_length": [4, 3]})
    assert lengths == [4, 3]
    assert x.shape == (2, TIMES, 2)


def test_whole_floats_are_lengths() -> None:
    assert fitted({"x": np.ones((2, 4, 2)), "x_length": np.array([4.0, 2.0])})[1] == [4, 2]


def test_rows_of_one_length_in_a_list_are_an_array() -> None:
    assert fitted({"x": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]})[1] == [2, 2]


def test_data_of_a_model_without_sequences_is_not_touched() -> None:
    data = {"x": np.ones((2, 3))}
    assert padded([Field("x", F32, (3,))], data) is data


def test_labels_stay_text_and_gain_no_new_one() -> None:
    field = Field("x", I32, (TIMES,), 3, "x_length")
    x, lengths = fitted({"x": np.array([["b", "a", "?"], ["a", "?", "?"]]), "x_length": [2, 1]}, [LENGTH, field])
    assert lengths == [2, 1]
    assert x.shape == (2, TIMES)
    assert set(x.ravel()) == {"a", "b"}


def test_the_longest_row() -> None:
    assert longest("x", {"x": RAGGED}) == 4
    assert longest("x", {"x": np.ones((2, 9, 2))}) == 9
    assert longest("x", {"x": np.ones((2, 9, 2)), "x_length": [3, 5]}) == 5
    assert longest("x", {"x": []}) <= 1


# --- what is wrong


def zeros(times: int = TIMES) -> np.ndarray:
    return np.zeros((3, times, 2), np.float32)


MISTAKES: dict[str, tuple[Any, str]] = {
    "zero": (
        {"x": zeros(), "x_length": [1, 0, 2]},
        "`x_length` row 1 is 0: a sequence has at least 1 time; leave out rows that have none",
    ),
    "negative": (
        {"x": zeros(), "x_length": [1, 2, -3]},
        "`x_length` row 2 is -3: a sequence has at least 1 time; leave out rows that have none",
    ),
    "beyond the room": (
        {"x": zeros(9), "x_length": [1, 7, 2]},
        "`x_length` row 1 is 7, and the model has room for 4 times: cut the sequence, or make the model with room for 7",
    ),
    "beyond the array": (
        {"x": zeros(2), "x_length": [1, 2, 3]},
        "`x_length` row 2 is 3, and `x` has 2 times",
    ),
    "too long, without lengths": (
        {"x": zeros(6)},
        "`x_length` row 0 is 6, and the model has room for 4 times: cut the sequence, or make the model with room for 6",
    ),
    "an empty row": (
        {"x": [np.zeros((2, 2)), np.zeros((0, 2))]},
        "`x_length` row 1 is 0: a sequence has at least 1 time; leave out rows that have none",
    ),
    "other rows": ({"x": zeros(), "x_length": [1, 2]}, "`x_length` has shape [2], and `x` has 3 rows"),
    "lengths with axes": ({"x": zeros(), "x_length": [[1], [2], [3]]}, "`x_length` has shape [3, 1], and `x` has 3 rows"),
    "features": (
        {"x": [np.zeros((2, 2)), np.zeros((3, 5))]},
        "`x` row 1 has shape [3, 5]; a row is [times, 2]",
    ),
    "no times": ({"x": np.zeros(3)}, "`x` has shape [3]; a sequence is [rows, times, 2]"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name: str) -> None:
    data, words = MISTAKES[name]
    refused(words, data)


def test_a_length_that_is_no_whole_number() -> None:
    with pytest.raises(DataError, match=r"`x_length` row 1"):
        padded(FIELDS, {"x": zeros(), "x_length": [1, 1.5, 2]})
    with pytest.raises(DataError, match="x_length"):
        padded(FIELDS, {"x": zeros(), "x_length": ["a", "b", "c"]})


def test_a_row_that_is_a_number_among_sequences() -> None:
    refused("`x` row 1 is a single value; a row is [times, 2]", {"x": [[[1, 2]], 3.0]})


def test_a_file_is_named_with_its_row() -> None:
    table = Table({"x": zeros(), "x_length": np.array([1, 0, 1])}, Origin("a.npz", 2))
    refused("a.npz: `x_length` row 3 is 0: a sequence has at least 1 time; leave out rows that have none", table)


# --- in whole models


TEXT = """
model m() {
    input x: f32[T, 2]
    target t: class[2]
    z = x -> gru(4) -> last -> dense(2)
    predict softmax(z)
    loss cross_entropy(z, t)
    metric accuracy(z, t)
}
train { batch = 8 ; epochs = 2 }
"""


def rows_of(lengths: list[int]) -> dict[str, Any]:
    random = np.random.default_rng(1)
    return {"x": [random.normal(size=(n, 2)).astype(np.float32) for n in lengths], "t": np.arange(len(lengths)) % 2}


def as_array(data: dict[str, Any], times: int = TIMES) -> dict[str, Any]:
    """The same rows padded with what nobody may read."""
    x = np.full((len(data["x"]), times, 2), np.nan, np.float32)
    for row, values in zip(x, data["x"], strict=True):
        row[: len(values)] = values
    return {"x": x, "x_length": np.array([len(values) for values in data["x"]], np.int32), "t": data["t"].astype(np.int32)}


def test_lists_and_padded_arrays_are_the_same_rows() -> None:
    data = rows_of([1, 4, 2, 3, 3, 1, 4])
    found = []
    for given in (data, as_array(data), as_array(data, 11)):
        model = rv.compile(TEXT, T=TIMES)
        found.append([model.step(given), model.fit(given), model.evaluate(given), model.predict(given).tobytes()])
    assert found[0] == found[1] == found[2]


def test_one_array_and_one_list_feed_the_only_sequence() -> None:
    model, data = rv.compile(TEXT, T=TIMES), rows_of([4, 2, 3])
    np.testing.assert_array_equal(model.predict(data["x"]), model.predict({"x": data["x"]}))
    assert model.fit(data["x"], data["t"]) == rv.compile(TEXT, T=TIMES).fit(data)
    np.testing.assert_array_equal(model.predict(data["x"][0][None]), model.predict({"x": data["x"]})[:1])


CALLS: dict[str, Callable[[rv.Model, Any], Any]] = {
    "predict": lambda model, data: model.predict(data),
    "step": lambda model, data: model.step(data),
    "gradients": lambda model, data: model.gradients(data),
    "fit": lambda model, data: model.fit(data),
    "evaluate": lambda model, data: model.evaluate(data),
}
WRONG = {"zero": 0, "negative": -1, "beyond": TIMES + 1, "least": -(2**31), "most": 2**31 - 1}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("call", CALLS)
def test_lengths_are_checked_wherever_rows_go_in(call: str, kind: str) -> None:
    """Also where arrays fit as they are: the compiled code would read or write beyond them."""
    model, data = rv.compile(TEXT, T=TIMES), as_array(rows_of([1, 4, 2]))
    data["x_length"][1] = WRONG[kind]
    with pytest.raises(DataError, match=rf"`x_length` row 1 is {WRONG[kind]}"):
        CALLS[call](model, data)


@pytest.mark.parametrize("call", CALLS)
def test_a_missing_sequence(call: str) -> None:
    model = rv.compile(TEXT, T=TIMES)
    with pytest.raises(DataError, match="the data has no `x`"):
        CALLS[call](model, {"t": np.zeros(3, np.int32)})


def test_without_room_a_model_is_not_made() -> None:
    with pytest.raises(RanvierError) as caught:
        rv.compile(TEXT)
    assert str(caught.value) == "`x` is as long as each sample says: give the most times there can be, such as T = 100"


def test_room_is_kept_with_a_saved_model(tmp_path: Path) -> None:
    model, data = rv.compile(TEXT, T=TIMES), rows_of([1, 4, 2])
    model.fit(data)
    model.save(tmp_path / "m.safetensors")
    again = rv.load(tmp_path / "m.safetensors")
    assert again.predict(data).tobytes() == model.predict(data).tobytes()
    with pytest.raises(DataError, match="room for 4 times"):
        again.predict(np.zeros((1, 5, 2), np.float32))
