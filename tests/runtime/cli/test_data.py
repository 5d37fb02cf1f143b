"""`ranvier data`: the facts are those of pandas, and the starter checks and trains as it is printed, whatever the form of the file."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from ranvier.compiler.frontend.formatter import format_source
from ranvier.compiler.source import Source
from repository import EXAMPLES

Run = Callable[..., Result]


def flowers() -> pd.DataFrame:
    """A table of everything: an identifier, a constant, numbers with holes, categories, dates, and text labels."""
    rng = np.random.default_rng(3)
    kind = rng.integers(0, 3, 120)
    table = pd.DataFrame({"id": np.arange(1001, 1121), "width (cm)": rng.normal(0, 0.4, 120) + 3 * (kind == 1)})
    table["height"] = rng.normal(0, 0.4, 120) + 3 * (kind == 2)
    table.loc[[4, 77], "height"] = np.nan
    table["petals"] = rng.integers(4, 9, 120)
    table["colour"] = np.array(["red", "white"])[rng.integers(0, 2, 120)]
    table["garden"] = "Kew"
    table["day"] = pd.date_range("2024-01-01", periods=120).strftime("%Y-%m-%d")
    table["species"] = np.array(["setosa", "iris", "virginica"])[kind]
    return table


def write_csv(folder: Path) -> Path:
    flowers().to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def write_tsv(folder: Path) -> Path:
    flowers().to_csv(folder / "rows.tsv", index=False, sep="\t")
    return folder / "rows.tsv"


def write_parquet(folder: Path) -> Path:
    flowers().to_parquet(folder / "rows.parquet", index=False)
    return folder / "rows.parquet"


def write_npz(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(folder / "rows.npz", x=rng.normal(size=(60, 5)).astype(np.float32), y=rng.normal(size=60) * 900 - 4000)
    return folder / "rows.npz"


def write_npy(folder: Path) -> Path:
    np.save(folder / "rows.npy", np.random.default_rng(0).normal(size=(60, 5)))
    return folder / "rows.npy"


def write_npy_folder(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    (folder / "rows").mkdir()
    np.save(folder / "rows" / "scan.npy", rng.normal(size=(60, 12, 10, 3)))
    np.save(folder / "rows" / "label.npy", np.where(rng.random(60) < 0.5, -1, 1))
    return folder / "rows"


def write_idx(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    (folder / "rows").mkdir()
    for part, rows in (("train", 40), ("t10k", 10)):
        images, labels = rng.integers(0, 256, (rows, 9, 8), dtype=np.uint8), np.arange(rows, dtype=np.uint8) % 4
        packed = gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", rows, 9, 8) + images.tobytes())
        (folder / "rows" / f"{part}-images-idx3-ubyte.gz").write_bytes(packed)
        (folder / "rows" / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", rows) + labels.tobytes())
    return folder / "rows"


def write_images(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(24):
        file = folder / "rows" / ("cat" if number % 3 else "ant") / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9 + number % 2, 8, 3), dtype=np.uint8)).save(file)
    return folder / "rows"


def write_sequences(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 7, 40)
    np.savez_compressed(folder / "rows.npz", frames=rng.normal(size=(40, 6, 2)), frames_length=lengths, word=np.array(["no", "yes"] * 20))
    return folder / "rows.npz"


def write_text(folder: Path) -> Path:
    (folder / "rows.txt").write_text("the cat sat on the mat. " * 40)
    return folder / "rows.txt"


def write_series(folder: Path) -> Path:
    (folder / "rows.csv").write_text("year,spots\n" + "".join(f"{1700 + n},{n % 11 + n / 100}\n" for n in range(90)))
    return folder / "rows.csv"


def write_parts(folder: Path) -> Path:
    (folder / "rows").mkdir()
    flowers()[:90].to_csv(folder / "rows" / "train.csv", index=False)
    flowers()[85:].to_csv(folder / "rows" / "test.csv", index=False)
    return folder / "rows"


WRITERS = {name.removeprefix("write_"): writer for name, writer in sorted(globals().items()) if name.startswith("write_")}


@pytest.mark.parametrize("form", WRITERS)
def test_the_starter_checks_and_trains_as_it_is_printed(form: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = WRITERS[form](tmp_path)
    shown = run("data", path)
    assert shown.exit_code == 0, shown.output
    printed = "# To begin with" + shown.stdout.partition("# To begin with")[2]
    (tmp_path / "copied.nn").write_text(printed)
    written = run("data", path, "-o", tmp_path / "written.nn")
    assert written.stderr == f"wrote {tmp_path / 'written.nn'}\n"
    assert (tmp_path / "written.nn").read_text() == printed == format_source(Source("copied.nn", printed))
    checked = run("check", "copied.nn")
    assert checked.exit_code == 0, checked.output
    trained = run("train", "copied.nn", "--set", "train.epochs=1", "-o", "m.safetensors")
    assert trained.exit_code == 0, trained.output
    judged = run("eval", "m.safetensors", "--data", path)
    assert judged.exit_code == 0, judged.output


@pytest.mark.parametrize("form", ["csv", "tsv", "parquet"])
def test_the_facts_of_a_table_are_those_of_pandas(form: str, run: Run, tmp_path: Path) -> None:
    table, found = flowers(), json.loads(run("data", WRITERS[form](tmp_path), "--json").stdout)
    columns = {column["name"]: column for column in found["columns"]}
    assert list(columns) == list(table)
    for name, described in table.describe().items():
        own = columns[str(name)]
        pairs = {"min": "min", "25%": "25%", "median": "50%", "75%": "75%", "max": "max", "mean": "mean", "std": "std"}
        np.testing.assert_allclose([own[key] for key in pairs], [described[key] for key in pairs.values()], rtol=1e-12)
    for name, column in columns.items():
        counts = table[name].value_counts()
        assert column["missing"] == table[name].isna().sum()
        assert column["distinct"] == len(counts)
        assert column["frequent"][0]["rows"] == counts.iloc[0]
    assert {name for name, column in columns.items() if column["constant"]} == {"garden"}
    assert {name: columns[name]["role"] for name in ("id", "day", "colour", "petals")} == {
        "id": "identifier",
        "day": "time",
        "colour": "category",
        "petals": "number",
    }
    assert found["target"] == "species"
    assert {c["value"]: c["rows"] for c in found["classes"]} == dict(table["species"].value_counts())
    assert sum(c["share"] for c in found["classes"]) == pytest.approx(1)


def test_the_starter_leaves_out_what_says_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    starter = json.loads(run("data", write_csv(tmp_path), "--json").stdout)["starter"]
    assert "# Left out: id (an identifier); garden (constant); day (times)." in starter
    assert 'features = columns("width (cm)", height, petals)' in starter
    assert "input colour: class[2]" in starter
    assert "missing = drop" in starter
    assert "stratify = column(species)" in starter


def test_another_target(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write_csv(tmp_path)
    found = run("data", path, "--target", "height", "-o", "height.nn")
    assert found.exit_code == 0, found.output
    assert "target `height`: numbers" in found.stdout
    assert "metric rmse(estimate, height)" in Path("height.nn").read_text()
    assert run("train", "height.nn", "--set", "train.epochs=1").exit_code == 0
    wrong = run("data", path, "--target", "hight")
    assert wrong.exit_code == 1
    assert wrong.stderr == f"error: {path}: has no column `hight`; did you mean `height`?\n"
    constant = run("data", path, "--target", "garden")
    assert constant.exit_code == 0
    assert constant.stdout.endswith("there is no starter for it: `garden` cannot be the target: it is constant\n")
    assert run("data", path, "--target", "garden", "-o", "garden.nn").exit_code == 1
    assert not Path("garden.nn").exists()


def test_a_file_that_is_there_is_kept(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.nn").write_text("mine")
    result = run("data", write_csv(tmp_path), "-o", tmp_path / "mine.nn")
    assert result.exit_code == 1
    assert "is there already" in result.stderr
    assert (tmp_path / "mine.nn").read_text() == "mine"
    assert run("data", tmp_path / "rows.csv", "-o", tmp_path / "mine.txt").exit_code == 2


def test_data_elsewhere_is_given_on_the_command_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    path, model = write_csv(tmp_path), tmp_path / "models" / "m.nn"
    assert run("data", path, "-o", model).exit_code == 0
    assert "source" not in model.read_text()
    assert f"give --data {path}" in model.read_text().replace("\n# ", " ")
    assert run("train", model, "--data", path, "--set", "train.epochs=1", "-o", tmp_path / "m.safetensors").exit_code == 0


def test_rows_that_repeat_contradict_or_leak(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.csv").write_text(
        "x,y,kind\n" + "".join(f"{n},0.5,{'ab'[n % 2]}\n" for n in range(30)) + "3,0.5,b\n4,0.5,b\n"
    )
    (tmp_path / "rows" / "test.csv").write_text("x,y,kind\n3,0.5,b\n3,0.5,a\n99.5,0.5,a\n7,0.5,b\n")
    found = json.loads(run("data", tmp_path / "rows", "--json").stdout)
    assert (found["rows"], found["repeated_rows"], found["contradicting_rows"]) == (32, 1, 1)
    assert found["parts"] == {"test": {"rows": 4, "also_in_training": 2}}
    text = run("data", tmp_path / "rows").stdout
    assert "rows that repeat an earlier one: 1\nrows that are like another in all but the target: 1\n" in text
    assert "test: 4 rows of their own, 2 of which stand among the training rows, too\n" in text


def test_marks_for_what_is_missing_are_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("age,kind\n" + "".join(f"{n if n % 7 else '?'},{'ab'[n % 2]}\n" for n in range(40)))
    shown = run("data", tmp_path / "rows.csv").stdout
    assert "numbers but for `?` in 6 rows: leave such fields empty" in shown


def test_nothing_of_the_data_commands_the_terminal(run: Run, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07\u202egnp.exe"
    lines = "".join(f'{n / 2},"{evil}{n % 2}\r\n"\n' for n in range(40))
    (tmp_path / "rows.csv").write_bytes(f'"{evil}","ki\u200bnd"\n{lines}'.encode())
    for arguments in ((), ("--json",), ("--target", evil), ("--target", "\x1b[2J"), ("-o", tmp_path / "m.nn")):
        result = run("data", tmp_path / "rows.csv", *arguments)
        assert not [c for c in result.output if c != "\n" and not c.isprintable()], arguments
    twice = f'a,"{evil}","{evil}"\n1,2,3\n'
    (tmp_path / "twice.csv").write_text(twice)
    refused = run("data", tmp_path / "twice.csv")
    assert refused.exit_code == 1
    assert "\\x1b]0;owned\\x07\\u202egnp.exe` stands twice" in refused.stderr


def test_names_that_mean_something_in_a_model(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    names = [
        "scale",
        "weight",
        "model",
        "hidden",
        "logits",
        "1st",
        "größe",
        "a b",
        "if",
        "T",
        "e",
        "batch",
        "None",
        'quo"te',
        "back\\slash",
    ]
    numbers = {name: rng.normal(size=30) for name in names}
    words = {name.upper(): np.array(["u", "v"])[rng.integers(0, 2, 30)] for name in names if name.upper() not in names}
    pd.DataFrame({**words, **numbers, "relu": np.arange(30) % 2}).to_csv("train.csv", index=False)
    result = run("data", "train.csv", "--target", "relu", "-o", "m.nn")
    assert result.exit_code == 0, result.output
    trained = run("train", "m.nn", "--set", "train.epochs=1")
    assert trained.exit_code == 0, trained.output


@pytest.mark.parametrize("text", ["a,b\n", "a\n1\n", "a,b\n1,x\n2,y\n", "a\nx\ny\nx\ny\n"])
def test_too_little_for_a_starter_is_said(text: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(text)
    result = run("data", tmp_path / "rows.csv")
    assert result.exit_code == 0, result.output
    if "To begin with" not in result.stdout:
        assert "there is no starter for it: " in result.stdout
    assert run("data", tmp_path / "rows.csv", "--json").exit_code == 0


def test_the_examples(run: Run) -> None:
    digits, sunspots = (json.loads(run("data", EXAMPLES / "data" / name, "--json").stdout) for name in ("digits.npz", "sunspots.csv"))
    images = np.load(EXAMPLES / "data" / "digits.npz")["image"]
    assert digits["target"] == "digit"
    assert digits["columns"][0]["places_that_never_vary"] == int((np.ptp(images, axis=0) == 0).sum())
    assert sunspots["columns"][0]["role"] == "identifier"


def test_plain_columns_in_a_pipe(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("width,kind\n1.5,a\n2.5,b\n,a\n4,a\n")
    lines = run("data", tmp_path / "rows.csv").stdout.splitlines()
    assert lines[0].endswith("rows.csv: 4 rows, 2 columns, 48 B in memory")
    assert lines[2:5] == [
        "column  type    missing  distinct  remarks",
        "width   f64   1 (25.0%)         3",
        "kind    text                    2  could be a class label: 2 values",
    ]
    assert lines[6] == "numbers  min  25%  median   75%  max     mean      std"
    assert lines[7] == "width    1.5    2     2.5  3.25    4  2.66667  1.25831"


def test_many_columns_are_cut_on_the_terminal_and_whole_in_json(run: Run, tmp_path: Path) -> None:
    pd.DataFrame(np.random.default_rng(0).normal(size=(5, 300)), columns=[f"c{n}" for n in range(300)]).to_csv(
        tmp_path / "w.csv", index=False
    )
    assert "… and 100 more columns" in run("data", tmp_path / "w.csv").stdout
    found: Any = json.loads(run("data", tmp_path / "w.csv", "--json").stdout)
    assert len(found["columns"]) == 300
