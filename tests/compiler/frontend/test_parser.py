"""If these fail, a user's file is read as something else than was written, or an error points to the wrong place."""

from __future__ import annotations

from pathlib import Path

import pytest
from ranvier.compiler.diagnostics import Diagnostic
from ranvier.compiler.errors import SourceError
from ranvier.compiler.frontend import syntax
from ranvier.compiler.frontend.parse_table import make_table, parse_table
from ranvier.compiler.frontend.parser import parse
from ranvier.compiler.frontend.syntax import Syntax
from ranvier.compiler.source import Source
from ranvier.grammar import grammar_text, tables_text


def read(text: str) -> syntax.File:
    return parse(Source("t.nn", text))


def errors(text: str) -> tuple[Diagnostic, ...]:
    with pytest.raises(SourceError) as caught:
        read(text)
    return caught.value.diagnostics


def statement(text: str) -> Syntax:
    """The only statement of a function's body."""
    (definition,) = read("fn f(x) {\n" + text + "\n}\n").definitions
    (only,) = definition.body
    return only


def expression(text: str) -> object:
    """The shape of an expression: operators as tuples, the rest as its text or value."""
    assigned = statement(f"y = {text}")
    assert isinstance(assigned, syntax.Assign)
    return shape(assigned.value)


def shape(node: object) -> object:
    """A tree without its spans, as nested tuples that are short to write."""
    match node:
        case syntax.Name(id=name):
            return name
        case syntax.Number(value=value, percent=percent):
            return f"{value:g}%" if percent else value
        case syntax.Boolean(value=value) | syntax.String(value=value):
            return value
        case syntax.Ellipsis():
            return ...
        case syntax.TypeExpression(dtype=dtype, dims=dims, shape=()):
            return ("TypeExpression", dtype, shape(dims))
        case syntax.Binary(op=op, left=left, right=right):
            return (op, shape(left), shape(right))
        case syntax.Unary(op=op, operand=operand):
            return (op, shape(operand))
        case syntax.Pipe(left=left, right=right):
            return ("->", shape(left), shape(right))
        case syntax.Argument(name=name, value=value):
            return shape(value) if name is None else (name, "=", shape(value))
        case syntax.Listing(items=items):
            return [shape(item) for item in items]
        case tuple():
            return tuple(shape(item) for item in node)
        case Syntax():
            return (type(node).__name__, *(shape(value) for name, value in vars(node).items() if name != "span"))
    return node


# --- expressions -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", ("+", "a", ("*", "b", "c"))),
        ("a - b - c", ("-", ("-", "a", "b"), "c")),
        ("a @ b / c // d", ("//", ("/", ("@", "a", "b"), "c"), "d")),
        ("-x^2", ("-", ("^", "x", 2))),
        ("2^-x^3", ("^", 2, ("-", ("^", "x", 3)))),
        ("a^b^c", ("^", "a", ("^", "b", "c"))),
        ("-a * b", ("*", ("-", "a"), "b")),
        ("- -a", ("-", ("-", "a"))),
        ("a - -b", ("-", "a", ("-", "b"))),
        ("not a == b", ("not", ("==", "a", "b"))),
        ("a or b and not c", ("or", "a", ("and", "b", ("not", "c")))),
        ("a + 1 < b", ("<", ("+", "a", 1), "b")),
        ("(a + b) * c", ("*", ("+", "a", "b"), "c")),
        ("a if c else b if d else e", ("Conditional", "c", "a", ("Conditional", "d", "b", "e"))),
        ("a or b if c else d", ("Conditional", "c", ("or", "a", "b"), "d")),
        ("x -> f -> g", ("->", ("->", "x", "f"), "g")),
        ("x -> f if c else g", ("->", "x", ("Conditional", "c", "f", "g"))),
        ("x + 1 -> f", ("->", ("+", "x", 1), "f")),
        ("f(a, b = 1)(c)", ("Call", ("Call", "f", ("a", ("b", "=", 1))), ("c",))),
        ("f(a,)", ("Call", "f", ("a",))),
        ("f(x -> g, 2)", ("Call", "f", (("->", "x", "g"), 2))),
        ("x[0, 1:3, ...]", ("Index", "x", (0, ("Slice", 1, 3, None), ...))),
        ("x[:, ::2]", ("Index", "x", (("Slice", None, None, None), ("Slice", None, None, 2)))),
        ("x[a + 1:]", ("Index", "x", (("Slice", ("+", "a", 1), None, None),))),
        ("[a, ..., [1]]", ["a", ..., [1]]),
        ("[]", []),
        ("10%", "0.1%"),
        ("1e-3 + 2. + .5 + 007", ("+", ("+", ("+", 0.001, 2.0), 0.5), 7)),
        ("true and false", ("and", True, False)),
        (r'"a \"b\" \\ \n {c}"', 'a "b" \\ \n {c}'),
        ("tanh(next c)", ("Call", "tanh", (("Next", "c"),))),
        ("next + 1", ("+", "next", 1)),
        ("next if next else a", ("Conditional", "next", "next", "a")),
    ],
)
def test_expressions_bind_as_the_grammar_says(text: str, expected: object) -> None:
    assert expression(text) == expected


