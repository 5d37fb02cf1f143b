"""Libraries loaded in Python: what the model itself gives, to the bit, and nothing of the compiler imported."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from embedded import exported
from embedded_models import EXAMPLES, WIDE, wide_rows
from ranvier.runtime.opening import open_source
from repository import ROOT

import ranvier as rv

HEAVY = (
    *("ranvier.compiler.frontend", "ranvier.compiler.backend", "ranvier.compiler.passes", "ranvier.compiler.diagnostics"),
    *("ranvier.runtime.model", "ranvier.runtime.csv_reader", "numpy.ma.", "csv", "pathlib", "difflib"),
)
SCRIPT = """
import sys
import numpy as np
before = set(sys.modules)
import ranvier as rv
model = rv.load(sys.argv[1])
model.predict(np.zeros((3, 4), np.float32))
model.predict([[1, 2, 3, 4]])
model.step({"x": np.zeros((3, 4)), "y": ["b", "a", "b"]})
print([m for m in sys.modules if m not in before and m.startswith(%r)])
others = {m.partition(".")[0] for m in sys.modules if m not in before} - sys.stdlib_module_names
print([m for m in others if not m.startswith("__")])
"""


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_library_is_the_model(name: str, tmp_path: Path) -> None:
    example = EXAMPLES[name]
    model = example.model()
    library = rv.load(exported(model, tmp_path, train=True).files[0])
    rows = example.rows(model.capacity)
    many = {k: v for k, v in example.rows(2 * model.capacity + 3, 1).items() if k not in model.targets}
    assert np.array_equal(library.predict(many), model.predict(many))
    assert [library.step(rows) for _ in range(3)] == [model.step(rows) for _ in range(3)]
    assert list(library.params) == list(model.params)
    assert all(np.array_equal(library.params[k], model.params[k]) for k in model.params)
    assert np.array_equal(library.predict(many), model.predict(many))
    state = library.save_state()
    after = [library.step(rows) for _ in range(2)]
    library.load_state(state)
    assert [library.step(rows) for _ in range(2)] == after == [model.step(rows) for _ in range(2)]


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.nn")), ids=lambda file: file.stem)
def test_examples_in_libraries_are_those_of_python(file: Path, tmp_path: Path) -> None:
    """Recurrent, convolutional, with states and statistics, with lengths: predictions, losses and parameters to the bit."""
    model = rv.compile(file, threads=1, batch=6, **dict.fromkeys(open_source(file).lengths, 9))
    chance, rows = np.random.default_rng(0), dict[str, np.ndarray]()
    for name, field in model.fields.items():
        low, high = model.blueprint.limits.get(name, (0, 16))
        shape, kind = (5, *field.shape), field.dtype.numpy
        rows[name] = (chance.integers(low, high + 1, shape) if kind.kind in "iu" else chance.normal(2, 1, shape)).astype(kind)
    given = {name: value for name, value in rows.items() if name not in model.targets}
    model.step(rows)
    library = rv.load(exported(model, tmp_path, train=True).files[0])
    for _ in range(2):
        assert np.array_equal(library.predict(given), model.predict(given))
        assert library.step(rows) == model.step(rows)
    assert all(np.array_equal(library.params[name], model.params[name]) for name in model.params)


def test_nothing_of_the_compiler_is_imported(tmp_path: Path) -> None:
    model = EXAMPLES["mlp"].model()
    model.vocabularies = {"y": ["a", "b", "c"]}
    library = exported(model, tmp_path, train=True).files[0]
    done = subprocess.run([sys.executable, "-c", SCRIPT % (HEAVY,), library], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n['ranvier']\n", done.stderr


def test_the_learning_rate_is_set_while_training(tmp_path: Path) -> None:
    example = EXAMPLES["mlp"]
    model = example.model()
    library = rv.load(exported(model, tmp_path, train=True).files[0])
    assert library.rate == 0.01
    before = {name: value.copy() for name, value in library.params.items()}
    library.rate = 0.0
    library.step(example.rows(8))
    assert all(np.array_equal(library.params[k], before[k]) for k in before)
    slow = example.model(**{"train.optimizer.lr": 1e-3})
    slow.params.update(before)
    other = rv.load(exported(slow, tmp_path / "other", train=True).files[0])
    library = rv.load(tmp_path / "libnet.so")
    library.rate = 1e-3
    assert library.step(example.rows(8)) == other.step(example.rows(8))
    with pytest.raises(KeyError, match="momentum"):
        library.scalar("momentum")


def test_parameters_can_be_set(tmp_path: Path) -> None:
    example = EXAMPLES["cnn"]
    model = example.model()
    library = rv.load(exported(model, tmp_path, train=True).files[0])
    chance = np.random.default_rng(5)
    for name, value in model.params.items():
        new = chance.standard_normal(value.shape).astype(np.float32)
        model.params[name] = library.params[name] = new
        assert np.array_equal(library.params[name], new)
    rows = {"image": example.rows(4)["image"]}
    assert np.array_equal(library.predict(rows), model.predict(rows))
    with pytest.raises(rv.DataError, match="shape"):
        library.params[next(iter(library.params))] = np.zeros(3)


def test_mistakes_are_said(tmp_path: Path) -> None:
    example = EXAMPLES["mlp"]
    model = example.model()
    path = exported(model, tmp_path).files[0]
    library = rv.load(path)
    with pytest.raises(rv.RanvierError, match="--train"):
        library.step(example.rows(4))
    with pytest.raises(rv.RanvierError, match="--train"):
        library.params["dense_1.weight"] = library.params["dense_1.weight"]
    with pytest.raises(rv.DataError, match="shape"):
        library.predict(np.zeros((2, 5)))
    with pytest.raises(rv.CheckpointError, match="no such file"):
        rv.load(tmp_path / "none.so")
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(rv.CheckpointError, match="no library of a model"):
        rv.load(tmp_path / "text.so")


def test_indices_and_lengths_are_checked_in_the_library(tmp_path: Path) -> None:
    example = EXAMPLES["lstm"]
    model = example.model()
    library = rv.load(exported(model, tmp_path, train=True).files[0])
    rows = {k: v for k, v in example.rows(4).items() if k != "y"}
    for name, row, value in (("token", (2, 0), 20), ("token", (1, 0), -1), ("token_length", (3,), 0), ("token_length", (0,), 8)):
        wrong = {k: v.copy() for k, v in rows.items()}
        wrong[name][row] = value
        with pytest.raises(rv.DataError, match=f"`{name}`"):
            library._run("predict", wrong, np.empty((4, 2), np.float32).ctypes.data, 32)
    assert np.array_equal(library.predict(rows), model.predict(rows))


def test_what_lies_past_an_end_is_nothing(tmp_path: Path) -> None:
    example = EXAMPLES["lstm"]
    model = example.model()
    library = rv.load(exported(model, tmp_path).files[0])
    rows = {k: v for k, v in example.rows(6).items() if k != "y"}
    wanted, found = model.predict(rows), np.empty((6, 2), np.float32)
    rows["token"][np.arange(7) >= rows["token_length"][:, None]] = 10**6
    library._run("predict", rows, found.ctypes.data, found.nbytes)
    assert np.array_equal(found, wanted)


FORKED = """
import os, sys, traceback
import numpy as np
import ranvier as rv

