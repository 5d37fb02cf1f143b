"""Libraries for tests: models exported, C programs that call them with guard pages round every buffer, and what these wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ranvier.compiler.ahead.header import TYPES, names
from ranvier.runtime.export import Written, export
from ranvier.runtime.model import Model

Rows = Mapping[str, np.ndarray]
STRICT = ("-Wall", "-Wextra", "-pedantic", "-Werror", "-Wno-unused-function", "-O1")

GUARDED = """
#define _DEFAULT_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef PLAIN_MEMORY /* for checkers that know of malloc */
static unsigned char *guarded(size_t bytes) {
    unsigned char *found = (unsigned char *)malloc(bytes);
    if (found == NULL) exit(90);
    return found;
}
#else
/* Bytes that end where a page begins that nobody may touch; and one such page lies before the first of their pages. */
static unsigned char *guarded(size_t bytes) {
    size_t pages = (bytes + 4095) / 4096;
    unsigned char *all = (unsigned char *)mmap(NULL, (pages + 2) * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == (unsigned char *)MAP_FAILED || mprotect(all + 4096, pages * 4096, PROT_READ | PROT_WRITE) != 0) exit(90);
    return (unsigned char *)memset(all + 4096 + pages * 4096 - bytes, 0xA5, bytes);
}
#endif

static unsigned char *from_file(const char *path, size_t bytes) {
    unsigned char *found = guarded(bytes);
    FILE *file = fopen(path, "rb");
    if (file == NULL || fread(found, 1, bytes, file) != bytes) { fprintf(stderr, "cannot read %s\\n", path); exit(91); }
    fclose(file);
    return found;
}

static void to_file(const char *path, const void *content, size_t bytes) {
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(content, 1, bytes, file) != bytes) exit(92);
    fclose(file);
}

static int32_t checked(int32_t code, const char *text) {
    if (code != 0) { fprintf(stderr, "%d %s\\n", (int)code, text); exit(93); }
    return code;
}
"""


EXPECT = """
static int wrong = 0;

static void expected(int line, const char *call, int32_t found, int32_t wanted) {
    if (found == wanted) return;
    fprintf(stderr, "%d: %s is %d, not %d\\n", line, call, (int)found, (int)wanted);
    wrong = 1;
}

static void equal(int line, const char *what, long long found, long long wanted) {
    if (found == wanted) return;
    fprintf(stderr, "%d: %s is %lld, not %lld\\n", line, what, found, wanted);
    wrong = 1;
}

#define expect(wanted, call) expected(__LINE__, #call, call, wanted)
#define same(found, wanted) equal(__LINE__, #found, (long long)(found), (long long)(wanted))
"""
"""What a program says when a code or a number is another."""


def need(*programs: str) -> None:
    """Skip, visibly, where a program is not there."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def exported(model: Model, folder: Path, name: str = "net", **options: Any) -> Written:
    written = export(model, folder, name=name, **options)
    assert not written.missing, written.missing
    return written


def run(command: Sequence[object], status: int = 0, **options: Any) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == status, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout


def main(top: str, body: str, names: Sequence[str] = ("net",)) -> str:
    """A program with these lines on `top` and those in its `main`, which fails when something was not as expected."""
    headers = "\n".join(f'#include "{name}.h"' for name in names)
    return f"{GUARDED}{headers}\n{top}\nint main(void) {{\n{body}\nreturn wrong != 0;\n}}\n"


def build(
    folder: Path, source: str, *, names: Sequence[str] = ("net",), cpp: bool = False, shared: bool = False, more: Sequence[str] = ()
) -> Path:
    """A program from source and libraries, by the C or the C++ compiler, with all warnings as errors."""
    compiler = "c++" if cpp else "cc"
    need(compiler)
    file, program = folder / f"main.{'cpp' if cpp else 'c'}", folder / f"main-{'cpp' if cpp else 'c'}-{'so' if shared else 'o'}"
    file.write_text(source, encoding="utf-8")
    standard = "-std=c++11" if cpp else "-std=c99"
    libraries = [f"-L{folder}", f"-Wl,-rpath,{folder}", *(f"-l{name}" for name in names)]
    linked = libraries if shared else [folder / f"{name}.o" for name in names]
    run([compiler, standard, *STRICT, file, "-o", program, *linked, "-lpthread", *more])
    return program


