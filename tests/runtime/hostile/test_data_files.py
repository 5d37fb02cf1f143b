"""Data files made to hurt, one test a kind of attack: each is refused in one line that names the file, before memory or time is spent.

If these fail, a file from a stranger runs code, fills the memory, hangs the process, or comes through as wrong numbers.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin
from ranvier.compiler.errors import DataError
from ranvier.runtime.looking.facts import look
from ranvier.runtime.looking.source import open_source, pieces
from ranvier.runtime.reading import READERS, read_table
from readings import outcomes, pool


@pytest.fixture(scope="module")
def children() -> Iterator[ProcessPoolExecutor]:
    with pool() as found:
        yield found


@pytest.fixture
def judge(children: ProcessPoolExecutor) -> Callable[[Path], str]:
    """What reading a file comes to in a child."""
    return lambda path: outcomes(children, [path])[0]


Judge = Callable[[Path], str]


def refused(judge: Judge, path: Path, words: str = "") -> None:
    end = judge(path)
    assert end.startswith("refused"), end
    assert words in end


def npy(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def forged(descr: str, shape: str, elements: bytes = b"", length: int | None = None) -> bytes:
    """An `.npy` file that claims what it likes."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    size = len(text) if length is None else length
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", size) + text + elements


def archive(path: Path, members: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path


# --- code in data


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return os.mkdir, (str(self.mark),)


def test_nothing_of_a_file_runs(judge: Judge, tmp_path: Path) -> None:
    """Pickles as elements, in the place of a file, and in the type of a Parquet column (CVE-2023-47248)."""
    mark = tmp_path / "ran"
    objects, plain = npy(np.array([Payload(mark)], dtype=object), allow_pickle=True), pickle.dumps(Payload(mark))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.npy").write_bytes(objects)
    (tmp_path / "x.npy").write_bytes(objects)
    refused(judge, tmp_path / "x.npy", "pickle")
    refused(judge, archive(tmp_path / "x.npz", {"x.npy": objects}), "pickle")
    refused(judge, tmp_path / "folder", "")
    for suffix in READERS:
        (tmp_path / f"plain{suffix}").write_bytes(plain)
        judge(tmp_path / f"plain{suffix}")
    kind = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": plain}
    pq.write_table(pa.table([[1, 2]], schema=pa.schema([pa.field("x", pa.int64(), metadata=kind)])), tmp_path / "x.parquet")
    assert not judge(tmp_path / "x.parquet").startswith(("Py", "does"))
    assert not mark.exists()


# --- sizes that are claimed


@pytest.mark.parametrize(
    ("descr", "shape", "elements"),
    [
        ("'<f8'", "(1099511627776,)", b""),
        ("'<f8'", "(1048576, 1048576)", b"\0" * 64),
        ("'<f8'", "(4294967296, 4294967296)", b""),
        ("'<f8'", "(2305843009213693952, 8)", b""),
        ("'|u1'", "(0, 99999999999999999999)", b""),
        ("'<f8'", "(4,)", b"\0" * 31),
        ("'<f8'", "(4,)", b"\0" * 33),
        ("'<U99999999'", "(99,)", b""),
        ("'<U0'", "(4611686018427387904,)", b""),
        ("'<f8'", "(-1,)", b""),
        ("'<f8'", "(" + "1, " * 2000 + ")", b"\0" * 8),
        ("'<f8'", "(" * 5000 + ")" * 5000, b"\0" * 8),
        ("__import__('os').mkdir('ran')", "(1,)", b""),
    ],
)
def test_headers_of_arrays_that_lie(descr: str, shape: str, elements: bytes, judge: Judge, tmp_path: Path) -> None:
    data = forged(descr, shape, elements)
    (tmp_path / "x.npy").write_bytes(data)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.npy").write_bytes(data)
    refused(judge, tmp_path / "x.npy")
    refused(judge, tmp_path / "folder")
    refused(judge, archive(tmp_path / "stored.npz", {"x.npy": data}))
    refused(judge, archive(tmp_path / "packed.npz", {"x.npy": data}, zipfile.ZIP_DEFLATED))


def test_lengths_of_headers_that_lie(judge: Judge, tmp_path: Path) -> None:
    for length in (2**32 - 1, 2**20, 10**6):
        (tmp_path / "x.npy").write_bytes(forged("'<f8'", "(1,)", b"\0" * 8, length))
        refused(judge, tmp_path / "x.npy", "header claims")


def test_one_row_larger_than_all_memory(judge: Judge, tmp_path: Path) -> None:
    """The file is as long as it says (and empty on the disk), but no piece of it is small enough to look at."""
    data = forged("'|u1'", f"(1, {2**40})")
    with (tmp_path / "x.npy").open("wb") as file:
        file.write(data)
        file.truncate(len(data) + 2**40)
    refused(judge, tmp_path / "x.npy", "the limit is 4 GiB")


def test_idx_headers_that_lie(judge: Judge, tmp_path: Path) -> None:
    head = b"\0\0\x08\x03" + b"\xff" * 12
    for name, data in (
        ("a-images-idx3-ubyte", head),
        ("b-images-idx3-ubyte.gz", gzip.compress(head)),
        ("c.idx.gz", gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 2**31) + b"\0" * 2**20)),
        ("d.idx", b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\0"),
        ("e.idx", b"\0\0\x07\x01\0\0\0\0"),
    ):
        (tmp_path / name).write_bytes(data)
        refused(judge, tmp_path / name)


