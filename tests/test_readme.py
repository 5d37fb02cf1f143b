"""What the README and its neighbours show is so: otherwise the first thing that a newcomer tries fails."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from pages import blocks, commands
from ranvier.runtime.checking import check
from ranvier.runtime.cli.application import VERBS
from ranvier.runtime.opening import open_blueprint
from repository import EXAMPLES, ROOT

import ranvier as rv

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "grammar" / "reference.md"]
README = PAGES[0].read_text(encoding="utf-8")


def test_the_model_is_that_of_the_example() -> None:
    model = rv.compile(blocks(README, "nn")[0])
    assert model.params.keys() == rv.compile(EXAMPLES / "digits.nn").params.keys()


def test_the_optimizer_is_that_of_the_library() -> None:
    library = (ROOT / "compiler" / "stdlib" / "optimizers.nn").read_text(encoding="utf-8")
    assert blocks(README, "nn")[1].strip() in library


def test_the_settings_of_training_go_with_the_model() -> None:
    model = blocks(README, "nn")[0].partition("train {")[0]
    check(open_blueprint(f"{model}\n{blocks(README, 'nn')[2]}"))


def test_the_block_is_that_of_the_example() -> None:
    assert blocks(README, "nn")[3].strip() in (EXAMPLES / "resnet20.nn").read_text(encoding="utf-8")


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(EXAMPLES / "digits.nn", tmp_path)
    monkeypatch.chdir(tmp_path)
    with np.load(EXAMPLES / "data" / "digits.npz") as data:
        names: dict[str, object] = {"images": data["image"], "labels": data["digit"]}
    exec(blocks(README, "python")[0], names)
    assert names["figures"]["accuracy"] > 0.97  # type: ignore[index]
    assert Path("digits.safetensors").exists()


def test_the_commands_exist() -> None:
    shown = {command.split()[1] for command in commands(README)}
    assert {"check", "train", "eval", "predict", "show", "bench"} <= shown <= set(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
