"""Libraries beside the same programs in Python's process: sizes, and the time of a call from C: `python -m benchmarks.embedded`.

Both are called from one loop in C within one process, in turns, on one thread. In Python's process it is the bare program on rows that are
in place already; a call of a library checks its arguments, copies rows in and predictions out. The best of all rounds counts.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ranvier.compiler.backend.threads import team_code

import ranvier as rv

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "benchmarks" / "models"
NAMES = {
    "4-16-3": MODELS / "perceptron_4_16_3.nn",
    "digits": ROOT / "examples" / "digits.nn",
    "cnn-28": MODELS / "cnn_28.nn",
    "lstm 8-32": MODELS / "lstm_8_32.nn",
}
SECONDS = 0.02
"""How long the calls of one round take, about."""

LOOPS = """
#include <stdint.h>
#include <stddef.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double program(int64_t turns, int64_t (*serial)(void *, void *), void *body, void *context) {
    double start = now();
    for (int64_t n = 0; n < turns; n++) serial(body, context);
    return now() - start;
}

typedef int32_t predict_function(void *, size_t, const void *, size_t, void *, size_t);

double predict(int64_t turns, predict_function *f, void *context, size_t rows, void *x, size_t xs, void *out, size_t outs) {
    double start = now();
    for (int64_t n = 0; n < turns; n++) if (f(context, rows, x, xs, out, outs)) return -1;
    return now() - start;
}

typedef int32_t step_function(void *, size_t, const void *, size_t, const void *, size_t, double *);

double step(int64_t turns, step_function *f, void *context, size_t rows, void *x, size_t xs, void *y, size_t ys) {
    double start = now(), loss;
    for (int64_t n = 0; n < turns; n++) if (f(context, rows, x, xs, y, ys, &loss)) return -1;
    return now() - start;
}
"""

Timed = Callable[[int], float]
"""So many calls -> their seconds."""


@dataclass(frozen=True)
class Row:
    """The seconds of a call in Python's process and in a library."""

    name: str
    rows: int
    work: str
    program: float
    library: float


def loops(folder: Path) -> ctypes.CDLL:
    """The loops in C; raises CalledProcessError where there is no compiler."""
    (folder / "loops.c").write_text(LOOPS, encoding="utf-8")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", folder / "loops.c", "-o", folder / "loops.so"], check=True)
    code = ctypes.CDLL(str(folder / "loops.so"))
    for name in "program", "predict", "step":
        getattr(code, name).restype = ctypes.c_double
    return code


def data_for(model: rv.Model, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """Rows by chance."""
    chance, found = np.random.default_rng(0), {}
    for name, field in model.fields.items():
        shape, kind = (rows, *field.shape), field.dtype.numpy
        high = field.classes or (17 if kind.kind == "u" else 0)
        found[name] = (chance.integers(0, high, shape) if high else chance.standard_normal(shape)).astype(kind)
    return found


def words(*values: int | Any) -> list[Any]:
    """Addresses and sizes as C takes them."""
    return [ctypes.c_void_p(value) for value in values]


def timed(code: ctypes.CDLL, model: rv.Model, library: Any, rows: int, work: str) -> tuple[Timed, Timed]:
    """The two ways of one call: in Python's process, and in a library."""
    data = data_for(model, rows)
    x, y = (data[name] for name in model.fields)
    given = {name: array for name, array in data.items() if name not in model.targets}
    model.step(data) if work == "step" else model.predict(given)
    entry = model.entry("train" if work == "step" else "predict.1" if rows == 1 < model.capacity else "predict")
    serial = words(team_code()["team_serial"], entry.code.body, entry.address)
    out = np.empty_like(model.predict(given))
    last = (y.ctypes.data, y.nbytes) if work == "step" else (out.ctypes.data, out.nbytes)
    function = ctypes.cast(library._function("train_step" if work == "step" else "predict"), ctypes.c_void_p).value
    arguments = words(function, library.context, rows, x.ctypes.data, x.nbytes, *last)
    kept = (data, out, model, library)

    def of_program(turns: int, _: object = kept) -> float:
        found: float = code.program(ctypes.c_int64(turns), *serial)
        return found

    def of_library(turns: int, _: object = kept) -> float:
        found: float = getattr(code, work)(ctypes.c_int64(turns), *arguments)
        return found

    return of_program, of_library


def best(ways: tuple[Timed, Timed], rounds: int) -> tuple[float, float]:
    """Seconds of a call each way: the best of some rounds, in turns."""
    turns = max(3, int(SECONDS / max(ways[0](3) / 3, 1e-9)))
    found = [[way(turns) / turns for way in ways] for _ in range(rounds)]
    first, second = map(min, zip(*found, strict=True))
    return first, second


def measured(folder: Path, rounds: int) -> list[Row]:
    """All models, with as many rows as their batch and with one."""
    code, found = loops(folder), []
    for number, (name, file) in enumerate(NAMES.items()):
        model = rv.compile(file, threads=1)
        for rows, works in ((model.capacity, ("predict", "step")), (1, ("predict",))):
            own = rv.compile(file, threads=1)
            path = own.export(folder / f"{number}-{rows}", name="net", train=True, rows=rows)[0]
            library = rv.load(path, threads=1)
            found += [Row(name, rows, work, *best(timed(code, own, library, rows, work), rounds)) for work in works]
    return found


def sizes(folder: Path) -> dict[str, tuple[int, int]]:
    """Bytes of libraries without weights: for predictions, and for training too."""
    found = {}
    for name, file in NAMES.items():
        model = rv.compile(file, threads=1)
        bytes_ = []
        for train in False, True:
            path = model.export(folder / "sizes", name="net", train=train, weights=folder / "weights")[0]
            bytes_.append(path.stat().st_size)
        found[name] = (bytes_[0], bytes_[1])
    return found


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedded", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25, help="rounds of which the best counts")
    chosen = parser.parse_args()
    if shutil.which("cc") is None:
        parser.error("this needs a C compiler, `cc`")
    with tempfile.TemporaryDirectory() as folder:
        print("model        rows  call      program, µs  library, µs  library / program")
        for each in measured(Path(folder), chosen.rounds):
            ratio = each.library / each.program
            print(f"{each.name:11}{each.rows:6}  {each.work:8}{each.program * 1e6:13.3f}{each.library * 1e6:13.3f}{ratio:19.3f}")
        print("\nmodel        library without weights, bytes: for predictions  for training too")
        for name, (predicts, trains) in sizes(Path(folder)).items():
            print(f"{name:41}{predicts:21,}{trains:18,}")


if __name__ == "__main__":
    main()
