"""The library keeps the rules that users' files are held to, and every definition in it can be used: else a user's first model fails."""

from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

import pytest
from ranvier.compiler.errors import SourceError
from ranvier.compiler.frontend.elaborate import elaborate
from ranvier.compiler.frontend.library import Library, open_library, standard_names, standard_sources
from ranvier.compiler.frontend.names import check_definition
from ranvier.compiler.frontend.parser import parse
from ranvier.compiler.frontend.syntax import Definition, Ellipsis, Parameter
from ranvier.compiler.ir.printer import print_graph
from ranvier.compiler.source import Source
from ranvier.runtime.checking import check
from ranvier.runtime.opening import open_blueprint, reader_below

DEFINITIONS = {f"{file}:{d.kind} {d.name.id}": d for file, source in standard_sources().items() for d in parse(source).definitions}
LISTS = {
    'sides("same", 7, 3, 2, 1)': "[1, 1]",
    'sides("same", 8, 3, 2, 1)': "[0, 1]",
    'sides("valid", 8, 3, 2, 1)': "[0, 0]",
    "sides([2, 3], 8, 3, 2, 1)": "[2, 3]",
    'cuts("same", 3, 2, 1)': "[0, 1]",
    'cuts("same", 2, 3, 1)': "[0, 0 - 1]",
    'cuts("valid", 3, 2, 1)': "[0, 0]",
    "cuts(1, 3, 2, 1)": "[1, 1]",
}
APPLIED = {
    name: d
    for name, d in DEFINITIONS.items()
    if d.kind in ("layer", "cell", "fn") and not any(call.startswith(f"{d.name.id}(") for call in LISTS)
}
TRAINING = {d.name.id: d.kind for d in DEFINITIONS.values() if d.kind in ("optimizer", "schedule")}
INPUTS = {
    "number": "f32",
    "vector": "f32[8]",
    "matrix": "f32[8, 8]",
    "image": "f32[8, 8, 4]",
    "volume": "f32[4, 4, 4, 2]",
    "index": "class[8]",
    "bit": "class[2]",
}
BY_AXES = ("number", "vector", "matrix", "image", "volume")
ATTEMPTS = 400


@pytest.mark.parametrize("name", DEFINITIONS)
def test_names(name: str) -> None:
    definition = DEFINITIONS[name]
    found = check_definition(Library(parse(definition.span.source)), definition)
    assert not found, "\n".join(d.render() for d in found)


@pytest.mark.parametrize("name", APPLIED)
def test_every_definition_can_be_applied(name: str) -> None:
    """Some choice of small arguments that fit the signature passes the checker."""
    failures = []
    for expression in islice(applications(APPLIED[name]), ATTEMPTS):
        failure = failure_of(expression)
        if failure is None:
            return
        failures.append(f"{expression}: {failure}")
    pytest.fail("\n".join(failures[:10]))


@pytest.mark.parametrize("call", LISTS)
def test_lists_that_definitions_give(call: str) -> None:
    """Functions on lists of numbers give no tensor that a model could predict."""
    assert failure_of(f"number if {call} == {LISTS[call]} else vector + matrix + image") is None
    assert failure_of(f"number if {call} != {LISTS[call]} else vector + matrix + image") is not None


def applications(definition: Definition) -> Iterator[str]:
    """Calls with small arguments that a signature allows."""
    settings = [setting_choices(p) for p in definition.settings or () if p.default is None]
    time = int(definition.kind == "cell")
    inputs = [input_choices(p, time) for p in definition.inputs or () if p.default is None]
    head = definition.name.id
    for values in product(product(*settings), product(*inputs)):
        made, applied = (", ".join(v) for v in values)
        call = f"{head}({made})({applied})" if definition.settings is not None else f"{head}({applied})"
        yield from (call, f"{call}[0]")


def setting_choices(parameter: Parameter) -> list[str]:
    if parameter.type is not None:
        return input_choices(parameter)
    if parameter.name.id in ("first", "second"):
        return ["reach(2)"]
    return ["2", "0.5", "[4, 2]", "dense(8)", "simple(8)", "relu", "rnn(2)"]


def input_choices(parameter: Parameter, time: int = 0) -> list[str]:
    """Inputs of the model that a pattern takes with `time` axes more; without a pattern also lists, numbers and steps of training."""
    pattern = parameter.type
    if pattern is None:
        return ["vector", "[4, 4]", "image", "0.5", "true", "index", "bit", "matrix", "number", "[vector, matrix]"]
    if pattern.dtype == "class":
        return ["index"]
    fixed = [d for d in pattern.dims or () if not isinstance(d, Ellipsis)]
    least, opened = len(fixed) + time, len(fixed) < len(pattern.dims or ())
    return list(BY_AXES[least:] if opened else BY_AXES[least : least + 1])


def failure_of(expression: str) -> str | None:
    """What the checker says against a model that predicts an expression."""
    declared = "\n".join(f"input {name}: {kind}" for name, kind in INPUTS.items())
    text = f"layer simple(units)(x) {{\nreturn x -> dense(units)\n}}\nmodel m() {{\n{declared}\npredict {expression}\n}}\n"
    file = parse(Source("tiny.nn", text))
    try:
        elaborate(open_library(file, reader_below(Path())), file.definitions[-1], {}, training=True)
    except SourceError as error:
        return error.diagnostics[0].message
    return None


@pytest.mark.parametrize("name", TRAINING)
def test_every_optimizer_and_schedule_trains(name: str) -> None:
    model = "model m() {\ninput x: f32[4]\ntarget y: f32\nz = sum(x -> dense(3))\nloss mse(z, y)\n}"
    check(open_blueprint(f"{model}\ntrain {{\n{TRAINING[name]} = {name}()\n}}\n"))


def test_no_definition_shadows_another() -> None:
    assert len(standard_names()) == len(DEFINITIONS)


def test_what_a_file_defines_changes_nothing_inside_the_library() -> None:
    """A helper of the library, or a primitive that it uses, may share its name with something of the user's."""
    text = """model m() {
        input x: f32[6, 6, 4]
        target y: class[3]
        z = x -> conv2d(4) -> batchnorm -> flatten -> layernorm -> dense(3)
        loss cross_entropy(z, y)
        metric accuracy(z, y)
    }
    train { regularize = elastic(1e-4) ; stop = patience(3) }
    """
    names = ("mean", "sum", "max", "sides", "as_list", "is_regularised")
    mine = "".join(f"fn {name}(x) {{\n return x * 77\n}}\n" for name in names)
    plain, other = (open_blueprint(each + text).objective.graph for each in ("", mine))
    assert print_graph(other, places=False) == print_graph(plain, places=False)
    for name in names:
        assert "77" in print_graph(open_blueprint(mine + text.replace("z = x", f"z = {name}(x)")).inference.graph, places=False)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_every_definition_says_what_it_does(name: str) -> None:
    """The comment above a definition is what the reference of the language shows."""
    span = DEFINITIONS[name].span
    assert span.source.line(span.line - 1).startswith("# ")
