"""What all tests share: the installed package, an own folder of compiled kernels, helper modules, golden texts (`--update-golden`)."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent

# `python -m pytest` puts the current folder on the path. What is tested is the installed package, here and in processes that tests start.
sys.path[:] = [place for place in sys.path if Path(place).resolve() != HERE.parent]
os.environ["PYTHONSAFEPATH"] = "1"

sys.path.append(str(HERE / "support"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden texts instead of comparing with them")


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled kernels in a folder of this session, shared by its processes and empty at its start: no test meets a user's cache."""
    if not hasattr(config, "workerinput"):
        os.environ["RANVIER_CACHE_DIR"] = tempfile.mkdtemp(prefix="ranvier-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["RANVIER_CACHE_DIR"], ignore_errors=True)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)`: the text equals tests/golden/NAME.txt."""

    def check(name: str, text: str) -> None:
        path = HERE / "golden" / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        assert path.exists(), f"no golden text {name}: make it with --update-golden"
        assert text + "\n" == path.read_text(encoding="utf-8")

    return check
