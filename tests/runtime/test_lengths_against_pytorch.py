"""Sequences of varying length against PyTorch's packed sequences: if these fail, padding leaks into what a network says or learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import ranvier as rv

torch = pytest.importorskip("torch", reason="PyTorch is an extra: pip install 'ranvier[torch]'")

TIMES, FEATURES, UNITS = 7, 5, 6
LENGTHS = np.array([7, 1, 3, 7, 2, 1, 6, 4, 5], dtype=np.int32)
ROWS = len(LENGTHS)
TOLERANCE = {"f32": 1e-5, "f64": 1e-10}
FLOAT = {"f32": torch.float32, "f64": torch.float64}
NUMPY = {"f32": np.float32, "f64": np.float64}
Params = dict[str, Any]
Arrays = dict[str, np.ndarray]
each_dtype = pytest.mark.parametrize("dtype", ["f32", "f64"])
each_cell = pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
MODULES = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def compiled(
    body: str, output: str, dtype: str = "f64", *, threads: int = 2, room: int = TIMES, train: str = "", declared: str = ""
) -> rv.Model:
    """A model of sequences `x` that predicts `z`, with random biases."""
    text = (
        f"model m() {{\ninput x: f32[T, {FEATURES}]\n{declared}\ntarget t: f32[{output}]\n{body}\npredict z\nloss sum(z * t)\n}}\n"
        f"train {{ batch = {ROWS} ; {train or 'optimizer = gd()'} }}\n"
    )
    model = rv.compile(text, dtype=dtype, threads=threads, T=room)
    random = np.random.default_rng(5)
    for name in sorted(model.params):
        if name.rpartition(".")[2] not in ("W", "U", "weight", "kernel"):
            model.params[name] = random.normal(size=model.params[name].shape) * 0.3
    return model


def torch_params(model: rv.Model, dtype: str) -> Params:
    return {name: torch.tensor(model.params[name], dtype=FLOAT[dtype], requires_grad=True) for name in model.params}


def batch_of(dtype: str, *target: int, times: int = TIMES) -> Arrays:
    """Noise, past the sequences' ends as well."""
    random = np.random.default_rng(1)
    x, t = random.normal(size=(ROWS, times, FEATURES)), random.normal(size=(ROWS, *target))
    return {"x": x.astype(NUMPY[dtype]), "x_length": LENGTHS, "t": t.astype(NUMPY[dtype])}


def run(params: Params, path: str, x: Any, lengths: Sequence[int] = LENGTHS) -> tuple[Any, tuple[Any, ...]]:
    """PyTorch's cell with our parameters on packed sequences: the outputs, zero past the end, and the last states."""
    kind, units = path.rpartition(".")[2].rpartition("_")[0], params[f"{path}.U"].shape[0]
    module = MODULES[kind](x.shape[2], units, batch_first=True, dtype=x.dtype)
    second = torch.zeros(GATES[kind] * units, dtype=x.dtype)
    if kind == "gru":
        second = torch.cat([second[: 2 * units], params[f"{path}.b_new"]])
    own = {name: params[f"{path}.{name}"] for name in ("W", "U", "b")}
    weights = {"weight_ih_l0": own["W"].T, "weight_hh_l0": own["U"].T, "bias_ih_l0": own["b"], "bias_hh_l0": second}
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(np.array(lengths)), batch_first=True, enforce_sorted=False)
    y, last = torch.func.functional_call(module, weights, (packed,))
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return y, tuple(s[0] for s in (last if kind == "lstm" else (last,)))


def turned(x: Any) -> Any:
    """Each sample's own times backwards; what lies past its end stays."""
    return torch.stack([torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(x, LENGTHS, strict=True)])


def inside(times: int = TIMES, lengths: Sequence[int] = LENGTHS) -> Any:
    """1 where a sample has a time, [rows, times, 1]."""
    return torch.tensor((np.arange(times) < np.array(lengths)[:, None])[..., None].astype(np.float64))


