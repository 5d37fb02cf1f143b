"""Every example trains on the data that it comes with: else the first thing that a person runs fails."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from ranvier.runtime.cli.application import application
from repository import EXAMPLES

import ranvier as rv

FILES = sorted(EXAMPLES.glob("*.nn"), key=lambda file: file.name)
LEAST = {"digits": 0.6, "fashion": 0.6, "resnet20": 0.5, "vowels": 0.5, "mycell": 0.5, "chars": 0.2, "iris": 0.6, "wine": 0.6}
"""Accuracy after two epochs: far above guessing, far below that of a whole training."""
EPOCHS = {"mycell": 6, "vowels": 10, "iris": 10, "diabetes": 20, "resnet20": 1}
"""Of the examples that need more than two, or for which one says enough."""
MOST = {"sunspots": ("network", 30.0), "diabetes": ("rmse", 65.0)}
"""A figure after two epochs that is to be small."""


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_learns_and_is_read_again(file: Path, tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    run = CliRunner().invoke(application, ["train", str(file), "-o", str(model), "--set", f"train.epochs={EPOCHS.get(file.stem, 2)}"])
    assert run.exit_code == 0, run.output
    test = next(line for line in run.output.splitlines() if line.startswith("test ("))
    if file.stem in MOST:
        name, most = MOST[file.stem]
        assert float(test.partition(f"  {name} ")[2].split()[0]) < most, test
    else:
        assert float(test.rpartition("accuracy")[2]) > LEAST[file.stem], test
    loaded = rv.load(model)
    inputs = {name: field for name, field in loaded.fields.items() if name not in loaded.blueprint.inference.targets}
    found = loaded.predict({name: np.ones((3, *field.shape), field.numpy) for name, field in inputs.items()})
    assert found.shape[0] == 3
    assert np.isfinite(found).all()
    if file.stem in LEAST and found.ndim == 2:
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_examples_are_written_as_the_formatter_writes_them() -> None:
    run = CliRunner().invoke(application, ["fmt", "--check", *map(str, FILES)])
    assert run.exit_code == 0, run.output
