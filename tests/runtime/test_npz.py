"""An archive of arrays, however it was damaged or forged, gives its arrays or one DataError: nothing runs, hangs or fills the memory."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ranvier.compiler.errors import DataError
from ranvier.runtime.limits import Limits
from ranvier.runtime.npz import read_npy, read_npz

NUMBERS = st.sampled_from(["<f4", "<f8", ">f4", ">f8", "<i4", ">i8", "|u1", ">u2", "|b1", "<f2"])


def npy(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def header(text: str, version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    count = len(text) if length is None else length
    return b"\x93NUMPY" + bytes(version) + count.to_bytes(2 if version == (1, 0) else 4, "little") + text.encode()


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path


def refused(path: Path, words: str, limits: Limits = Limits()) -> None:  # noqa: B008  # frozen
    with pytest.raises(DataError, match=words) as caught:
        (read_npy if path.suffix == ".npy" else read_npz)(path, limits)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    array=NUMBERS.flatmap(lambda d: hnp.arrays(np.dtype(d), hnp.array_shapes(min_dims=0, min_side=0, max_dims=4))),
    packed=st.booleans(),
    fortran=st.booleans(),
)
def test_arrays_come_back_native_and_in_c_order(tmp_path: Path, array: np.ndarray, packed: bool, fortran: bool) -> None:
    path = tmp_path / "a.npz"
    source = np.asfortranarray(array) if fortran and array.ndim else array
    (np.savez_compressed if packed else np.savez)(path, x=source, y=np.arange(3))
    found = read_npz(path)
    assert list(found) == ["x", "y"]
    np.testing.assert_array_equal(found["x"], array)
    assert found["x"].shape == array.shape
    assert found["x"].dtype == array.dtype.newbyteorder("=")
    assert found["x"].dtype.isnative
    assert found["x"].flags.c_contiguous
    assert found["x"].flags.writeable


def test_text_comes_back(tmp_path: Path) -> None:
    words = np.array(["setosa", "größer", ""])
    np.savez(tmp_path / "a.npz", wide=words, foreign=words.astype(words.dtype.newbyteorder(">")), octets=np.array([b"ab", b"c"]))
    found = read_npz(tmp_path / "a.npz")
    assert found["wide"].tolist() == found["foreign"].tolist() == words.tolist()
    assert found["octets"].tolist() == ["ab", "c"]


def test_an_npy_file_is_named_after_itself(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read_npy(tmp_path / "image.npy")["image"], np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        "{'shape': (2L,), 'fortran_order': False, 'descr': '<f4'}\n",
        '{"descr": "<f4", "fortran_order": False, "shape": (2)}   ',
    ],
)
def test_headers_of_other_writers(tmp_path: Path, text: str) -> None:
    for version in ((1, 0), (2, 0), (3, 0)):
        (tmp_path / "a.npy").write_bytes(header(text, version) + np.array([1, 2], "<f4").tobytes())
        assert read_npy(tmp_path / "a.npy")["a"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }", "claims"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", "claims"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904, 9), }", "shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "header"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 40 + "), }", "shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }", "shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "8 bytes follow"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "8 bytes follow"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "pickle"),
        ("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", "complex"),
        ("{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (1,), }", "dates"),
        ("{'descr': '|V8', 'fortran_order': False, 'shape': (1,), }", "records"),
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (1,), }", "cannot be read"),
        ("{'descr': '<f16', 'fortran_order': False, 'shape': (1,), }", "cannot be read"),
        ("{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (1,), }", "named fields"),
        ("{'descr': '<f4', 'fortran_order': __import__('os').abort(), 'shape': (2,), }", "header"),
        ("{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "header"),
        ("{" * 20000, "header"),
        ("(" * 60000, "header"),
        ("-" * 60000, "header"),
        ("", "header"),
    ],
)
def test_false_headers_are_refused_before_memory_is_asked_for(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.npy").write_bytes(header(text) + bytes(8))
    refused(tmp_path / "a.npy", words)


def test_false_lengths_and_versions(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for data, words in (
        (header("", (2, 0), length=2**32 - 1), "4294967295"),
        (header("{}", (9, 9)), "version 9.9"),
        (b"\x93NUMPY", "npy form"),
        (b"", "npy form"),
        (b"not an array at all", "npy form"),
    ):
        path.write_bytes(data)
        refused(path, words)


def test_values_that_are_none(tmp_path: Path) -> None:
    true = npy(np.array([True, False]))
    (tmp_path / "bool.npy").write_bytes(true[:-1] + b"\x07")
    refused(tmp_path / "bool.npy", "neither 0 nor 1")
    text = npy(np.array(["ab"]))
    for point in (0x110000, 0xFFFFFFFF, 0xD800):
        (tmp_path / "text.npy").write_bytes(text[:-4] + struct.pack("<L", point))
        refused(tmp_path / "text.npy", "code points")
    np.save(tmp_path / "octets.npy", np.array([b"\xff\xfe"]))
    refused(tmp_path / "octets.npy", "UTF-8")


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return os.mkdir, (str(self.mark),)


def test_a_pickled_payload_does_not_run(tmp_path: Path) -> None:
    objects = npy(np.array([Payload(tmp_path / "ran")], dtype=object), allow_pickle=True)
    refused(archive(tmp_path / "a.npz", {"x.npy": objects}), "pickle")
    (tmp_path / "a.npy").write_bytes(objects)
    refused(tmp_path / "a.npy", "pickle")
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    refused(tmp_path / "b.npy", "npy form")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../x.npy", "/etc/x.npy", "a/b.npy", "..\\x.npy", "C:x.npy", "x.txt", ".npy", "..npy", "a\nb.npy", "n" * 300 + ".npy"]
)
def test_names_that_are_paths_or_no_arrays(tmp_path: Path, name: str) -> None:
    refused(archive(tmp_path / "a.npz", {name: npy(np.arange(3))}), "not named like an array")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_bombs(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros(2**21, np.uint8))
    refused(tmp_path / "zeros.npz", "over the ratio of 100:1", Limits(ratio=100))
    assert read_npz(tmp_path / "zeros.npz", Limits(ratio=2000))["x"].sum() == 0
    np.savez_compressed(tmp_path / "many.npz", **{f"x{i}": np.zeros(2**20, np.uint8) for i in range(8)})
    refused(tmp_path / "many.npz", "unpacks to", Limits(size=2**22, ratio=2000))
    np.savez(tmp_path / "members.npz", **{f"x{i}": np.zeros(1) for i in range(201)})
    refused(tmp_path / "members.npz", "201 arrays")
    refused(tmp_path / "members.npz", "the limit is", Limits(size=100))


def test_an_archive_with_the_wide_end_record_of_large_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.arange(4))
    data = (tmp_path / "a.npz").read_bytes()
    assert b"PK\x06\x06" in data
    assert list(read_npz(tmp_path / "a.npz")) == ["x", "y"]
    place = data.index(b"PK\x06\x06") + 32
    (tmp_path / "a.npz").write_bytes(data[:place] + struct.pack("<Q", 2**60) + data[place + 8 :])
    refused(tmp_path / "a.npz", "1152921504606846976 arrays")


def test_more_entries_than_the_end_record_counts(tmp_path: Path) -> None:
    """The library walks the directory by its length, so that a count of one proves nothing."""
    np.savez(tmp_path / "a.npz", **{f"x{i}": np.zeros(1) for i in range(300)})
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[-14:-10] = b"\x01\x00\x01\x00"
    (tmp_path / "a.npz").write_bytes(data)
    refused(tmp_path / "a.npz", "300 arrays")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_names_odd_packing_and_foreign_bytes(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.npz", "w") as target:
        target.writestr("x.npy", npy(np.zeros(1)))
        target.writestr("x.npy", npy(np.ones(1)))
    refused(tmp_path / "two.npz", "two arrays called")
    refused(archive(tmp_path / "bz.npz", {"x.npy": npy(np.zeros(9))}, zipfile.ZIP_BZIP2), "packed in a way")
    plain = archive(tmp_path / "plain.npz", {"x.npy": npy(np.zeros(9))}).read_bytes()
    for name, data in (("front", b"#!/bin/sh\n" + plain), ("behind", plain + b"hidden"), ("twice", plain + plain)):
        (tmp_path / f"{name}.npz").write_bytes(data)
        refused(tmp_path / f"{name}.npz", "damaged|not an .npz")


def test_members_that_share_bytes(tmp_path: Path) -> None:
    """Two entries of the directory that point at the same bytes, as in overlapping bombs."""
    data = archive(tmp_path / "a.npz", {"x.npy": npy(np.zeros(9)), "y.npy": npy(np.zeros(9))}).read_bytes()
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    (tmp_path / "a.npz").write_bytes(data[: second + 42] + bytes(4) + data[second + 46 :])
    refused(tmp_path / "a.npz", "overlaps")


def test_only_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", tmp_path, Path("/dev/zero")):
        with pytest.raises(DataError, match="not a regular file"):
            read_npz(path)
    with pytest.raises(DataError, match="no such file"):
        read_npz(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="cannot be opened"):
        read_npz("a\0b.npz")


@pytest.fixture(params=["stored", "packed", "npy"])
def valid(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    arrays = {"image": np.arange(60, dtype=np.float32).reshape(3, 4, 5), "digit": np.array([1, 2, 3]), "word": np.array(["a", "bc", "d"])}
    path = tmp_path / ("image.npy" if request.param == "npy" else "a.npz")
    if request.param == "npy":
        np.save(path, arrays["image"])
        return path, {"image": arrays["image"]}
    (np.savez if request.param == "stored" else np.savez_compressed)(path, **arrays)
    return path, arrays


def outcome(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays, or nothing after one clean error; any other exception fails the test."""
    try:
        return (read_npy if path.suffix == ".npy" else read_npz)(path)
    except DataError as error:
        message = str(error)
    assert "\n" not in message
    return None


