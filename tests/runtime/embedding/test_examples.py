"""The programs of `examples/embed`, built by the two lines that each of them names: what a user copies works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from embedded import STRICT, need, run
from repository import ROOT

import ranvier as rv

FOLDER = ROOT / "examples" / "embed"
DIGITS = np.load(ROOT / "examples" / "data" / "digits.npz")


def built(source: str, folder: Path) -> Path:
    """The program of an example, by its own lines and with all warnings as errors."""
    shutil.copy(FOLDER / source, folder)
    compile_line, build_line = re.findall(r"^       ((?:ranvier|cc|c\+\+) .*)$", (FOLDER / source).read_text(), re.MULTILINE)
    run([sys.executable, "-m", "ranvier", *shlex.split(compile_line)[1:]], cwd=folder)
    compiler, *options = shlex.split(build_line)
    need(compiler)
    run([compiler, *STRICT, *options], cwd=folder)
    return folder / options[-1]


@pytest.mark.parametrize("source", ["predict.c", "predict.cpp"])
def test_digits_are_predicted_from_raw_features(source: str, tmp_path: Path) -> None:
    model = rv.compile(ROOT / "examples" / "digits.nn", threads=1)
    model.fit({"image": DIGITS["image"], "digit": DIGITS["digit"]}, epochs=2)
    model.save(tmp_path / "digits.safetensors")
    program, images = built(source, tmp_path), DIGITS["image"][:150]
    printed = run([program], input="\n".join(" ".join(map(str, image.ravel())) for image in images))
    found = np.array([line.split() for line in printed.splitlines()], np.float64)
    wanted = model.predict(images)
    assert np.array_equal(found[:, 0], wanted.argmax(1))
    assert np.allclose(found[:, 1], wanted.max(1), rtol=0, atol=5.1e-5)


def test_digits_are_learned_in_c(tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "digits.nn", tmp_path)
    program = built("train.c", tmp_path)
    rows = np.c_[DIGITS["image"].reshape(-1, 64), DIGITS["digit"]]
    np.savetxt(tmp_path / "digits.txt", rows, "%d")
    first = run([program, "digits.txt", "8", "digits.state"], cwd=tmp_path).splitlines()
    losses = [float(re.findall(r"loss ([\d.]+)", line)[0]) for line in first]
    assert losses[-1] < losses[0] / 5
    assert float(first[-1].rpartition(" ")[2]) > 0.95
    more = run([program, "digits.txt", "1", "digits.state"], cwd=tmp_path)
    assert float(re.findall(r"loss ([\d.]+)", more)[0]) < losses[2]
    state = (tmp_path / "digits.state").read_bytes()
    (tmp_path / "digits.state").write_bytes(state[:-9])
    done = subprocess.run([program, "digits.txt", "1", "digits.state"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "a buffer has not the size that its contents need\n")
