"""If these fail, formatting a file changes what it means, loses a comment, or never settles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import ranvier.compiler.stdlib
from hypothesis import given, settings
from hypothesis import strategies as st
from ranvier.compiler.errors import SourceError
from ranvier.compiler.frontend.formatter import WIDTH, format_source
from ranvier.compiler.frontend.parser import parse
from ranvier.compiler.frontend.syntax import Syntax
from ranvier.compiler.source import Source


def formatted(text: str) -> str:
    return format_source(Source("t.nn", text))


def tree(text: str) -> object:
    """All of a file but its spans."""
    file = parse(Source("t.nn", text))
    return _bare((file.imports, file.definitions, file.blocks))


def _bare(node: object) -> object:
    if isinstance(node, tuple):
        return tuple(map(_bare, node))
    if isinstance(node, Syntax):
        return (type(node).__name__, *(_bare(value) for name, value in vars(node).items() if name != "span"))
    return node


def check(text: str) -> str:
    """The formatted text, once it is known to mean the same and to be settled."""
    result = formatted(text)
    assert tree(result) == tree(text)
    assert formatted(result) == result
    assert sorted(_comments(result)) == sorted(_comments(text))
    return result


def _comments(text: str) -> list[str]:
    return [found.rstrip() for found in re.findall(r'"[^"\n]*"|#[^\n]*', text) if found.startswith("#")]


EXAMPLES = {
    "spacing": (
        "fn f( x,y=1 ){\n"
        "y=-x^2*( 3-1 )//2@W+4\n"
        "z=x[ 0,1 : 3,... ,:]->g( a=1,b =[1,2, ] ) with l2=1e-4,name='n'\n"
        "param   w:[a,4*b]~init ; state h,c:[n]=0;next h=next c\n"
        'require a>0:"no {a}"\n'
        "return not a if c==-1 else (b)\n}"
    ).replace("'", '"'),
    "result of spacing": """\
fn f(x, y = 1) {
    y = -x^2 * (3 - 1) // 2 @ W + 4
    z = x[0, 1:3, ..., :] -> g(a = 1, b = [1, 2]) with l2 = 1e-4, name = "n"
    param w: [a, 4 * b] ~ init ; state h, c: [n] = 0 ; next h = next c
    require a > 0 : "no {a}"
    return not a if c == -1 else (b)
}
""",
    "blocks": (
        '# top\n\n\n\nimport   "a.nn"\n\n\n# about f\nlayer f()(x) { # header\n\n\n  # first\n  a = 1 # one\n\n\n\n  b = 2\n  # last\n\n}\n'
        "fn g(x) { return x }\nfn h(x)\n{\nif a { b = 1 ; c = 2 } else { d = 1 }\nif a\n{ b = 1 }\nelse if e { c = 1\n}\nelse\n{\n}\n"
        "repeat 3 as i { }\n}\ntrain{a=1;b=2}\ntune { x in [1,2]\n}\n# end"
    ),
    "result of blocks": """\
# top

import "a.nn"

# about f
layer f()(x) {  # header
    # first
    a = 1  # one

    b = 2
    # last
}
fn g(x) { return x }
fn h(x) {
    if a { b = 1 ; c = 2 } else { d = 1 }
    if a {
        b = 1
    } else if e {
        c = 1
    } else {}
    repeat 3 as i {}
}
train { a = 1 ; b = 2 }
tune {
    x in [1, 2]
}
# end
""",
    "pipelines": (
        "model m() {\n"
        "logits = image -> scale(1/16)\n -> flatten ->\n dense(10) # last\n\n"
        "y = x -> conv2d(32, kernel = 3) -> relu -> conv2d(64, kernel = 3) -> relu -> maxpool(2) "
        "-> flatten -> dense(128) -> relu -> dense(10)\n"
        "z = x\n -> a # first\n # own\n -> b\n"
        "}"
    ),
    "result of pipelines": """\
model m() {
    logits = image -> scale(1 / 16)
                   -> flatten
                   -> dense(10)  # last

    y = x -> conv2d(32, kernel = 3) -> relu -> conv2d(64, kernel = 3) -> relu -> maxpool(2)
          -> flatten -> dense(128) -> relu -> dense(10)
    z = x
        -> a  # first
        # own
        -> b
}
""",
    "brackets": (
        "fn f(x) {\n"
        "y = f(a, # why a\n # and b\n b) + 1\n"
        "long = some_function(first_argument = 1000000, second_argument = 2000000, third_argument = 3000000, fourth = 4)\n"
        "sum = first_operand_of_the_sum * 1000000 + second_operand_of_the_sum * 2000000 + third_operand_of_the_sum * 3000000\n"
        "z = a + # lost\n b\n"
        "}"
    ),
    "result of brackets": """\