rows = dict(np.load("rows.npz"))
library = rv.load("libnet.so", threads=int(sys.argv[1]))
print(library.step(rows))
sys.stdout.flush()
child = os.fork()
if child == 0:
    try:
        if sys.argv[2] == "close":
            library.close()
        print(library.step(rows), library.predict(rows["x"]).sum())
        sys.stdout.flush()
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)
assert os.waitpid(child, 0)[1] == 0
print(library.step(rows), library.predict(rows["x"]).sum())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("end", ["", "close"])
def test_a_child_of_the_process_has_a_library_of_its_own(threads: int, end: str, tmp_path: Path) -> None:
    """It goes on from where its parent was, which it leaves as it is; what the parent's threads do is not waited for."""
    model, rows = rv.compile(WIDE, threads=1), wide_rows()
    exported(model, tmp_path, train=True, threads=2)
    np.savez(tmp_path / "rows.npz", **rows)
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(threads), end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    first = model.step(rows)
    second = " ".join(map(str, (model.step(rows), model.predict(rows["x"]).sum())))
    assert done.stdout.splitlines() == [str(first), second, second], done.stderr


def test_a_team_gives_the_same_bits(tmp_path: Path) -> None:
    model, rows = rv.compile(WIDE, threads=2), wide_rows()
    path = exported(model, tmp_path, train=True, threads=2).files[0]
    libraries = [rv.load(path, threads=threads) for threads in (1, 2, 3)]
    wanted = [model.step(rows) for _ in range(3)], model.predict(rows["x"])
    for library in libraries:
        assert [library.step(rows) for _ in range(3)] == wanted[0]
        assert np.array_equal(library.predict(rows["x"]), wanted[1])
        library.close()
        assert np.array_equal(library.predict(rows["x"]), wanted[1])


def test_python_threads_have_a_library_each(tmp_path: Path) -> None:
    """A library is loaded once for each of them; what they do at the same time is not seen by the others."""
    example = EXAMPLES["mlp"]
    model = example.model()
    path = exported(model, tmp_path, train=True).files[0]

    def trained(count: int) -> tuple[list[float], bytes]:
        own = rv.load(path)
        return [own.step(example.rows(count, count)) for _ in range(20)], own.save_state()

    alone = [trained(count) for count in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(trained, range(1, 9))) == alone
