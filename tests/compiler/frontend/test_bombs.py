"""Small files that would unroll without end are refused with a place, after bounded work (N6): else a file hangs the process."""

import pytest
from ranvier.compiler.errors import SourceError
from ranvier.compiler.frontend import context
from ranvier.compiler.source import Source
from ranvier.runtime.opening import open_blueprint

BOMBS = {
    "nested repeats": "y = 0\nrepeat 10000 {\nrepeat 10000 {\ny = y + 1\n}\n}\npredict x * y",
    "repeats without an effect": "repeat 10000 {\nrepeat 10000 {\n_y = 1\n}\n}\npredict x",
    "operations": "y = x\nrepeat 10000 {\ny = exp(sin(cos(y))) + tanh(y)\n}\npredict y",
    "a list that doubles": "y = [1]\nrepeat 60 {\ny = y + y\n}\npredict x * length(y)",
    "a tree of calls": "predict x * tree(40)",
    "a chain of calls": "predict x * chain(1)",
    "layers in layers": "predict x -> nest(40)",
}
HELPERS = """
fn tree(n) {
    return tree(n - 1) + tree(n - 1) if n > 0 else 1
}
fn chain(n) {
    return chain(n + 1)
}
layer nest(n)(x) {
    y = x
    if n > 0 {
        repeat 2 {
            y = y -> nest(n - 1)
        }
    }
    return y
}
"""


@pytest.mark.parametrize("name", BOMBS)
def test_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "MAXIMUM_STATEMENTS", 3000)
    monkeypatch.setattr(context, "MAXIMUM_NODES", 3000)
    text = f"{HELPERS}\nmodel m() {{\ninput x: f32[4]\n{BOMBS[name]}\n}}\n"
    with pytest.raises(SourceError) as caught:
        _ = open_blueprint(text).inference
    first = caught.value.diagnostics[0]
    assert first.code in ("too-large", "too-deep")
    assert first.span is not None
    assert isinstance(first.span.source, Source)


def test_expressions_in_calls_in_expressions() -> None:
    """Depth that no single limit sees: 60 calls, each deep inside an expression."""
    deep = "(" * 150 + "dig(n + 1)" + " + 0)" * 150
    text = f"fn dig(n) {{\nreturn {deep} if n < 50 else 1\n}}\nmodel m() {{\ninput x: f32[4]\npredict x * dig(0)\n}}\n"
    with pytest.raises(SourceError, match="too-deep"):
        _ = open_blueprint(text).inference


@pytest.mark.parametrize("count", [200, 2000])
def test_many_branches_are_checked_in_time_linear_in_their_number(count: int) -> None:
    """The walk over names keeps what a branch changes, not all it knows: 2,000 branches over 2,000 names are as quick as they look."""
    lines = [f"a{n} = x" for n in range(count)] + [f"if true {{\nb{n} = a{n}\n}} else {{\nb{n} = a{n} * 2\n}}" for n in range(count)]
    total = " + ".join(f"b{n}" for n in range(0, count, 20))
    body = "\n".join(lines)
    text = f"model m() {{\ninput x: f32[4]\n{body}\npredict {total}\n}}\n"
    with pytest.raises(SourceError) as caught:
        open_blueprint(text)
    assert {d.code for d in caught.value.diagnostics} == {"unused-name", "too-many-errors"} if count > 200 else {"unused-name"}
