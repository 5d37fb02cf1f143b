"""The pass over names: what is right stays unsaid, and what is wrong is said once, with the name that was meant."""

import os
from pathlib import Path

import pytest
from ranvier.compiler.diagnostics import Diagnostic, Note, close_names, excerpt
from ranvier.compiler.errors import SourceError
from ranvier.compiler.frontend.context import in_order
from ranvier.compiler.frontend.mistakes import capped, merged
from ranvier.compiler.source import Source, Span
from ranvier.runtime.checking import check
from ranvier.runtime.opening import open_blueprint

SOUND = {
    "a name bound anew from itself": "fn f(x) {\ny = x * 2\ny = y + 1\nreturn y\n}",
    "an input bound anew from itself": "fn f(x) {\nx = float(x)\nreturn x\n}",
    "a name bound in both branches": "fn f(x, deep) {\nif deep {\ny = x\n} else {\ny = -x\n}\nreturn y\n}",
    "a name changed in one branch": "fn f(x, deep) {\ny = x\nif deep {\ny = relu(y)\n}\nreturn y\n}",
    "a return in each branch": "fn f(x, deep) {\nif deep {\nreturn x\n} else if x == 1 {\nreturn 2\n} else {\nreturn -x\n}\n}",
    "a turn that reads the turn before": "fn f(x) {\ny = x\nrepeat 3 as i {\nif i > 0 {\ny = y + old\n}\nold = y\n}\nreturn y\n}",
    "a turn that feeds the next alone": "fn f(x) {\na = x\nb = x\nrepeat 4 {\nc = a + b\na = b\nb = c\n}\nreturn b\n}",
    "an underscore": "fn f(x, _scale) {\na, _b = split(x, 2)\nreturn a\n}",
    "axes of a signature": "fn f(x: [h, w, c]) {\nreturn mean(x, over = [h, w])\n}",
    "an axis that only has to agree": "fn f(a: [n], b: [n]) {\nreturn sum(a * b)\n}",
    "a size from a signature": "layer f(units)(x: [..., n]) {\nparam w: [n, 2 * units] ~ normal(std = 1 / n)\nreturn x @ w\n}",
    "a default that reads a setting": "layer f(units, inner = 4 * units)(x) {\nreturn x -> dense(inner)\n}",
    "a local name like a function's": "fn f(x) {\nmean = mean(x)\nreturn mean((x - mean) ^ 2)\n}",
    "a parameter of each branch": "layer f(s)(x: [n]) {\nif s {\nparam w: [n] ~ ones\n} else {\nparam w: [n] ~ zeros\n}\nreturn x * w\n}",
    "a state that is only renewed": "layer f()(x: [n]) {\nstate seen: [n] = 0\nnext seen = mean(x, over = [batch])\nreturn x\n}",
    "a state read before": "optimizer f(lr = 0.1)(w, g) {\nstate v = 0\nnext v = 0.9 * v + g\nreturn w - lr * next v * step / steps\n}",
    "training": "layer f()(x) {\ny = x\nif training {\ny = 2 * x\n}\nreturn y\n}",
    "a layer made once": "layer f()(x) {\nencode = dense(4)\nreturn encode(x) + encode(2 * x)\n}",
    "settings of a layer": 'layer f()(x) {\nreturn x -> (dense(3) with l2 = 1e-4, name = "head")\n}',
    "a message with values": 'fn f(x, n) {\nrequire n > 1 : "{n} is too small for {x}"\nreturn x\n}',
    "a schedule's own scalars": "schedule f(floor = 0)(lr) {\nreturn max(lr / step, floor) * (steps - epoch)\n}",
    "constants": "fn f(x) {\nreturn x * pi + e\n}",
    "a penalty of one's own": "fn ridge(s)(w) {\nreturn s * sum(w * w)\n}\nlayer f()(x) {\nreturn x -> dense(3) with ridge = 0.1\n}",
    "indices": "fn f(x, n) {\nreturn x[n] + x[0:n] + x[..., -1]\n}",
}


def model(body: str = "input x: f32[8]\npredict x", before: str = "") -> str:
    return f"{before}\nmodel m() {{\n{body}\n}}\n"


def codes(text: str) -> list[str]:
    with pytest.raises(SourceError) as caught:
        check(open_blueprint(text))
    return [d.code for d in caught.value.diagnostics]


@pytest.mark.parametrize("name", SOUND)
def test_nothing_is_said_about(name: str) -> None:
    open_blueprint(model(before=SOUND[name]))


