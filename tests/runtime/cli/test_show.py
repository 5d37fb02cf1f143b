"""Every view of a file shows what it promises; pictures and resolved files are valid."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from ranvier.compiler.kernels.model import buffers
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


@pytest.mark.parametrize("kind", ["digits", "recurrent"])
def test_the_plan_shows_no_two_living_values_in_one_place(kind: str, recurrent: Path) -> None:
    blueprint = open_blueprint(DIGITS if kind == "digits" else recurrent)
    plan = memory_plan(blueprint, blueprint.program("train"))
    assert plan.residents
    for a, b in itertools.combinations(plan.residents, 2):
        together = a.first <= b.last and b.first <= a.last
        assert not together or a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset


def test_what_a_loop_goes_through_is_shown_under_the_buffer_that_holds_it(run: Run, recurrent: Path) -> None:
    blueprint = open_blueprint(recurrent)
    program = blueprint.program("train")
    plan = memory_plan(blueprint, program)
    movers = [(each, part) for each in plan.residents for part in each.movers]
    assert movers
    assert {part.name for _, part in movers} <= {b.name for b in program.buffers.values() if b.turn}
    assert {each.name for each in plan.residents}.isdisjoint(part.name for _, part in movers)
    for each, part in movers:
        loops = {launch.loop for launch in program.launches if part.name in buffers(launch.kernel)}
        inside = [number for number, launch in enumerate(program.launches) if launch.loop in loops]
        assert each.first <= inside[0]
        assert each.last >= inside[-1]
        assert 0 < part.stride < each.bytes
    text = run("show", recurrent, "--memory").stdout
    assert all(text.count(f" {part.name} ") == 1 for _, part in movers)
    assert f"+{movers[0][1].stride:,} a time" in text


def test_kernels_say_how_often_a_loop_runs_them(run: Run, recurrent: Path) -> None:
    heads = [line for line in run("show", recurrent, "--kernels").stdout.splitlines() if line.endswith("on") and "turns of loop" in line]
    assert any(line.endswith("in 7 turns of loop 1, from the first time on") for line in heads)
    assert any(line.endswith("in 7 turns of loop 4, from the last time on") for line in heads)


def test_a_cell_is_a_layer(run: Run, recurrent: Path) -> None:
    lines = run("show", recurrent).stdout.splitlines()
    own = next(line for line in lines if line.startswith("mine_1"))
    assert "f32[7, 4] -> f32[7, 5]" in own
    assert " 45 " in own
    assert any(line.startswith("lstm_1") and " 220 " in line for line in lines)


@pytest.mark.parametrize("entry", ["train", "predict"])
@pytest.mark.parametrize("name", ["model", "loops", "clean", "fusion"])
def test_the_bodies_of_loops_are_printed(run: Run, recurrent: Path, name: str, entry: str) -> None:
    text = run("show", recurrent, "--after", name, "--entry", entry).stdout
    assert text.count("= scan(") == text.count("    graph ") >= 2
    for body in text.split("    graph ")[1:]:
        assert "return next:0 = %" in body
        assert "kind=carry" in body or name == "fusion"


def test_a_stacked_value_is_named_as_in_the_text_of_the_body(run: Run, recurrent: Path) -> None:
    text = run("show", recurrent, "--after", "clean", "--entry", "gradients").stdout
    for body, after in itertools.pairwise(text.split("    }\n")):
        names = set(re.findall(r"(%\d+) = ", body.rpartition("    graph ")[2]))
        stacked = re.findall(r"kind=stack, number=(\d+)", after.partition("scan(")[0])
        assert {f"%{number}" for number in stacked} <= names
    assert "kind=stack" in text


def test_a_resolved_cell_has_its_settings(run: Run, recurrent: Path, tmp_path: Path) -> None:
    file = tmp_path / "resolved.nn"
    assert run("show", recurrent, "--resolved", "-o", file).exit_code == 0
    text = file.read_text()
    assert "lstm(5, recurrent_dropout = 0)" in text
    assert "# mine_1: f32[7, 5]" in text
    assert run("show", file, "--resolved").stdout == text


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