def test_with_belongs_to_the_layer_on_its_left() -> None:
    with_f = ("With", "f", (("l2", "=", 1), ("name", "=", "n")))
    assert expression('x -> f with l2 = 1, name = "n" -> g') == ("->", ("->", "x", with_f), "g")
    assert expression("bidirectional(lstm(4) with l2 = 1, 2)") == (
        "Call",
        "bidirectional",
        (("With", ("Call", "lstm", (4,)), (("l2", "=", 1),)), 2),
    )
    assert expression("f((g with a = 1, b = 2), c = 3)") == ("Call", "f", (("With", "g", (("a", "=", 1), ("b", "=", 2))), ("c", "=", 3)))


@pytest.mark.parametrize("text", ["f(g with a = 1, b = 2)", "f(x -> g with a = 1, b = 2)"])
def test_a_with_that_might_take_the_next_argument_is_refused(text: str) -> None:
    assert [d.code for d in errors("fn f(x) { y = " + text + " }")] == ["ambiguous-with"]


def test_an_integer_stays_an_integer_and_a_percentage_is_marked() -> None:
    integer, real, percent = (statement(f"y = {text}").value for text in ("3", "3.0", "3%"))  # type: ignore[attr-defined]
    assert (type(integer.value), type(real.value), percent.value, percent.percent) == (int, float, 0.03, True)


# --- statements ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("input  image: u8[8, 8, 1]", ("Input", "image", ("TypeExpression", "u8", (8, 8, 1)))),
        ("input text: class[80][T]", ("Input", "text", ("TypeExpression", "class", (80,), ("T",)))),
        ("target digit: class[10]", ("Target", "digit", ("TypeExpression", "class", (10,)))),
        ("input x: f32", ("Input", "x", ("TypeExpression", "f32", None))),
        ("input x: f32[]", ("Input", "x", ("TypeExpression", "f32", ()))),
        ("param W: [..., 4*n] ~ zeros", ("Param", "W", ("TypeExpression", None, (..., ("*", 4, "n"))), "zeros")),
        ("state h, c: [units] = 0", ("State", ("h", "c"), ("TypeExpression", None, ("units",)), 0)),
        ("state m, v = 0", ("State", ("m", "v"), None, 0)),
        ("fit mu = mean(x)", ("Fit", "mu", ("Call", "mean", ("x",)))),
        ("next h = 1", ("NextState", "h", 1)),
        ("i, f = split(x, 2)", ("Assign", ("i", "f"), ("Call", "split", ("x", 2)))),
        ("return a, b", ("Return", ("a", "b"))),
        ("predict softmax(z)", ("Predict", ("Call", "softmax", ("z",)))),
        ("loss f(z) + g(z)", ("Loss", ("+", ("Call", "f", ("z",)), ("Call", "g", ("z",))))),
        ("metric accuracy(z)", ("Metric", None, ("Call", "accuracy", ("z",)))),
        ("metric top5 = top_k(z, 5)", ("Metric", "top5", ("Call", "top_k", ("z", 5)))),
        ('require n > 0 : "n is {n}"', ("Require", (">", "n", 0), "n is {n}")),
        ("if a { y = 1 }", ("If", "a", (("Assign", ("y",), 1),), ())),
        ("if a { } else { return b }", ("If", "a", (), (("Return", ("b",)),))),
        ("if a { } else if b { } else { y = 1 }", ("If", "a", (), (("If", "b", (), (("Assign", ("y",), 1),)),))),
        ("repeat 3 { y = 1 }", ("Repeat", 3, None, (("Assign", ("y",), 1),))),
        ("repeat n as i { y = i }", ("Repeat", "n", "i", (("Assign", ("y",), "i"),))),
        ("x -> f", ("ExpressionStatement", ("->", "x", "f"))),
    ],
)
def test_statements(text: str, expected: object) -> None:
    assert shape(statement(text)) == expected


