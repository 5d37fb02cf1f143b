"""`check` reports everything at once and makes no code; `fmt` is canonical and changes nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from repository import EXAMPLES

Run = Callable[..., Result]

WRONG = """model m(hidden = 8) {
    input x: f32[4]
    target y: f32[3]
    a = x -> dens(hidden)
    b = x -> dense(hidden) -> dense(2)
    predict b
    loss mse(b, y)
}
train { batch = 0 ; epoch = 3 }
"""


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.nn")), ids=lambda f: f.name)
def test_examples_are_correct(run: Run, file: Path) -> None:
    result = run("check", file)
    assert result.exit_code == 0, result.output
    assert "correct" in result.stdout


def test_mistakes_of_model_and_blocks_come_together(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "m.nn"
    file.write_text(WRONG)
    result = run("check", file)
    assert result.exit_code == 1
    assert "did you mean `dense`" in result.stderr
    assert "m.nn:9" in result.stderr
    assert "Traceback" not in result.output


def test_a_setting_that_is_not_the_models(run: Run) -> None:
    result = run("check", EXAMPLES / "digits.nn", "--set", "hiden=3")
    assert result.exit_code == 1
    assert "did you mean `hidden`?" in result.stderr


def test_settings_change_the_shapes(run: Run) -> None:
    assert "2,410 parameters" in run("check", EXAMPLES / "digits.nn", "--set", "hidden=32").stdout


def test_one_wrong_file_does_not_hide_the_others(run: Run, tmp_path: Path) -> None:
    result = run("check", tmp_path / "none.nn", EXAMPLES / "digits.nn")
    assert result.exit_code == 1
    assert "correct" in result.stdout


def test_format_check_then_format(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "m.nn"
    file.write_text("model m( ){ input x:f32[2]\n predict x*2 }\n")
    before = run("fmt", "--check", file)
    assert before.exit_code == 1
    assert "not canonical" in before.stdout
    assert run("fmt", file).exit_code == 0
    text = file.read_text()
    assert "input x: f32[2]" in text
    again = run("fmt", "--check", file)
    assert (again.exit_code, again.stdout) == (0, "")
    assert file.read_text() == text


def test_format_leaves_a_file_it_cannot_read(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "m.nn"
    file.write_text("model m( { }")
    result = run("fmt", file)
    assert result.exit_code == 1
    assert file.read_text() == "model m( { }"
