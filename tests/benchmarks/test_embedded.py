"""The benchmark of libraries runs: both ways of a call are timed, and neither fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarked import embedded
from embedded import need


def test_both_ways_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("cc")
    monkeypatch.setattr(embedded, "NAMES", {"4-16-3": embedded.NAMES["4-16-3"]})
    monkeypatch.setattr(embedded, "SECONDS", 1e-5)
    rows = embedded.measured(tmp_path, 1)
    assert [(row.rows, row.work) for row in rows] == [(16, "predict"), (16, "step"), (1, "predict")]
    assert all(row.program > 0 and row.library > 0 for row in rows)
    predicts, trains = embedded.sizes(tmp_path)["4-16-3"]
    assert 0 < predicts < trains
