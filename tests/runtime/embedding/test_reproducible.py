"""The same model gives the same files to the byte, in whatever process and folder: what is built can be checked by building it again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from embedded import exported
from embedded_models import EXAMPLES
from repository import ROOT

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from embedded_models import EXAMPLES
import ranvier as rv

name, folder, multiversion = sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "True"
example = EXAMPLES[name]
file = folder / "model.nn"
file.write_text(example.text)
model = rv.compile(file, threads=int(sys.argv[5]), **example.settings)
if not model.fitted:
    model.fit(example.rows(64), epochs=1)
model.export(folder / "build", name="net", train=True, multiversion=multiversion, weights=folder / "net.weights" if multiversion else None)
"""


def built(folder: Path, name: str, hashes: str, multiversion: bool, threads: int) -> dict[str, bytes]:
    """The files of a library that another process has built, from a file and into a folder of its own."""
    folder.mkdir(parents=True)
    environment = {**os.environ, "PYTHONHASHSEED": hashes, "RANVIER_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-c", SCRIPT, str(ROOT / "tests" / "support"), name, str(folder), str(multiversion), str(threads)]
    subprocess.run(command, check=True, cwd=folder, env=environment, timeout=300)
    return {file.name: file.read_bytes() for file in [*(folder / "build").iterdir(), *folder.glob("*.weights")]}


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("multiversion", [False, True])
def test_the_same_again_is_the_same_bytes(name: str, multiversion: bool, tmp_path: Path) -> None:
    first = built(tmp_path / "one", name, "1", multiversion, 1)
    second = built(tmp_path / "another" / "place", name, "4242", multiversion, 2)
    assert set(first) == {"libnet.so", "net.o", "net.h", "net.json", "net.md", *(["net.weights"] if multiversion else [])}
    assert first == second
    for file, content in first.items():
        assert str(tmp_path).encode() not in content, file
        assert str(Path(sys.prefix)).encode() not in content, file


def test_other_values_are_another_library(tmp_path: Path) -> None:
    """A change of one number is seen in object and manifest, and nowhere else."""
    model = EXAMPLES["cnn"].model()
    exported(model, tmp_path / "one")
    label = next(iter(model.params))
    model.params[label] = model.params[label] + 1
    exported(model, tmp_path / "two")
    for name, same in {"net.o": False, "net.json": False, "net.h": True, "net.md": True}.items():
        assert ((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()) is same, name
