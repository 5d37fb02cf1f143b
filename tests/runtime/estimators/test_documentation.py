"""What docs/estimators.md shows runs and gives the figures that it quotes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pages import blocks
from repository import EXAMPLES, ROOT

pytest.importorskip("sklearn")

PAGE = (ROOT / "docs" / "estimators.md").read_text(encoding="utf-8")


def test_the_page_runs_and_its_figures_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples" / "data").mkdir(parents=True)
    for name in ("diabetes.nn", "data/diabetes.csv"):
        shutil.copy(EXAMPLES / name, tmp_path / "examples" / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(PAGE, "python"):
        exec(block, names)
    assert names["accuracy"] > 0.95
    assert set(names["best"]) == {"nn__hidden", "nn__train__optimizer__decay"}
    quoted = re.search(r"The means are ([\d.]+) and ([\d.]+)\.", PAGE)
    assert quoted is not None
    assert names["linear"].mean() == pytest.approx(float(quoted[1]), abs=6e-4)
    assert names["network"].mean() == pytest.approx(float(quoted[2]), abs=4e-3)
    assert (names["network"] > names["linear"]).mean() > 0.6