def test_blocks_know_optimizers_and_schedules_first() -> None:
    """`constant` is an initialiser in a body and a schedule in a `train` block; neither is a mistake."""
    body = "input x: f32[8]\ntarget y: f32[3]\nz = x -> dense(3, init = constant(0.1))\npredict z\nloss mse(z, y)"
    check(open_blueprint(model(body) + "train {\nschedule = constant(warmup = 5%)\nstop = patience(3)\n}\n"))


def test_a_mistake_is_said_once_although_both_passes_see_it() -> None:
    assert codes(model("input x: f32[8]\npredict x -> dense(unit)")) == ["unknown-name"]
    assert codes(model("input x: f32[8]\npredict x -> dense()")) == ["missing-argument"]


def test_mistakes_of_shape_are_said_beside_those_of_names() -> None:
    assert codes(model("input x: f32[8]\ny = x[9]\nz = x + tpyo\npredict y")) == ["index-out-of-range", "unused-name", "unknown-name"]


def test_a_model_that_needs_settings_is_not_elaborated_without_them() -> None:
    text = "model m(units) {\ninput x: f32[8]\npredict x -> dense(units, tpyo)\n}\n"
    assert codes(text) == ["unknown-name"]


def test_more_than_a_hundred_mistakes_are_counted() -> None:
    text = model("input x: f32[8]\n" + "\n".join(f"a{n} = x" for n in range(150)) + "\npredict x")
    found = codes(text)
    assert len(found) == 101
    assert found[-1] == "too-many-errors"


# --- imports


def test_imports_of_imports_and_circles(tmp_path: Path) -> None:
    """A file may use what its imports import; two files may import each other."""
    (tmp_path / "a.nn").write_text('import "b.nn"\nlayer first()(x) {\nreturn x -> second\n}\n')
    (tmp_path / "b.nn").write_text(
        'import "a.nn"\nlayer second()(x) {\nreturn x -> dense(3)\n}\nlayer third()(x) {\nreturn x -> first\n}\n'
    )
    (tmp_path / "main.nn").write_text('import "a.nn"\n' + model("input x: f32[8]\npredict x -> third"))
    check(open_blueprint(tmp_path / "main.nn"))


def test_an_import_may_not_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret.nn").write_text("fn f(x) {\nreturn x\n}\n")
    (tmp_path / "models").mkdir()
    os.symlink(tmp_path / "secret.nn", tmp_path / "models" / "link.nn")
    (tmp_path / "models" / "main.nn").write_text('import "link.nn"\n' + model("input x: f32[8]\npredict f(x)"))
    with pytest.raises(SourceError, match=r"main\.nn:1:8: error bad-path: .* is a symbolic link"):
        open_blueprint(tmp_path / "models" / "main.nn")


# --- how diagnostics are put together


def test_suggestions_ignore_case_and_underscores() -> None:
    assert close_names("ReLU", ["relu", "relax"]) == ["relu"]
    assert close_names("leakyrelu", ["relu", "leaky_relu"]) == ["leaky_relu"]
    assert close_names("xyzzy", ["relu"]) == []


def test_notes_on_the_line_shown_become_carets() -> None:
    source = Source("a.nn", "y = left + right\n")
    whole, left, right = Span(source, 4, 16), Span(source, 4, 8), Span(source, 11, 16)
    found = Diagnostic("shape-mismatch", "they differ", whole, (Note("f32[3]", left), Note("f32[4]", right)))
    assert found.render() == (
        "a.nn:1:5: error shape-mismatch: they differ\n"
        "    1 | y = left + right\n"
        "      |     ^^^^^^^^^^^^\n"
        "      |     ^^^^ f32[3]\n"
        "      |            ^^^^^ f32[4]"
    )


@pytest.mark.parametrize("start", [0, 5, 100, 119, 120, 200, 399])
def test_long_lines_are_cut_round_the_place(start: int) -> None:
    source = Source("a.nn", "x" * start + "@" + "y" * (399 - start))
    line, carets = excerpt(Span(source, start, start + 1))
    assert len(line) <= 130
    assert line[carets.index("^")] == "@"


def test_what_is_known_is_not_said_again() -> None:
    source = Source("a.nn", "predict foo(bar) + baz\n")
    known = Diagnostic("unknown-name", "`bar` is not defined", Span(source, 12, 15))
    follows = Diagnostic("not-callable", "nothing can be called", Span(source, 8, 16))
    other = Diagnostic("type-mismatch", "a tensor is wanted", Span(source, 19, 22))
    assert merged([known], [follows, other]) == [known, other]
    assert capped([other, known]) == in_order([known, other])
