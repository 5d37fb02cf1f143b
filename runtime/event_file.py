"""Event files that TensorBoard reads, written without it: records of a length, its checksum, a message and its checksum.

The records are TensorFlow's TFRecord, the checksums CRC-32C (RFC 3720, appendix B.4) turned and shifted as there; the messages are Protocol
Buffers of `event.proto` and `summary.proto`, of which a scalar takes four fields.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import BinaryIO

VERSION = b"brain.Event:2"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WALL_TIME, STEP, FILE_VERSION, SUMMARY, SESSION = 1, 2, 3, 5, 7
VALUE, TAG, SIMPLE_VALUE, STATUS, START = 1, 1, 2, 1, 1
POLYNOMIAL = 0x82F63B78


class EventFile:
    """One file of scalars in a folder of its own, which TensorBoard calls a run."""

    def __init__(self, folder: Path, *, purge: int) -> None:
        """A new file; what earlier files of the folder say of `purge` and later steps is void. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns() // 1000:016d}.{socket.gethostname()}.{os.getpid()}"  # read in the order of names
        self._file: BinaryIO = open(folder / name, "xb")  # noqa: SIM115
        self._record(_field(FILE_VERSION, BYTES, VERSION))
        self._record(_field(STEP, VARINT, purge) + _field(SESSION, BYTES, _field(STATUS, VARINT, START)))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Scalars at a step, there for others to read when this returns. Raises OSError."""
        values = (_field(TAG, BYTES, tag.encode()) + _field(SIMPLE_VALUE, FIXED32, struct.pack("<f", v)) for tag, v in scalars.items())
        summary = b"".join(_field(VALUE, BYTES, value) for value in values)
        self._record(_field(STEP, VARINT, step) + _field(SUMMARY, BYTES, summary))

    def close(self) -> None:
        """No more is added."""
        self._file.close()

    def _record(self, message: bytes) -> None:
        message = _field(WALL_TIME, FIXED64, struct.pack("<d", time.time())) + message
        length = struct.pack("<Q", len(message))
        self._file.write(length + struct.pack("<I", masked(length)) + message + struct.pack("<I", masked(message)))
        self._file.flush()


def _field(number: int, kind: int, value: int | bytes) -> bytes:
    key = _varint(number << 3 | kind)
    if isinstance(value, int):
        return key + _varint(value)
    return key + (_varint(len(value)) if kind == BYTES else b"") + value


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more follow."""
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


@cache
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


def crc32c(data: bytes) -> int:
    """The checksum of Castagnoli's polynomial."""
    table, value = _table(), 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """The checksum as records hold it, so that checksums of data that holds checksums are no trouble."""
    value = crc32c(data)
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
