"""`ranvier train --find-lr` says which rate to begin with, draws why, and trains nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from click.testing import Result


def test_table_picture_and_suggestion(run: Callable[..., Result], trained: Any, tmp_path: Path) -> None:
    picture = tmp_path / "rate.svg"
    before = sorted(trained.folder.iterdir())
    result = run("train", trained.source, "--find-lr", "-o", picture, "--set", "hidden=16", "--threads", 1)
    assert result.exit_code == 0, result.output
    assert sorted(trained.folder.iterdir()) == before
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["rate", "loss", "smoothed"]
    assert sum("falls fastest" in line for line in lines) == 2
    found = re.search(r"--set train\.optimizer\.lr=(\S+)", result.stdout)
    assert found is not None
    assert 1e-5 < float(found[1]) < 1
    words = [t.text for t in ElementTree.fromstring(picture.read_text()).iter("{http://www.w3.org/2000/svg}text")]
    assert {"learning rate", "loss of an update", "1e-3"} <= set(words)
