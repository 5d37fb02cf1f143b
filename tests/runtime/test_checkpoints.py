"""No work is lost: a training that was killed, interrupted or short of disk goes on to the same bits as one that never was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranvier.runtime import atomic, checkpoints
from ranvier.runtime.checkpoint import load_model
from ranvier.runtime.every import Every, read_every
from ranvier.runtime.lock import lock_beside, unlock
from ranvier.runtime.rotation import best_of, previous_of

import ranvier as rv

DENSE = """model m(hidden = 16) {
    input x: f32[6]
    target y: class[3]
    logits = x -> standardize -> dense(hidden) -> relu -> batchnorm -> dropout(0.3) -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, y)
    metric accuracy(logits, y)
}
data { source = "rows.npz" }
train { optimizer = adam(lr = 0.02) ; schedule = cosine(warmup = 10%) ; batch = 16 ; epochs = 40 ; validate = 20% ; stop = patience(30) }
"""
STREAMED = """cell mine(units)(x: [inputs]) {
    param W: [inputs, units] ~ glorot_uniform
    param U: [units, units] ~ orthogonal
    state h: [units] = 0
    next h = tanh(x @ W + h @ U)
    return next h
}
model m(hidden = 8) {
    input x: f32[5, 2]
    target y: f32[3]
    state h: [batch, hidden] = 0
    seen = mine(hidden)(x, h = h)
    next h = seen -> last
    out = (seen -> last) -> dropout(0.2) -> dense(3)
    predict out
    loss mse(out, y)
}
data { source = "rows.npz" }
train { optimizer = sgd(lr = 0.05, momentum = 0.9) ; batch = 8 ; epochs = 40 ; validate = 20% }
"""


GATHERED = DENSE.replace(
    "schedule = cosine(warmup = 10%)",
    "schedule = plateau(patience = 2) ; accumulate = 3 ; average = ema(0.9) ; clip = clip_norm(1)",
).replace("patience(30)", "patience(140)")


def rows_of(text: str) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(1)
    if text is STREAMED:
        return {"x": rng.normal(size=(400, 5, 2)).astype(np.float32), "y": rng.normal(size=(400, 3)).astype(np.float32)}
    x = rng.normal(2, 3, size=(700, 6)).astype(np.float32)
    return {"x": x, "y": (x[:, 0] > x[:, 1]).astype(np.int64) + (x[:, 2] > 3)}


class EndedError(Exception):
    """The training is ended by its report."""


def assert_same_files(left: Path, right: Path) -> None:
    assert left.read_bytes() == right.read_bytes()
    assert best_of(left).read_bytes() == best_of(right).read_bytes()


# --- how often


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("30s", Every(seconds=30)),
        ("0.5 m", Every(seconds=30)),
        ("2h", Every(seconds=7200)),
        ("1000 steps", Every(steps=1000)),
        ("step", Every(steps=1)),
        ("epoch", Every(epochs=1)),
        (" 3epochs ", Every(epochs=3)),
    ],
)
def test_every(text: str, every: Every) -> None:
    assert read_every(text) == every


@pytest.mark.parametrize("text", ["", "5", "0s", "0 steps", "1.5 steps", "-1s", "5 minuten", "1e3 steps", "9" * 400 + "s", "m5"])
def test_every_that_is_none(text: str) -> None:
    with pytest.raises(rv.RanvierError, match="1000 steps"):
        read_every(text)


# --- what is kept


def test_checkpoints_in_the_midst_of_an_epoch(tmp_path: Path) -> None:
    """Every file that stands there at any moment is whole, and its step is one that was asked for."""
    path, seen = tmp_path / "m.safetensors", set()
    model = rv.compile(DENSE, threads=1)
    for stop in range(5):

        def report(progress: Any, stop: int = stop) -> None:
            if progress.epoch > stop:
                raise EndedError

        with pytest.raises(EndedError):
            model.fit(rows_of(DENSE), report=report, resume=stop > 0, checkpoint=path, checkpoint_every="10 steps")
        seen.update(int(load_model(p).progress["step"]) - 1 for p in (path, previous_of(path)))
    assert any(step % 35 for step in seen)
    assert all(step % 10 == 0 or step % 35 == 0 for step in seen)


def test_the_best_is_kept_beside_the_last(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = rv.compile(DENSE.replace(" ; stop = patience(30)", ""), threads=1)
    history = model.fit(rows_of(DENSE), epochs=12, checkpoint=path)
    best = min(range(12), key=lambda n: history[n]["validation_loss"]) + 1
    assert rv.load(best_of(path)).epoch == best
    assert rv.load(path).epoch == 12
    again = rv.compile(DENSE.replace(" ; stop = patience(30)", ""), threads=1)
    again.fit(rows_of(DENSE), epochs=12, report=None)
    for name in again.params:
        np.testing.assert_array_equal(again.params[name], model.params[name])  # keeping copies changes nothing


def test_resume_in_python_takes_up_the_file(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.safetensors", tmp_path / "m.safetensors"
    rv.compile(DENSE, threads=1).fit(rows_of(DENSE), epochs=6, checkpoint=whole)
    for last in (2, 3):  # a script that is started again and again, with a new model each time

        def report(progress: Any, last: int = last) -> None:
            if progress.finished and progress.epoch == last:
                raise EndedError

        with pytest.raises(EndedError):
            rv.compile(DENSE, threads=1).fit(rows_of(DENSE), epochs=6, report=report, resume=True, checkpoint=path)
    rv.compile(DENSE, threads=1).fit(rows_of(DENSE), epochs=6, resume=True, checkpoint=path)
    assert_same_files(whole, path)


@pytest.mark.parametrize("text", [DENSE, GATHERED], ids=["dense", "gathered"])
def test_resume_of_what_is_finished_changes_nothing(text: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    rv.compile(text, threads=1).fit(rows_of(text), epochs=9, checkpoint=path)
    before = path.read_bytes()
    assert rv.compile(text, threads=1).fit(rows_of(text), epochs=9, resume=True, checkpoint=path) == []
    assert path.read_bytes() == before


def test_another_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    rv.compile(DENSE, threads=1).fit(rows_of(DENSE), epochs=1, checkpoint=path)
    with pytest.warns(rv.RanvierWarning, match=r"was trained from another text of text\.nn"):
        rv.compile(DENSE.replace("lr = 0.02", "lr = 0.01"), threads=1).fit(rows_of(DENSE), epochs=2, resume=True, checkpoint=path)
    assert rv.load(path).epoch == 2


def test_an_interrupted_fit_can_be_taken_up_without_a_file() -> None:
    whole = rv.compile(DENSE, threads=1)
    whole.fit(rows_of(DENSE), epochs=4)
    model = rv.compile(DENSE, threads=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows_of(DENSE), epochs=4, report=lambda progress: signal.raise_signal(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model.fit(rows_of(DENSE), epochs=4, resume=True)
    for name in whole.params:
        np.testing.assert_array_equal(whole.params[name], model.params[name])


# --- one writer


def test_two_trainings_in_one_place(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    handle = lock_beside(path)
    with pytest.raises(rv.CheckpointError, match=rf"another training writes there \(process {os.getpid()}\)"):
        rv.compile(DENSE, threads=1).fit(rows_of(DENSE), epochs=1, checkpoint=path)
    unlock(path, handle)
    rv.compile(DENSE, threads=1).fit(rows_of(DENSE), epochs=1, checkpoint=path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.best.safetensors", "m.safetensors"]


def test_a_folder_that_cannot_be_written_to_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(rv.CheckpointError, match="cannot be written: No such file"):
        rv.compile(DENSE, threads=1).fit(rows_of(DENSE), epochs=10**9, checkpoint=tmp_path / "absent" / "m.safetensors")


# --- a disk that fails


def test_training_outlives_a_full_disk(tmp_path: Path) -> None:
    """Writes fail for some epochs: a warning, no harm to what stands there, and a whole model at the end."""
    path, full, refused = tmp_path / "m.safetensors", False, 0
    real = os.fsync

    def fsync(handle: int) -> None:
        nonlocal refused
        refused += full
        if full:
            raise OSError(28, "No space left on device")
        real(handle)

    def report(progress: Any) -> None:
        nonlocal full
        time.sleep(0.02)  # for the writer, so that every epoch has its checkpoint
        if full:
            assert load_model(path).progress["finished"] <= 3
        full = progress.finished and 3 <= progress.epoch < 6

    model = rv.compile(DENSE, threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(atomic.os, "fsync", fsync)
        with pytest.warns(rv.RanvierWarning, match=r"training goes on.*No space left on device"):
            model.fit(rows_of(DENSE), epochs=9, report=report, checkpoint=path, checkpoint_every="epoch")
    assert refused
    assert rv.load(path).epoch == 9
    assert rv.load(previous_of(path)).epoch in (8, 9)
    assert not list(tmp_path.glob(".*"))


# --- killed


@pytest.fixture(params=[DENSE, STREAMED, GATHERED], ids=["dense", "streamed", "gathered"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a model and its rows."""
    (tmp_path / "m.nn").write_text(request.param)
    rows = rows_of(request.param)
    np.savez(tmp_path / "rows.npz", **{name: np.concatenate([array] * 8) for name, array in rows.items()})
    return tmp_path


