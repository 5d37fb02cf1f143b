"""Whatever happens to the latest file of a training, the one before it is found, and a person is told which of them was read."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from ranvier.runtime import atomic
from ranvier.runtime.checkpoint import SavedModel, UnsoundError, load_model, save_model
from ranvier.runtime.cli.application import application
from ranvier.runtime.rotation import best_of, load_latest, previous_of

import ranvier as rv

TEXT = "model m() { input x: f32[2] ; target y: f32[1] ; out = x -> dense(1) ; predict out ; loss mse(out, y) }\n"


def numbered(number: int) -> SavedModel:
    params = {"w": np.arange(6, dtype=np.float32)}
    return SavedModel({"m.nn": "model m() {}\n"}, settings={"number": number}, params=params, progress={"epoch": number})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The second of two models, the first beside it."""
    path = tmp_path / "m.safetensors"
    for number in (1, 2):
        save_model(path, numbered(number), previous=previous_of(path))
    return path


def number_at(path: Path) -> object:
    return load_model(path).settings["number"]


def test_names_stand_beside_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "link.safetensors").symlink_to("real.safetensors")
    assert previous_of(tmp_path / "link.safetensors") == tmp_path / "real.previous.safetensors"
    assert best_of(tmp_path / "real.safetensors") == tmp_path / "real.best.safetensors"
    assert previous_of("bare") == Path("bare.previous").absolute()


def test_the_last_two_are_kept(path: Path) -> None:
    assert sorted(p.name for p in path.parent.iterdir()) == ["m.previous.safetensors", "m.safetensors"]
    assert (number_at(path), number_at(previous_of(path))) == (2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_latest(path)[0].settings["number"] == 2


def falls_back(path: Path) -> bool:
    """Whether reading gives the first with a warning that names both files, or (where nothing of worth was touched) the second."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        saved, found = load_latest(path)
    if not told:
        assert saved.settings["number"] == 2
        return False
    assert (saved.settings["number"], found) == (1, previous_of(path))
    assert str(path) in str(told[0].message)
    assert str(previous_of(path)) in str(told[0].message)
    return True


def test_cut_at_every_byte(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert falls_back(path)


def test_one_bit_flipped_in_every_byte(path: Path) -> None:
    whole = path.read_bytes()
    kept = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << (place % 8)
        path.write_bytes(data)
        kept += not falls_back(path)
    assert kept <= 8  # a few bytes of a header are blanks that fill it up


def test_a_file_that_is_gone(path: Path) -> None:
    path.unlink()
    assert falls_back(path)


def test_both_damaged_are_both_named(path: Path) -> None:
    for each in (path, previous_of(path)):
        each.write_bytes(b"x")
    with pytest.raises(rv.CheckpointError) as caught:
        load_latest(path)
    assert str(path) in str(caught.value)
    assert str(previous_of(path)) in str(caught.value)


def test_values_that_are_wrong_are_no_damage(path: Path) -> None:
    """Going back silently would hide that training went wrong."""
    save_model(path, SavedModel({}, params={"w": np.array([np.nan], np.float32)}))
    with pytest.raises(UnsoundError, match="--allow-nonfinite"):
        load_latest(path)
    assert load_latest(path, allow_nonfinite=True)[1] == path


def test_loading_a_model_falls_back_in_python_and_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    model = rv.compile(TEXT, threads=1)
    model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=2, checkpoint=path, checkpoint_every="epoch")
    assert rv.load(path).epoch == 2
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(rv.RanvierWarning, match=r"m\.previous\.safetensors"):
        assert rv.load(path).epoch >= 1
    np.savez(tmp_path / "rows.npz", x=np.ones((4, 2), np.float32), y=np.ones((4, 1), np.float32))
    result = CliRunner().invoke(application, ["eval", str(path), "--data", str(tmp_path / "rows.npz")])
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {path}: ")
    assert result.stderr.count("\n") == 1


# --- failures while writing


CALLS = ("open", "write", "fsync", "link", "replace", "close", "unlink")


class Failing:
    """Counts the calls of the system that writing makes; the k-th fails, and perhaps all after it, as on a disk that is full."""

    def __init__(self, patch: pytest.MonkeyPatch, fatal: int, code: int, *, ever: bool) -> None:
        self.count, self.fatal, self.code, self.ever = 0, fatal, code, ever
        for name in CALLS:
            patch.setattr(atomic.os, name, self.wrapped(name))

    def wrapped(self, name: str) -> object:
        real = getattr(os, name)

        def call(*arguments: object, **options: object) -> object:
            self.count += 1
            failing = self.count == self.fatal or (self.ever and self.count > self.fatal and name not in ("close", "unlink"))
            if not failing:
                return real(*arguments, **options)
            if name == "close":
                real(*arguments)
            raise OSError(self.code, os.strerror(self.code))

        return call


@pytest.mark.parametrize("code", [28, 5, 30, 1], ids=["ENOSPC", "EIO", "EROFS", "EPERM"])
def test_whatever_call_fails_one_of_the_last_two_is_whole(path: Path, code: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        counted = Failing(patch, 0, code, ever=False)
        save_model(path, numbered(3), previous=previous_of(path))
    for ever in (False, True):
        for fatal in range(1, counted.count + 1):
            for number in (1, 2):
                save_model(path, numbered(number), previous=previous_of(path))
            with pytest.MonkeyPatch.context() as patch:
                Failing(patch, fatal, code, ever=ever)
                with suppress(rv.CheckpointError):
                    save_model(path, numbered(3), previous=previous_of(path))
            found = [load_model(each).settings["number"] for each in (path, previous_of(path)) if each.exists()]
            assert found in ([2, 1], [2, 2], [3, 2])
            save_model(path, numbered(4), previous=previous_of(path))
            assert ever or len(list(path.parent.iterdir())) == 2
            atomic.sweep(path)


def test_a_file_system_without_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(atomic.os, "link", refuse)
    save_model(path, numbered(3), previous=previous_of(path))
    assert (number_at(path), number_at(previous_of(path))) == (3, 2)
    assert len(list(path.parent.iterdir())) == 2


def test_one_file_of_two_names_is_no_more_than_a_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = best_of(path)
    save_model(best, numbered(3))
    for _ in range(2):
        assert atomic.name_too(best, path, previous=previous_of(path))
    assert [number_at(each) for each in (path, best, previous_of(path))] == [3, 3, 3]
    save_model(best, numbered(4))
    assert number_at(path) == 3
    assert not list(path.parent.glob(".*"))

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(atomic.os, "link", refuse)
    assert not atomic.name_too(best, path, previous=previous_of(path))
    assert [number_at(each) for each in (path, best)] == [3, 4]


def test_what_a_killed_writer_left_is_swept(path: Path) -> None:
    left = path.with_name(f".{path.name}.0123456789abcdef.tmp")
    other = path.with_name(".other.safetensors.0123456789abcdef.tmp")
    for each in (left, other):
        each.write_bytes(b"")
    atomic.sweep(path)
    assert not left.exists()
    assert other.exists()
