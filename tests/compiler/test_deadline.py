"""Compiling ends in time with a message, whatever a file asks for: else a short file from a stranger keeps a machine busy for hours."""

import pytest
from ranvier.compiler.deadline import VARIABLE, check, deadline
from ranvier.compiler.errors import ResourceError

import ranvier as rv

LONG = "model m() {\ninput x: f32[8]\nh = x\nrepeat 200 { h = h -> dense(8) -> tanh }\npredict h\nloss sum(h * h)\n}\n"


def test_a_model_that_takes_longer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = rv.compile(LONG)
    monkeypatch.setenv(VARIABLE, "0.02")
    with pytest.raises(ResourceError, match=r"compiling takes more than 0.02 seconds \(it was .*\): make the model smaller"):
        model.entry("train")
    monkeypatch.delenv(VARIABLE)
    model.entry("train")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan"])
def test_the_limit_is_a_number_of_seconds(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ResourceError, match=f"{VARIABLE} is a number of seconds above 0, not '{text}'"), deadline():
        pass


def test_inside_another_deadline_that_one_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1e-9")
    with deadline():
        monkeypatch.setenv(VARIABLE, "1000")
        with deadline(), pytest.raises(ResourceError):
            check("waiting")


def test_nothing_is_limited_outside() -> None:
    check("anything")
