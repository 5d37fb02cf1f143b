"""A shared library from an object file, by whichever linker there is: the system's `cc` or `ld`, else that of the `ziglang` wheel."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..compiler.errors import RanvierError

SECONDS = 120
ELF = ("-z", "relro", "-z", "now", "-z", "noexecstack")
"""What a library for Linux is linked with: tables that nobody writes to after loading, and no code on the stack."""

MISSING = "there is no linker for {machine}: install a C compiler, or `pip install 'ranvier[embed]'`, which brings one"


def suffix(triple: str) -> str:
    """How the name of a shared library ends."""
    return ".dylib" if "darwin" in triple or "macosx" in triple else ".so"


def link(made: Path, library: Path, triple: str) -> None:
    """Link an object file; the library is there whole or not at all. Raises RanvierError when no linker is there, or none of them can."""
    failures = []
    with tempfile.TemporaryDirectory(dir=library.parent, prefix=".link-") as folder:
        beside = Path(folder, library.name)  # its name becomes part of it
        for command in _commands(made, beside, triple):
            failure = _run(command)
            if not failure:
                os.replace(beside, library)
                return
            failures.append(failure)
    raise RanvierError("; ".join(failures) or MISSING.format(machine=triple.split("-")[0]))


def _commands(made: Path, library: Path, triple: str) -> Iterator[list[str]]:
    """What may be tried, in order."""
    machine, apple = triple.split("-")[0], suffix(triple) == ".dylib"
    ends = ["-o", str(library), str(made)]
    for name in _compilers(machine):
        if apple:
            yield [name, "-dynamiclib", f"-Wl,-install_name,@rpath/{library.name}", *ends]
        else:
            options = [f"-Wl,{','.join(ELF)}", "-Wl,-x", f"-Wl,-soname,{library.name}", "-Wl,--build-id=none"]
            yield [name, "-shared", "-nostartfiles", "-nodefaultlibs", *options, *ends, "-lc"]
    linker = shutil.which("ld" if machine == _own() else f"{machine}-linux-gnu-ld")
    if linker and not apple:
        yield [linker, "-shared", "-x", *ELF, "-soname", library.name, "--build-id=none", *ends]
    if importlib.util.find_spec("ziglang") is not None and not apple:
        target = f"{machine}-linux-gnu"
        options = [f"-Wl,-soname,{library.name}", "-Wl,-z,relro", "-Wl,-z,now", "-s"]
        yield [sys.executable, "-m", "ziglang", "cc", "-target", target, "-shared", "-nostartfiles", *options, *ends]


def _compilers(machine: str) -> list[str]:
    """The C compilers of this system for a machine."""
    names = ["cc", "gcc", "clang"] if machine == _own() else [f"{machine}-linux-gnu-gcc"]
    return [found for name in names if (found := shutil.which(name))]


def _own() -> str:
    import platform

    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())


def _run(command: list[str]) -> str:
    """Run a linker; what it said when it failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as failure:
        return f"{command[0]} failed: {failure}"
    if done.returncode == 0:
        return ""
    lines = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
    return f"{Path(command[0]).name} failed: {lines[-1]}"
