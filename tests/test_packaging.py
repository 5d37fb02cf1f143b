"""What is installed is what is here: a sub-package missing from the list works in this folder and nowhere else."""

from __future__ import annotations

import tomllib

from repository import ROOT

FOLDERS = {"compiler": "ranvier.compiler", "runtime": "ranvier.runtime", "grammar": "ranvier.grammar", "ranvier": "ranvier"}


def test_every_sub_package_is_listed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    markers = [(folder, file) for folder in FOLDERS for file in (ROOT / folder).rglob("__init__.py")]
    found = {".".join([FOLDERS[folder], *file.parent.relative_to(ROOT / folder).parts]) for folder, file in markers}
    assert found == {name for name in settings["packages"] if not name.startswith("ranvier.examples")}


def test_data_of_packages_exists() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    places = {**settings["package-dir"]}
    for package, patterns in settings["package-data"].items():
        head = max((p for p in places if package == p or package.startswith(p + ".")), key=len)
        folder = ROOT.joinpath(places[head], *package.removeprefix(head).strip(".").split(".")) if package != head else ROOT / places[head]
        for pattern in patterns:
            assert list(folder.glob(pattern)) or pattern == "*.md", f"{package}: {pattern}"