WORDS = ["input", "target", "param", "state", "fit", "next", "predict", "loss", "metric", "require", "repeat", "model", "layer", "cell"]
WORDS += ["fn", "optimizer", "schedule", "train", "data", "tune", "import", "mean", "step", "batch", "class"]


@pytest.mark.parametrize("word", WORDS)
def test_words_of_the_language_stay_names_where_nothing_else_is_meant(word: str) -> None:
    body = f"{word} = {word} + f({word} = 1)\n{word}, a = {word}\nreturn {word}"
    (definition,) = read(f"fn {word}({word}, b = {word}) {{\n{body}\n}}").definitions
    assert definition.name.id == word
    assert shape(definition.inputs) == (("Parameter", word, None, None), ("Parameter", "b", None, word))
    assert shape(definition.body) == (
        ("Assign", (word,), ("+", word, ("Call", "f", ((word, "=", 1),)))),
        ("Assign", (word, "a"), word),
        ("Return", (word,)),
    )
    (block,) = read(f"train {{ {word} = {word}(1) }}").blocks
    assert shape(block.settings) == (("Setting", word, ("Call", word, (1,)), False),)
    (search,) = read(f"tune {{\n{word} in [1]\n}}").blocks
    assert shape(search.settings) == (("Setting", word, [1], True),)


# --- lines -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "y = f(a, b) -> g + 1",
        "y = f(\n a,\n b\n)\n\n -> g +\n 1",
        "y = f(a, # why\n b)\n # because\n -> g + # so\n 1",
        "y = f(a,\tb)\r\n ->\n g + 1",
    ],
)
def test_a_statement_goes_on_in_brackets_after_an_operator_and_before_an_arrow(text: str) -> None:
    assert shape(statement(text)) == ("Assign", ("y",), ("->", ("Call", "f", ("a", "b")), ("+", "g", 1)))


@pytest.mark.parametrize(
    "text",
    [
        "fn f(x) {\n a = 1\n\n b = 2\n}",
        "fn f(x)\n{ a = 1 ; b = 2 }",
        "fn f(x) {; a = 1 ;; b = 2 ;\n}\n",
        "fn f(x) { # {\na = 1 # ;\nb = 2 }",
    ],
)
def test_line_breaks_and_semicolons_separate_statements(text: str) -> None:
    (definition,) = read(text).definitions
    assert shape(definition.body) == (("Assign", ("a",), 1), ("Assign", ("b",), 2))


def test_else_may_begin_a_line() -> None:
    assert shape(statement("if a {\n}\nelse {\ny = 1\n}")) == ("If", "a", (), (("Assign", ("y",), 1),))


# --- definitions and blocks ------------------------------------------------------------------------------------------------------------


def test_one_argument_list_is_the_settings_of_a_model_and_the_inputs_of_a_function() -> None:
    model, function, both = read("model m(a = 1) { }\nfn f(x) { }\nfn u(low, high)(shape: [n, m]) { }\n").definitions
    assert (shape(model.settings), model.inputs) == ((("Parameter", "a", None, 1),), None)
    assert (function.settings, shape(function.inputs)) == (None, (("Parameter", "x", None, None),))
    assert shape(both.settings) == (("Parameter", "low", None, None), ("Parameter", "high", None, None))
    assert shape(both.inputs) == (("Parameter", "shape", ("TypeExpression", None, ("n", "m")), None),)


