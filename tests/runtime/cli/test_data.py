"""`ranvier data` tells what is there, and the file that it begins with trains on that very data."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from ranvier.runtime.cli.application import application
from ranvier.runtime.description import describe_data
from ranvier.runtime.limits import Limits
from ranvier.runtime.starter import choose_target, starter

EXAMPLES = Path(__file__).parents[3] / "examples" / "data"
ROWS = 120


def run(*arguments: object) -> Result:
    return CliRunner().invoke(application, [str(each) for each in arguments])


def frame() -> pd.DataFrame:
    """Awkward names, a gap, a constant, an identifier, a category."""
    generator = np.random.default_rng(0)
    kinds = generator.integers(0, 3, ROWS)
    width = np.round(kinds + generator.normal(0, 0.3, ROWS), 3)
    width[7] = np.nan
    colour = np.array(["red", "blue"])[generator.integers(0, 2, ROWS)]
    return pd.DataFrame(
        {
            "row id": [f"r{n}" for n in range(ROWS)],
            "width (mm)": width,
            "loss": generator.integers(5, 9, ROWS),
            "same": 1.0,
            "colour": colour,
            "kind": np.array(["a", "b", "c"])[kinds],
        }
    )


def table(path: Path, suffix: str) -> Path:
    file = path / f"{suffix}.{suffix}"
    rows = frame()
    if suffix == "parquet":
        rows.to_parquet(file)
    else:
        rows.to_csv(file, index=False, sep="\t" if suffix == "tsv" else ",")
    return file


def arrays() -> dict[str, Any]:
    generator = np.random.default_rng(1)
    return {"image": generator.integers(0, 256, (ROWS, 12, 13), dtype=np.uint8), "y": generator.integers(0, 4, ROWS, dtype=np.int64)}


def npz(path: Path) -> Path:
    np.savez(path / "images.npz", **arrays())
    return path / "images.npz"


def npy_folder(path: Path) -> Path:
    (path / "rows").mkdir()
    generator = np.random.default_rng(2)
    np.save(path / "rows" / "x.npy", generator.standard_normal((ROWS, 5)).astype(np.float32))
    np.save(path / "rows" / "outcome.npy", generator.standard_normal(ROWS))
    return path / "rows"


def idx_folder(path: Path) -> Path:
    (path / "digits").mkdir()
    for part, rows in (("train", ROWS), ("t10k", 40)):
        found = {name: array[:rows] for name, array in arrays().items()}
        for name, array, magic in (("images-idx3", found["image"], 0x803), ("labels-idx1", found["y"].astype(np.uint8), 0x801)):
            head = np.array([magic, *array.shape], dtype=">i4").tobytes()
            (path / "digits" / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return path / "digits"


def pictures(path: Path) -> Path:
    generator = np.random.default_rng(3)
    for kind in ("cat", "dog"):
        (path / "pets" / kind).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(generator.integers(0, 256, (16, 14, 3), dtype=np.uint8)).save(path / "pets" / kind / f"{number}.png")
    return path / "pets"


def series(path: Path) -> Path:
    generator = np.random.default_rng(4)
    lengths = generator.integers(2, 9, ROWS).astype(np.int32)
    np.savez(
        path / "series.npz",
        heard=generator.standard_normal((ROWS, 8, 3)).astype(np.float32),
        heard_length=lengths,
        speaker=generator.integers(0, 3, ROWS, dtype=np.int32),
    )
    return path / "series.npz"


def letters(path: Path) -> Path:
    (path / "book.txt").write_text("the cat sat on the mat and the rat sat on the cat\n" * 40, encoding="utf-8")
    return path / "book.txt"


MADE: dict[str, Callable[[Path], Path]] = {
    "csv": lambda path: table(path, "csv"),
    "tsv": lambda path: table(path, "tsv"),
    "parquet": lambda path: table(path, "parquet"),
    "npz": npz,
    "npy": npy_folder,
    "idx": idx_folder,
    "images": pictures,
    "sequences": series,
    "text": letters,
}


@pytest.mark.parametrize("kind", MADE)
def test_the_starter_trains(kind: str, tmp_path: Path) -> None:
    data, file = MADE[kind](tmp_path), tmp_path / "model.nn"
    shown = run("data", data)
    assert shown.exit_code == 0, shown.output
    written = run("data", data, "-o", file)
    assert written.exit_code == 0, written.output
    assert f"ranvier train {file}" in written.output
    assert run("fmt", "--check", file).exit_code == 0
    assert run("check", file).exit_code == 0, run("check", file).output
    trained = run("train", file, "--set", "train.epochs=1", "--threads", 1, "-o", tmp_path / "m.safetensors")
    assert trained.exit_code == 0, trained.output
    assert run("data", data, "-o", file).exit_code == 2  # nothing is written over


def test_a_table_is_told_as_pandas_does(tmp_path: Path) -> None:
    found, rows = describe_data(table(tmp_path, "csv")), frame()
    width = found.column("width (mm)")
    assert width is not None
    expected = rows["width (mm)"].describe()
    assert (found.rows, width.missing, width.type) == (ROWS, 1, "f64")
    assert width.quartiles == pytest.approx(tuple(expected[["25%", "50%", "75%"]]))
    figures = (expected["min"], expected["max"], expected["mean"], rows["width (mm)"].std(ddof=0))
    assert (width.low, width.high, width.mean, width.deviation) == pytest.approx(figures)
    kind = found.column("kind")
    assert kind is not None
    assert dict(kind.values or ()) == rows["kind"].value_counts().to_dict()
    said = run("data", tmp_path / "csv.csv").output
    assert "same is the same in all rows" in said
    assert "row id is different in every row" in said
    assert "1 (0.8%)" in said


def test_a_large_set_is_told_in_pieces_as_it_is_whole(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    x, y = generator.standard_normal((5000, 3)).astype(np.float32), generator.integers(0, 7, 5000)
    (tmp_path / "rows").mkdir()
    np.save(tmp_path / "rows" / "x.npy", x)
    np.save(tmp_path / "rows" / "y.npy", y)
    whole, pieces = describe_data(tmp_path / "rows"), describe_data(tmp_path / "rows", Limits(resident=2**14))
    assert pieces.repeated is None
    assert whole.repeated == 0
    for one, other in zip(whole.columns, pieces.columns, strict=True):
        assert (one.values, one.low, one.high, one.quartiles) == (other.values, other.low, other.high, other.quartiles)
        assert (other.mean, other.deviation) == pytest.approx((one.mean, one.deviation), rel=1e-9)
    assert whole.columns[0].mean == pytest.approx(float(x.mean(dtype=np.float64)))
    assert whole.columns[0].deviation == pytest.approx(float(x.std(dtype=np.float64)))


def test_rows_that_stand_there_twice_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,y\n1,x\n1,x\n", encoding="utf-8")
    assert describe_data(tmp_path / "t.csv").repeated == 2
    assert "2 rows are equal to one before them" in run("data", tmp_path / "t.csv").output


@pytest.mark.parametrize(("name", "target"), [("iris.csv", "species"), ("diabetes.csv", "progression"), ("digits.npz", "digit")])
def test_the_target_is_the_one_a_person_would_name(name: str, target: str) -> None:
    found = describe_data(EXAMPLES / name)
    chosen = choose_target(found, None)
    assert chosen is not None
    assert chosen.name == target
    other = choose_target(found, found.columns[0].name)
    assert other is found.columns[0]
    assert f"target {target}" in starter(found, name, chosen)


def test_json_has_the_same_facts(tmp_path: Path) -> None:
    said = json.loads(run("data", table(tmp_path, "csv"), "--json").output)
    assert (said["rows"], said["target"]) == (ROWS, "kind")
    assert [column["name"] for column in said["columns"]] == list(frame())


def test_data_does_nothing_to_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("na\x1b[31mme,kind\n" + "1,\x1b]0;x\x07y\n2,z\n" * 30, encoding="utf-8")
    said = run("data", tmp_path / "t.csv").output
    assert "\x1b" not in said.partition("A file to begin with")[0]
    assert r"\x1b" in said


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("a,b\n1,2\n", ["--target", "c"], "has no column `c`"),
        ("a,b\n1,2\n3,4\n", ["--target", "b", "-o", "nowhere/m.nn"], "the folder"),
        ('a,b\n1,"2\n', [], "quote"),
        ("a\n1\n2\n", ["-o", "m.nn"], "`--target`"),
    ],
)
def test_mistakes_are_told_in_one_line(content: str, arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    said = run("data", tmp_path / "t.csv", *[tmp_path / a if a.endswith(".nn") else a for a in arguments])
    assert said.exit_code in (1, 2)
    assert message in said.output
    assert "Traceback" not in said.output
