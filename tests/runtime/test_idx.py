"""IDX files are read exactly or refused: else a person trains on shifted images, or a small file takes all memory."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from ranvier.compiler.errors import DataError
from ranvier.runtime.cli.application import application
from ranvier.runtime.idx import TYPES, read_idx
from ranvier.runtime.limits import Limits
from ranvier.runtime.reading import read_table

import ranvier as rv

Array = np.ndarray[Any, Any]
CODES = {np.dtype(text): code for code, text in TYPES.items()}
MODEL = """
model tiny() {
    input images: u8[4, 3]
    target labels: class[2]
    z = images -> scale(1 / 255) -> flatten -> dense(2)
    predict softmax(z)
    loss cross_entropy(z, labels)
    metric accuracy(z, labels)
}
train { epochs = 1 ; batch = 4 }
"""


def packed(array: Array) -> bytes:
    """The bytes of an IDX file."""
    big = array.dtype.newbyteorder(">") if array.dtype.itemsize > 1 else array.dtype
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, CODES[big], array.ndim]) + sizes + array.astype(big).tobytes()


@pytest.mark.parametrize("code", TYPES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("shape", [(5,), (3, 2), (0, 4), (2, 3, 4, 1)])
def test_every_type_and_shape_comes_back(code: int, pack: Callable[[bytes], bytes], shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 100, shape).astype(np.dtype(TYPES[code]).newbyteorder("="))
    (tmp_path / "a").write_bytes(pack(packed(array)))
    found = read_idx(tmp_path / "a")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


IMAGES = packed(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
WRONG = {
    "empty": (b"", "is not an IDX file"),
    "other magic": (b"\x01" + IMAGES[1:], "is not an IDX file"),
    "unknown type": (IMAGES[:2] + b"\x0a" + IMAGES[3:], "is not an IDX file"),
    "no axes": (IMAGES[:3] + b"\x00" + IMAGES[4:], "is not an IDX file"),
    "255 axes": (IMAGES[:3] + b"\xff" + IMAGES[4:], "is not an IDX file"),
    "half a header": (IMAGES[:9], "ends inside its header"),
    "cut short": (IMAGES[:-1], "23 bytes follow"),
    "more follows": (IMAGES + b"x", "25 bytes follow"),
    "sizes beyond all memory": (IMAGES[:4] + b"\xff" * 12 + IMAGES[16:], "more than a file of its size may hold"),
    "gzipped and cut": (gzip.compress(IMAGES)[:-12], "damaged"),
    "gzipped, elements missing": (gzip.compress(IMAGES[:-1]), "ends after 23 of 24 bytes"),
    "gzipped, more follows": (gzip.compress(IMAGES + b"x"), "more bytes follow"),
    "gzipped, sizes beyond all memory": (gzip.compress(IMAGES[:4] + b"\xff" * 12), "more than a file of its size may hold"),
}


@pytest.mark.parametrize("name", WRONG)
def test_damage_is_one_message(name: str, tmp_path: Path) -> None:
    content, message = WRONG[name]
    (tmp_path / "a-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match="a-images-idx3-ubyte: ") as caught:
        read_idx(tmp_path / "a-images-idx3-ubyte")
    assert message in str(caught.value)
    assert caught.value.__traceback__ is not None


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    """Twenty megabytes of zeros in twenty kilobytes, though the header is honest: the limit of the ratio holds."""
    zeros = np.zeros((20, 1000, 1000), np.uint8)
    (tmp_path / "a").write_bytes(gzip.compress(packed(zeros)))
    with pytest.raises(DataError, match="more than a file of its size may hold"):
        read_idx(tmp_path / "a", Limits(ratio=100))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve rows to train on and five for the test, in the manner of MNIST, some gzipped."""
    random = np.random.default_rng(0)
    for part, rows in (("train", 12), ("t10k", 5)):
        images, labels = random.integers(0, 255, (rows, 4, 3)).astype(np.uint8), (np.arange(rows) % 2).astype(np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(packed(images)))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(packed(labels))
    return tmp_path


def test_a_folder_keeps_its_given_split(folder: Path) -> None:
    table = read_table(folder)
    assert {name: array.shape for name, array in table.items()} == {"images": (12, 4, 3), "labels": (12,)}
    assert table.test is not None
    assert {name: array.shape for name, array in table.test.items()} == {"images": (5, 4, 3), "labels": (5,)}


def test_rows_that_do_not_belong_together(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte").write_bytes(packed(np.zeros(11, np.uint8)))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz has 12 rows.*belong together"):
        read_table(folder)


def test_a_folder_without_such_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data"):
        read_table(tmp_path)


def test_train_eval_predict_on_a_folder(folder: Path) -> None:
    """Training sees twelve rows; the test, `eval` and `predict` see the five that were kept."""
    (folder / "tiny.nn").write_text(MODEL)
    run = CliRunner().invoke(application, ["train", str(folder / "tiny.nn"), "--data", str(folder), "-o", str(folder / "m.safetensors")])
    assert run.exit_code == 0, run.output
    assert "test (5 rows)" in run.output
    assert "5 rows" in CliRunner().invoke(application, ["eval", str(folder / "m.safetensors"), "--data", str(folder)]).output
    images = folder / "t10k-images-idx3-ubyte.gz"
    predicted = folder / "p.npz"
    run = CliRunner().invoke(application, ["predict", str(folder / "m.safetensors"), "--data", str(images), "-o", str(predicted)])
    assert run.exit_code == 0, run.output
    expected = rv.load(folder / "m.safetensors").predict(read_idx(images))
    np.testing.assert_array_equal(np.load(predicted)["prediction"], expected)
