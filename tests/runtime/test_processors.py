"""The number of threads respects the machine, the container and the user's wish."""

import os
from pathlib import Path

import pytest
from ranvier.compiler.errors import ResourceError
from ranvier.runtime import processors


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(processors, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(processors, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.delenv("RANVIER_THREADS", raising=False)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_affinity_alone(groups: Path) -> None:
    assert processors.available() == 16
    assert processors.default_threads() == 16


@pytest.mark.parametrize(("limit", "expected"), [("max 100000", 16), ("250000 100000", 2), ("50000 100000", 1), ("junk", 16), ("", 16)])
def test_quota_of_version_two(groups: Path, limit: str, expected: int) -> None:
    write(groups / "own", "0::/a/b\n")
    write(groups / "a/b/cpu.max", limit + "\n")
    assert processors.available() == expected


def test_the_tightest_group_counts(groups: Path) -> None:
    write(groups / "own", "0::/a/b\n")
    write(groups / "a/b/cpu.max", "800000 100000\n")
    write(groups / "a/cpu.max", "300000 100000\n")
    assert processors.available() == 3


@pytest.mark.parametrize(("quota", "expected"), [("400000", 4), ("-1", 16)])
def test_quota_of_version_one(groups: Path, quota: str, expected: int) -> None:
    write(groups / "own", "5:cpu,cpuacct:/x\n1:name=systemd:/x\n")
    write(groups / "cpu/x/cpu.cfs_quota_us", quota)
    write(groups / "cpu/x/cpu.cfs_period_us", "100000")
    assert processors.available() == expected


def test_the_users_wish_goes_first(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANVIER_THREADS", "5")
    assert processors.default_threads() == 5


@pytest.mark.parametrize("wish", ["0", "-1", "257", "two", "1.5", "9" * 5000, "²"])
def test_a_wish_that_is_no_number_of_threads_is_refused(groups: Path, monkeypatch: pytest.MonkeyPatch, wish: str) -> None:
    monkeypatch.setenv("RANVIER_THREADS", wish)
    with pytest.raises(ResourceError, match="whole number from 1 to 256"):
        processors.default_threads()
