"""What docs/data.md shows is so: every file, command and snippet on it runs, in the order of the page, and its errors are those shown."""

from __future__ import annotations

import gzip
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pages import Page, blocks
from PIL import Image
from ranvier.compiler.frontend.library import standard_sources
from ranvier.compiler.frontend.parser import parse
from repository import ROOT

PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page speaks of, as small as can be."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    write_flowers(rng)
    write_arrays(rng)
    write_images(rng)
    write_sequences(rng)
    write_houses(rng)
    return tmp_path


def write_flowers(rng: np.random.Generator) -> None:
    table = flowers(rng, 90)
    table.to_csv("flowers.csv", index=False)
    table.to_csv("flowers.csv.gz", index=False)
    table.to_parquet("flowers.parquet", index=False)
    table.rename(columns={"species": "name"}).to_csv("semicolons.csv", index=False, sep=";")
    table.drop(columns="species").iloc[:, ::-1].to_csv("new.csv", index=False)
    flowers(rng, 30).to_csv("later.csv", index=False)
    Path("parts").mkdir()
    for part in ("train", "validation", "test"):
        flowers(rng, 30).to_csv(f"parts/{part}.csv", index=False)
    gaps = table.copy()
    gaps.loc[3, "length"], gaps.loc[7, "species"] = np.nan, None
    gaps.to_csv("gaps.csv", index=False)
    table.assign(length=gaps["length"]).to_csv("holes.csv", index=False)
    table.assign(species=table["species"].where(table.index != 5, "dandelion")).to_csv("unknown.csv", index=False)
    Path("uneven.csv").write_text(Path("flowers.csv").read_text().replace("\n", ",9\n", 5).replace(",9", "", 4))


def flowers(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    kind = np.arange(rows) % 3
    table = pd.DataFrame({"length": (rng.normal(size=rows) + 3 * kind).round(2), "width": rng.normal(size=rows).round(2)})
    table["garden"] = np.array(["Kew", "Wisley", "Hyde Hall"])[rng.integers(0, 3, rows)]
    table["plant"] = rng.integers(0, 20, rows)
    table["day"] = pd.date_range("2024-01-01", periods=rows).strftime("%Y-%m-%d")
    table["seen"] = rng.integers(1, 4, rows)
    table["species"] = np.array(["setosa", "iris", "virginica"])[kind]
    return table


def write_arrays(rng: np.random.Generator) -> None:
    signal, grade = rng.normal(size=(120, 12)), rng.normal(size=120)
    Path("scans").mkdir()
    np.save("scans/signal.npy", signal)
    np.save("scans/grade.npy", grade)
    np.savez("scans.npz", signal=signal, grade=grade)


def write_images(rng: np.random.Generator) -> None:
    for kind, brightest, suffix in (("cat", 100, "png"), ("dog", 255, "jpg")):
        Path("pets", kind).mkdir(parents=True)
        for number in range(12):
            side = 8 + number % 2
            Image.fromarray(rng.integers(0, brightest, (side, side, 3)).astype(np.uint8)).save(f"pets/{kind}/{number}.{suffix}")
    Path("pets", "cat", "notes.txt").write_text("not an image")
    Path("found").mkdir()
    Image.fromarray(rng.integers(0, 255, (9, 11, 3)).astype(np.uint8)).save("found/one.png")
    Path("mnist").mkdir()
    for part, rows in (("train", 40), ("t10k", 20)):
        write_idx(f"mnist/{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (rows, 6, 6)))
        write_idx(f"mnist/{part}-labels-idx1-ubyte.gz", np.arange(rows) % 10)


def write_idx(path: str, array: np.ndarray[Any, Any]) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", size) for size in array.shape)
    with gzip.open(path, "wb") as stream:
        stream.write(head + array.astype(np.uint8).tobytes())


def write_sequences(rng: np.random.Generator) -> None:
    speaker = np.arange(40) % 2
    frames, lengths = rng.normal(size=(40, 9, 3)) + speaker[:, None, None], rng.integers(1, 10, 40)
    np.savez("utterances.npz", frames=frames, frames_length=lengths, speaker=speaker)
    hours = pd.date_range("2024-01-01", periods=120, freq="h").strftime("%Y-%m-%dT%H:%M")
    demand = pd.DataFrame({"hour": hours, "megawatts": np.sin(np.arange(120) / 4).round(4)})
    demand.sample(frac=1, random_state=0).to_csv("demand.csv", index=False)


def write_houses(rng: np.random.Generator) -> None:
    rows = 90
    houses = pd.DataFrame(
        {"rooms": rng.integers(1, 8, rows), "area": rng.uniform(30, 200, rows).round(1), "age": rng.integers(0, 120, rows)}
    )
    houses["town"] = np.array(["Bath", "York", "Ely"])[rng.integers(0, 3, rows)]
    houses["heating"] = np.array(["gas", "wood"])[rng.integers(0, 2, rows)]
    houses["street"] = rng.integers(10_000, 99_999, rows)
    houses["price"] = 1000 * houses["area"] + 5000 * houses["rooms"]
    houses.to_csv("houses.csv", index=False)


def test_the_page_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = Page(PAGE, without={"torch"})
    page.carry_out()
    assert {"nn", "python", "console"} <= set(page.done)
    assert page.names["model"].vocabularies["kind"] == ["iris", "setosa", "virginica"]
    assert "`sizes` has shape [rows, 3], the model declares [rows, 2]\n" in capsys.readouterr().out
    assert pd.read_csv("said.csv").columns.tolist()[-2:] == ["class", "label"]


def test_tensors(folder: Path) -> None:
    pytest.importorskip("torch")
    arrays = PAGE[PAGE.index("## Arrays") : PAGE.index("### Larger")]
    Path("scans.nn").write_text(blocks(arrays, "nn")[0])
    names: dict[str, Any] = {}
    exec("import ranvier as rv", names)
    exec(next(text for text in blocks(arrays, "python") if "import torch" in text), names)
    assert names["model"].history


def test_every_step_of_preprocessing_is_listed_with_what_it_learns() -> None:
    source = next(source for name, source in standard_sources().items() if name.endswith("preprocessing.nn"))
    steps = {d.name.id: "    fit " in d.span.text for d in parse(source).definitions if not d.name.id.startswith("principal")}
    listed = dict(re.findall(r"^\| `(\w+)[^|]*\|[^|]*\| *([^|]*?) *\|$", PAGE, re.MULTILINE))
    assert {name: bool(learns) for name, learns in listed.items()} == steps | {"log1p": False}
