"""Cached code is executed: it must be ours, whole and for this machine, and a cache that is not must not stop the user."""

import hashlib
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ranvier.compiler.backend import cache, jit, target

TEXT = f"define i64 @answer() #0 {{\n  ret i64 42\n}}\n{jit.ATTRIBUTES}"
HOST = target.host()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RANVIER_CACHE", raising=False)
    monkeypatch.setenv("RANVIER_CACHE_DIR", str(tmp_path / "objects"))
    return tmp_path / "objects"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were really compiled."""
    real, seen = jit.compile_object, []

    def compile_object(text: str, goal: target.Target) -> bytes:
        seen.append(text)
        return real(text, goal)

    monkeypatch.setattr(jit, "compile_object", compile_object)
    return seen


def entry(folder: Path) -> Path:
    return folder / cache.key(TEXT, HOST)


def test_the_second_time_nothing_is_compiled(folder: Path, compiled: list[str]) -> None:
    first = cache.cached_object(TEXT, HOST)
    assert cache.cached_object(TEXT, HOST) == first
    assert compiled == [TEXT]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [p.name for p in folder.iterdir()] == [cache.key(TEXT, HOST)]
    assert entry(folder).read_bytes() == hashlib.sha256(first).digest() + first


def test_several_objects_come_back_in_order(folder: Path, compiled: list[str]) -> None:
    other = TEXT.replace("42", "43")
    cache.cached_object(other, HOST)
    both = cache.cached_objects([TEXT, other], HOST)
    assert compiled == [other, TEXT]
    assert both == [cache.cached_object(TEXT, HOST), cache.cached_object(other, HOST)]
    assert both[0] != both[1]


@pytest.mark.parametrize("where", [0, 31, 32, -1])
def test_one_flipped_bit_is_noticed(folder: Path, compiled: list[str], where: int) -> None:
    good = cache.cached_object(TEXT, HOST)
    content = bytearray(entry(folder).read_bytes())
    content[where] ^= 1
    entry(folder).write_bytes(content)
    assert cache.cached_object(TEXT, HOST) == good
    assert len(compiled) == 2
    assert cache.cached_object(TEXT, HOST) == good
    assert len(compiled) == 2, "the damaged object was replaced"


@pytest.mark.parametrize("size", [0, 10, 32, 100])
def test_a_truncated_object_is_noticed(folder: Path, compiled: list[str], size: int) -> None:
    good = cache.cached_object(TEXT, HOST)
    os.truncate(entry(folder), size)
    assert cache.cached_object(TEXT, HOST) == good
    assert len(compiled) == 2


def test_a_link_in_place_of_an_object_is_not_followed(folder: Path, compiled: list[str], tmp_path: Path) -> None:
    good = cache.cached_object(TEXT, HOST)
    elsewhere = tmp_path / "elsewhere"
    entry(folder).rename(elsewhere)
    entry(folder).symlink_to(elsewhere)
    assert cache.cached_object(TEXT, HOST) == good
    assert len(compiled) == 2
    assert not entry(folder).is_symlink()
    assert elsewhere.exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_not_read(folder: Path, compiled: list[str], make: object) -> None:
    cache.cached_object(TEXT, HOST)
    entry(folder).unlink()
    make(entry(folder))  # type: ignore[operator]
    cache.cached_object(TEXT, HOST)
    assert len(compiled) == 2


def test_an_object_that_others_may_write_is_not_believed(folder: Path, compiled: list[str]) -> None:
    cache.cached_object(TEXT, HOST)
    entry(folder).chmod(0o666)
    cache.cached_object(TEXT, HOST)
    assert len(compiled) == 2


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o710])
def test_a_directory_open_to_others_is_not_used(folder: Path, compiled: list[str], mode: int) -> None:
    cache.cached_object(TEXT, HOST)
    folder.chmod(mode)
    cache.cached_object(TEXT, HOST)
    cache.cached_object(TEXT.replace("42", "43"), HOST)
    assert len(compiled) == 3
    assert len(list(folder.iterdir())) == 1


def test_the_directory_of_another_user_is_not_used(folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cache.cached_object(TEXT, HOST)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    cache.cached_object(TEXT, HOST)
    assert len(compiled) == 2


def test_a_link_in_place_of_the_directory_is_not_followed(folder: Path, compiled: list[str], tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    folder.symlink_to(real)
    cache.cached_object(TEXT, HOST)
    assert list(real.iterdir()) == []


def test_a_directory_that_cannot_be_made_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RANVIER_CACHE_DIR", str(tmp_path / "file" / "objects"))
    assert cache.cached_object(TEXT, HOST)
    monkeypatch.setenv("RANVIER_CACHE_DIR", str(tmp_path / "file"))
    assert cache.cached_object(TEXT, HOST)
    assert len(compiled) == 2


def test_a_full_disk_stops_nothing(folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    assert cache.cached_object(TEXT, HOST)
    assert list(folder.iterdir()) == []


def test_it_can_be_turned_off(folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANVIER_CACHE", "off")
    cache.cached_object(TEXT, HOST)
    cache.cached_object(TEXT, HOST)
    assert len(compiled) == 2
    assert not folder.exists()


def test_the_place_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANVIER_CACHE", raising=False)
    monkeypatch.delenv("RANVIER_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/somebody")
    assert cache.cache_directory() == Path("/var/somebody/ranvier")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.cache_directory() == Path("/home/somebody/.cache/ranvier")


def test_objects_unused_for_longest_go_first(folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [TEXT.replace("42", str(n)) for n in range(4)]
    sizes = {len(image) + cache.DIGEST for image in cache.cached_objects(texts[:3], HOST)}
    for age, text in enumerate(texts[:3]):
        os.utime(folder / cache.key(text, HOST), ns=(age, age))
    cache.cached_object(texts[0], HOST)  # used again: text 1 is now the oldest
    monkeypatch.setattr(cache, "LIMIT", 3 * max(sizes))
    cache.cached_object(texts[3], HOST)
    assert {p.name for p in folder.iterdir()} == {cache.key(texts[n], HOST) for n in (0, 2, 3)}


def test_the_key_names_everything_the_object_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [replace(HOST, cpu="x86-64"), replace(HOST, features=""), replace(HOST, triple="aarch64-unknown-linux-gnu")]
    keys = {cache.key(TEXT, each) for each in [HOST, *others]} | {cache.key(TEXT + " ", HOST)}
    monkeypatch.setitem(jit.OPTIONS, "opt", 3)
    keys.add(cache.key(TEXT, HOST))
    monkeypatch.setattr(cache, "_versions", lambda: "another LLVM")
    keys.add(cache.key(TEXT, HOST))
    monkeypatch.setattr(cache, "FORMAT", "another format")
    keys.add(cache.key(TEXT, HOST))
    assert len(keys) == 8


WORKER = """
import sys
from ranvier.compiler.backend import cache, jit, target
texts = [f"define i64 @answer() #0 {{\\n  ret i64 {n}\\n}}\\n{jit.ATTRIBUTES}" for n in range(40)]
for _ in range(3):
    for text, image in zip(texts, cache.cached_objects(texts, target.host())):
        assert image == cache.cached_object(text, target.host())
"""


def test_processes_share_it_at_the_same_time(folder: Path) -> None:
    started = [subprocess.Popen([sys.executable, "-c", WORKER]) for _ in range(3)]
    assert [p.wait(120) for p in started] == [0, 0, 0]
    names = [p.name for p in folder.iterdir()]
    assert len(names) == 40
    assert not [name for name in names if name.startswith("tmp-")]
