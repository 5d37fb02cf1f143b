"""The log tells what training told: read back by TensorBoard itself, and by Python's own reader of tables."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranvier.runtime.event_file import crc32c

import ranvier as rv

TEXT = """model m() {
    input x: f32[3]
    target y: class[2]
    logits = x -> dense(8) -> tanh -> dense(2)
    predict softmax(logits)
    loss cross_entropy(logits, y)
    metric accuracy(logits, y)
}
train { batch = 8 ; epochs = 7 ; validate = 20% }
"""


@pytest.fixture
def rows() -> dict[str, Any]:
    x = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    return {"x": x, "y": (x[:, 0] > 0).astype(np.int64)}


class EndedError(Exception):
    """The training is ended by its report."""


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars of a run as TensorBoard shows them."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(str(folder))
    run.Reload()
    return {tag: [(e.step, e.value) for e in run.Scalars(tag)] for tag in run.Tags()["scalars"]}


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "log.csv", newline="") as file:
        return list(csv.DictReader(file))


def assert_told(folder: Path, history: list[dict[str, float]]) -> None:
    """The table says exactly, the event files in single precision, what `fit` returned."""
    found = table(folder)
    assert [int(row["epoch"]) for row in found] == list(range(1, len(history) + 1))
    assert [int(row["step"]) for row in found] == [10 * n for n in range(1, len(history) + 1)]
    for row, record in zip(found, history, strict=True):
        assert {name: float(row[name]) for name in record} == record
    seconds = [float(row["seconds"]) for row in found]
    assert seconds == sorted(seconds)
    for run, prefix in (("train", ""), ("validation", "validation_")):
        scalars = read(folder / run)
        for name in ("loss", "accuracy"):
            expected = [(n, np.float32(record[prefix + name])) for n, record in enumerate(history, 1)]
            assert scalars[name] == expected


def test_checksums_of_the_standard() -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_what_is_told_is_written(rows: dict[str, Any], tmp_path: Path) -> None:
    history = rv.compile(TEXT, threads=1).fit(rows, log=tmp_path / "runs" / "a")
    assert len(history) == 7
    assert_told(tmp_path / "runs" / "a", history)


def test_a_training_that_is_taken_up_goes_on_with_its_log(rows: dict[str, Any], tmp_path: Path) -> None:
    """What was logged after the checkpoint is void, a line cut short by a crash too."""
    history = rv.compile(TEXT, threads=1).fit(rows)

    def end(progress: Any) -> None:
        if progress.epoch == 3:
            raise EndedError

    path, log = tmp_path / "m.safetensors", tmp_path / "log"
    with pytest.raises(EndedError):
        rv.compile(TEXT, threads=1).fit(rows, report=end, checkpoint=path, log=log)
    model = rv.load(path)
    model.fit(rows, epochs=5, resume=True, log=log)  # two epochs that no checkpoint knows of
    with open(log / "log.csv", "a") as file:
        file.write("6,60,0.3")
    rest = rv.compile(TEXT, threads=1).fit(rows, resume=True, checkpoint=path, log=log)
    assert rest == history[3:]
    assert_told(log, history)


def test_a_new_training_begins_its_log_anew(rows: dict[str, Any], tmp_path: Path) -> None:
    rv.compile(TEXT, threads=1).fit(rows, log=tmp_path)
    history = rv.compile(TEXT, threads=1, seed=1).fit(rows, epochs=3, log=tmp_path)
    assert_told(tmp_path, history)


def test_figures_within_an_epoch(rows: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranvier.runtime.log.WITHIN_SECONDS", 0.0)
    monkeypatch.setattr("ranvier.runtime.training.TURN_SECONDS", 0.0)
    rv.compile(TEXT, threads=1).fit(rows, epochs=2, log=tmp_path)
    steps = [step for step, _ in read(tmp_path / "train_steps")["loss"]]
    assert steps == [*range(1, 10), *range(11, 20)]


def test_a_folder_that_cannot_be(rows: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(rv.DataError, match="a log cannot be written there"):
        rv.compile(TEXT, threads=1).fit(rows, log=tmp_path / "file")


def test_a_disk_that_fails_costs_the_log_only(rows: dict[str, Any], tmp_path: Path) -> None:
    def damage(progress: Any) -> None:
        if (tmp_path / "log.csv").is_file():
            (tmp_path / "log.csv").unlink()
            (tmp_path / "log.csv").mkdir()

    with pytest.warns(rv.RanvierWarning, match="the log is not complete") as told:
        assert len(rv.compile(TEXT, threads=1).fit(rows, report=damage, log=tmp_path)) == 7
    assert len(told) == 1
