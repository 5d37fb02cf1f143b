"""Rows that do not fit the model they are given to, from every form of file: one error that says where, before a kernel sees a value.

If these fail, a label outside its classes makes a kernel read outside its table, or a model learns from numbers that are not the data's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from ranvier.runtime.cli.application import application

MODEL = """model m() {
    input x: f32
    target y: class[3]
    logits = reshape_to(x, [1]) -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, y)
    metric accuracy(logits, y)
}
train { batch = 16 ; epochs = 2 }
"""
FORMS: dict[str, Callable[[Path, pd.DataFrame], object]] = {
    "csv": lambda path, table: table.to_csv(path, index=False),
    "tsv": lambda path, table: table.to_csv(path, index=False, sep="\t"),
    "parquet": lambda path, table: table.to_parquet(path, index=False),
    "npz": lambda path, table: np.savez(path, **{str(name): np.array(column.tolist()) for name, column in table.items()}),
}


def train(folder: Path, form: str, x: object, y: object, *, model: str = MODEL) -> Result:
    """The end of `ranvier train` on a table."""
    (folder / "m.nn").write_text(model)
    FORMS[form](folder / f"rows.{form}", pd.DataFrame({"x": x, "y": y}))
    arguments = ["train", folder / "m.nn", "--data", folder / f"rows.{form}", "-o", folder / "m.safetensors"]
    return CliRunner().invoke(application, list(map(str, arguments)))


GOOD = np.arange(6) % 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("label", "said"),
    [
        (3, "is class 3, outside 0..2"),
        (-1, "is class -1, outside 0..2"),
        (2**31, "2147483648"),
        (2**40, "1099511627776"),
        (-(2**62), str(-(2**62))),
        (1.5, "whole numbers: round the data"),
        (np.nan, "is nan, a missing value"),
        (np.inf, "is inf"),
        (1e300, "1e+300"),
    ],
)
def test_labels_outside_their_classes(form: str, label: float, said: str, tmp_path: Path) -> None:
    labels = np.where(np.arange(6) == 4, label, GOOD) if isinstance(label, float) else np.array([*GOOD[:4], label, 2])
    result = train(tmp_path, form, np.arange(6.0), labels)
    assert result.exit_code == 1, result.output
    first = 2 if form in ("csv", "tsv") else 0
    assert result.stderr.startswith(f"error: {tmp_path / 'rows'}.{form}: `y` row {4 + first} "), result.stderr
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("value", "said"), [(1e39, "exceeds what f32 holds"), (np.inf, "is inf"), (-np.inf, "is -inf"), (np.nan, "is nan")]
)
def test_numbers_that_f32_does_not_hold(form: str, value: float, said: str, tmp_path: Path) -> None:
    result = train(tmp_path, form, np.array([0.0, 1.0, value, 2.0]), GOOD[:4])
    assert result.exit_code == 1, result.output
    assert f"`x` row {4 if form in ('csv', 'tsv') else 2} is" in result.stderr
    assert said in result.stderr


def test_labels_of_another_rank(tmp_path: Path) -> None:
    (tmp_path / "m.nn").write_text(MODEL)
    for name, labels in (("matrix", np.zeros((6, 3), int)), ("one", np.int64(2)), ("short", GOOD[:5])):
        np.savez(tmp_path / "rows.npz", x=np.arange(6.0), y=labels)
        result = CliRunner().invoke(application, ["train", str(tmp_path / "m.nn"), "--data", str(tmp_path / "rows.npz")])
        assert result.exit_code == 1, (name, result.output)
        assert result.stderr.startswith(f"error: {tmp_path / 'rows.npz'}: "), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [1, 5, 16, 17, 37])
def test_rows_fewer_than_a_batch_and_a_last_batch_that_is_short(form: str, rows: int, tmp_path: Path) -> None:
    """Every row counts once, whatever the batch: the figures are means over the rows."""
    import ranvier as rv

    labels = np.arange(rows) % 3
    result = train(tmp_path, form, np.linspace(-1, 1, rows), labels)
    assert result.exit_code == 0, result.output
    model = rv.load(tmp_path / "m.safetensors")
    x = np.linspace(-1, 1, rows, dtype=np.float32)
    right = np.mean(np.argmax(model.predict(x), axis=1) == labels)
    assert model.evaluate({"x": x, "y": labels})["accuracy"] == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_no_rows_at_all(form: str, tmp_path: Path) -> None:
    result = train(tmp_path, form, np.zeros(0), np.zeros(0, int))
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("form", FORMS)
def test_text_where_numbers_are_wanted_and_the_other_way_round(form: str, tmp_path: Path) -> None:
    words = np.array(["1", "2", "x\x1b[2J", "4"])
    result = train(tmp_path, form, words, GOOD[:4])
    assert result.exit_code == 1, result.output
    assert f"`x` row {4 if form in ('csv', 'tsv') else 2} holds the text" in result.stderr
    assert "\x1b" not in result.output
    many = train(tmp_path, form, np.arange(4.0), np.array(["a", "b", "c", "d"]))
    assert many.exit_code == 1
    assert "4 different labels (`a`, `b`, `c`, `d`), the model declares class[3]" in many.stderr