fn f(x) {
    y = f(
        a,  # why a
        # and b
        b,
    ) + 1
    long = some_function(
        first_argument = 1000000,
        second_argument = 2000000,
        third_argument = 3000000,
        fourth = 4,
    )
    sum = first_operand_of_the_sum * 1000000 + second_operand_of_the_sum * 2000000 +
        third_operand_of_the_sum * 3000000
    # lost
    z = a + b
}
""",
}


@pytest.mark.parametrize("name", [name for name in EXAMPLES if not name.startswith("result")])
def test_examples_take_this_form(name: str) -> None:
    assert check(EXAMPLES[name]) == EXAMPLES[f"result of {name}"]


@pytest.mark.parametrize("text", ["", "\n\n", "# only this", "\n# a\n\n\n# b\n"])
def test_files_of_nothing(text: str) -> None:
    assert check(text) == {"": "", "\n\n": "", "# only this": "# only this\n"}.get(text, "# a\n\n# b\n")


@pytest.mark.parametrize("path", sorted(Path(str(ranvier.compiler.stdlib.__file__)).parent.glob("*.nn")), ids=lambda path: path.stem)
def test_the_standard_library_is_written_so(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert check(text) == text


def test_lines_are_broken_after_their_loosest_operators() -> None:
    longer = 'fn f(a, b) {\n    require A and A or B : "A {a}"\n    x = A * B + A * B + 1\n    y = A if B else B if A else f(A, B)\n}\n'
    found = check(longer.replace("A", "the_first_of_two_long_names(a)").replace("B", "another_name_that_is_long(b)"))
    assert (
        found
        == """\
fn f(a, b) {
    require the_first_of_two_long_names(a) and the_first_of_two_long_names(a) or
        another_name_that_is_long(b) : "the_first_of_two_long_names(a) {a}"
    x = the_first_of_two_long_names(a) * another_name_that_is_long(b) +
        the_first_of_two_long_names(a) * another_name_that_is_long(b) + 1
    y = the_first_of_two_long_names(a) if another_name_that_is_long(b) else
        another_name_that_is_long(b) if the_first_of_two_long_names(a) else
        f(the_first_of_two_long_names(a), another_name_that_is_long(b))
}
"""
    )


def test_carriage_returns_go() -> None:
    assert formatted("# a\r\nfn f(x) {\r\n  return x # b\r\n}\r\n") == "# a\nfn f(x) {\n    return x  # b\n}\n"


def test_what_does_not_parse_is_not_formatted() -> None:
    with pytest.raises(SourceError, match="expected an expression"):
        formatted("fn f(x) { y = }")


def test_deep_files_are_formatted() -> None:
    check("fn f(x) {\n" + "if a {\n" * 150 + "y = 1\n" + "}\n" * 150 + "}\n")
    check("fn f(x) {\ny = " + "f(" * 150 + "1 # deep\n" + ")" * 150 + "\n}\n")


# --- generated expressions -------------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["x", "weight", "loss", "input", "next", "a_rather_long_name_of_a_value", "state"])
ATOMS = st.one_of(NAMES, st.sampled_from(["1", "0.5", "1e-4", "10%", "true", '"a # b"', "next h", "[a, ..., b]", "[]"]))
OPERATORS = ["+", "-", "*", "/", "//", "@", "^", "and", "or"]


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(" ".join),
        st.tuples(inner, st.sampled_from(["==", "<", ">="]), inner).map("({0[0]}) {0[1]} ({0[2]})".format),
        st.tuples(inner, inner, inner).map("({0[0]} if {0[1]} else {0[2]})".format),
        inner.map("-({})".format),
        inner.map("(not {})".format),
        st.tuples(NAMES, inner, inner).map("{0[0]}({0[1]}, rate = {0[2]})".format),
        st.tuples(NAMES, inner, inner).map("{0[0]}[{0[1]}, {0[2]}:, ...]".format),
        st.tuples(inner, inner, st.sampled_from(["->", "\n->", "->\n", " # why\n ->"])).map("({0[0]} {0[2]} {0[1]})".format),
        st.tuples(inner, st.sampled_from(["\n", " # so\n", "\n# own\n"])).map("({0[1]}{0[0]}{0[1]})".format),
        inner.map("(f with l2 = {})".format),
    )


@settings(max_examples=100, deadline=None)
@given(st.recursive(ATOMS, _grown, max_leaves=12), st.sampled_from(["y = {}", "return {}, x", "x -> f({}) -> g", "if ({}) {{ y = 1 }}"]))
def test_generated_expressions_mean_the_same_formatted(expression: str, frame: str) -> None:
    source = "fn f(x) {\n" + frame.format(expression) + "\n}\n"
    try:
        tree(source)
    except SourceError:  # `a < b ^ not c` and the like
        return
    check(source)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["dense(128)", "relu", "dropout(0.5)", "conv2d(64, kernel = 3)"]), min_size=1, max_size=30), st.data())
def test_pipelines_fit_the_page(layers: list[str], data: st.DataObject) -> None:
    arrows = [data.draw(st.sampled_from([" -> ", " -> ", "\n-> "])) for _ in layers]
    result = check("fn f(x) {\n y = x" + "".join(arrow + layer for arrow, layer in zip(arrows, layers, strict=True)) + "\n}\n")
    assert all(len(line) <= WIDTH for line in result.splitlines())
