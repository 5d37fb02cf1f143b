"""Predictions in every form, the bench's report, and the folder to begin in."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from click.testing import Result
from ranvier.compiler.kernels.cost import cost
from ranvier.runtime.measuring import measure
from ranvier.runtime.model import Model
from ranvier.runtime.opening import open_blueprint

Run = Callable[..., Result]


def test_without_output_the_first_rows_are_shown(run: Run, trained: Any) -> None:
    result = run("predict", trained.model, "--data", trained.data)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["row", "class", "prediction"]
    assert len(lines) == 12
    assert "1,787 more rows" in lines[-1]


def test_an_array_alone_is_the_only_input(run: Run, trained: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.load(trained.data)["image"][:3])
    result = run("predict", trained.model, "--data", tmp_path / "images.npy")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 4


def test_predictions_go_to_known_kinds_of_files_only(run: Run, trained: Any, tmp_path: Path) -> None:
    assert run("predict", trained.model, "--data", trained.data, "-o", tmp_path / "p.xlsx").exit_code == 2


def test_wrong_data_is_one_message(run: Run, trained: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=np.zeros((3, 8, 7, 1), np.uint8), digit=np.zeros(3, np.int32))
    result = run("eval", trained.model, "--data", tmp_path / "x.npz")
    assert result.exit_code == 1
    assert "`image` has shape [rows, 8, 7, 1], the model declares [rows, 8, 8, 1]" in result.stderr


def test_a_damaged_model_is_one_message(run: Run, trained: Any, tmp_path: Path) -> None:
    damaged = bytearray(trained.model.read_bytes())
    damaged[-3] ^= 1
    (tmp_path / "m.safetensors").write_bytes(damaged)
    result = run("eval", tmp_path / "m.safetensors", "--data", trained.data)
    assert result.exit_code == 1
    assert "damaged" in result.stderr
    assert "Traceback" not in result.output


def test_bench_times_every_kernel_beside_its_line(run: Run, trained: Any) -> None:
    for entry in ("train", "predict"):
        result = run("bench", trained.source, "--entry", entry, "--threads", 1, "--set", "hidden=32")
        assert result.exit_code == 0, result.output
        assert re.search(r"peak [\d.]+ GFLOP/s", result.stdout)
        rows = [line for line in result.stdout.splitlines() if "digits.nn:" in line]
        assert len(rows) >= 4
        assert all(re.match(r" *[\d.,]+ us +\d+% ", row) for row in rows)
        assert "rows/s" in result.stdout.splitlines()[-1]


def test_bench_counts_a_kernel_as_often_as_it_runs(run: Run, recurrent: Path) -> None:
    result = run("bench", recurrent, "--threads", 1)
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if "recurrent.nn:" in line]
    assert sum(" x7 " in row for row in rows) >= 4
    blueprint = open_blueprint(recurrent)
    found = measure(Model(blueprint, threads=1), "train")
    program = blueprint.program("train")
    assert [k.launch for k in found.kernels] == list(range(len(program.launches)))
    for each, launch in zip(found.kernels, program.launches, strict=True):
        once = cost(launch.kernel, 4)
        assert each.turns == (7 if launch.loop else 1)
        assert (each.cost.flops, each.cost.bytes) == (once.flops * each.turns, once.bytes * each.turns)
    steps = re.findall(r"\n *[\d.,]+ us +\d+%(?: +x7)? +([\d,]+) ", result.stdout)
    assert [int(step.replace(",", "")) for step in steps] == [k.cost.flops for k in found.kernels]


def test_new_makes_a_folder_that_runs(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "first"
    assert run("new", folder).exit_code == 0
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == ["README.md", "data/digits.npz", "digits.nn"]
    assert run("check", folder / "digits.nn").exit_code == 0
    result = run("train", folder / "digits.nn", "-o", folder / "m.safetensors", "--set", "train.epochs=1", "--set", "hidden=16")
    assert result.exit_code == 0, result.output


def test_new_refuses_a_folder_in_use(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = run("new", tmp_path)
    assert result.exit_code == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_rows_without_targets_in_any_order_are_enough(run: Run, tmp_path: Path) -> None:
    """Whether the targets' columns have other names or not; and rows with more columns than the model reads."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40), "kind": np.array(["no", "yes"])[np.arange(40) % 2]})
    table.to_csv(tmp_path / "all.csv", index=False)
    table.assign(more="x")[["more", "b", "a"]].to_csv(tmp_path / "new.csv", index=False)
    table[["b"]].to_csv(tmp_path / "less.csv", index=False)
    (tmp_path / "arrays").mkdir()
    for name in ("a", "b"):
        np.save(tmp_path / "arrays" / f"{name}.npy", table[name])
    (tmp_path / "m.nn").write_text(
        "model m() {\ninput x: f32[2]\ntarget y: class[2]\nz = x -> standardize -> dense(2)\npredict softmax(z)\n"
        "loss cross_entropy(z, y)\n}\n"
        'data { source = "all.csv" ; x = columns(a, b) ; y = column(kind) ; test = 20% }\ntrain { epochs = 1 }\n'
    )
    model = tmp_path / "m.safetensors"
    assert run("train", tmp_path / "m.nn", "-o", model).exit_code == 0
    found = []
    for name in ("all.csv", "new.csv", "arrays"):
        result = run("predict", model, "--data", tmp_path / name, "-o", tmp_path / "p.npz")
        assert result.exit_code == 0, result.output
        found.append(np.load(tmp_path / "p.npz")["prediction"])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    refused = run("predict", model, "--data", tmp_path / "less.csv")
    assert refused.exit_code == 1
    assert "has no column `a` for `x`; it has `b`" in refused.output
    assert "has no column `kind` for `y`" in run("eval", model, "--data", tmp_path / "new.csv").output
    (tmp_path / "one.png").write_bytes(b"")
    assert "images are read from a folder of them" in run("predict", model, "--data", tmp_path / "one.png").output
