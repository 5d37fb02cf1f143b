"""`ranvier compile`: what it writes, what it says, and what it refuses, each in one message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from ranvier.runtime import linking

import ranvier as rv

Run = Callable[..., Result]

STANDARD = """
model standard() {
    input x: f32[3]
    target y: f32
    z = x -> standardize -> dense(1) -> reshape([])
    predict z
    loss mse(z, y)
}
"""


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_a_saved_model_becomes_a_library(run: Run, trained: Any, tmp_path: Path) -> None:
    result = run("compile", trained.model, "-o", tmp_path / "build" / "here", "--name", "digits")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "build" / "here") == ["digits.h", "digits.json", "digits.md", "digits.o", "libdigits.so"]
    assert "libdigits.so (" in result.stdout
    assert "more for each further thread" in result.stdout
    images = np.load(trained.data)["image"][:100]
    library, model = rv.load(tmp_path / "build" / "here" / "libdigits.so"), rv.load(trained.model, threads=1)
    assert np.array_equal(library.predict(images), model.predict(images))


def test_it_writes_what_python_writes(run: Run, trained: Any, tmp_path: Path) -> None:
    options = {"train": True, "rows": 5, "threads": 2, "target": "x86-64"}
    flags = ("--train", "--rows", 5, "--threads", 2, "--target", "x86-64", "--weights", tmp_path / "w")
    assert run("compile", trained.model, "-o", tmp_path / "one", "--name", "net", *flags).exit_code == 0
    rv.load(trained.model).export(tmp_path / "two", name="net", weights=tmp_path / "two" / "w", **options)
    for name in "libnet.so", "net.o", "net.h", "net.json", "net.md":
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "w").read_bytes() == (tmp_path / "two" / "w").read_bytes()


def test_a_file_is_taken_with_first_values(run: Run, trained: Any, tmp_path: Path) -> None:
    file = tmp_path / "my net-2.nn"
    file.write_text(Path(trained.source).read_text(encoding="utf-8"), encoding="utf-8")
    result = run("compile", file, "-o", tmp_path / "build", "--train", "--set", "hidden=7")
    assert result.exit_code == 0, result.output
    library = rv.load(tmp_path / "build" / "libmy_net_2.so")
    assert library.params["dense_1.weight"].shape == (64, 7)


def test_all_levels_are_in_one_library(run: Run, trained: Any, tmp_path: Path) -> None:
    assert run("compile", trained.model, "-o", tmp_path, "--name", "net", "--multiversion").exit_code == 0
    assert [level["name"] for level in rv.load(tmp_path / "libnet.so").manifest["levels"]] == ["x86-64", "x86-64-v3", "x86-64-v4"]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--target", "z80"), 1, "there is no target `z80`: there are native, x86-64"),
        (("--target", "x86-64", "--multiversion"), 1, "leave the target out"),
        (("--name", "1st"), 1, "a library's name is letters, digits and underscores"),
        (("--set", "hidden=7"), 1, "`--set` is for a .nn file"),
        (("--rows", 0), 2, "'--rows'"),
        (("--threads", 257), 2, "'--threads'"),
    ],
)
def test_mistakes_are_said(options: tuple[object, ...], status: int, said: str, run: Run, trained: Any, tmp_path: Path) -> None:
    result = run("compile", trained.model, "-o", tmp_path / "build", *options)
    assert result.exit_code == status
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert not (tmp_path / "build").exists()


def test_statistics_want_rows_first(run: Run, tmp_path: Path) -> None:
    (tmp_path / "standard.nn").write_text(STANDARD)
    result = run("compile", tmp_path / "standard.nn", "-o", tmp_path / "build")
    assert result.exit_code == 1
    assert "the model's statistics are not fitted yet: train it first, and compile the saved model" in " ".join(result.stderr.split())


def test_without_a_linker_the_message_says_what_is_missing(run: Run, trained: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(linking.shutil, "which", lambda name: None)
    monkeypatch.setattr(linking.importlib.util, "find_spec", lambda name: None)
    result = run("compile", trained.model, "-o", tmp_path, "--name", "net")
    assert result.exit_code == 0
    assert "no shared library: there is no linker" in result.stderr
    assert names(tmp_path) == ["net.h", "net.json", "net.md", "net.o"]