def test_a_file_keeps_imports_definitions_and_blocks_apart() -> None:
    file = read('import "blocks.nn"\ntrain { }\nmodel m() { }\ndata { }\n')
    assert [shape(item.path) for item in file.imports] == ["blocks.nn"]
    assert ([d.kind for d in file.definitions], [b.kind for b in file.blocks]) == (["model"], ["train", "data"])


def test_an_empty_file_is_a_file() -> None:
    for text in ("", "\n", "# nothing", " ;\n"):
        assert read(text).definitions == ()


MODEL = """\
# digits.nn
model digits(hidden = 128, drop = 0.2) {
    input  image: u8[8, 8, 1]
    target digit: class[10]

    logits = image -> scale(1/16) -> flatten
                   -> dense(hidden) -> relu -> dropout(drop)
                   -> dense(10)

    predict softmax(logits)
    loss    cross_entropy(logits, digit)
    metric  accuracy(logits, digit)
}

train {
    optimizer  = adam(lr = 1e-3)
    schedule   = cosine(warmup = 5%)
    regularize = l2(1e-4)
    batch = 64
    epochs = 30
    validate = 10%
    stop = patience(5)
    seed = 0
}
"""


def test_the_model_of_the_design_has_the_tree_it_shows() -> None:
    file = read(MODEL)
    (model,) = file.definitions
    (train,) = file.blocks
    dense = ("Call", "dense", ("hidden",))
    pipeline: object = "image"
    for layer in (("Call", "scale", (("/", 1, 16),)), "flatten", dense, "relu", ("Call", "dropout", ("drop",)), ("Call", "dense", (10,))):
        pipeline = ("->", pipeline, layer)
    assert shape(model) == (
        "Definition",
        "model",
        "digits",
        (("Parameter", "hidden", None, 128), ("Parameter", "drop", None, 0.2)),
        None,
        (
            ("Input", "image", ("TypeExpression", "u8", (8, 8, 1))),
            ("Target", "digit", ("TypeExpression", "class", (10,))),
            ("Assign", ("logits",), pipeline),
            ("Predict", ("Call", "softmax", ("logits",))),
            ("Loss", ("Call", "cross_entropy", ("logits", "digit"))),
            ("Metric", None, ("Call", "accuracy", ("logits", "digit"))),
        ),
    )
    assert [shape(setting) for setting in train.settings] == [
        ("Setting", "optimizer", ("Call", "adam", (("lr", "=", 0.001),)), False),
        ("Setting", "schedule", ("Call", "cosine", (("warmup", "=", "0.05%"),)), False),
        ("Setting", "regularize", ("Call", "l2", (0.0001,)), False),
        ("Setting", "batch", 64, False),
        ("Setting", "epochs", 30, False),
        ("Setting", "validate", "0.1%", False),
        ("Setting", "stop", ("Call", "patience", (5,)), False),
        ("Setting", "seed", 0, False),
    ]


