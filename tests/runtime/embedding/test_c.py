"""Libraries called from C and C++, with guard pages round every buffer: the same bits as in Python, predicting and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embedded import Caller, build, exported, run
from embedded_models import EXAMPLES
from ranvier.runtime.model import Model

STEPS = 3


def inputs(model: Model, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value for name, value in rows.items() if name not in model.targets}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(("cpp", "shared"), [(False, False), (True, True)])
def test_predictions_and_steps_are_those_of_python(name: str, cpp: bool, shared: bool, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    model = example.model()
    exported(model, tmp_path, train=True)
    caller = Caller(tmp_path)
    caller.init()
    batches = [example.rows(count, seed) for seed, count in enumerate((1, 3, model.capacity))]
    for number, rows in enumerate(batches):
        caller.predict(inputs(model, rows), f"before-{number}")
    for rows in batches[-1:] * STEPS:
        caller.step(rows)
    caller.parameters("parameter")
    caller.predict(inputs(model, batches[0]), "after")
    printed = run([build(tmp_path, caller.source(), cpp=cpp, shared=shared)])
    for number, rows in enumerate(batches):
        wanted = model.predict(inputs(model, rows))
        assert np.array_equal(caller.read(f"before-{number}", wanted), wanted)
    assert [float.fromhex(line) for line in printed.split()] == [model.step(batches[-1]) for _ in range(STEPS)]
    for number, value in enumerate(model.params.values()):
        assert np.array_equal(caller.read(f"parameter-{number}", value), value)
    wanted = model.predict(inputs(model, batches[0]))
    assert np.array_equal(caller.read("after", wanted), wanted)
