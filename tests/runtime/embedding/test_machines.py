"""Libraries for another machine, run by an emulator: the same numbers but for the order of sums.

The tolerance is 1e-5 of a number, and 1e-6 near zero: the width of vectors decides the order of sums, and nothing else differs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embedded import Caller, exported, need, run
from embedded_models import EXAMPLES
from ranvier.runtime.export import export

RELATIVE, ABSOLUTE = 1e-5, 1e-6
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
TARGET = "aarch64-linux"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_object_for_another_machine(name: str, tmp_path: Path) -> None:
    need("readelf")
    export(EXAMPLES[name].model(), tmp_path, name="net", target=TARGET, train=True)
    assert "AArch64" in run(["readelf", "-h", tmp_path / "net.o"])


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("shared", [False, True])
def test_another_machine_predicts_and_learns_the_same(name: str, shared: bool, tmp_path: Path) -> None:
    need(COMPILER, EMULATOR)
    example = EXAMPLES[name]
    model = example.model()
    exported(model, tmp_path, target=TARGET, train=True)
    rows = example.rows(model.capacity)
    given = {k: v for k, v in rows.items() if k not in model.targets}
    caller = Caller(tmp_path)
    caller.init()
    caller.predict(given, "before")
    for _ in range(3):
        caller.step(rows)
    caller.parameters("parameter")
    (tmp_path / "main.c").write_text(caller.source())
    linked = [f"-L{tmp_path}", "-lnet", f"-Wl,-rpath,{tmp_path}"] if shared else ["-static", tmp_path / "net.o"]
    run([COMPILER, tmp_path / "main.c", "-o", tmp_path / "main", *linked])
    printed = run([EMULATOR, "-L", "/usr/aarch64-linux-gnu", tmp_path / "main"])
    wanted = model.predict(given)
    assert np.allclose(caller.read("before", wanted), wanted, rtol=RELATIVE, atol=ABSOLUTE)
    losses = [model.step(rows) for _ in range(3)]
    assert np.allclose([float.fromhex(line) for line in printed.split()], losses, rtol=RELATIVE, atol=ABSOLUTE)
    for number, value in enumerate(model.params.values()):
        assert np.allclose(caller.read(f"parameter-{number}", value), value, rtol=10 * RELATIVE, atol=10 * ABSOLUTE)
