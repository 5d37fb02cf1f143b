"""Random valid `.nn` programs, made by hypothesis, with rows to run them on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

ROWS = 7
ACTIVATIONS = ("relu", "leaky_relu(slope = 0.2)", "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign", "hard_tanh", "sigmoid",
               "tanh", "softmax", "log_softmax", "abs", "sin")  # fmt: skip
LAYERS = (
    "dense({n})",
    "dense({n}, bias = false)",
    "dense({n}, init = he_normal)",
    "layernorm",
    "standardized",
    "tower({n})",
    "(dense({n}) with l2 = 1e-2)",
)
SEQUENCES = (
    "{x} -> rnn({n}) -> last",
    "{x} -> rnn({n}, activation = softsign) -> last",
    "{x} -> stack(gru({n}), 2) -> last",
    "{x} -> lstm({n}, recurrent_dropout = 0.3) -> last",
    "last(reverse(lstm({n}))({x}))",
    "mean({x} -> gru({n}), over = [0])",
    "final(rnn({n}))({x}, h = {v} -> dense({n}))",
    "last(remembering({n})({x}, {v}))",
    "max({x} -> dense({n}) -> tanh -> reverse(over = [0]) -> layernorm -> noting, over = [0])",
)
OPTIMIZERS = ("sgd(lr = 0.05, momentum = 0.9)", "adam(lr = 0.01)", "rmsprop", "adagrad")
HELPERS = """
layer standardized()(x: [n]) {
    spread = sqrt(variance(x, over = [batch]) + 0.1)
    return (x - mean(x, over = [batch])) / spread
}
layer tower(units, depth = 2)(x) {
    y = x
    repeat depth as level {
        if level == 0 { y = y -> dense(units) } else { y = y * 0.5 + level }
    }
    return y
}
cell remembering(units)(x: [inputs], fixed: [m]) {
    param first: [units] ~ zeros
    state h: [units] = first
    state count = 0
    gate = concat([x, h]) -> dense(units) -> sigmoid
    next count = count + mean(gate)
    next h = gate * h + (1 - gate) * (x -> dense(units) -> layernorm) + 0.1 * mean(fixed) / (1 + next count)
    return next h
}
cell noting()(x: [n]) {
    state best: [n] = -2
    state mean: [n] = 0.5
    if n > 2 { next mean = 0.7 * mean + 0.3 * x } else { next mean = x / 2 }
    next best = max(best, x - next mean)
    return best + next mean if x > 0 else next best
}
layer grid_share()(x: [h, w]) {
    return sum(x / (1 + sum(abs(x), over = [w])) - mean(x, over = [h]), over = [h]) + max(x, over = [w])[0]
}
"""


@dataclass
class Program:
    """The text under construction: its statements, the vectors by name with their lengths, sequences, and rows for its fields."""

    lines: list[str] = field(default_factory=list)
    vectors: list[tuple[str, int]] = field(default_factory=list)
    sequences: list[str] = field(default_factory=list)
    data: dict[str, np.ndarray] = field(default_factory=dict)
    train: str = ""

    @property
    def text(self) -> str:
        """The program."""
        body = "\n".join(f"    {line}" for line in self.lines)
        return f"{HELPERS}\nmodel made() {{\n{body}\n}}\n{self.train}\n"

    def let(self, expression: str, size: int) -> None:
        """A new vector."""
        name = f"v{len(self.vectors)}"
        self.lines.append(f"{name} = {expression}")
        self.vectors.append((name, size))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A model of one to three inputs, two to eight random vectors that all reach the prediction, one or two targets."""
    made, chance = Program(), np.random.default_rng(draw(st.integers(0, 99)))
    for number in range(draw(st.integers(1, 3))):
        _input(draw, made, f"x{number}", chance)
    if draw(st.booleans()):
        _shared(draw, made)
    for _ in range(draw(st.integers(2, 8))):
        draw(st.sampled_from((_layer, _over_time, _over_time, _activation, _arithmetic, _reduction, _join, _choice, _repeat)))(draw, made)
    _outputs(draw, made, chance)
    return made


def _input(draw: st.DrawFn, made: Program, name: str, chance: np.random.Generator) -> None:
    kind, size = (
        draw(st.sampled_from(("f32", "f32", "u8", "i32", "class", "grid", "sequence"))),
        draw(st.sampled_from((1, 2, 3, 5, 8, 17, 33))),
    )
    if kind == "class":
        made.lines.append(f"input {name}: class[{size + 1}]")
        made.data[name] = chance.integers(0, size, ROWS).astype(np.int32)
        return made.let(f"{name} -> onehot({size + 1})", size + 1)
    if kind == "sequence":
        made.lines.append(f"input {name}: f32[{size}, 3]")
        made.data[name] = chance.standard_normal((ROWS, size, 3)).astype(np.float32)
        made.sequences.append(name)
        units = draw(st.sampled_from((1, 4, 9)))
        return made.let(f"{name} -> bidirectional(lstm({units})) -> last", 2 * units)
    if kind == "grid":
        made.lines.append(f"input {name}: f32[{size}, 3]")
        made.data[name] = chance.standard_normal((ROWS, size, 3)).astype(np.float32)
        return made.let(f"{name} -> grid_share", 3)
    made.lines.append(f"input {name}: {kind}[{size}]")
    whole = chance.integers(0, 9, (ROWS, size)) - (4 if kind == "i32" else 0)
    dtype = {"f32": np.float32, "u8": np.uint8, "i32": np.int32}[kind]
    made.data[name] = (whole if kind != "f32" else chance.standard_normal((ROWS, size))).astype(dtype)
    return made.let(f"{name} -> scale(1/4)" if kind != "f32" else name, size)


