"""Embeddings from the file to trained rows: against PyTorch, for any number of threads, and what happens to numbers that no row has.

If these fail, models of text learn the wrong rows, or a number from a data file leads a kernel out of its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ranvier as rv

try:
    import torch
except ImportError:
    torch: Any = None  # type: ignore[no-redef]

TOLERANCE = {"f32": 1e-5, "f64": 1e-10}

BAG = """
model bag(words = 50, features = 8) {
    input text: i32[12]
    target kind: class[2]
    z = mean(text -> embedding(words, features), over = [0]) -> dense(2)
    predict softmax(z)
    loss cross_entropy(z, kind)
    metric accuracy(z, kind)
}
train { batch = 16 ; epochs = 30 ; optimizer = adam(lr = 3e-2) }
"""

NEXT = """
model next() {
    input text: class[20][15]
    target next: class[20][15]
    scores = text -> embedding(20, 24) -> dense(20)
    predict softmax(scores)
    loss cross_entropy(scores, next, smoothing = 0.1, weights = [1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5])
    metric accuracy(scores, next)
    metric perplexity(scores, next)
}
train { batch = 32 ; epochs = 10 ; optimizer = adam(lr = 3e-2) }
"""


def bags(rows: int = 300) -> dict[str, np.ndarray]:
    text = np.random.default_rng(0).integers(0, 50, (rows, 12)).astype(np.int32)
    return {"text": text, "kind": (text < 5).any(axis=1).astype(np.int32)}


@pytest.mark.skipif(torch is None, reason="PyTorch is an extra: pip install 'ranvier[torch]'")
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("kind", ["i32", "u8", "class"])
@pytest.mark.parametrize(
    ("vocabulary", "features", "places"),
    [(50, 8, (12,)), (1, 3, (4,)), (7, 1, (5,)), (9, 17, ()), (200, 33, (3, 2)), (30, 64, (1,))],
)
def test_against_pytorch(dtype: str, kind: str, vocabulary: int, features: int, places: tuple[int, ...]) -> None:
    """Prediction and gradient, with numbers that come up again and again and rows that never do."""
    shape = f"[{', '.join(map(str, places))}]" if places else ""
    words_of = f"class[{vocabulary}]" if kind == "class" and vocabulary > 1 else "u8" if kind == "u8" else "i32"
    text = f"""
    model m() {{
        input words: {words_of}{shape}
        e = words -> embedding({vocabulary}, {features}) -> tanh
        predict e
        loss sum(e * e)
    }}
    train {{ batch = 20 }}
    """
    model = rv.compile(text, dtype=dtype, threads=2)
    generator = np.random.default_rng(0)
    words = generator.integers(0, max(1, vocabulary * 2 // 3), (20, *places))
    weight = generator.standard_normal((vocabulary, features))
    model.params["embedding_1.weight"] = weight
    theirs = torch.nn.Embedding.from_pretrained(torch.tensor(np.asarray(model.params["embedding_1.weight"], np.float64)), freeze=False)
    e = theirs(torch.tensor(words)).tanh()
    ((e * e).sum() / len(words)).backward()
    found = model.gradients({"words": words})["embedding_1.weight"]
    for ours, other in ((model.predict(words), e), (found, theirs.weight.grad)):
        expected = other.detach().numpy()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(expected).max()))
    assert not found[vocabulary * 2 // 3 + 1 :].any()


def test_a_bag_of_words_learns_which_words_matter() -> None:
    model = rv.compile(BAG)
    history = model.fit(bags())
    assert history[-1]["loss"] < 0.2 < history[0]["loss"]
    assert model.evaluate(bags())["accuracy"] > 0.95


def test_what_comes_next_is_learned_place_by_place() -> None:
    text = np.random.default_rng(0).integers(0, 20, (300, 15))
    data = {"text": text, "next": (7 * text + 3) % 20}
    model = rv.compile(NEXT)
    model.fit(data)
    found = model.evaluate(data)
    assert found["accuracy"] == 1
    assert model.predict(text).argmax(axis=-1).tolist() == data["next"].tolist()


def test_the_next_sign_of_the_same_text() -> None:
    """A slice of class indices still counts classes."""
    body = "s = text[:-1] -> embedding(20, 8) -> dense(20)\npredict s\nloss cross_entropy(s, text[1:])\nmetric accuracy(s, text[1:])"
    model = rv.compile("model m() {\ninput text: class[20][6]\n" + body + "\n}\ntrain { optimizer = adam(lr = 3e-2) ; epochs = 20 }")
    text = (np.arange(20)[:, None] + np.arange(6)) % 20
    model.fit({"text": np.repeat(text, 20, axis=0)})
    assert model.evaluate({"text": text})["accuracy"] == 1


def test_losses_and_metrics_over_places_are_means() -> None:
    """Of the same figures, computed one place at a time."""
    generator = np.random.default_rng(0)
    scores, label = generator.standard_normal((9, 4, 3)).astype(np.float32), generator.integers(0, 3, (9, 4))
    body = "{}\nloss cross_entropy(s, y, smoothing = 0.2, weights = [1, 2, 3]) + nll(log_softmax(s), y)\nmetric accuracy(s, y)\npredict s"
    whole = rv.compile("model m() {\n" + body.format("input s: f32[4, 3]\ntarget y: class[3][4]") + "\n}")
    single = rv.compile("model m() {\n" + body.format("input s: f32[3]\ntarget y: class[3]") + "\n}")
    found = whole.evaluate({"s": scores, "y": label})
    expected = single.evaluate({"s": scores.reshape(-1, 3), "y": label.reshape(-1)})
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("text", [BAG, NEXT], ids=["bag", "next"])
def test_training_gives_the_same_bits(text: str, threads: int) -> None:
    generator = np.random.default_rng(0)
    places = 12 if text is BAG else 15
    words = generator.integers(0, 20, (200, places)).astype(np.int32)
    data = {"text": words, "kind": words[:, 0] % 2} if text is BAG else {"text": words, "next": words[:, ::-1]}
    one, more = (rv.compile(text, threads=n) for n in (1, threads))
    assert one.fit(data, epochs=3) == more.fit(data, epochs=3)
    assert all(one.params[name].tobytes() == more.params[name].tobytes() for name in one.params)


@pytest.mark.parametrize("number", [-1, 50, 2**31 - 1, -(2**31)])
def test_a_number_without_a_row_is_named(number: int) -> None:
    """With its input and row, before anything is computed with it; the parameters stay as they were."""
    model, data = rv.compile(BAG), bags()
    before = {name: model.params[name].tobytes() for name in model.params}
    wrong = {**data, "text": data["text"].copy()}
    wrong["text"][211, 7] = number
    message = rf"`text` row {{}} column 7 holds {number}, an index outside 0\.\.49: it is looked up in a table of 50 rows"
    calls: list[tuple[int, Callable[[], object]]] = [
        (211, lambda: model.fit(wrong)),
        (211, lambda: model.fit(data, validation=wrong, epochs=0)),
        (211, lambda: model.evaluate(wrong)),
        (211, lambda: model.predict(wrong["text"])),
        (3, lambda: model.predict(wrong["text"][208:216])),
        (11, lambda: model.step({name: array[200:216] for name, array in wrong.items()})),
        (11, lambda: model.gradients({name: array[200:216] for name, array in wrong.items()})),
    ]
    for row, call in calls:
        with pytest.raises(rv.DataError, match=message.format(row)):
            call()
    assert {name: model.params[name].tobytes() for name in model.params} == before
    assert np.isfinite(model.predict(data["text"])).all()


def test_a_class_at_a_place_outside_its_classes_is_named() -> None:
    model, text = rv.compile(NEXT), np.zeros((40, 15), dtype=np.int32)
    wrong = text.copy()
    wrong[33, 2] = 20
    with pytest.raises(rv.DataError, match=r"`next` row 33 column 2 is class 20, outside 0\.\.19"):
        model.fit({"text": text, "next": wrong})
    with pytest.raises(rv.DataError, match=r"`next` row 1 column 2 holds 20, a class index outside 0\.\.19"):
        model.step({"text": text[:8], "next": wrong[32:]})


def test_only_what_is_looked_up_must_have_a_row() -> None:
    """Here the last column of the input is a number like any other."""
    model = rv.compile("model m() {\ninput x: i32[4]\npredict sum(x[:3] -> embedding(10, 2)) + x[3]\n}", batch=8)
    assert np.isfinite(model.predict([[0, 1, 9, 10**6]])).all()
    with pytest.raises(rv.DataError, match=r"`x` row .* outside 0\.\.9"):
        model.predict([[0, 0, 0, 77]] * 12 + [[0, 0, 10, 77]])


def test_what_is_computed_is_held_inside_the_table() -> None:
    text = "model m() {\ninput x: i32\nparam t: [5, 1] ~ normal\npredict take(t, x + x)[0]\n}"
    model = rv.compile(text)
    model.params["t"] = [[0], [1], [2], [3], [4]]
    assert model.predict(np.array([-9, 0, 1, 2, 3, 10**9])).tolist() == [0, 0, 2, 4, 4, 4]


def test_rows_that_replace_their_table() -> None:
    """An optimizer that returns the gradient alone: the sums may not grow where the old rows are still read."""
    text = """
    optimizer replaced()(_w, g) {
        return g
    }
    model m() {
        input x: i32[3]
        e = x -> embedding(6, 20)
        loss sum(e * e)
    }
    train { optimizer = replaced() ; batch = 4 }
    """
    model = rv.compile(text)
    x = np.array([[0, 1, 1], [5, 1, 0]])
    expected = model.gradients({"x": x})["embedding_1.weight"]
    model.step({"x": x})
    assert model.params["embedding_1.weight"].tobytes() == expected.tobytes()


def test_a_table_for_two_inputs() -> None:
    """It gathers the gradient of both; its penalty reaches rows that nothing looked up."""
    text = """
    model pair() {
        input a: i32[2]
        input b: u8
        words = embedding(9, 5) with l2 = 0.5
        loss sum(words(a)) + sum(words(b))
    }
    """
    model = rv.compile(text)
    weight = model.params["embedding_1.weight"]
    found = next(iter(model.gradients({"a": [[1, 1], [2, 8]], "b": [3, 1]}).values()))
    counts = np.array([0, 3, 1, 1, 0, 0, 0, 0, 1]) / 2
    np.testing.assert_allclose(found, counts[:, None] + weight, rtol=1e-5, atol=1e-6)


def test_saved_and_loaded(tmp_path: Any) -> None:
    model, data = rv.compile(BAG), bags()
    model.fit(data, epochs=2)
    model.save(tmp_path / "bag.safetensors")
    again = rv.load(tmp_path / "bag.safetensors")
    assert again.predict(data["text"]).tobytes() == model.predict(data["text"]).tobytes()
    with pytest.raises(rv.DataError, match="looked up"):
        again.predict(data["text"] + 49)
