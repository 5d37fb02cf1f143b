"""Data sets that stay in their files: the same bits as in memory, all rows once an epoch, an error for a file that changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranvier.compiler.errors import DataError
from ranvier.runtime import orders
from ranvier.runtime.feeding import read_split, rows_to_judge
from ranvier.runtime.orders import order_of
from ranvier.runtime.stored import open_stored
from ranvier.runtime.streaming import StreamedRows, row_count

import ranvier as rv

MODEL = """model m() {
    input x: f32[6]
    target y: class[3]
    logits = x -> standardize -> dense(8) -> tanh -> dropout(0.2) -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, y)
    metric accuracy(logits, y)
}
data { source = "rows" ; DATA }
train { batch = 16 ; epochs = 2 ; validate = 10% ; optimizer = adam(lr = 0.02) }
"""


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "CHUNK_BYTES", 7 * 28)
    monkeypatch.setattr(orders, "WINDOW_BYTES", 200 * 28)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """1003 rows as a folder of arrays, an archive of both, and an array on its own."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1003, 6)), rng.integers(0, 3, 1003)
    (tmp_path / "rows").mkdir()
    np.save(tmp_path / "rows" / "x.npy", x)
    np.save(tmp_path / "rows" / "y.npy", y.astype(np.uint8))
    np.save(tmp_path / "rows" / "person.npy", np.char.add("p", rng.integers(0, 40, 1003).astype(str)))
    np.save(tmp_path / "rows" / "w.npy", rng.integers(1, 4, 1003))
    np.save(tmp_path / "rows" / "day.npy", rng.integers(0, 90, 1003))
    np.savez(tmp_path / "rows.npz", x=x, y=y.astype(np.uint8))
    np.savez_compressed(tmp_path / "packed.npz", x=x, y=y)
    return tmp_path


def trained(folder: Path, data: str, path: str = "rows", **options: Any) -> Any:
    (folder / "m.nn").write_text(MODEL.replace("DATA", data))
    model = rv.compile(folder / "m.nn", seed=5, **options)
    split = read_split(model, folder / path)
    assert isinstance(split.training, StreamedRows) == ("stream = true" in data)
    history = model.fit(split.training, validation=split.validation)
    scores = model.evaluate(split.test) if split.test is not None else {}
    return model, history, scores


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 400), st.integers(1, 70), st.integers(0, 3))
def test_every_row_comes_once_and_batches_are_whole(rows: int, size: int, batch: int, epoch: int) -> None:
    order = order_of(rows, size, batch, (1, epoch))
    assert order.window % batch == 0
    found = order.whole()
    np.testing.assert_array_equal(np.sort(found), np.arange(rows))
    for number in range(order.windows):
        held = np.concatenate([np.arange(*chunk) for chunk in order.chunks(number)])
        inside = found[number * order.window : (number + 1) * order.window]
        np.testing.assert_array_equal(held[order.within(number)], inside)
    np.testing.assert_array_equal(order_of(rows, size, batch, None).whole(), np.arange(rows))


