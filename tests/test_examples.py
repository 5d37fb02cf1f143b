"""Every example trains on the data that it comes with: else the first thing that a person runs fails."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from ranvier.runtime.cli.application import application
from repository import EXAMPLES

import ranvier as rv

FILES = sorted(EXAMPLES.glob("*.nn"), key=lambda file: file.name)
LEAST = {"digits": 0.6, "fashion": 0.6, "resnet20": 0.5}
"""Accuracy after two epochs: far above the 0.1 of guessing, far below that of a whole training."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_learns_and_is_read_again(file: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    run = CliRunner().invoke(application, ["train", str(file), "-o", str(model), "--set", "train.epochs=2"])
    assert run.exit_code == 0, run.output
    test = next(line for line in run.output.splitlines() if line.startswith("test ("))
    assert float(test.rpartition("accuracy")[2]) > LEAST[file.stem], test
    loaded = rv.load(model)
    shape = next(iter(loaded.fields.values())).shape
    found = loaded.predict(np.zeros((3, *shape), np.uint8))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_examples_are_written_as_the_formatter_writes_them() -> None:
    run = CliRunner().invoke(application, ["fmt", "--check", *map(str, FILES)])
    assert run.exit_code == 0, run.output