def train(place: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ranvier", "train", str(place / "m.nn"), "-o", str(output), "--threads", "1", *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_at_random_points_it_ends_the_same(place: Path) -> None:
    whole, parted = place / "whole.safetensors", place / "parted.safetensors"
    assert train(place, whole, "--set", "train.epochs=150").wait(120) == 0
    rng, ends = np.random.default_rng(7), []
    for turn in range(40):
        process = train(
            place, parted, "--set", "train.epochs=150", "--resume", "--checkpoint-every", ("7 steps", "0.01s", "epoch")[turn % 3]
        )
        assert process.stdout is not None
        for _ in range(int(rng.integers(5, 40))):
            if not process.stdout.readline():
                break
        time.sleep(float(rng.uniform(0, 0.01)))
        sent = (signal.SIGINT, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL)[turn % 5]
        process.send_signal(sent)
        process.communicate(timeout=60)
        ends.append(process.returncode)
        if parted.exists():
            load_model(parted)  # whole at every moment
        if process.returncode == 0:
            break
    assert ends[-1] == 0
    assert -signal.SIGKILL in ends
    assert 130 in ends
    assert_same_files(whole, parted)
    assert not list(place.glob(".*"))


def test_a_writer_whose_start_was_interrupted_is_waited_for() -> None:
    done: list[int] = []
    writer = threading.Thread(target=lambda: done.append(1))
    threading.Timer(0.05, writer.start).start()
    checkpoints._join(writer)
    assert done == [1]


def test_interrupted_twice_it_leaves_at_once_and_what_was_written_is_whole(place: Path) -> None:
    output = place / "m.safetensors"
    process = train(place, output, "--set", "train.epochs=1000000", "--checkpoint-every", "1 step")
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    load_model(output)
