"""The tree keeps the measure it set itself: small functions, every module explained, arrows that point one way.

If these fail, the next reader pays: with a function that needs scrolling, or a part that cannot be understood without all the others.
"""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

from repository import ROOT

FOLDERS = ("ranvier", "runtime", "compiler", "grammar")
MODULES = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in MODULES}

COMMON = {"source", "diagnostics", "errors", "deadline"}
"""Modules at the top of the compiler that know of nothing else in it."""

SEEN = {
    "frontend": {"ir", *COMMON},
    "ir": COMMON,
    "passes": {"ir", *COMMON},
    "kernels": {"ir", "passes.fusion", *COMMON},
    "backend": {"ir", "kernels", *COMMON},
    "stdlib": set[str](),
    "ahead": {"ir", "kernels", "backend", *COMMON},
}
"""What each part of the compiler may see beside itself; the driver and the layout join them."""

ONLY_IN = {
    "networkx": "compiler/ir/graph.py",
    "llvmlite": "compiler/backend/",
    "lark": "compiler/frontend/",
    "rich": "runtime/cli/",
    "click": "runtime/cli/",
}


DEFINED = re.compile(r"^(?:layer|cell|fn|optimizer|schedule) (\w+)\(", re.MULTILINE)
LIBRARY = (
    "layers", "activations", "losses", "metrics", "optimizers", "schedules", "preprocessing", "regularisers", "clipping", "averaging",
    "stopping",
)  # fmt: skip
OTHER_MEANINGS = {"constant", "reshape", "step", "progress", "clip", "after"}
"""Names of the library that are also an operation of the compiler, a setting, a count of training steps, or an English word."""


def functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a module, methods included."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    documentation = ast.get_docstring(function, clean=False)
    lines = (function.end_lineno or 0) - function.lineno + 1
    return lines - (documentation.count("\n") + 1 if documentation else 0)


def imports(file: Path) -> Iterator[str]:
    """Modules that a file imports anywhere in it, by their full names; of a `from` import, each name as if it were a module."""
    package = packaged(file).split(".")[: None if file.name == "__init__.py" else -1]
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            yield from (".".join([*start, *([node.module] if node.module else []), alias.name]) for alias in node.names)


def packaged(file: Path) -> str:
    """The name by which a file is imported."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts if parts[0] == "ranvier" else ("ranvier", *parts))


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_a_module_says_what_it_is() -> None:
    first_lines = {str(file.relative_to(ROOT)): (ast.get_docstring(tree) or "").partition("\n")[0] for file, tree in TREES.items()}
    assert {file: line for file, line in first_lines.items() if not line.endswith((".", ":"))} == {}


def test_functions_are_short() -> None:
    sizes = {f"{file.relative_to(ROOT)}:{f.lineno} {f.name}": length(f) for file in MODULES for f in functions(TREES[file])}
    assert statistics.median(sizes.values()) <= 8
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= 30
    assert {place: size for place, size in sizes.items() if size > 60} == {}


def test_what_functions_return_is_declared() -> None:
    undeclared = [(file.name, f.name) for file in MODULES for f in functions(TREES[file]) if not f.returns and f.name != "__init__"]
    assert undeclared == []


def test_arrows_point_one_way() -> None:
    assert {str(file.relative_to(ROOT)): wrong for file in MODULES if (wrong := against_the_arrows(file))} == {}


def against_the_arrows(file: Path) -> list[str]:
    """What a file imports of Ranvier and may not."""
    own, names = file.relative_to(ROOT).parts, {name for name in imports(file) if within(name, "ranvier")}
    allowed = [packaged(ROOT / folder / "__init__.py") for folder in FOLDERS[FOLDERS.index(own[0]) :]]
    if own[0] == "compiler" and own[1] in SEEN:
        allowed = ["ranvier.grammar", *(f"ranvier.compiler.{part}" for part in {own[1], *SEEN[own[1]]})]
    return [name for name in names if not any(within(name, package) for package in allowed)]


def test_a_library_is_met_in_one_place() -> None:
    met = {
        (library, file.relative_to(ROOT).as_posix())
        for file in MODULES
        for name in imports(file)
        for library in ONLY_IN
        if within(name, library)
    }
    assert {library for library, _ in met} == set(ONLY_IN)
    assert [(library, file) for library, file in met if not file.startswith(ONLY_IN[library])] == []


def test_python_knows_no_layer_loss_or_optimizer_by_name() -> None:
    texts = [(ROOT / "compiler" / "stdlib" / f"{name}.nn").read_text(encoding="utf-8") for name in LIBRARY]
    names = {name for text in texts for name in DEFINED.findall(text)} - OTHER_MEANINGS
    assert {"dense", "adam", "cross_entropy", "relu", "accuracy", "cosine"} <= names
    constants = {(n.value, file.name) for file in MODULES for n in ast.walk(TREES[file]) if isinstance(n, ast.Constant)}
    assert [(value, file) for value, file in constants if value in names] == []


def test_no_test_needs_what_the_test_command_does_not_install() -> None:
    """PyTorch and the other peers are extras of their own: a module that imports one where it may be absent ends the whole run."""
    for file in sorted((ROOT / "tests").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        found |= {node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert not {name.partition(".")[0] for name in found} & {"torch", "jax", "onnx", "onnxruntime"}, file