def _vector(draw: st.DrawFn, made: Program) -> tuple[str, int]:
    return draw(st.sampled_from(made.vectors))


def _shared(draw: st.DrawFn, made: Program) -> None:
    """One layer applied to two values."""
    name, _ = _vector(draw, made)
    units = draw(st.sampled_from((1, 4, 9)))
    made.lines.append(f"encode = dense({units})")
    made.let(f"encode({name}) -> tanh", units)
    made.let(f"encode({name} * 0.5 - 1)", units)


def _layer(draw: st.DrawFn, made: Program) -> None:
    name, size = _vector(draw, made)
    units, layer = draw(st.sampled_from((1, 2, 7, 16, 35))), draw(st.sampled_from(LAYERS))
    made.let(f"{name} -> {layer.format(n=units)}", units if "{n}" in layer else size)


def _over_time(draw: st.DrawFn, made: Program) -> None:
    """What a cell makes of a sequence, if there is one."""
    if not made.sequences:
        return _layer(draw, made)
    units, (vector, _) = draw(st.sampled_from((1, 5, 16))), _vector(draw, made)
    made.let(draw(st.sampled_from(SEQUENCES)).format(x=draw(st.sampled_from(made.sequences)), n=units, v=vector), units)


def _activation(draw: st.DrawFn, made: Program) -> None:
    name, size = _vector(draw, made)
    made.let(f"{name} -> {draw(st.sampled_from(ACTIVATIONS))}", size)


def _arithmetic(draw: st.DrawFn, made: Program) -> None:
    (a, left), (b, right) = _vector(draw, made), _vector(draw, made)
    b = b if left == right or 1 in (left, right) else f"mean({b})"
    size = max(left, right) if left == right or 1 in (left, right) else left
    form = draw(
        st.sampled_from(
            ("{a} + {b}", "{a} - 2 * {b}", "tanh({a}) * {b}", "{a} / (1 + {b} * {b})", "max({a}, {b})", "sin({a} + pi) ^ 2 - {b}")
        )
    )
    made.let(form.format(a=a, b=b), size)


def _reduction(draw: st.DrawFn, made: Program) -> None:
    name, size = _vector(draw, made)
    forms = (
        "{v} - mean({v}, over = [batch])",
        "{v} - max({v})",
        "{v} * sum({v}) / {n}",
        "{v} - min({v}, over = [0])",
        "{v} + std({v} + iota({n}))",
    )
    made.let(draw(st.sampled_from(forms)).format(v=name, n=size), size)


def _join(draw: st.DrawFn, made: Program) -> None:
    (a, left), (b, right) = _vector(draw, made), _vector(draw, made)
    made.let(f"concat([{a}, {b}])[{min(1, right)}:]", left + right - min(1, right))


def _choice(draw: st.DrawFn, made: Program) -> None:
    name, size = _vector(draw, made)
    made.let(f"tanh({name}) if {name} > 0 else {name} * 0.1", size)


def _repeat(draw: st.DrawFn, made: Program) -> None:
    name, size = _vector(draw, made)
    made.let(name, size)
    own = made.vectors[-1][0]
    made.lines.append(f"repeat {draw(st.integers(0, 3))} as i {{ {own} = {own} * 0.5 + cos({own}) / (i + 1) }}")


def _outputs(draw: st.DrawFn, made: Program, chance: np.random.Generator) -> None:
    """Everything meets in the prediction, so that nothing is unused."""
    size, classes = draw(st.sampled_from((2, 3, 10))), draw(st.booleans())
    everything = ", ".join(name for name, _ in made.vectors)
    made.lines += [f"z = concat([{everything}]) -> dense({size})", "predict z", f"target y: f32[{size}]"]
    made.data["y"] = chance.standard_normal((ROWS, size)).astype(np.float32)
    loss = draw(st.sampled_from(("mse(z, y)", "huber(z, y)", "mae(z, y)")))
    if classes:
        made.lines.append(f"target label: class[{size}]")
        made.data["label"] = chance.integers(0, size, ROWS).astype(np.int32)
        loss += " + 0.5 * cross_entropy(z, label, smoothing = 0.1)"
    made.lines.append(f"loss {loss}")
    made.train = (
        f"train {{ optimizer = {draw(st.sampled_from(OPTIMIZERS))} ; regularize = l2(1e-3) ; batch = {draw(st.sampled_from((ROWS, 16)))} }}"
    )