LIBRARY = """\
# the standard library is written in the language
layer dense(units, bias = true, init = glorot_uniform)(x: [..., inputs]) {
    param weight: [inputs, units] ~ init
    y = x @ weight
    if bias { param b: [units] ~ zeros ; y = y + b }
    return y
}

cell lstm(units)(x: [inputs]) {
    param W: [inputs, 4*units] ~ glorot_uniform
    param U: [units, 4*units]  ~ orthogonal
    param b: [4*units]         ~ zeros
    state h, c: [units] = 0
    i, f, g, o = split(x @ W + h @ U + b, 4)
    next c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    next h = sigmoid(o) * tanh(next c)
    return next h
}

layer batchnorm(momentum = 0.9, eps = 1e-5)(x: [..., channels]) {
    param gain: [channels] ~ ones ;  param shift: [channels] ~ zeros
    state mean: [channels] = 0 ;     state var: [channels] = 1
    if training {
        m = mean(x, over = [batch, ...]) ; v = variance(x, over = [batch, ...])
        next mean = momentum*mean + (1-momentum)*m ; next var = momentum*var + (1-momentum)*v
    } else { m = mean ; v = var }
    return (x - m) * rsqrt(v + eps) * gain + shift
}

layer standardize()(x: [...]) {          # preprocessing is part of the graph: fitted on the training rows only,
    fit mu    = mean(x, over = [batch])      # inside each fold, saved with the model, compiled with it
    fit sigma = std(x, over = [batch])
    return (x - mu) / max(sigma, 1e-8)
}

optimizer adam(lr = 1e-3, beta1 = 0.9, beta2 = 0.999, eps = 1e-8)(w, g) {
    state m, v = 0
    next m = beta1*m + (1-beta1)*g
    next v = beta2*v + (1-beta2)*g*g
    return w - lr * (next m / (1 - beta1^step)) / (sqrt(next v / (1 - beta2^step)) + eps)
}
data {                                   # optional: arrays of an .npz are matched to inputs and targets by name
    source   = "iris.csv"
    features = columns(sepal_length, sepal_width, petal_length, petal_width)
    species  = column(species)           # text labels: the vocabulary is learned from the training rows and saved with the model
    test     = 20%
}

tune {                                   # ranvier tune FILE.nn
    hidden             in [64, 128, 256]
    train.optimizer.lr in log(1e-4, 1e-1)
    folds = 5 ; trials = 40 ; best = max(val.accuracy)
}
"""


def test_the_library_of_the_design_has_the_tree_it_shows() -> None:
    file = read(LIBRARY)
    dense, lstm, batchnorm, standardize, adam = file.definitions
    assert [(d.kind, d.name.id) for d in file.definitions] == [
        ("layer", "dense"),
        ("cell", "lstm"),
        ("layer", "batchnorm"),
        ("layer", "standardize"),
        ("optimizer", "adam"),
    ]
    assert shape(dense.inputs) == (("Parameter", "x", ("TypeExpression", None, (..., "inputs")), None),)
    assert shape(dense.body[2]) == (
        "If",
        "bias",
        (("Param", "b", ("TypeExpression", None, ("units",)), "zeros"), ("Assign", ("y",), ("+", "y", "b"))),
        (),
    )
    assert shape(lstm.body[3:]) == (
        ("State", ("h", "c"), ("TypeExpression", None, ("units",)), 0),
        ("Assign", ("i", "f", "g", "o"), ("Call", "split", (("+", ("+", ("@", "x", "W"), ("@", "h", "U")), "b"), 4))),
        ("NextState", "c", ("+", ("*", ("Call", "sigmoid", ("f",)), "c"), ("*", ("Call", "sigmoid", ("i",)), ("Call", "tanh", ("g",))))),
        ("NextState", "h", ("*", ("Call", "sigmoid", ("o",)), ("Call", "tanh", (("Next", "c"),)))),
        ("Return", (("Next", "h"),)),
    )
    choice = batchnorm.body[4]
    assert isinstance(choice, syntax.If)
    assert shape(choice.then[0]) == ("Assign", ("m",), ("Call", "mean", ("x", ("over", "=", ["batch", ...]))))
    assert shape(choice.otherwise) == (("Assign", ("m",), "mean"), ("Assign", ("v",), "var"))
    assert shape(standardize.settings) == ()
    assert shape(adam.inputs) == (("Parameter", "w", None, None), ("Parameter", "g", None, None))
    corrected = ("/", ("Next", "m"), ("-", 1, ("^", "beta1", "step")))
    root = ("+", ("Call", "sqrt", (("/", ("Next", "v"), ("-", 1, ("^", "beta2", "step"))),)), "eps")
    assert shape(adam.body[3]) == ("Return", (("-", "w", ("/", ("*", "lr", corrected), root)),))
    data, tune = file.blocks
    assert shape(data.settings[1]) == (
        "Setting",
        "features",
        ("Call", "columns", ("sepal_length", "sepal_width", "petal_length", "petal_width")),
        False,
    )
    assert shape(tune.settings) == (
        ("Setting", "hidden", [64, 128, 256], True),
        ("Setting", "train.optimizer.lr", ("Call", "log", (0.0001, 0.1)), True),
        ("Setting", "folds", 5, False),
        ("Setting", "trials", 40, False),
        ("Setting", "best", ("Call", "max", ("val.accuracy",)), False),
    )


