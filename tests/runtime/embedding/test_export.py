"""What is written: weights beside the library, targets and levels, what is seen from outside, the same bytes again, no linker."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import build, exported, need, run
from embedded_models import EXAMPLES
from ranvier.compiler.ahead.levels import NAMES, Level, level
from ranvier.runtime import linking
from ranvier.runtime.export import export

import ranvier as rv

MODELS = {name: EXAMPLES[name].model() for name in ("mlp", "cnn")}


def rows_of(name: str, count: int) -> Mapping[str, np.ndarray]:
    return {k: v for k, v in EXAMPLES[name].rows(count).items() if k not in MODELS[name].targets}


def can_run(target: str) -> bool:
    """Whether this processor is of a level, as the system says."""
    flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0]))
    wanted = {"x86-64": set(), "x86-64-v3": {"avx2", "fma", "bmi2"}, "x86-64-v4": {"avx2", "fma", "avx512f", "avx512bw", "avx512dq"}}
    return wanted[target] <= flags


OF_C = {"memcpy", "memset", "memmove", "syscall", "usleep"}
"""What a library may want of the C library."""


def declared(folder: Path) -> set[str]:
    """The names that a header declares."""
    text = re.sub(r"/\*.*?\*/", "", (folder / "net.h").read_text(), flags=re.DOTALL)
    return set(re.findall(r"\b(net_\w+)\(", text)) | set(re.findall(r"^extern .*?(\w+)\[\];", text, re.MULTILINE))


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    """Equal but for the order of sums, which depends on the level."""
    return np.allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("multiversion", [False, True])
def test_weights_beside_the_library(name: str, multiversion: bool, tmp_path: Path) -> None:
    weights = tmp_path / "net.weights"
    inside = exported(MODELS[name], tmp_path / "inside", multiversion=multiversion)
    outside = exported(MODELS[name], tmp_path, weights=weights, train=True, multiversion=multiversion)
    assert weights in outside.files
    assert weights.stat().st_size == json.loads((tmp_path / "net.json").read_text())["memory"]["weights_bytes"]
    rows = rows_of(name, 5)
    found = rv.load(outside.files[0]).predict(rows)
    assert np.array_equal(found, rv.load(inside.files[0]).predict(rows))
    moved = weights.rename(tmp_path / "elsewhere")
    assert np.array_equal(rv.load(outside.files[0], weights=moved).predict(rows), found)
    with pytest.raises(rv.CheckpointError, match="no such file"):
        rv.load(outside.files[0])
    content = moved.read_bytes()
    for wrong in content[:-1], content + b"\0", b"X" + content[1:], content[:8] + b"X" + content[9:]:
        moved.write_bytes(wrong)
        with pytest.raises(rv.RanvierError, match=r"weights|size"):
            rv.load(outside.files[0], weights=moved)


def test_weights_come_into_a_c_program_from_outside(tmp_path: Path) -> None:
    exported(MODELS["mlp"], tmp_path, weights=tmp_path / "w.bin")
    program = build(tmp_path, guide_program((tmp_path / "net.md").read_text()), more=["-std=c11"])
    printed = run([program], cwd=tmp_path)
    assert np.allclose([float(line) for line in printed.split()], MODELS["mlp"].predict(np.zeros((1, 4), np.float32))[0], atol=1e-5)


def guide_program(text: str) -> str:
    found = re.search(r"```c\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_program_of_the_guide_runs(name: str, tmp_path: Path) -> None:
    exported(EXAMPLES[name].model(), tmp_path)
    run([build(tmp_path, guide_program((tmp_path / "net.md").read_text()))])


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_step_of_the_guide_runs(name: str, weighted: bool, tmp_path: Path) -> None:
    model = EXAMPLES[name].model()
    if weighted:
        model.weigh()
    exported(model, tmp_path, train=True)
    program, step = re.findall(r"```c\n(.*?)```", (tmp_path / "net.md").read_text(), re.DOTALL)
    program = program.replace("int main", step + "int main")
    call = 'double loss;\n    if (code == NET_OK) code = one_step(context, &loss);\n    printf("loss %a\\n", loss);\n    free(workspace);'
    printed = run([build(tmp_path, program.replace("free(workspace);", call))])
    rows = {f.name: np.zeros((1, *f.shape), f.dtype.numpy) for f in model.fields.values()}
    rows |= {f.name: np.ones(1, np.int32) for f in model.fields.values() if f.most is not None}
    assert float.fromhex(printed.split()[-1]) == model.step(rows)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_levels_give_the_same_but_for_the_order_of_sums(name: str, target: str, tmp_path: Path) -> None:
    rows = rows_of(name, 6)
    written = exported(MODELS[name], tmp_path, target=target, train=True)
    if not can_run(target):
        with pytest.raises(rv.CheckpointError, match="processor lacks"):
            rv.load(written.files[0])
        return
    assert close(rv.load(written.files[0]).predict(rows), MODELS[name].predict(rows))


def test_the_best_level_is_picked_and_states_go_between_them(tmp_path: Path) -> None:
    example = EXAMPLES["mlp"]
    written = exported(MODELS["mlp"], tmp_path, multiversion=True, train=True)
    assert [each["name"] for each in json.loads((tmp_path / "net.json").read_text())["levels"]] == ["x86-64", "x86-64-v3", "x86-64-v4"]
    library = rv.load(written.files[0])
    assert close(library.predict(rows_of("mlp", 6)), MODELS["mlp"].predict(rows_of("mlp", 6)))
    other = rv.load(exported(MODELS["mlp"], tmp_path / "plain", target="x86-64", train=True).files[0])
    for _ in range(3):
        library.step(example.rows(8))
    other.load_state(library.save_state())
    assert other.save_state() == library.save_state()
    assert all(np.array_equal(other.params[k], library.params[k]) for k in library.params)
    assert close(np.array(other.step(example.rows(8))), np.array(library.step(example.rows(8))))


@pytest.mark.parametrize("target", NAMES)
def test_only_what_is_documented_is_seen(target: str, tmp_path: Path) -> None:
    need("nm", "readelf")
    export(MODELS["mlp"], tmp_path, name="net", target=target, train=True)
    seen = [line.split() for line in run(["nm", "-g", tmp_path / "net.o"]).splitlines()]
    assert {line[-1] for line in seen if line[-2] != "U"} == declared(tmp_path)
    assert {line[-1] for line in seen if line[-2] == "U"} <= OF_C


@pytest.mark.parametrize("linker", ["cc", "ld"])
@pytest.mark.parametrize("options", [{"train": True, "threads": 2}, {"multiversion": True}])
def test_a_library_shows_what_its_header_declares(linker: str, options: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    need("nm", linker)
    which = shutil.which
    monkeypatch.setattr(linking.shutil, "which", lambda name: which(name) if name == linker else None)
    library = exported(MODELS["mlp"], tmp_path, **options).files[0]
    seen = [line.split() for line in run(["nm", "-D", library]).splitlines()]
    assert {line[-1] for line in seen if line[-2] not in "Uw"} == declared(tmp_path)
    assert {line[-1].partition("@")[0] for line in seen if line[-2] in "Uw"} <= OF_C


def test_a_library_has_no_code_that_can_be_written_and_no_state(tmp_path: Path) -> None:
    need("readelf", "nm")
    written = exported(MODELS["mlp"], tmp_path, train=True)
    segments = run(["readelf", "-lW", written.files[0]])
    flags = [line[line.index("0x") :] for line in segments.splitlines() if line.split()[:1] in (["LOAD"], ["GNU_STACK"])]
    assert not any(re.search(r"\bRWE|\bWE", line) for line in flags)
    assert "GNU_STACK" in segments
    assert "GNU_RELRO" in segments
    sections = {line.split()[0] for line in run(["size", "-A", written.files[0]]).splitlines() if line.startswith(".")}
    assert not sections & {".bss", ".data", ".init", ".fini", ".init_array", ".ctors"}
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", run(["readelf", "-dW", written.files[0]]))
    assert all(name.startswith(("libc.", "libm.", "ld-")) for name in needed)


def test_weights_are_pages_that_nobody_can_write(tmp_path: Path) -> None:
    need("readelf")
    written = exported(MODELS["cnn"], tmp_path)
    content, weights = written.files[0].read_bytes(), written.library.weights
    place = content.index(weights)
    assert place % 4096 == 0
    loaded = [line.split() for line in run(["readelf", "-lW", written.files[0]]).splitlines() if line.split()[:1] == ["LOAD"]]
    (own,) = [line for line in loaded if int(line[1], 16) <= place < int(line[1], 16) + int(line[4], 16)]
    assert own[6] == "R"
    assert (place + int(own[2], 16) - int(own[1], 16)) % 4096 == 0


def test_without_a_linker_the_object_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking.shutil, "which", lambda name: None)
    monkeypatch.setattr(linking.importlib.util, "find_spec", lambda name: None)
    written = export(MODELS["mlp"], tmp_path, name="net")
    assert "ranvier[embed]" in written.missing
    assert {file.name for file in written.files} == {"net.o", "net.h", "net.json", "net.md"}
    assert not (tmp_path / "libnet.so").exists()


def test_a_linker_of_the_wheel_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ziglang")
    monkeypatch.setattr(linking.shutil, "which", lambda name: None)
    written = exported(MODELS["mlp"], tmp_path)
    assert np.array_equal(rv.load(written.files[0]).predict(rows_of("mlp", 3)), MODELS["mlp"].predict(rows_of("mlp", 3)))


def test_a_processor_that_lacks_a_feature_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = level("x86-64-v3")
    more = Level(real.name, real.target, real.attributes, (*real.masks[:3], 1 << 31, *real.masks[4:]), real.system)
    monkeypatch.setattr("ranvier.runtime.export.level", lambda name: more)
    with pytest.raises(rv.CheckpointError, match="processor lacks"):
        rv.load(exported(MODELS["mlp"], tmp_path).files[0])


@pytest.mark.parametrize("name", ["", "9net", "net work", "a" * 65, "né"])
def test_names_are_those_of_c(name: str, tmp_path: Path) -> None:
    with pytest.raises(rv.RanvierError, match="letters, digits and underscores"):
        export(MODELS["mlp"], tmp_path, name=name)


def test_a_target_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(rv.RanvierError, match="there are native, x86-64"):
        export(MODELS["mlp"], tmp_path, name="net", target="pentium")
    with pytest.raises(rv.RanvierError, match="leave the target out"):
        export(MODELS["mlp"], tmp_path, name="net", target="x86-64", multiversion=True)


def test_rows_of_a_call_can_be_chosen(tmp_path: Path) -> None:
    written = exported(MODELS["cnn"], tmp_path, rows=1)
    assert written.library.workspace < exported(MODELS["cnn"], tmp_path / "more", rows=100).library.workspace
    library = rv.load(written.files[0])
    assert library.capacity == 1
    assert np.array_equal(library.predict(rows_of("cnn", 9)), MODELS["cnn"].predict(rows_of("cnn", 9)))


@pytest.mark.parametrize("file", ["net.o", "libnet.so", "../here/net.h"])
def test_weights_have_a_file_of_their_own(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    with pytest.raises(rv.RanvierError, match="give the weights another name"):
        export(MODELS["mlp"], folder, name="net", weights=folder / file)
    assert not [*folder.iterdir()]


def test_statistics_want_rows_first(tmp_path: Path) -> None:
    with pytest.raises(rv.RanvierError, match="not fitted"):
        export(rv.compile(EXAMPLES["mlp"].text), tmp_path, name="net")
