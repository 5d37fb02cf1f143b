"""Every view of a file shows what it promises; pictures and resolved files are valid."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from ranvier.compiler.driver import Blueprint
from ranvier.compiler.passes.pipeline import PASSES
from ranvier.runtime.opening import open_blueprint
from ranvier.runtime.show.memory import memory_plan
from repository import EXAMPLES

Run = Callable[..., Result]
DIGITS = EXAMPLES / "digits.nn"


def test_layers_with_shapes_parameters_and_lines(run: Run) -> None:
    text = run("show", DIGITS, "--set", "hidden=32").stdout
    row = next(line for line in text.splitlines() if line.startswith("dense_1"))
    assert "f32[64] -> f32[32]" in row
    assert "2,080" in row
    assert "digits.nn:8" in row
    assert "2,410 parameters" in text


@pytest.mark.parametrize("name", ["model", *(name for name, _ in PASSES), "fusion"])
def test_the_graph_after_every_pass(run: Run, name: str) -> None:
    result = run("show", DIGITS, "--after", name, "--entry", "predict")
    assert result.exit_code == 0
    assert "f32[batch, 64]" in result.stdout


def test_a_wrong_pass_lists_the_passes(run: Run) -> None:
    result = run("show", DIGITS, "--after", "fusoin")
    assert result.exit_code == 2
    assert "did you mean `fusion`?" in result.stderr
    assert "simplify" in result.stderr


@pytest.mark.parametrize("entry", ["nothing", "evaluate.7", "train.1", "predict.x"])
def test_a_wrong_program_is_wrong_usage(run: Run, entry: str) -> None:
    assert run("show", DIGITS, "--kernels", "--entry", entry).exit_code == 2


@pytest.mark.parametrize("entry", ["train", "predict", "gradients", "evaluate"])
def test_kernels_of_a_program(run: Run, entry: str) -> None:
    result = run("show", DIGITS, "--kernels", "--entry", entry)
    assert result.exit_code == 0
    assert "acc = sum over" in result.stdout
    assert "operations" in result.stdout


def test_llvm_and_assembly(run: Run) -> None:
    assert "define void @kernel_" in run("show", DIGITS, "--llvm", "--entry", "predict", "--threads", 1).stdout
    assert "kernel_" in run("show", DIGITS, "--asm", "--entry", "predict", "--threads", 1).stdout


def test_memory_is_told_by_line(run: Run) -> None:
    text = run("show", DIGITS, "--memory").stdout
    assert "digits.nn:8" in text
    assert "parameter" in text
    assert "in all" in text


LOOPS = """
model words(units = 6) {
    input x: f32[5, 3]
    target y: class[4]
    z = x -> bidirectional(lstm(units, recurrent_dropout = 0.1)) -> gru(units) -> last -> dense(4)
    predict softmax(z)
    loss cross_entropy(z, y)
}
"""


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A model with loops."""
    file = tmp_path / "words.nn"
    file.write_text(LOOPS)
    return file


@pytest.mark.parametrize("entry", ["train", "predict"])
def test_the_plan_shows_no_two_living_values_in_one_place(entry: str, words: Path) -> None:
    for file in (DIGITS, words):
        check_plan(open_blueprint(file), entry)


def check_plan(blueprint: Blueprint, entry: str) -> None:
    plan = memory_plan(blueprint, blueprint.program(entry))
    assert plan.residents
    for a, b in itertools.combinations(plan.residents, 2):
        together = a.first <= b.last and b.first <= a.last
        assert not together or a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset


def test_kernels_of_a_loop_say_how_often_they_run(run: Run, words: Path) -> None:
    text = run("show", words, "--kernels", "--entry", "predict").stdout
    costs = [line for line in text.splitlines() if line.endswith("rows") and line.startswith("# ")]
    assert [line for line in costs if line.startswith("# 5 times ")]
    assert [line for line in costs if not line.startswith("# 5 times ")]


def test_every_view_of_a_model_with_loops(run: Run, words: Path, tmp_path: Path) -> None:
    for options in (["--layers"], ["--graph", "-o", tmp_path / "w.svg"], ["--llvm"], ["--memory"], ["--after", "loops"]):
        assert run("show", words, *options).exit_code == 0
    assert "gru_1" in run("show", words).stdout
    assert "scan(" in run("show", words, "--after", "loops").stdout
    resolved = tmp_path / "resolved.nn"
    resolved.write_text(run("show", words, "--resolved").stdout)
    assert "gru(units, recurrent_dropout = 0)" in resolved.read_text()
    assert run("check", resolved).exit_code == 0


def test_a_resolved_file_is_a_file_that_means_the_same(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "resolved.nn"
    given = ["--set", "hidden=24", "--set", "train.optimizer=sgd(lr=0.1)", "--set", "train.optimizer.momentum=0.5"]
    result = run("show", DIGITS, "--resolved", "-o", file, *given)
    assert result.exit_code == 0
    text = file.read_text()
    assert "hidden = 24" in text
    assert "sgd(lr = 0.1, momentum = 0.5, nesterov = false)" in text
    assert "dense(10, bias = true, init = glorot_uniform)" in text
    assert "# dense_2: f32[10]" in text
    assert run("show", file, "--resolved").stdout == text
    passes = [run("show", each, "--after", "clean", *rest).stdout.split("  #") for each, rest in ((DIGITS, given), (file, []))]
    assert [line.partition("\n")[2] for line in passes[0]] == [line.partition("\n")[2] for line in passes[1]]


def test_a_picture_as_svg_and_dot(run: Run, tmp_path: Path) -> None:
    svg, dot = tmp_path / "m.svg", tmp_path / "m.dot"
    assert run("show", DIGITS, "--graph", "-o", svg).exit_code == 0
    texts = [e.text for e in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {"image", "dense_1", "relu", "loss", "predict"} <= set(texts)
    assert run("show", DIGITS, "--graph", "-o", dot).exit_code == 0
    assert dot.read_text().startswith("digraph")
    assert run("show", DIGITS, "--graph", "-o", tmp_path / "m.png").exit_code == 2


def test_a_model_without_loss_shows_its_prediction(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "m.nn"
    file.write_text("model m() { input x: f32[3] ; predict x -> dense(2) }\n")
    result = run("show", file, "--kernels")
    assert result.exit_code == 0
    assert "output:predict" in result.stdout
    assert run("show", file, "--memory").exit_code == 0
    assert "train {" not in run("show", file, "--resolved").stdout
    refused = run("show", file, "--kernels", "--entry", "train")
    assert refused.exit_code == 1
    assert "has no `loss`" in refused.stderr
