"""Shares of the scores' variance: what matters is named, what does not is not.

If these fail, a person searches on along a setting that decides nothing.
"""

from __future__ import annotations

import numpy as np
import pytest
from ranvier.compiler.frontend.parser import parse
from ranvier.compiler.frontend.search import read_tune
from ranvier.compiler.source import Source
from ranvier.runtime.tuning.importance import importances
from ranvier.runtime.tuning.study import Study, Trial

BLOCK = "tune {\na in log(1e-4, 1)\nb in uniform(0, 1)\nkind in [relu, tanh, gelu]\nsame in [1]\n}"


def study(score: str, count: int, seed: int) -> Study:
    random = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        settings = {
            "a": float(10 ** random.uniform(-4, 0)),
            "b": float(random.uniform()),
            "kind": str(random.choice(["relu", "tanh", "gelu"])),
        }
        values = {"a": np.log10(settings["a"]), "b": settings["b"], "kind": {"relu": 0.0, "tanh": 1.0, "gelu": 0.2}[settings["kind"]]}
        noise = 0.02 * random.normal()
        loss = {"a": values["a"], "kind": values["kind"], "none": 0.0, "both": values["a"] / 4 + values["kind"]}[score] + noise
        trials.append(Trial(number, {**settings, "same": 1}, ({"loss": float(loss)},)))
    return Study(read_tune(parse(Source("t.nn", BLOCK)).blocks[0]), trials)


@pytest.mark.parametrize("seed", range(4))
def test_what_decides_stands_out(seed: int) -> None:
    alone = importances(study("a", 60, seed))
    assert alone["a"] > 0.8
    assert max(alone["b"], alone["kind"]) < 0.2
    kinds = importances(study("kind", 60, seed))
    assert kinds["kind"] > 0.8 > 0.2 > max(kinds["a"], kinds["b"])
    both = importances(study("both", 200, seed))
    assert min(both["a"], both["kind"]) > 0.1 > both["b"]


def test_of_noise_little_is_made() -> None:
    found = [importances(study("none", 30, seed)) for seed in range(40)]
    for name in ("a", "b", "kind"):
        assert np.mean([shares[name] for shares in found]) < 0.06
    assert all(shares["same"] == 0 for shares in found)


def test_a_few_trials_say_nothing() -> None:
    assert importances(study("a", 11, 0)) == {}


def test_one_value_for_all_is_explained_by_nothing() -> None:
    flat = study("none", 20, 0)
    equal = Study(flat.settings, [Trial(t.number, t.settings, ({"loss": 1.0},)) for t in flat.trials])
    assert set(importances(equal).values()) == {0.0}
