"""Libraries under valgrind and beside AddressSanitizer: nothing is read before it is written, or outside of what the caller gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from embedded import Caller, build, exported, need, run
from embedded_models import EXAMPLES
from ranvier.compiler.ahead.levels import lacking, level


def caller_of(name: str, folder: Path, target: str) -> Caller:
    """A program that does everything once, with rows in memory of their own."""
    example = EXAMPLES[name]
    model = example.model()
    model.weigh()
    exported(model, folder, train=True, target=target)
    rows = example.rows(5)
    caller = Caller(folder)
    caller.init()
    caller.predict({k: v for k, v in rows.items() if k not in model.targets}, "before")
    for count in (5, 1, model.capacity):
        caller.step({**example.rows(count), "sample weight": np.linspace(0, 2, count, dtype=np.float32)})
    caller.parameters("parameter")
    caller.predict({k: v for k, v in rows.items() if k not in model.targets}, "after")
    caller.lines += [
        "size_t size = NET_STATE_BYTES;",
        "unsigned char *state = guarded(size);",
        "check(net_save_state(context, state, size));",
        "check(net_load_state(context, state, size));",
        "for (size_t n = 0; n < size; n++) same(state[n] <= 255, 1);",
    ]
    return caller


CHECKED = [*((name, "x86-64") for name in EXAMPLES), ("mlp", "x86-64-v3"), ("lstm", "x86-64-v3")]
"""Valgrind has no AVX-512, nor (3.19) `vmovq` between registers as LLVM encodes it, 66 0F D6, which the cnn has with AVX2."""


@pytest.mark.parametrize(("name", "target"), CHECKED)
def test_valgrind_finds_nothing(name: str, target: str, tmp_path: Path) -> None:
    need("valgrind")
    if lacking(level(target).target):
        pytest.skip(f"this processor is none of {target}")
    program = build(tmp_path, caller_of(name, tmp_path, target).source(), more=["-DPLAIN_MEMORY"])
    run(["valgrind", "--error-exitcode=77", "--quiet", program])


@pytest.mark.parametrize("name", EXAMPLES)
def test_address_sanitizer_finds_nothing(name: str, tmp_path: Path) -> None:
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DPLAIN_MEMORY"]
    source = caller_of(name, tmp_path, "native").source()
    run([build(tmp_path, source, more=checks)], env={"ASAN_OPTIONS": "detect_leaks=0"})