def assert_agrees(model: rv.Model, params: Params, batch: Arrays, z: Any, dtype: str) -> None:
    """Predictions, the loss, and the gradients of all parameters."""
    inputs = {name: array for name, array in batch.items() if name != "t"}
    np.testing.assert_allclose(model.predict(inputs), z.detach().numpy(), rtol=0, atol=TOLERANCE[dtype])
    loss = (z * torch.tensor(batch["t"])).flatten(1).sum(1).mean()
    loss.backward()
    np.testing.assert_allclose(model.loss(batch), loss.item(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    gradients = model.gradients(batch)
    assert set(gradients) == set(params)
    for name, parameter in params.items():
        expected = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        np.testing.assert_allclose(gradients[name], expected, rtol=0, atol=TOLERANCE[dtype], err_msg=name)


def agrees(body: str, output: Sequence[int], dtype: str, there: Callable[[Params, Any], Any]) -> None:
    """The same body here and in PyTorch."""
    model, batch = compiled(body, ", ".join(map(str, output)), dtype), batch_of(dtype, *output)
    params = torch_params(model, dtype)
    assert_agrees(model, params, batch, there(params, torch.tensor(batch["x"])), dtype)


# --- cells


@each_dtype
@each_cell
def test_outputs_at_all_times_are_zero_past_the_end(cell: str, dtype: str) -> None:
    agrees(f"z = x -> {cell}({UNITS})", (TIMES, UNITS), dtype, lambda p, x: run(p, f"{cell}_1", x)[0])
    model, batch = compiled(f"z = x -> {cell}({UNITS})", f"{TIMES}, {UNITS}", dtype), batch_of(dtype, TIMES, UNITS)
    z = model.predict({"x": batch["x"], "x_length": LENGTHS})
    assert not z[np.arange(TIMES) >= LENGTHS[:, None]].any()


@each_dtype
@each_cell
def test_the_last_output_and_the_final_states(cell: str, dtype: str) -> None:
    states = ", ".join(["h", "c"][: 2 if cell == "lstm" else 1])
    size = UNITS * (3 if cell == "lstm" else 2)
    body = f"e = {cell}({UNITS})\n{states} = final(e)(x)\nz = concat([last(e(x)), {states}])"

    def there(p: Params, x: Any) -> Any:
        y, last = run(p, f"{cell}_1", x)
        return torch.cat([y[torch.arange(ROWS), torch.tensor(LENGTHS).long() - 1], *last], 1)

    agrees(body, (size,), dtype, there)


@each_dtype
@each_cell
def test_backwards_begins_at_each_sample_s_own_end(cell: str, dtype: str) -> None:
    """`reverse` over all times; its state after the sequence is the one at the first time."""
    state = "h, _c" if cell == "lstm" else "h"
    body = f"e = reverse({cell}({UNITS}))\n{state} = final(e)(x)\nz = concat([flatten()(e(x)), h])"

    def there(p: Params, x: Any) -> Any:
        y, last = run(p, f"{cell}_1", turned(x))
        return torch.cat([turned(y).flatten(1), last[0]], 1)

    agrees(body, ((TIMES + 1) * UNITS,), dtype, there)


@each_dtype
@pytest.mark.parametrize("layers", [1, 2])
@each_cell
def test_both_directions(cell: str, layers: int, dtype: str) -> None:
    both = f"bidirectional({cell}({UNITS}))"

    def there(p: Params, x: Any) -> Any:
        y = x
        for layer in range(1, layers + 1):
            path = f"bidirectional_{layer}.{cell}" if layers == 1 else f"stack_1.bidirectional_{layer}.{cell}"
            y = torch.cat([run(p, f"{path}_1", y)[0], turned(run(p, f"{path}_2", turned(y))[0])], 2)
        return y

    agrees(f"z = x -> {both if layers == 1 else f'stack({both}, {layers})'}", (TIMES, 2 * UNITS), dtype, there)


@each_dtype
def test_a_stack_and_its_last_output(dtype: str) -> None:
    def there(p: Params, x: Any) -> Any:
        y, _ = run(p, "stack_1.gru_1", x)
        return run(p, "stack_1.gru_2", y)[1][0] @ p["dense_1.weight"] + p["dense_1.b"]

    agrees(f"z = x -> stack(gru({UNITS}), 2) -> last -> dense(3)", (3,), dtype, there)


@each_dtype
def test_a_decoder_of_another_sequence_begins_with_the_encoder_s_states(dtype: str) -> None:
    """Two inputs with lengths of their own."""
    body = f"h, c = final(lstm({UNITS}))(x)\nz = lstm({UNITS})(y, h = h, c = c)"
    text = (
        f"model m() {{\ninput x: f32[T, {FEATURES}]\ninput y: f32[S, 2]\n"
        f"target t: f32[4, {UNITS}]\n"
        f"{body}\npredict z\nloss sum(z * t)\n}}\ntrain {{ batch = {ROWS} }}"
    )
    model, batch = rv.compile(text, dtype=dtype, T=TIMES, S=4), batch_of(dtype, 4, UNITS)
    random = np.random.default_rng(8)
    batch |= {"y": random.normal(size=(ROWS, 4, 2)).astype(NUMPY[dtype]), "y_length": random.integers(1, 5, ROWS).astype(np.int32)}
    params = torch_params(model, dtype)
    _, states = run(params, "lstm_1", torch.tensor(batch["x"]))
    y, own = torch.tensor(batch["y"]), {name: params[f"lstm_2.{name}"] for name in ("W", "U", "b")}
    (h, c), found = states, []
    for time in range(4):
        i, f, g, o = (y[:, time] @ own["W"] + h @ own["U"] + own["b"]).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        found.append(h)
    z = torch.stack(found, 1) * inside(4, batch["y_length"]).to(y.dtype)
    assert_agrees(model, params, batch, z, dtype)


# --- reductions


REDUCTIONS: dict[str, Callable[[Any], Any]] = {
    "mean": lambda row: row.mean(0),
    "sum": lambda row: row.sum(0),
    "max": lambda row: row.max(0).values,
    "min": lambda row: row.min(0).values,
    "variance": lambda row: row.var(0, correction=0),
}


@each_dtype
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_over_time_take_what_is_there(name: str, dtype: str) -> None:
    """Directly of what the cell gives, shifted so that a zero past the end would be seen by a max."""

    def there(p: Params, x: Any) -> Any:
        y = run(p, "gru_1", x)[0] - 2
        return torch.stack([REDUCTIONS[name](row[:n]) for row, n in zip(y, LENGTHS, strict=True)])

    agrees(f"z = {name}(gru({UNITS})(x) - 2, over = [T])", (UNITS,), dtype, there)


@each_dtype
def test_a_softmax_over_time_shares_among_what_is_there(dtype: str) -> None:
    """Attention of one query: weights that are a softmax over times, and a weighted sum."""

    def there(p: Params, x: Any) -> Any:
        scores = x @ p["w"]
        rows = [(torch.softmax(s[:n], 0)[:, None] * row[:n]).sum(0) for s, row, n in zip(scores, x, LENGTHS, strict=True)]
        return torch.stack(rows)

    agrees(
        f"param w: [{FEATURES}] ~ zeros\na = softmax(x @ w)\nz = sum(x * a, over = [T])",
        (FEATURES,),
        dtype,
        there,
    )


@each_dtype
def test_self_attention_ignores_what_lies_past_the_end(dtype: str) -> None:
    """Every time asks every time, by products over the axis of times."""
    body = f"""
    q = x -> dense({UNITS}, bias = false)
    k = x -> dense({UNITS}, bias = false)
    v = x -> dense({UNITS})
    a = softmax(einsum("tc,sc->ts", q, k))
    z = mean(a @ v, over = [T])
    """

    def there(p: Params, x: Any) -> Any:
        rows = []
        for row, n in zip(x, LENGTHS, strict=True):
            q, k = row[:n] @ p["dense_1.weight"], row[:n] @ p["dense_2.weight"]
            rows.append((torch.softmax(q @ k.T, 1) @ (row[:n] @ p["dense_3.weight"] + p["dense_3.b"])).mean(0))
        return torch.stack(rows)

    agrees(body, (UNITS,), dtype, there)


@each_dtype
def test_products_along_time(dtype: str) -> None:
    """`einsum` that sums over times, given rows that are not zero past the end."""

    def there(p: Params, x: Any) -> Any:
        y = (x @ p["dense_1.weight"] + p["dense_1.b"]) * inside().to(x.dtype)
        return torch.einsum("rtc,rtd->rcd", y, x)

    agrees('y = x -> dense(3)\nz = einsum("tc,td->cd", y, x)', (3, FEATURES), dtype, there)


# --- a loss at each time


@each_dtype
def test_a_loss_at_each_time_is_the_mean_of_a_sample_s_own_times(dtype: str) -> None:
    """Sequence to sequence: cross entropy of each time's class, and its gradients."""
    text = f"""
    model m() {{
        input x: f32[T, {FEATURES}]
        target t: class[4][T]
        z = x -> gru({UNITS}) -> dense(4)
        predict z
        loss cross_entropy(z, t)
        metric accuracy(z, t)
        metric perplexity(z, t)
    }}
    train {{ batch = {ROWS} }}
    """
    model, random = rv.compile(text, dtype=dtype, T=TIMES), np.random.default_rng(2)
    batch = batch_of(dtype) | {"t": random.integers(0, 4, (ROWS, TIMES)).astype(np.int32), "t_length": LENGTHS}
    params = torch_params(model, dtype)
    z = run(params, "gru_1", torch.tensor(batch["x"]))[0] @ params["dense_1.weight"] + params["dense_1.b"]
    goal = torch.tensor(batch["t"]).long()
    rows = [torch.nn.functional.cross_entropy(a[:n], b[:n]) for a, b, n in zip(z, goal, LENGTHS, strict=True)]
    loss = torch.stack(rows).mean()
    loss.backward()
    np.testing.assert_allclose(model.loss(batch), loss.item(), rtol=TOLERANCE[dtype])
    for name, gradient in model.gradients(batch).items():
        np.testing.assert_allclose(gradient, params[name].grad.numpy(), rtol=0, atol=TOLERANCE[dtype], err_msg=name)
    figures = model.evaluate(batch)
    right = [(a[:n].argmax(1) == b[:n]).double().mean() for a, b, n in zip(z, goal, LENGTHS, strict=True)]
    np.testing.assert_allclose(figures["accuracy"], torch.stack(right).mean().item(), rtol=1e-6)
    places = torch.cat(
        [torch.nn.functional.cross_entropy(a[:n], b[:n], reduction="none") for a, b, n in zip(z, goal, LENGTHS, strict=True)]
    )
    np.testing.assert_allclose(figures["perplexity"], np.exp(places.mean().item()), rtol=1e-5)


@each_dtype
def test_squares_over_the_times_that_are_there(dtype: str) -> None:
    text = f"""
    model m() {{
        input x: f32[T, {FEATURES}]
        target t: f32[T, 2]
        z = x -> rnn({UNITS}) -> dense(2)
        predict z
        loss mse(z, t)
    }}
    train {{ batch = {ROWS} }}
    """
    model, batch = rv.compile(text, dtype=dtype, T=TIMES), batch_of(dtype, TIMES, 2)
    params = torch_params(model, dtype)
    z = run(params, "rnn_1", torch.tensor(batch["x"]))[0] @ params["dense_1.weight"] + params["dense_1.b"]
    rows = [((a[:n] - b[:n]) ** 2).mean() for a, b, n in zip(z, torch.tensor(batch["t"]), LENGTHS, strict=True)]
    loss = torch.stack(rows).mean()
    loss.backward()
    np.testing.assert_allclose(model.loss(batch | {"t_length": LENGTHS}), loss.item(), rtol=TOLERANCE[dtype])
    for name, gradient in model.gradients(batch | {"t_length": LENGTHS}).items():
        np.testing.assert_allclose(gradient, params[name].grad.numpy(), rtol=0, atol=TOLERANCE[dtype], err_msg=name)


def test_the_next_time_is_foretold_within_each_sample() -> None:
    """`z[:-1]` leaves out each sample's own last time, so that nothing is compared with what lies past its end; one of 1 time counts 0."""
    text = f"""
    model m() {{
        input x: f32[T, {FEATURES}]
        z = x -> gru({UNITS}) -> dense({FEATURES})
        predict z
        loss mse(z[:-1], x[1:])
    }}
    train {{ batch = {ROWS} }}
    """
    batch = {name: array for name, array in batch_of("f64").items() if name != "t"}
    for room in (TIMES, TIMES + 4):
        model = rv.compile(text, dtype="f64", T=room)
        params = torch_params(model, "f64")
        x = torch.tensor(batch["x"])
        z = run(params, "gru_1", x)[0] @ params["dense_1.weight"] + params["dense_1.b"]
        rows = [((a[: n - 1] - b[1:n]) ** 2).sum() / (max(n - 1, 1) * FEATURES) for a, b, n in zip(z, x, LENGTHS, strict=True)]
        loss = torch.stack(rows).mean()
        loss.backward()
        np.testing.assert_allclose(model.loss(batch), loss.item(), rtol=1e-10)
        for name, gradient in model.gradients(batch).items():
            np.testing.assert_allclose(gradient, params[name].grad.numpy(), rtol=0, atol=1e-10, err_msg=name)


# --- statistics over samples and times


@each_dtype
def test_batchnorm_counts_what_is_there(dtype: str) -> None:
    """Its figures are those of all times of all samples together; predictions use the running ones."""
    model, batch = compiled(f"z = x -> batchnorm() -> rnn({UNITS})", f"{TIMES}, {UNITS}", dtype), batch_of(dtype, TIMES, UNITS)
    params = torch_params(model, dtype)
    x = torch.tensor(batch["x"])
    there = torch.cat([row[:n] for row, n in zip(x, LENGTHS, strict=True)])
    mean, variance = there.mean(0), there.var(0, correction=0)
    normed = (x - mean) / torch.sqrt(variance + 1e-5) * params["batchnorm_1.gain"] + params["batchnorm_1.shift"]
    z, _ = run(params, "rnn_1", normed)
    loss = (z * torch.tensor(batch["t"])).flatten(1).sum(1).mean()
    loss.backward()
    np.testing.assert_allclose(model.loss(batch), loss.item(), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    for name, gradient in model.gradients(batch).items():
        np.testing.assert_allclose(gradient, params[name].grad.numpy(), rtol=0, atol=TOLERANCE[dtype], err_msg=name)


@pytest.mark.parametrize("layer", ["standardize(over = [batch, T])", "minmax(over = [batch, T])"])
def test_what_is_fitted_counts_what_is_there(layer: str) -> None:
    model = compiled(f"z = sum(x -> {layer}, over = [T])", str(FEATURES), room=TIMES + 3)
    batch = batch_of("f64", FEATURES)
    model.step(batch)
    rows = [row[:n] for row, n in zip(batch["x"], LENGTHS, strict=True)]
    there = np.concatenate(rows)
    low, spread = (there.mean(0), there.std(0)) if layer.startswith("st") else (there.min(0), np.ptp(there, axis=0))
    expected = [((row - low) / spread).sum(0) for row in rows]
    np.testing.assert_allclose(model.predict({"x": batch["x"], "x_length": LENGTHS}), expected, rtol=0, atol=1e-12)


def test_figures_at_each_time_are_of_the_samples_that_have_it() -> None:
    """`over = [batch]` keeps the axis of times: the mean at a time is that of the samples that last so long."""
    model, batch = compiled("z = sum(x -> standardize(), over = [T])", str(FEATURES)), batch_of("f64", FEATURES)
    model.step(batch)
    x, there = batch["x"], np.arange(TIMES) < LENGTHS[:, None]
    expected = np.zeros((ROWS, FEATURES))
    for time in range(TIMES):
        rows = there[:, time]
        values = x[rows, time]
        expected[rows] += (values - values.mean(0)) / np.maximum(values.std(0), 1e-8)
    np.testing.assert_allclose(model.predict({"x": x, "x_length": LENGTHS}), expected, rtol=0, atol=1e-10)


# --- each sample by itself


BODIES = {
    "convolution": f"y = x -> conv1d(4, kernel = 3) -> relu\nz = y -> gru({UNITS}) -> last",
    "bias": f'y = x -> dense(4) -> conv1d(4, kernel = 3, padding = "same")\nz = y -> gru({UNITS}) -> last',
    "twice": f"z = last(lstm({UNITS})((x -> conv1d(4, kernel = 2) -> conv1d(4, kernel = 2))))",
    "begin": f"z = x[1:] -> gru({UNITS}) -> last",
    "end": f"z = x[:-1] -> gru({UNITS}) -> last",
    "difference": f"z = last(gru({UNITS})(x[1:] - x[:-1]))",
    "whole": "z = mean(bidirectional(rnn(3))((x -> layernorm() -> dense(4))), over = [T])",
}


def model_of(body: str, room: int, threads: int = 2) -> rv.Model:
    return compiled(BODIES[body], str(UNITS), room=room, threads=threads)


@pytest.mark.parametrize("body", BODIES)
def test_samples_of_a_batch_are_as_each_alone(body: str) -> None:
    """In a model with no more room than each has, where all times are there."""
    model, batch = model_of(body, TIMES), batch_of("f64", UNITS)
    found = model.predict({"x": batch["x"], "x_length": LENGTHS})
    for row, n in enumerate(LENGTHS):
        if body in ("begin", "end", "difference", "convolution", "twice") and n < 4:
            continue  # nothing is left of them, and a model of such a size has no shape
        own = model_of(body, int(n))
        for name in model.params:
            own.params[name] = model.params[name]
        expected = own.predict(batch["x"][row : row + 1, :n])
        np.testing.assert_allclose(found[row : row + 1], expected, rtol=0, atol=1e-12, err_msg=f"row {row} of {n} times")


# --- bits


def bits(model: rv.Model, batch: Arrays, steps: int = 3) -> tuple[Any, ...]:
    losses = [model.step(batch) for _ in range(steps)]
    return losses, {n: model.params[n].tobytes() for n in model.params}, model.predict({n: batch[n] for n in ("x", "x_length")}).tobytes()


@pytest.mark.parametrize("filler", [0.0, 1e30, np.nan, -np.inf, "other"])
@pytest.mark.parametrize("body", BODIES)
def test_what_lies_past_the_end_changes_no_bit(body: str, filler: float | str) -> None:
    batch = batch_of("f64", UNITS)
    there = (np.arange(TIMES) < LENGTHS[:, None])[..., None]
    other = np.where(there, batch["x"], batch["x"][::-1] if filler == "other" else filler)
    assert bits(model_of(body, TIMES), batch) == bits(model_of(body, TIMES), batch | {"x": other})


@pytest.mark.parametrize("body", BODIES)
def test_room_for_more_times_changes_no_value(body: str) -> None:
    batch = batch_of("f64", UNITS)
    small, large = bits(model_of(body, TIMES), batch), bits(model_of(body, TIMES + 9), batch)
    np.testing.assert_allclose(small[0], large[0], rtol=1e-12)
    np.testing.assert_allclose(np.frombuffer(small[2]), np.frombuffer(large[2]), rtol=1e-11)


@pytest.mark.parametrize("body", BODIES)
def test_the_same_bits_for_any_number_of_threads(body: str) -> None:
    batch = batch_of("f64", UNITS)
    one, two, three = (bits(model_of(body, TIMES, threads), batch) for threads in (1, 2, 3))
    assert one == two == three
