"""Sequences of varying length against PyTorch's packed sequences; what lies past an end must never be noticed."""

from typing import Any

import numpy as np
import pytest

import ranvier as rv

try:
    import torch
except ImportError:
    torch: Any = None  # type: ignore[no-redef]

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch is an extra: pip install 'ranvier[torch]'")

ROOM, ROWS, FEATURES, UNITS = 11, 6, 3, 5
LENGTHS = np.array([1, 11, 4, 7, 2, 11], np.int32)
MODELS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
"""Cells, with what PyTorch calls them."""
SOURCE = """
model m() {{
    input x: f32[T, 3]
    target y: f32[{width}]
    h = {value}
    predict h
    loss mse(h, y)
}}
train {{ optimizer = gd(lr = 0.1) ; batch = 6 }}
"""


def made(value: str, width: int = UNITS, room: int = ROOM, **settings: Any) -> rv.Model:
    return rv.compile(SOURCE.format(value=value, width=width), T=room, **{"dtype": "f64", "threads": 1, **settings})


def data(width: int = UNITS, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {"x": random.normal(size=(ROWS, ROOM, FEATURES)), "x_length": LENGTHS, "y": random.normal(size=(ROWS, width))}


def peer(model: rv.Model, kind: str, name: str, *, reverse: bool = False) -> Any:
    """The same cell in PyTorch, its second bias zero but for what GRU multiplies by its reset gate."""
    twin = getattr(torch.nn, MODELS[kind])(FEATURES, UNITS, batch_first=True).double()
    weight = {k: torch.tensor(np.asarray(model.params[f"{name}.{k}"])) for k in ("W", "U", "b")}
    with torch.no_grad():
        twin.weight_ih_l0.copy_(weight["W"].T)
        twin.weight_hh_l0.copy_(weight["U"].T)
        twin.bias_ih_l0.copy_(weight["b"])
        twin.bias_hh_l0.zero_()
    return twin


def packed(twin: Any, x: Any, lengths: Any) -> tuple[Any, Any]:
    """Outputs, zero past each end, and the last state h."""
    rows = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), torch.tensor(lengths).long(), batch_first=True, enforce_sorted=False)
    out, state = twin(rows)
    out, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=ROOM)
    return out, (state[0] if isinstance(state, tuple) else state)[0]


@needs_torch
@pytest.mark.parametrize("kind", MODELS)
def test_the_last_value_and_its_gradients(kind: str) -> None:
    model, rows = made(f"x -> {kind}(5) -> last"), data()
    twin = peer(model, kind, f"{kind}_1")
    _, last = packed(twin, rows["x"], LENGTHS)
    np.testing.assert_allclose(model.predict(rows), last.detach().numpy(), atol=1e-10)
    ((last - torch.tensor(rows["y"])) ** 2).mean().backward()
    found = model.gradients(rows)
    for own, other in (("W", twin.weight_ih_l0), ("U", twin.weight_hh_l0)):
        np.testing.assert_allclose(found[f"{kind}_1.{own}"], other.grad.numpy().T, atol=1e-10)
    np.testing.assert_allclose(found[f"{kind}_1.b"], twin.bias_ih_l0.grad.numpy(), atol=1e-10)


@needs_torch
@pytest.mark.parametrize("kind", MODELS)
def test_all_values_are_zero_past_the_end_and_means_leave_it_out(kind: str) -> None:
    model, rows = made(f"mean(x -> {kind}(5), over = [T])"), data()
    out, _ = packed(peer(model, kind, f"{kind}_1"), rows["x"], LENGTHS)
    mean = out.sum(1).detach().numpy() / LENGTHS[:, None]
    np.testing.assert_allclose(model.predict(rows), mean, atol=1e-10)
    whole = rv.compile(f"model m() {{ input x: f32[T, 3] ; predict x -> {kind}(5) }}", T=ROOM, dtype="f64", threads=1)
    for name in whole.params:
        whole.params[name] = model.params[name]
    np.testing.assert_allclose(whole.predict({"x": rows["x"], "x_length": LENGTHS}), out.detach().numpy(), atol=1e-10)


@needs_torch
def test_a_reversed_cell_begins_at_each_end() -> None:
    model, rows = made("final(reverse(gru(5)))(x)"), data()
    backwards = rows["x"].copy()
    for row, length in enumerate(LENGTHS):
        backwards[row, :length] = rows["x"][row, :length][::-1]
    _, last = packed(peer(model, "gru", "gru_1"), backwards, LENGTHS)
    np.testing.assert_allclose(model.predict(rows), last.detach().numpy(), atol=1e-10)