def test_parquet_with_more_rows_than_memory(judge: Judge, tmp_path: Path) -> None:
    """A value in every row costs next to nothing in the file."""
    pq.write_table(pa.table({"x": pa.nulls(10**9)}), tmp_path / "x.parquet", row_group_size=10**9)
    assert (tmp_path / "x.parquet").stat().st_size < 2**21
    refused(judge, tmp_path / "x.parquet", "the limit is")


def test_parquet_texts_and_lists_that_unfold(judge: Judge, tmp_path: Path) -> None:
    long = pa.array(["a" * 10**6]).dictionary_encode().dictionary
    many = pa.DictionaryArray.from_arrays(pa.array(np.zeros(2000, np.int32)), long)
    pq.write_table(pa.table({"x": many, "y": np.arange(2000)}), tmp_path / "text.parquet")
    assert judge(tmp_path / "text.parquet").startswith(("ok", "refused"))
    kind: pa.DataType = pa.int64()
    value: Any = 1
    for _ in range(300):
        kind, value = pa.list_(kind), [value]
    pq.write_table(pa.table({"deep": pa.array([value, value], kind), "y": [1, 2]}), tmp_path / "deep.parquet")
    assert judge(tmp_path / "deep.parquet").startswith(("ok", "refused"))


# --- archives


def test_archives_that_unfold(judge: Judge, tmp_path: Path) -> None:
    zeros = npy(np.zeros(2**27, np.uint8))
    refused(judge, archive(tmp_path / "ratio.npz", {"x.npy": zeros}, zipfile.ZIP_DEFLATED), "over the ratio of 1000:1")
    inner = archive(tmp_path / "inner.zip", {"x.npy": zeros}, zipfile.ZIP_DEFLATED).read_bytes()
    refused(judge, archive(tmp_path / "nested.npz", {"x.npy": inner}), "npy form")
    refused(judge, archive(tmp_path / "many.npz", {f"x{n}.npy": npy(np.zeros(1)) for n in range(201)}), "the limit is 200")
    refused(judge, archive(tmp_path / "bz.npz", {"x.npy": npy(np.zeros(9))}, zipfile.ZIP_BZIP2), "packed in a way")


def test_members_that_lie_about_their_size(judge: Judge, tmp_path: Path) -> None:
    """Both sizes of a member, in the directory and before its bytes, set to what they are not."""
    whole = archive(tmp_path / "x.npz", {"x.npy": npy(np.arange(500.0))}, zipfile.ZIP_DEFLATED).read_bytes()
    for record, offset in ((b"PK\x01\x02", 20), (b"PK\x01\x02", 24), (b"PK\x03\x04", 18), (b"PK\x03\x04", 22)):
        at = whole.index(record) + offset
        for claim in (0, 1, 100, 2**31, 2**32 - 1):
            (tmp_path / "x.npz").write_bytes(whole[:at] + struct.pack("<I", claim) + whole[at + 4 :])
            end = judge(tmp_path / "x.npz")
            assert end.startswith("refused") or (record == b"PK\x03\x04" and end == "ok"), (record, offset, claim, end)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_leave_double_or_overlap(judge: Judge, tmp_path: Path) -> None:
    array = npy(np.arange(500.0))
    for name in ("../x.npy", "/etc/x.npy", "a/../../x.npy", "..\\x.npy", "x\x1b[2J.npy", "x"):
        refused(judge, archive(tmp_path / "x.npz", {name: array}), "not named like an array")
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as target:
        target.writestr("x.npy", array)
        target.writestr("x.npy", array)
    refused(judge, tmp_path / "twice.npz", "two arrays")
    whole = archive(tmp_path / "two.npz", {"x.npy": array, "y.npy": array}).read_bytes()
    at = whole.rindex(b"PK\x01\x02") + 42
    (tmp_path / "two.npz").write_bytes(whole[:at] + struct.pack("<I", 0) + whole[at + 4 :])
    refused(judge, tmp_path / "two.npz")
    spoilt = bytearray(archive(tmp_path / "crc.npz", {"x.npy": array}).read_bytes())
    spoilt[2000] ^= 1
    (tmp_path / "crc.npz").write_bytes(spoilt)
    with pytest.raises(DataError, match="CRC"):
        read_table(tmp_path / "crc.npz")
    assert sorted(path.name for path in tmp_path.parent.glob("x*")) == []


