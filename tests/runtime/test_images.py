"""Folders of images: pixels and classes as Pillow and the folders say; other sizes and damaged files refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ranvier.compiler.errors import DataError
from ranvier.runtime.limits import Limits
from ranvier.runtime.reading import Wanted, read_table

import ranvier as rv


def draw(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(4):
        draw(tmp_path / "data" / ("cat" if number % 2 else "ant") / f"{number}.png", rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    return tmp_path / "data"


def test_a_folder_for_each_class(folder: Path) -> None:
    table = read_table(folder)
    assert table["labels"].tolist() == ["ant", "ant", "cat", "cat"]
    assert table["files"].tolist() == ["ant/0.png", "ant/2.png", "cat/1.png", "cat/3.png"]
    assert table["images"].shape == (4, 6, 5, 3)
    np.testing.assert_array_equal(table["images"][2], np.asarray(Image.open(folder / "cat" / "1.png")))


def test_images_without_classes_and_parts(folder: Path, tmp_path: Path) -> None:
    assert "labels" not in read_table(folder / "cat")
    (tmp_path / "parts").mkdir()
    for part in ("train", "test", "val"):
        (tmp_path / "parts" / part).symlink_to(folder)
    table = read_table(tmp_path / "parts")
    assert table.test is not None
    assert table.validation is not None
    assert table.rows == table.test.rows == table.validation.rows == 4


def test_grey_images_and_those_with_alpha_get_the_channels_that_are_declared(folder: Path) -> None:
    assert read_table(folder, wanted=Wanted(image=(6, 5)))["images"].shape == (4, 6, 5, 1)
    assert read_table(folder, wanted=Wanted(image=(6, 5, 4)))["images"][0, 0, 0, 3] == 255
    with pytest.raises(DataError, match="an image is"):
        read_table(folder, wanted=Wanted(image=(6, 5, 2)))


def test_other_sizes_are_refused_or_resized(folder: Path) -> None:
    draw(folder / "cat" / "9.png", np.full((12, 10, 3), 100, dtype=np.uint8))
    with pytest.raises(DataError, match=r"cat/9.png: is 12×10 \(height × width\), 6×5 is wanted; `resize = true`"):
        read_table(folder)
    found = read_table(folder, wanted=Wanted(image=(6, 5, 3), resize=True))["images"]
    assert (found[4] == 100).all()


def test_an_image_taken_sideways_stands_upright(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((4, 8, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_table(tmp_path)["images"].shape == (1, 8, 4, 3)


def _bomb() -> bytes:
    """A PNG of a few bytes that claims 100,000 × 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_damaged_and_hostile_images_are_named(folder: Path) -> None:
    whole = (folder / "ant" / "0.png").read_bytes()
    for data, words in (
        (b"", "is not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is not an image"),
        (whole[:80], "damaged|is not an image"),
        (_bomb(), "pixels, the limit|is not an image"),
    ):
        (folder / "ant" / "0.png").write_bytes(data)
        with pytest.raises(DataError, match=rf"ant/0.png: .*({words})"):
            read_table(folder)
    (folder / "ant" / "0.png").write_bytes(whole)
    Image.fromarray(np.zeros((6, 5), dtype=np.uint16)).save(folder / "cat" / "deep.png")
    with pytest.raises(DataError, match="only 8 bits a channel"):
        read_table(folder)
    with pytest.raises(DataError, match=r"[45] images need"):
        read_table(folder, Limits(size=300))


def test_a_model_learns_the_classes_of_a_folder(folder: Path, tmp_path: Path) -> None:
    from click.testing import CliRunner
    from ranvier.runtime.cli.application import application

    (tmp_path / "pets.nn").write_text(
        """model pets() {
    input picture: u8[3, 3, 3]
    target kind: class[2]
    logits = picture -> scale(1/255) -> flatten -> dense(2)
    predict softmax(logits)
    loss cross_entropy(logits, kind)
}
data { source = "data" ; picture = column(images) ; kind = column(labels) ; resize = true }
train { epochs = 1 }
"""
    )
    result = CliRunner().invoke(application, ["train", str(tmp_path / "pets.nn"), "-o", str(tmp_path / "pets.safetensors")])
    assert result.exit_code == 0, result.output
    assert rv.load(tmp_path / "pets.safetensors").vocabularies == {"kind": ["ant", "cat"]}


def test_what_is_no_image_is_told_in_words(folder: Path) -> None:
    (folder / "cat" / "8.jpg").write_bytes(b"\xff\xd8\xff is not enough")
    with pytest.raises(
        DataError, match=r"cat/8.jpg: is not an image that can be read: its form is none of those that are known; remove it"
    ):
        read_table(folder)