VALUES = {
    "both directions": ("last(x -> bidirectional(lstm(5)))", 10),
    "a stack": ("x -> stack(gru(5), 2) -> last", 5),
    "the largest": ("max(x -> rnn(5), over = [T])", 5),
    "a statistic": ("x -> standardize(over = [batch, T]) -> rnn(5) -> last", 5),
    "a convolution": ("x -> conv1d(4) -> relu -> conv1d(5, stride = 2) -> last", 5),
    "slices": ("mean(x[1:] - x[:-1] * x[:-1], over = [0])", 3),
    "attention": ("sum((softmax(x @ transpose(x)) @ x), over = [T])", 3),
    "a product over time": ('sum(einsum("ti,tj->ij", x, x -> dense(5)), over = [0])', 5),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_lies_past_an_end_is_never_noticed(name: str) -> None:
    """Other numbers there, more room, another count of threads: the same values, and gradients, to the bit where nothing else changes."""
    value, width = VALUES[name]
    rows = data(width)
    first = made(value, width)
    other = {**rows, "x": rows["x"].copy()}
    for row, length in enumerate(LENGTHS):
        other["x"][row, length:] = 1e30
    roomy = made(value, width, ROOM + 6)
    for model in (first, roomy):
        model.fit_statistics(model.arrays(rows, targets=True))
    for label in first.params:
        roomy.params[label] = first.params[label]
    wanted, gradients = first.predict(rows), first.gradients(rows)
    assert np.isfinite(wanted).all()
    np.testing.assert_array_equal(first.predict(other), wanted)
    for label, found in first.gradients(other).items():
        np.testing.assert_array_equal(found, gradients[label])
    np.testing.assert_allclose(roomy.predict(rows), wanted, atol=1e-12)
    for label, found in roomy.gradients(rows).items():
        np.testing.assert_allclose(found, gradients[label], atol=1e-12)


@pytest.mark.parametrize("name", VALUES)
def test_a_sample_alone_gives_the_same(name: str) -> None:
    value, width = VALUES[name]
    rows, model = data(width), made(value, width)
    model.fit_statistics(model.arrays(rows, targets=True))
    together = model.predict(rows)
    for row, length in enumerate(LENGTHS):
        alone = model.predict({"x": rows["x"][row : row + 1, :length]})
        np.testing.assert_allclose(alone[0], together[row], atol=1e-12)


def test_bits_for_any_number_of_threads() -> None:
    rows, found = data(10), []
    for threads in (1, 2, 3):
        model = made(VALUES["both directions"][0], 10, threads=threads)
        found.append([model.step(rows) for _ in range(3)] + [np.asarray(model.params["bidirectional_1.lstm_1.U"]).tobytes()])
    assert found[0] == found[1] == found[2]


def test_rows_come_as_a_list_or_without_lengths() -> None:
    model, rows = made("x -> rnn(5) -> last"), data()
    wanted = model.predict(rows)
    ragged = [rows["x"][row, :length] for row, length in enumerate(LENGTHS)]
    np.testing.assert_array_equal(model.predict({"x": ragged}), wanted)
    short = rows["x"][:, :7]
    np.testing.assert_array_equal(model.predict({"x": short}), model.predict({"x": short, "x_length": np.full(ROWS, 7)}))


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([0, 1, 2, 3, 4, 5], "`x_length` row 0 is 0: a sequence has at least 1 time"),
        ([1, -1, 2, 3, 4, 5], "`x_length` row 1 is -1"),
        ([1, 1, 12, 3, 4, 5], "`x_length` row 2 is 12, and the model has room for 11 times"),
        ([1, 1], "`x_length` has shape [2], and `x` has 6 rows"),
        ([1, 1, 1.5, 3, 4, 5], "`x_length`"),
    ],
)
@pytest.mark.parametrize("verb", ["predict", "step", "evaluate", "fit", "gradients"])
def test_lengths_that_will_not_do(lengths: list[float], message: str, verb: str) -> None:
    model = made("x -> rnn(5) -> last")
    given = np.array(lengths)
    if given.dtype.kind == "i":
        given = given.astype(np.int32)
    with pytest.raises(rv.RanvierError) as caught:
        getattr(model, verb)({**data(), "x_length": given})
    assert message in str(caught.value)


def test_more_times_than_there_is_room_for() -> None:
    model = made("x -> rnn(5) -> last", room=9)
    with pytest.raises(rv.RanvierError, match="room for 9 times"):
        model.predict({"x": np.zeros((2, 12, 3))})
    cut = model.predict({"x": np.ones((2, 12, 3)), "x_length": np.array([9, 3], np.int32)})
    assert cut.shape == (2, 5)


def test_room_must_be_given() -> None:
    with pytest.raises(rv.RanvierError, match="give the most times there can be, such as T = 100"):
        rv.compile(SOURCE.format(value="x -> rnn(5) -> last", width=5))
