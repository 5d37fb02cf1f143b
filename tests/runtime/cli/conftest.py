"""The command line in this process, and a model trained once for all verbs that need one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ranvier.runtime.cli.application import application
from repository import EXAMPLES

Run = Callable[..., Result]

RECURRENT = """cell mine(units)(x: [inputs]) {
    param W: [inputs, units] ~ glorot_uniform
    param U: [units, units] ~ orthogonal
    state h: [units] = 0
    next h = tanh(x @ W + h @ U)
    return next h
}
model recurrent() {
    input x: f32[7, 4]
    input h0: f32[5]
    target y: class[3]
    seen = x -> mine(5)
    above = lstm(5)
    logits = (above(seen, h = h0) -> last) -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, y)
}
train { batch = 4 }
"""


@dataclass(frozen=True)
class Trained:
    """A folder with a model, its data, and the model trained by the command line; what it printed."""

    folder: Path
    source: Path
    data: Path
    model: Path
    printed: str


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(application, [str(a) for a in arguments])


@pytest.fixture(scope="session")
def run() -> Run:
    return run_command


@pytest.fixture(scope="session")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recurrent") / "recurrent.nn"
    file.write_text(RECURRENT)
    return file


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("digits")
    shutil.copy(EXAMPLES / "digits.nn", folder)
    (folder / "data").mkdir()
    shutil.copy(EXAMPLES / "data" / "digits.npz", folder / "data")
    source, model = folder / "digits.nn", folder / "trained.safetensors"
    result = run_command("train", source, "-o", model, "--set", "hidden=16", "--set", "train.epochs=2", "--threads", 1)
    assert result.exit_code == 0, result.output
    return Trained(folder, source, folder / "data" / "digits.npz", model, result.stdout)
