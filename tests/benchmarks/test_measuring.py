"""What becomes of measurements when something fails: a run of half an hour is not lost with one peer."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarked import command, first, report, steady
from click.testing import CliRunner

ROW = steady.Row("4-16-3", 16, 1, "step", {"ranvier": [1.0e-3, 1.25e-3, 4.0e-3], "torch": [5e-3]})


class Fake:
    """A process whose turns take a millisecond; it fails at a given request."""

    def __init__(self, peer: str, fails_at: int = -1) -> None:
        self.peer, self.fails_at, self.asked = peer, fails_at, 0

    def ask(self, *request: object) -> float:
        self.asked += 1
        if self.asked == self.fails_at:
            raise RuntimeError("out of luck")
        return 1e-3


def test_the_ratio_is_that_of_medians() -> None:
    assert ROW.ratio == pytest.approx(4)
    assert steady.Row("4-16-3", 16, 1, "step", {"torch": [5e-3]}).ratio is None


def test_a_peer_that_fails_costs_its_own_times() -> None:
    said: list[str] = []
    times = steady.interleaved([Fake("ranvier"), Fake("torch", 2)], "step", steady.Effort(3, 0.0), 1, said.append)
    assert times == {"ranvier": [1e-3] * 3}
    assert len(said) == 1
    assert "PyTorch: out of luck" in said[0]


def test_most_builds_decide() -> None:
    builds = [steady.Build(np.ones((1, 2)), losses, np.full((1, 2), 0.5)) for losses in ([1.0, 0.5], [1.0, 0.9], [1.0, 0.901], [])]
    usual = steady.most_alike(builds[:3])
    assert [build.learns_like(usual) for build in builds] == [False, True, True, True]
    assert steady.most_alike([]) is None


def test_probabilities_after_training_count() -> None:
    one, other = (steady.Build(np.ones((1, 2)), [1.0], np.full((1, 2), share)) for share in (0.5, 0.6))
    assert not one.learns_like(other)


def test_a_first_step_that_fails_is_named() -> None:
    said: list[str] = []
    failing = partial(first.cold_and_warm, "ranvier", "raise SystemExit('out of luck')", 1)
    assert list(first.tried(["cold", "warm"], "ranvier", failing, said.append)) == []
    assert "out of luck" in said[-1]


def test_first_steps_are_cold_and_warm() -> None:
    measuring = partial(first.cold_and_warm, "ranvier", "print(1.5)", 1)
    found = list(first.tried(["cold", "warm"], "ranvier", measuring, lambda _: None))
    assert found == [("cold", "ranvier", 1.5), ("warm", "ranvier", 1.5)]


def test_all_that_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> Any:
        yield "import", "ranvier", 0.025
        raise RuntimeError("out of luck")

    monkeypatch.setattr(steady, "measure", lambda *_: [ROW])
    monkeypatch.setattr(first, "measure", failing)
    path = tmp_path / "found.json"
    result = CliRunner().invoke(command.main, ["--quick", "--threads", "1", "--only", "ranvier", "--json", str(path)])
    assert str(result.exception) == "out of luck"
    assert "1,250" in result.stderr
    assert "1,250" in result.stdout
    assert " 25" in result.stdout
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["steady"][0]["times"]["torch"] == [5e-3]
    assert kept["first"] == {"import": {"ranvier": 0.025}}
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_not_measured_has_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [ROW, steady.Row("cnn-28", 64, 1, "step", {"ranvier": [1e-3]})]
    report.show(report.Found(rows, {"import": {"torch": 1.0}, "help": {"ranvier": 2.0}}), markdown=True)
    lines = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    assert cells[3] == ["cnn-28", "64", "training step", "—", "1,000", "—"]
    assert cells[-2:] == [["import", "—", "1,000"], ["help", "2,000", "—"]]