def test_every_cut_is_noticed(valid: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, _ = valid
    whole = path.read_bytes()
    for part in range(64):
        path.write_bytes(whole[: len(whole) * part // 64])
        assert outcome(path) is None


def test_flipped_bits_give_equal_arrays_or_one_error(valid: tuple[Path, dict[str, np.ndarray]]) -> None:
    path, arrays = valid
    whole, generator = path.read_bytes(), np.random.default_rng(3)
    for _ in range(700):
        data = bytearray(whole)
        position = int(generator.integers(len(data)))
        data[position] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)
        found = outcome(path)
        if found is None or path.suffix == ".npy":  # a bare array has no checksum: another value or shape is all that may happen
            continue
        # Names are spelled twice in an archive and the checksum covers only elements.
        assert len(found) == len(arrays)
        for value, expected in zip(found.values(), arrays.values(), strict=True):
            np.testing.assert_array_equal(value, expected)


def test_replaced_fields_of_the_directory(tmp_path: Path) -> None:
    """Every 16- and 32-bit field of the records at the end set to its extremes."""
    path = archive(tmp_path / "a.npz", {"x.npy": npy(np.zeros(99)), "y.npy": npy(np.ones(9))}, zipfile.ZIP_DEFLATED)
    whole = path.read_bytes()
    for position in range(whole.index(b"PK\x01\x02"), len(whole) - 3):
        for value in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
            path.write_bytes(whole[:position] + value + whole[position + 4 :])
            outcome(path)