# --- values


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([1 + 2j, 3]), "complex numbers"),
        (np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), "records with named fields"),
        (np.array(["2024-01-01"], dtype="M8[D]"), "dates"),
        (np.array([b"\0\1"], dtype="V2"), "raw records"),
        (np.float64(3), "single value"),
    ],
)
def test_elements_that_are_no_numbers(array: np.ndarray, said: str, judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy(array))
    refused(judge, tmp_path / "x.npy", said)
    refused(judge, archive(tmp_path / "x.npz", {"x.npy": npy(array)}), said)


@pytest.mark.parametrize("dtype", [">f4", ">i8", "<f2", "|b1", "<u4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_in_any_order_of_bytes_and_axes(dtype: str, order: Any, tmp_path: Path) -> None:
    values = np.arange(12).reshape(4, 3) % 2
    np.save(tmp_path / "x.npy", np.asarray(values.astype(dtype), order=order))
    facts = look(tmp_path / "x.npy").columns[0].facts
    assert facts.numbers is not None
    assert (facts.rows, facts.numbers.least, facts.numbers.most, facts.numbers.mean) == (4, 0, 1, 0.5)
    np.testing.assert_array_equal(np.concatenate([p["x"] for p in pieces(open_source(tmp_path / "x.npy"))]), values)


def test_values_that_are_not_finite_or_at_the_edge(tmp_path: Path) -> None:
    edge = np.array([np.nan, np.inf, -np.inf, 1.7e308, -1.7e308, 5e-324, 0.0, -0.0, 1.0, 2.0])
    np.savez(tmp_path / "x.npz", x=edge, big=np.full(10, 2**64 - 1, dtype=np.uint64), none=np.full(10, np.nan), y=np.arange(10) % 2)
    found = {column.facts.name: column.facts for column in look(tmp_path / "x.npz").columns}
    numbers = found["x"].numbers
    assert numbers is not None
    assert (found["x"].missing, numbers.infinite, numbers.least, numbers.most) == (1, 2, -1.7e308, 1.7e308)
    assert found["big"].constant
    assert found["big"].numbers is not None
    assert found["big"].numbers.most == 2**64 - 1
    assert found["none"].constant
    assert found["none"].missing == 10


def test_no_rows(judge: Judge, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((0, 3)), y=np.zeros(0, np.int64))
    np.save(tmp_path / "x.npy", np.zeros((5, 0)))
    (tmp_path / "x.csv").write_text("a,b\n")
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "x.parquet")
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "x.idx").write_bytes(b"\0\0\x08\x01\0\0\0\0")
    for suffix in ("npz", "npy", "csv", "parquet", "txt", "idx"):
        assert judge(tmp_path / f"x.{suffix}") == "ok"
    with zipfile.ZipFile(tmp_path / "none.npz", "w"):
        pass
    assert judge(tmp_path / "none.npz").startswith(("ok", "refused"))