class Caller:
    """Writes a C program that calls a library on given rows, and reads what it leaves behind."""

    def __init__(self, folder: Path, name: str = "net") -> None:
        self.folder, self.name = folder, name
        self.manifest = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        self.lines: list[str] = []
        self.count = 0

    def given(self, rows: Rows, kinds: Sequence[str]) -> str:
        """Arguments for rows, each from a file of its own."""
        found, wanted = [], {each["name"] for kind in kinds for each in self.manifest[kind]}
        wanted |= {each["name"] for each in self.weights() if "targets" in kinds}
        for field in (f for f in self.ordered() if f["name"] in wanted):
            self.count += 1
            path = self.folder / f"{self.name}-{self.count}.rows"
            array = np.ascontiguousarray(rows[field["name"]])
            path.write_bytes(array.tobytes())
            found.append(f'(const {TYPES[field["type"]]} *)(const void *)from_file("{path}", {array.nbytes}), {array.nbytes}')
        return ", ".join(found)

    def ordered(self) -> list[dict[str, Any]]:
        by_name = {each["name"]: each for kind in ("inputs", "targets") for each in self.manifest[kind]}
        return [by_name[name] for name in self.manifest["fields"]] + self.weights()

    def weights(self) -> list[dict[str, Any]]:
        """The weights of rows, where a step takes them."""
        return [self.manifest["row_weight"]] if self.manifest["row_weight"] else []

    def init(self, threads: int = 0) -> None:
        own, big = self.name, self.name.upper()
        self.lines += [
            f"size_t workspace_bytes = {big}_WORKSPACE_BYTES({threads}), asked = 0;",
            f"check({own}_workspace_bytes({threads}, &asked));",
            "if (asked != workspace_bytes) return 94;",
            "unsigned char *workspace = guarded(workspace_bytes);",
            f"{own}_context *context = NULL;",
            f"check({own}_init(workspace, workspace_bytes, {threads}, &context));",
        ]

    def predict(self, rows: Rows, path: str) -> None:
        count = len(next(iter(rows.values())))
        bytes_ = count * self.manifest["outputs"][0]["bytes"]
        type_ = TYPES[self.manifest["outputs"][0]["type"]]
        self.lines += [
            f"{{ unsigned char *out = guarded({bytes_});",
            f"check({self.name}_predict(context, {count}, {self.given(rows, ['inputs'])}, ({type_} *)(void *)out, {bytes_}));",
            f'to_file("{self.folder / path}", out, {bytes_}); }}',
        ]

    def step(self, rows: Rows) -> None:
        """A step of training, its loss printed exactly."""
        count = len(next(iter(rows.values())))
        self.lines += [
            "{ double loss = 0;",
            f"check({self.name}_train_step(context, {count}, {self.given(rows, ['inputs', 'targets'])}, &loss));",
            'printf("%a\\n", loss); }',
        ]

    def parameters(self, path: str) -> None:
        for number, each in enumerate(self.manifest["parameters"]):
            self.lines += [
                f"{{ unsigned char *values = guarded({each['bytes']});",
                f"check({self.name}_get_parameter(context, {number}, values, {each['bytes']}));",
                f'to_file("{self.folder / path}-{number}", values, {each["bytes"]}); }}',
            ]

    @property
    def check(self) -> str:
        """What the lines need: how a code that is none is said."""
        return f"#define check(call) do {{ int32_t code = (call); checked(code, {self.name}_error_text(code)); }} while (0)"

    def source(self) -> str:
        return main(f"{EXPECT}\n{self.check}", "\n".join(self.lines), (self.name,))

    def read(self, path: str, like: np.ndarray) -> np.ndarray:
        return np.frombuffer((self.folder / path).read_bytes(), like.dtype).reshape(like.shape)


__all__ = ["EXPECT", "GUARDED", "Caller", "Rows", "build", "exported", "main", "names", "need", "run"]
