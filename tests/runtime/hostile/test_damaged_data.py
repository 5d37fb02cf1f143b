"""Data files cut at every byte and with bytes changed: rows or one refusal, in little memory; else a broken download kills the process."""

from __future__ import annotations

import gzip
import io
import random
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from readings import outcomes_of, pool

FLIPS = 200
"""Copies with changed bytes of each file."""


def _npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(6.0).reshape(3, 2))
    return buffer.getvalue()


def _npz(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, x=np.arange(6.0).reshape(3, 2), word=np.array(["a", "bc", "d"]))
    return buffer.getvalue()


def _parquet() -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"x": [1.0, None, 3.0], "word": pa.array(["a", "b", "a"]).dictionary_encode(), "row": [[1, 2], [3, 4], [5, 6]]})
    pq.write_table(table, buffer, compression="snappy")
    return buffer.getvalue()


def _image(form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(buffer, form)
    return buffer.getvalue()


IDX = b"\0\0\x08\x02" + struct.pack(">2I", 3, 4) + bytes(range(12))
VALID = {
    "a.npy": _npy(),
    "stored.npz": _npz(np.savez),
    "packed.npz": _npz(np.savez_compressed),
    "a.parquet": _parquet(),
    "a.csv": 'name,x,y\n"a, ""b""",1,2.5\nç,-3,\n"d\ne",4,1e9\n'.encode(),
    "a.tsv": b"x\tday\n1\t2024-02-29\n2.5\t2024-03-01\n",
    "a.txt": "a b\u00e7\n".encode() * 9,
    "a-images-idx2-ubyte": IDX,
    "b-images-idx2-ubyte.gz": gzip.compress(IDX),
    "a.png": _image("PNG"),
    "a.jpg": _image("JPEG"),
    "a.bmp": _image("BMP"),
    "a.gif": _image("GIF"),
    "a.tif": _image("TIFF"),
}
NOTICED = {"a.npy", "stored.npz", "packed.npz", "a.parquet", "a-images-idx2-ubyte", "b-images-idx2-ubyte.gz"}
"""Forms that say how long they are."""


@pytest.fixture(scope="module")
def children() -> Iterator[ProcessPoolExecutor]:
    with pool() as found:
        yield found


@pytest.mark.parametrize("name", VALID)
def test_cut_at_every_byte(name: str, children: ProcessPoolExecutor) -> None:
    whole = VALID[name]
    *cuts, uncut = outcomes_of(children, name, [whole[:end] for end in range(len(whole) + 1)])
    assert uncut == "ok"
    wrong = [(end, cut) for end, cut in enumerate(cuts) if not cut.startswith("refused") and (cut != "ok" or name in NOTICED)]
    assert wrong == []
    assert cuts[0].startswith("refused") or name == "a.txt"


def changed(data: bytes, chance: random.Random) -> bytes:
    """One to three bytes or words set to what is likely to hurt, doubled, or left out."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        at, size = chance.randrange(len(data)), chance.choice((1, 1, 2, 4, 8))
        part = data[at : at + size]
        behind = data[at + size :]
        flipped = bytes([part[0] ^ 1 << chance.randrange(8)]) + part[1:]
        new = chance.choice((flipped, flipped, b"\xff" * size, b"\0" * size, b"\x7f" + part[1:], part * 2, b""))
        data = data[:at] + new + behind
    return data


@pytest.mark.parametrize("name", VALID)
def test_bytes_that_were_changed(name: str, children: ProcessPoolExecutor) -> None:
    chance = random.Random(name)
    ends = outcomes_of(children, name, [changed(VALID[name], chance) for _ in range(FLIPS)])
    assert [end for end in ends if end != "ok" and not end.startswith("refused")] == []


def test_every_byte_of_a_parquet_footer(children: ProcessPoolExecutor) -> None:
    """Where rows, sizes, offsets and types are claimed."""
    whole = VALID["a.parquet"]
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    versions = [whole[:at] + value + whole[at + 1 :] for at in range(start, len(whole)) for value in (b"\xff", b"\x7f")]
    ends = outcomes_of(children, "a.parquet", versions)
    assert [end for end in ends if end != "ok" and not end.startswith("refused")] == []