# --- tables of text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"a,b\n" + b"9" * 2**21 + b",1\n", "row 2: is at least"),
        (b"a,b\n1," + b'"' + b"x\n" * 2**20, "row 2"),
        (b"a,b\n1,2\n3\n", "row 3 column 2: the row has 1 fields"),
        (b"a,b\n1,2\n3,4,5\n", "row 3 column 3: the row has 3 fields"),
        (b",".join(b"c%d" % n for n in range(10_001)) + b"\n", "has 10001 columns, the limit is 10000"),
        (b"a,b\n1,\xff\n", "row 2: holds bytes that are not UTF-8"),
        ("größe,b\n1,2\n".encode("latin-1"), "row 1: holds bytes that are not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a,b\n1,2\n".encode("utf-32"), ""),
        (b"a,b\n1,\0\n", "row 2: holds a NUL"),
        (b"\0" * 4096, "NUL"),
        (b"a,b\r1,2\r", "carriage return"),
        (b"a|b\n1|2\n", "separated by '|'"),
        (b"1,2\n3,4\n", "holds no names"),
        (b'"' * 99_999, ""),
        (b"PK\x03\x04\x14\0\x06\0 a spreadsheet\n", "NUL"),
    ],
)
def test_texts_that_are_no_table(data: bytes, words: str, judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(data)
    refused(judge, tmp_path / "x.csv", words)


def test_tables_that_are_right_after_all(judge: Judge, tmp_path: Path) -> None:
    for number, data in enumerate((b"\xef\xbb\xbfa,b\r\n1,2\r\n", b'a,b\n"1\n,""",2\n', b"a\n" + b"=cmd|'/C calc'!A0\n", b"a,b\n1,2")):
        (tmp_path / f"{number}.csv").write_bytes(data)
        assert judge(tmp_path / f"{number}.csv") == "ok"
    assert list(read_table(tmp_path / "0.csv")) == ["a", "b"]


@pytest.mark.parametrize("field", ["#NAME?", "1,5", "0x1F", "1_000", "1e", "--3", "½", "１２x"])
def test_fields_that_only_look_like_numbers(field: str, tmp_path: Path) -> None:
    """They are not guessed at: the column is text, and the model that wants numbers says where."""
    from ranvier.runtime.feeding import read_split

    import ranvier as rv

    (tmp_path / "x.csv").write_text(f'a,y\n1,2\n"{field}",3\n4,5\n', encoding="utf-8")
    model = rv.compile("model m() {\ninput a: f32\ntarget y: f32\nz = a * 2\npredict z\nloss (z - y) ^ 2\n}\n")
    with pytest.raises(DataError, match=r"x\.csv: `a` row 3 holds the text"):
        read_split(model, tmp_path / "x.csv")


# --- images


def png(width: int, height: int, pixels: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *extra, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def test_images_that_unfold(judge: Judge, tmp_path: Path) -> None:
    small = zlib.compress(b"\0" * 100)
    bombs = {
        "claims.png": png(2**31 - 1, 2**31 - 1, small),
        "large.png": png(100_000, 100_000, zlib.compress(b"\0" * 10**7)),
        "text.png": png(1, 1, small, *[(b"zTXt", b"k\0\0" + zlib.compress(b"x" * 2**24)) for _ in range(16)]),
        "claims.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 0, 0, 0, 0),
        "claims.gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\x01\0\0;",
        "claims.ppm": b"P6\n2000000000 2000000000\n255\n",
        "script.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
        "page.png": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "empty.jpg": b"",
    }
    for name, data in bombs.items():
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_bytes(data)
        refused(judge, folder, name)


def test_an_image_with_a_hostile_profile_and_text(judge: Judge, tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("\x1b[2J", "x" * 10**5, zip=True)
    (tmp_path / "rows").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "rows" / "a.png", pnginfo=info, icc_profile=b"\xff" * 1000, exif=b"Exif\0\0" + b"\xff" * 99)
    assert judge(tmp_path / "rows").startswith(("ok", "refused"))


# --- what is no file


SUFFIXES = (*READERS, ".idx", "-images-idx3-ubyte.gz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pipes_devices_folders_and_links(suffix: str, judge: Judge, tmp_path: Path) -> None:
    kinds: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo,
        "zero": lambda path: path.symlink_to("/dev/zero"),
        "random": lambda path: path.symlink_to("/dev/urandom"),
        "gone": lambda path: path.symlink_to("nowhere"),
        "self": lambda path: path.symlink_to(path.name),
        "missing": lambda path: None,
        "folder": Path.mkdir,
    }
    for name, make in kinds.items():
        path = tmp_path / (name + suffix)
        make(path)
        refused(judge, path)


def test_a_socket_and_a_name_that_is_no_path(judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("x.npy")
        refused(judge, tmp_path / "x.npy")
    for name in ("x" * 300 + ".npy", "x\n\x1b[2J.csv"):
        refused_here = judge(tmp_path / name)
        assert refused_here.startswith("refused"), refused_here


@pytest.mark.parametrize("name", ["x.npy", "a.png", "train.csv", "train-images-idx3-ubyte", "train"])
def test_pipes_and_devices_inside_a_folder(name: str, judge: Judge, tmp_path: Path) -> None:
    for kind, make in (
        ("pipe", os.mkfifo),
        ("zero", lambda path: path.symlink_to("/dev/zero")),
        ("self", lambda path: path.symlink_to(name)),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        make(folder / name)
        refused(judge, folder)


def test_folders_in_folders_without_end(judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "round").mkdir()
    (tmp_path / "round" / "train").symlink_to(".")
    refused(judge, tmp_path / "round")
    deep = tmp_path / "deep"
    deep.mkdir()
    monkeypatch.chdir(deep)
    for _ in range(400):
        os.mkdir("train")
        os.chdir("train")
    Path("train.csv").write_text("a\n1\n")
    refused(judge, deep)


# --- files that change


@pytest.mark.parametrize("change", ["cut", "written"])
def test_a_file_that_changes_while_it_is_looked_at(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranvier.runtime.looking.source.PIECE_ROWS", 10)
    np.save(tmp_path / "x.npy", np.zeros((100, 3)))
    rest = pieces(open_source(tmp_path / "x.npy"))
    next(rest)
    if change == "cut":
        os.truncate(tmp_path / "x.npy", 500)
    else:
        os.utime(tmp_path / "x.npy", ns=(1, 1))
    with pytest.raises(DataError, match=r"x\.npy: (ends after row|was changed while it was read)"):
        list(rest)
