"""What is installed is what is here: a file missing from the list of packages works in this folder and nowhere else."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from repository import ROOT

import ranvier

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETTINGS["package-dir"]
BESIDE = ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")


def wanted() -> set[str]:
    """Files of the installed package, below site-packages."""
    found = {
        f"{package.replace('.', '/')}/{f.relative_to(ROOT / folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for f in files(ROOT / folder)
    }
    assert {"ranvier/grammar/nn.tables.json", "ranvier/compiler/stdlib/layers.nn", "ranvier/examples/data/digits.npz"} <= found
    return found


def files(folder: Path) -> list[Path]:
    """Files of a folder and its sub-folders that are kept in the repository."""
    return [f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from it."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in BESIDE:
        shutil.copy(ROOT / name, source)
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tests").mkdir()
    shutil.copy(__file__, source / "tests")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return built


def test_packages_are_the_folders_with_a_marker() -> None:
    found = {
        ".".join([package, *marker.parent.relative_to(ROOT / folder).parts])
        for package, folder in FOLDERS.items()
        for marker in (ROOT / folder).rglob("__init__.py")
    }
    assert found == set(SETTINGS["packages"])


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == wanted()


def test_the_source_distribution_holds_what_the_wheel_needs_and_no_tests(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    sources = {f.relative_to(ROOT).as_posix() for folder in FOLDERS.values() for f in files(ROOT / folder)}
    assert sources | set(BESIDE) <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]


def test_the_tests_run_on_the_installed_package() -> None:
    site = distribution("ranvier")
    origin = json.loads(site.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("installed in place")
    package = Path(ranvier.__file__).parent
    assert ROOT not in package.parents or ".venv" in package.parts
    assert {f"ranvier/{f.relative_to(package).as_posix()}" for f in files(package)} == wanted()
