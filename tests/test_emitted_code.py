"""What is emitted for whole models: no flag that lets LLVM change results, and products that stay in registers on every x86 level."""

from __future__ import annotations

import re

import pytest
from assembly import innermost, module
from mutations import REGRESSION, SHARED
from ranvier.compiler.backend import jit
from ranvier.compiler.backend.canonical import canonical
from ranvier.compiler.backend.program import build, emit
from ranvier.compiler.backend.target import Target, host, preset
from ranvier.compiler.driver import Blueprint
from ranvier.compiler.ir.types import F32, F64, DType
from ranvier.compiler.kernels.model import Contract
from ranvier.runtime.opening import open_blueprint
from repository import EXAMPLES

FLAGS = re.compile(r"\b(fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b")
"""LLVM's fast-math flags: each lets results depend on what the optimiser happens to do."""

MODELS = {"digits": (EXAMPLES / "digits.nn").read_text(encoding="utf-8"), "regression": REGRESSION, "shared": SHARED}


def blueprint(name: str, target: Target, real: DType = F32) -> Blueprint:
    return open_blueprint(MODELS[name], target=target, real=real)


def entries(made: Blueprint) -> list[str]:
    """The names of every program of a model."""
    stages = [*(f"evaluate.{n}" for n in range(len(made.evaluation))), *(f"fit.{n}" for n in range(len(made.statistics)))]
    return ["train", "predict", *stages]


@pytest.mark.parametrize("name", MODELS)
def test_no_flag_lets_results_change(name: str) -> None:
    made = blueprint(name, host())
    for entry in entries(made):
        code = re.sub(r";.*|\"[^\"\n]*\"", "", build(made.program(entry), made.target, threads=2).text())
        assert "fmul" in code or entry != "train"
        assert not FLAGS.search(code), f"{entry}: {FLAGS.search(code)}"


@pytest.mark.parametrize("real", [F32, F64])
@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4"])
def test_products_of_a_training_step_do_not_spill(level: str, real: DType) -> None:
    made = blueprint("digits", preset(level), real)
    program, seen = made.program("train"), 0
    for launch in program.launches:
        if not isinstance(launch.kernel, Contract):
            continue
        emitted = emit(canonical(launch.kernel, program.buffers), made.target, program.capacity, 2)
        loops = [loop for loop in innermost(jit.assembly(module(emitted), made.target)) if any("fmadd" in line for line in loop)]
        assert loops, launch.label
        for loop in loops:
            assert not any("(%rsp)" in line for line in loop), launch.label + "\n" + "\n".join(loop)
        seen += 1
    assert seen >= 5