def test_the_order_is_a_good_shuffle_and_another_one_each_epoch() -> None:
    first, second = (order_of(20_000, 28, 16, (1, epoch)).whole() for epoch in (0, 1))
    assert abs(np.corrcoef(first, np.arange(20_000))[0, 1]) < 0.1
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    inside = first[:192]
    assert len(np.unique(inside // 1000)) > 10


@pytest.mark.parametrize(
    "data",
    [
        "",
        "weight = column(w) ; test = 20%",
        "test = 20% ; time = column(day)",
        "test = 20% ; stratify = y",
        "test = 20% ; group = column(person)",
        "class_weight = balanced ; validate = 20%",
    ],
)
def test_the_same_bits_as_in_memory(folder: Path, data: str) -> None:
    memory, streamed = (trained(folder, f"{data} ; stream = {how}", threads=t) for how, t in (("false", 1), ("true", 2)))
    for name, value in memory[0].params.items():
        np.testing.assert_array_equal(value, streamed[0].params[name])
    assert memory[1:] == streamed[1:]


def test_an_archive_that_is_not_packed(folder: Path) -> None:
    memory, streamed = (trained(folder, f"stream = {how}", "rows.npz") for how in ("false", "true"))
    np.testing.assert_array_equal(memory[0].params["dense_1.weight"], streamed[0].params["dense_1.weight"])
    with pytest.raises(DataError, match=r"packed.npz: data is read in pieces from .npy files"):
        trained(folder, "stream = true", "packed.npz")


def test_parts_of_their_own_and_predictions(folder: Path) -> None:
    (folder / "parts").mkdir()
    for part in ("train", "test"):
        (folder / "parts" / part).symlink_to(folder / "rows")
    model, _, scores = trained(folder, "stream = true", "parts")
    rows = rows_to_judge(model, folder / "parts")
    assert isinstance(rows, StreamedRows)
    assert row_count(rows) == 1003
    assert model.evaluate(rows) == scores
    x = np.load(folder / "rows" / "x.npy")
    np.testing.assert_array_equal(model.predict(rows), model.predict(x))


def test_rows_with_missing_values_are_named_or_dropped(folder: Path) -> None:
    x = np.load(folder / "rows" / "x.npy")
    x[700, 3] = np.nan
    x[5, 0] = np.nan
    np.save(folder / "rows" / "x.npy", x)
    memory, streamed = (trained(folder, f"missing = drop ; stream = {how}") for how in ("false", "true"))
    np.testing.assert_array_equal(memory[0].params["dense_1.weight"], streamed[0].params["dense_1.weight"])
    with pytest.raises(DataError, match=r"`x` row (700|5) column [30] is nan"):
        trained(folder, "stream = true")


def test_an_interrupted_epoch_goes_on_to_the_bit(folder: Path) -> None:
    whole = trained(folder, "stream = true")[0]
    (folder / "m.nn").write_text(MODEL.replace("DATA", "stream = true"))
    cut = rv.compile(folder / "m.nn", seed=5)
    split = read_split(cut, folder / "rows")

    run = cut.run_epoch

    def broken(name: str, *args: Any) -> None:
        if cut.standing.epochs == 1 and cut.standing.position > 300:
            raise KeyboardInterrupt
        run(name, *args)

    cut.run_epoch = broken
    with pytest.raises(KeyboardInterrupt):
        cut.fit(split.training, validation=split.validation)
    del cut.run_epoch
    assert cut.standing.position > 300
    cut.save(folder / "m.safetensors")
    again = rv.load(folder / "m.safetensors")
    again.fit(split.training, validation=split.validation, resume=True)
    for name, value in whole.params.items():
        np.testing.assert_array_equal(value, again.params[name])


def test_only_large_sets_are_read_in_pieces_by_themselves(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from ranvier.runtime import feeding

    assert not isinstance(read_split(rv.compile(MODEL.replace("DATA", "")), folder / "rows").training, StreamedRows)
    monkeypatch.setattr(feeding, "LIMITS", replace(feeding.LIMITS, resident=1000))
    assert isinstance(read_split(rv.compile(MODEL.replace("DATA", "")), folder / "rows").training, StreamedRows)


@pytest.mark.parametrize("change", ["cut", "written", "replaced"])
def test_a_file_that_changes_during_training(folder: Path, change: str) -> None:
    (folder / "m.nn").write_text(MODEL.replace("DATA", "stream = true"))
    model = rv.compile(folder / "m.nn", seed=5)
    split, file = read_split(model, folder / "rows"), folder / "rows" / "x.npy"

    def spoil(progress: Any) -> None:
        if not progress.finished or progress.epoch > 1:
            return
        if change == "cut":
            os.truncate(file, 5000)
        elif change == "written":
            with file.open("r+b") as stream:
                stream.seek(1000)
                stream.write(b"\xff" * 8)
            os.utime(file, ns=(1, 1))
        else:
            np.save(folder / "new.npy", np.zeros((1003, 6)))
            (folder / "new.npy").replace(file)

    if change == "replaced":  # what was opened is still there
        model.fit(split.training, report=spoil)
        np.testing.assert_array_equal(model.params["dense_1.weight"], trained_again(folder, split).params["dense_1.weight"])
        return
    with pytest.raises(DataError, match=r"x\.npy: (ends after row|was changed while it was read)"):
        model.fit(split.training, report=spoil)


def trained_again(folder: Path, split: Any) -> Any:
    model = rv.compile(folder / "m.nn", seed=5)
    model.fit(split.training)
    return model


def test_damaged_files_are_refused(folder: Path) -> None:
    file = folder / "rows" / "x.npy"
    whole = file.read_bytes()
    for data, words in ((whole[:-8], "its header claims"), (whole[:60], "header"), (b"", "not an array")):
        file.write_bytes(data)
        with pytest.raises(DataError, match=words):
            open_stored(folder / "rows")
    np.save(file, np.zeros((7, 6)))
    with pytest.raises(DataError, match="different numbers of rows"):
        open_stored(folder / "rows")
    np.save(file, np.asfortranarray(np.zeros((1003, 6))))
    assert open_stored(folder / "rows") is None


def test_the_command_line(folder: Path) -> None:
    from click.testing import CliRunner
    from ranvier.runtime.cli.application import application

    (folder / "m.nn").write_text(MODEL.replace("DATA", "stream = true ; test = 20%"))
    target = folder / "m.safetensors"
    run = lambda *args: CliRunner().invoke(application, list(map(str, args)))  # noqa: E731
    result = run("train", folder / "m.nn", "-o", target)
    assert result.exit_code == 0, result.output
    assert "test (201 rows)" in result.output
    assert run("eval", target, "--data", folder / "rows").output.startswith("1,003 rows")
    assert run("predict", target, "--data", folder / "rows", "-o", folder / "p.npz").exit_code == 0
    assert np.load(folder / "p.npz")["prediction"].shape == (1003, 3)


@pytest.mark.parametrize("setting", ["weight", "stratify", "group", "time"])
def test_a_column_that_is_not_there(folder: Path, setting: str) -> None:
    with pytest.raises(DataError, match=r"rows: has no column `w8` to .* by; (it has|did you mean) .*`w`"):
        trained(folder, f"{setting} = column(w8) ; stream = true")


def test_a_model_of_streamed_rows_takes_any_form(folder: Path) -> None:
    """What the data block says of streaming is about the rows to train on."""
    from ranvier.runtime.feeding import read_rows, stored_rows

    model, *_ = trained(folder, "stream = true")
    assert model.evaluate(rows_to_judge(model, folder / "packed.npz")) == model.evaluate(rows_to_judge(model, folder / "rows"))
    assert stored_rows(model, folder / "packed.npz", part="test") is None
    x = {"x": np.load(folder / "rows" / "x.npy")}
    np.savez_compressed(folder / "inputs.npz", **x)
    np.testing.assert_array_equal(model.predict(read_rows(model, folder / "inputs.npz", targets=False)), model.predict(x))


def test_folds_and_a_report_as_in_memory(folder: Path) -> None:
    from click.testing import CliRunner
    from ranvier.runtime.cli.application import application

    def told(how: str) -> str:
        (folder / "m.nn").write_text(MODEL.replace("DATA", f"{how} ; group = column(person) ; weight = column(w) ; test = 20%"))
        target = folder / "m.safetensors"
        result = CliRunner().invoke(application, ["train", str(folder / "m.nn"), "-o", str(target), "--folds", "3"])
        assert result.exit_code == 0, result.output
        page = folder / "m.html"
        report = CliRunner().invoke(application, ["report", str(target), "--data", str(folder / "rows"), "--test", "-o", str(page)])
        assert report.exit_code == 0, report.output
        return result.output.partition("fold")[2].partition("epoch")[0]

    assert told("stream = true") == told("stream = false")
