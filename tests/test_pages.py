"""What docs/tuning.md and docs/embedding.md show runs, in the order of each page, on few rows of the digits of the examples."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from embedded import need
from pages import Page, blocks, commands, succeed
from repository import EXAMPLES, ROOT

import ranvier as rv

TUNING, EMBEDDING = ((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("tuning", "embedding"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`digits.nn` with 100 rows of its data, one epoch, and the tune block of the page with fewer trials."""
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    with np.load(EXAMPLES / "data" / "digits.npz") as data:
        np.savez("data/digits.npz", **{name: array[:100] for name, array in data.items()})
    text = re.sub(r"epochs = \d+", "epochs = 1", (EXAMPLES / "digits.nn").read_text(encoding="utf-8"))
    tune = blocks(TUNING, "nn")[0].replace("trials = 40", "trials = 4")
    Path("digits.nn").write_text(f"{text}\n{tune}", encoding="utf-8")
    return tmp_path


def test_tuning(folder: Path) -> None:
    with np.load("data/digits.npz") as data:
        names = {"rv": rv, "images": data["image"], "labels": data["digit"], "writers": np.arange(100) // 10}
    page = Page(TUNING, names=names)
    page.carry_out()
    assert page.done.count("python") == 1
    assert set(page.names["found"].study.best.settings) == {"hidden", "drop", "train.optimizer.lr"}
    assert len(page.names["scores"].folds) == 5
    assert Path("t.svg").read_text().startswith("<svg")


def test_embedding(folder: Path) -> None:
    """Every command writes its library, which Python loads; the C of the page is sound beside the header."""
    need("cc")
    succeed("ranvier train digits.nn")
    Page(EMBEDDING).carry_out()
    assert len(commands(EMBEDDING)) == 5
    image = np.zeros((2, 8, 8, 1), np.uint8)
    assert rv.load("build/libdigits.so").predict(image).shape == (2, 10)
    around = (
        '#include <stdio.h>\n#include <stdlib.h>\n#include "build/digits.h"\n'
        "void tried(int64_t rows, void *image, size_t image_bytes, void *prediction, size_t prediction_bytes) {\n%s}\n"
    )
    Path("page.c").write_text(around % blocks(EMBEDDING, "c")[0], encoding="utf-8")
    subprocess.run(["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "page.c"], check=True)
