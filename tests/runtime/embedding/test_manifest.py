"""The manifest of a library says what is so: what goes in and out, memory, arithmetic, CPU levels, and what it was made from."""

from __future__ import annotations

import ctypes
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import exported
from embedded_models import EXAMPLES
from ranvier.runtime.model import Model

import ranvier as rv

PLAIN = """
model plain(width = 2) {
    input x: f32[6]
    target y: f32[width]
    z = x -> dense(width)
    predict z
    loss mse(z, y)
}
train { batch = 4 ; optimizer = gd(lr = 0.1) }
"""


def manifest_of(model: Model, folder: Path, **options: Any) -> dict[str, Any]:
    exported(model, folder, **options)
    found: dict[str, Any] = json.loads((folder / "net.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", EXAMPLES)
def test_inputs_and_outputs_are_those_of_the_model(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    model = example.model()
    found = manifest_of(model, tmp_path, train=True)
    fields = {each["name"]: each for each in (*found["inputs"], *found["targets"])}
    assert list(fields) == found["fields"] == list(model.fields)
    for field, about in fields.items():
        own = model.fields[field]
        assert (about["type"], tuple(about["shape"])) == (own.dtype.name, own.shape)
        assert about["bytes"] == own.dtype.bytes * int(np.prod(own.shape))
        assert about.get("range") == (list(model.blueprint.limits[field]) if field in model.blueprint.limits else None)
        assert about.get("length") == own.length
        assert about.get("classes") == own.classes
    (output,) = found["outputs"]
    rows = example.rows(3)
    wanted = model.predict({k: v for k, v in rows.items() if k not in model.targets})
    assert tuple(output["shape"]) == wanted.shape[1:]
    assert output["bytes"] * 3 == wanted.nbytes
    assert {each["name"]: tuple(each["shape"]) for each in found["parameters"]} == {k: v.shape for k, v in model.params.items()}
    assert found["capacity"] == model.capacity


@pytest.mark.parametrize("options", [{}, {"train": True}, {"train": True, "threads": 2}, {"multiversion": True}])
def test_memory_is_what_the_library_asks_for(options: dict[str, Any], tmp_path: Path) -> None:
    found = manifest_of(EXAMPLES["cnn"].model(), tmp_path, weights=tmp_path / "weights", **options)
    memory, code = found["memory"], ctypes.CDLL(str(tmp_path / "libnet.so"))
    for threads in (0, 1, 2, 7):
        asked = ctypes.c_size_t()
        assert code.net_workspace_bytes(threads, ctypes.byref(asked)) == 0
        assert asked.value == memory["workspace_bytes"] + max(threads, 1) * memory["bytes_per_thread"]
    assert memory["weights_bytes"] == (tmp_path / "weights").stat().st_size
    assert found["weights"]["sha256"] == hashlib.sha256((tmp_path / "weights").read_bytes()).hexdigest()
    if options.get("train"):
        assert memory["state_bytes"] == len(rv.load(tmp_path / "libnet.so", weights=tmp_path / "weights").save_state())


def test_arithmetic_is_counted_for_a_full_call(tmp_path: Path) -> None:
    """A product of 6 by 2 and a sum for each of the rows."""
    found = manifest_of(rv.compile(PLAIN, threads=1), tmp_path, train=True)
    assert found["flops"]["predict"] == 4 * 2 * (2 * 6 + 1)
    assert found["flops"]["train"] > 2 * found["flops"]["predict"]
    assert manifest_of(rv.compile(PLAIN, threads=1), tmp_path, rows=40)["flops"]["predict"] == 10 * found["flops"]["predict"]


def test_sources_settings_and_versions_are_named(tmp_path: Path) -> None:
    first = manifest_of(rv.compile(PLAIN, threads=1), tmp_path)
    wider = manifest_of(rv.compile(PLAIN, threads=1, width=3, batch=8), tmp_path)
    other = manifest_of(rv.compile(PLAIN + "# the same\n", threads=1), tmp_path)
    assert re.fullmatch("[0-9a-f]{64}", first["source_sha256"])
    assert first["source_sha256"] == wider["source_sha256"] != other["source_sha256"]
    assert (first["settings"], wider["settings"]) == ({}, {"width": "3", "train.batch": "8"})
    assert (first["model"], first["real"], first["ranvier"]) == ("plain", "f32", rv.__version__)


def test_levels_say_what_their_code_uses(tmp_path: Path) -> None:
    found = manifest_of(EXAMPLES["mlp"].model(), tmp_path, multiversion=True)
    assert [(each["name"], each["vector_bits"]) for each in found["levels"]] == [("x86-64", 128), ("x86-64-v3", 256), ("x86-64-v4", 512)]
    assert all(each["name"] in each["code"] for each in found["levels"])


def test_the_library_carries_it(tmp_path: Path) -> None:
    found = manifest_of(EXAMPLES["mlp"].model(), tmp_path)
    code, text, size = ctypes.CDLL(str(tmp_path / "libnet.so")), ctypes.c_char_p(), ctypes.c_size_t()
    assert code.net_manifest(ctypes.byref(text), ctypes.byref(size)) == 0
    assert text.value is not None
    assert len(text.value) == size.value
    assert json.loads(text.value) == found == rv.load(tmp_path / "libnet.so").manifest