# --- places ----------------------------------------------------------------------------------------------------------------------------


def test_every_node_knows_its_text() -> None:
    text = "y = (a + b) * f(c, d = 10%)[1:2] -> dense(4) with l2 = 1"
    assigned = statement(text)
    assert isinstance(assigned, syntax.Assign)
    found = {node.span.text for node in _all_nodes(assigned)}
    assert found >= {text, "(a + b)", "(a + b) * f(c, d = 10%)[1:2]", "d = 10%", "10%", "1:2", "dense(4) with l2 = 1", "l2 = 1"}


def _all_nodes(node: object) -> list[Syntax]:
    if isinstance(node, tuple):
        return [found for item in node for found in _all_nodes(item)]
    if not isinstance(node, Syntax):
        return []
    return [node, *(found for value in vars(node).values() for found in _all_nodes(value))]


def test_definitions_and_statements_span_their_braces() -> None:
    text = "fn f(x) {\n    if a { y = 1 } else { y = 2 }\n}"
    (definition,) = read(text).definitions
    assert (definition.span.text, definition.body[0].span.text) == (text, "if a { y = 1 } else { y = 2 }")


# --- errors ----------------------------------------------------------------------------------------------------------------------------


def _broken_files() -> dict[str, tuple[str, str]]:
    """Wrong files and what is said of them, by name, from `broken.golden`."""
    golden = Path(__file__).with_name("broken.golden").read_text(encoding="utf-8")
    sections = [section.partition("\n") for section in golden.split("=== ")[1:]]
    return {name: tuple(rest.split("--- said of it\n")) for name, _, rest in sections}  # type: ignore[misc]


BROKEN = _broken_files()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_told_in_these_words(name: str) -> None:
    text, message = BROKEN[name]
    assert "".join(found.render() + "\n" for found in errors(text)) == message


SEVERAL = """\
fn f(x) {
    y = 3 4
    z = f(1, 2
    w = 1
    if a b {
        u = 5 6
    }
    return x x
}
fn g( {
    y = 1 2
}
train {
    a = 1 2
    b = 3
}
model
"""


def test_every_error_of_a_file_is_told_once() -> None:
    assert [d.span.line for d in errors(SEVERAL) if d.span] == [2, 3, 5, 6, 8, 10, 11, 14, 17]


def test_errors_without_end_are_cut_short() -> None:
    found = errors("fn f(x) {\n" + "y = 3 4\n" * 500 + "}\n")
    assert len(found) == 101
    assert found[-1].code == "too-many-errors"


@pytest.mark.parametrize(
    "text",
    [
        "def",
        "model",
        "model m",
        "model m(",
        "model m()",
        "model m() {",
        "train",
        "import",
        "fn f(x) { if",
        "fn f(x) { y = [",
        "->",
        "}",
        ")",
    ],
)
def test_a_file_that_stops_early_is_one_error(text: str) -> None:
    assert len(errors(text)) == 1


# --- tables ----------------------------------------------------------------------------------------------------------------------------


def test_the_stored_tables_are_those_of_the_grammar() -> None:
    made = make_table(grammar_text())
    assert tables_text() is not None
    stored = parse_table()
    message = "run `python -m ranvier.compiler.frontend.parse_table` after a change of the grammar"
    assert stored.digest == made.digest, message
    assert (stored.actions, stored.gotos) == (made.actions, made.gotos), message


def test_the_grammar_names_a_node_or_a_method_for_every_rule() -> None:
    made = {rule.build for rule in parse_table().rules} - {None, ""}
    assert made >= {"definition", "block", "pipe", "with_", "binary", "call", "index", "choice"}
