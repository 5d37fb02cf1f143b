"""Models compiled in Python for a CPU that is named: they run where this machine can run them, and are written for it where it cannot."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from embedded import need, run
from embedded_models import EXAMPLES, LSTM, MLP
from ranvier.compiler.ahead import levels
from ranvier.compiler.ahead.levels import FEATURES, NAMES
from ranvier.compiler.backend.target import host
from ranvier.runtime import linking

import ranvier as rv


def runs_here(name: str) -> bool:
    return name == "native" or not levels.lacking(levels.level(name).target)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("target", [each for each in NAMES if runs_here(each)])
def test_a_model_runs_as_its_target_would(name: str, target: str, tmp_path: Path) -> None:
    """What it predicts and learns here is what its library does, to the bit, and but for the order of sums what this machine does."""
    example = EXAMPLES[name]
    model, own = example.model(target=target), example.model()
    rows = example.rows(model.capacity)
    given = {k: v for k, v in rows.items() if k not in model.targets}
    assert np.allclose(model.predict(given), own.predict(given), rtol=1e-4, atol=1e-5)
    files = model.export(tmp_path, name="net", train=True)
    assert json.loads((tmp_path / "net.json").read_text())["levels"][0]["name"] == target
    library = rv.load(files[0])
    assert np.array_equal(library.predict(given), model.predict(given))
    assert [library.step(rows) for _ in range(3)] == [model.step(rows) for _ in range(3)]


@pytest.mark.parametrize(
    "use",
    [
        lambda model: model.predict(np.zeros((1, 6), np.float32)),
        lambda model: model.step({"x": np.zeros((2, 6)), "y": np.zeros((2, 2))}),
        lambda model: model.gradients({"x": np.zeros((2, 6)), "y": np.zeros((2, 2))}),
        lambda model: model.fit({"x": np.zeros((8, 6)), "y": np.zeros((8, 2))}),
        lambda model: model.evaluate({"x": np.zeros((2, 6)), "y": np.zeros((2, 2))}),
    ],
)
def test_a_model_of_another_machine_is_not_run(use: object, tmp_path: Path) -> None:
    need("readelf")
    model = rv.compile(PLAIN, threads=1, target="aarch64-linux")
    assert callable(use)
    with pytest.raises(
        rv.RanvierError, match=r"compiled for aarch64-linux, and this machine is .*, not aarch64 Linux: write it as a library"
    ):
        use(model)
    files = export_quietly(model, tmp_path)
    assert "AArch64" in run(["readelf", "-h", next(file for file in files if file.suffix == ".o")])
    assert export_quietly(model, tmp_path / "own", target="native")[0].name == "libplain.so"


def export_quietly(model: rv.Model, folder: Path, **options: str) -> tuple[Path, ...]:
    """The files of a library, be there a linker for its machine or not."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rv.RanvierWarning)
        return model.export(folder, **options)  # type: ignore[arg-type]


PLAIN = """
model plain() {
    input x: f32[6]
    target y: f32[2]
    z = x -> dense(2)
    predict z
    loss mse(z, y)
}
"""


def test_a_model_of_a_better_processor_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dict.fromkeys(FEATURES["x86-64-v3"].split(), True)
    monkeypatch.setattr(levels, "own_features", lambda: found)
    model = rv.compile(PLAIN, threads=1, target="x86-64-v4")
    if host().triple.startswith("x86_64"):
        with pytest.raises(
            rv.RanvierError, match=r"for x86-64-v4, and this processor lacks avx512f, avx512dq, avx512cd, avx512bw, avx512vl"
        ):
            model.predict(np.zeros((2, 6), np.float32))
    assert (tmp_path / "plain.o") in model.export(tmp_path)


def test_features_are_spelled_as_llvm_spells_them() -> None:
    if host().triple.startswith("x86_64"):
        assert set(" ".join(FEATURES.values()).split()) <= set(levels.own_features())


def test_a_library_is_named_after_its_model(tmp_path: Path) -> None:
    files = rv.compile(LSTM, threads=1, T=7).export(tmp_path, rows=3)
    assert [file.name for file in files] == ["libtagger.so", "tagger.o", "tagger.h", "tagger.json", "tagger.md"]
    assert rv.load(files[0]).capacity == 3


def test_a_missing_linker_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking.shutil, "which", lambda name: None)
    monkeypatch.setattr(linking.importlib.util, "find_spec", lambda name: None)
    with pytest.warns(rv.RanvierWarning, match=r"no shared library: there is no linker .*install a C compiler"):
        files = EXAMPLES["mlp"].model().export(tmp_path)
    assert {file.suffix for file in files} == {".o", ".h", ".json", ".md"}


def test_there_is_no_such_target() -> None:
    with pytest.raises(rv.RanvierError, match=re.escape("there is no target `z80`: there are native, x86-64")):
        rv.compile(MLP, target="z80")
