"""A user meets clear messages and the promised exit statuses, and does not wait for what a command does not need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from ranvier.runtime.cli import application as module
from ranvier.runtime.cli.application import VERBS, Verbs, application

Run = Callable[..., Result]
HEAVY = ("numpy", "llvmlite", "lark", "networkx", "rich", "pandas")


def test_help_names_every_verb_and_variable(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for word in (*VERBS, "RANVIER_THREADS", "RANVIER_CACHE_DIR", "RANVIER_DEBUG"):
        assert word in result.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(run: Run, verb: str) -> None:
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")


@pytest.mark.parametrize("code", ["import ranvier", "from ranvier.runtime.cli.application import application; application(['--help'])"])
def test_starting_imports_nothing_heavy(code: str) -> None:
    script = (
        f"import sys\ntry:\n    exec({code!r})\nexcept SystemExit: pass\nprint([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"


def test_a_misspelt_verb_is_wrong_usage_with_a_hint(run: Run) -> None:
    result = run("chek", "x.nn")
    assert result.exit_code == 2
    assert "did you mean `check`?" in result.stderr


def test_a_missing_file_is_one_clear_message(run: Run) -> None:
    for verb in (["check"], ["show"], ["train"], ["fmt"], ["bench"]):
        result = run(*verb, "nowhere.nn")
        assert result.exit_code == 1
        assert "cannot read 'nowhere.nn': No such file or directory" in result.stderr
        assert "Traceback" not in result.output
    for verb in ("eval", "predict"):
        result = run(verb, "nowhere.safetensors", "--data", "x.npz")
        assert result.exit_code == 1
        assert "nowhere.safetensors: there is no such file" in result.stderr


def test_missing_arguments_are_wrong_usage(run: Run) -> None:
    assert run("train").exit_code == 2
    assert run("eval", "m.safetensors").exit_code == 2
    assert run("train", "x.nn", "--threads", 0).exit_code == 2
    assert run("train", "x.nn", "--set", "hidden").exit_code == 2


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANVIER_DEBUG", "1")
    result = CliRunner().invoke(application, ["show", "nowhere.nn"])
    assert result.exception is not None
    assert not isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (MemoryError(), 1), (OSError("disk full"), 1)])
def test_errors_of_a_verb_become_statuses(monkeypatch: pytest.MonkeyPatch, run: Run, error: BaseException, status: int) -> None:
    def fail(self: object, ctx: object) -> None:
        raise error

    monkeypatch.setattr(module.click.Group, "invoke", fail)
    result = run("check", "x.nn")
    assert result.exit_code == status
    assert result.stderr.count("\n") == 1


def test_a_second_interruption_while_the_first_is_answered_has_its_status_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes where click, not the verb, meets it; click would leave with 1, as after a mistake."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Verbs, "invoke", interrupted)
    with pytest.raises(SystemExit) as ending:
        application.main(["check", "m.nn"], prog_name="ranvier")
    assert ending.value.code == 130
