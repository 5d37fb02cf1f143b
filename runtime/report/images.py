"""Arrays of pixels as pictures inside a page: PNG (RFC 2083) written by zlib alone, since grey levels and colours need no more."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from ..memory import Array

COLOURS = {1: 0, 3: 2, 4: 6}
"""The colour type of PNG by the number of channels: grey, red-green-blue, the same with opacity."""


def png(pixels: Array) -> bytes:
    """An image [height, width, 1 | 3 | 4] of u8 as a PNG."""
    height, width, channels = pixels.shape
    lines = np.zeros((height, 1 + width * channels), dtype=np.uint8)  # every line begins with the number of its filter: 0, none
    lines[:, 1:] = pixels.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def data_uri(pixels: Array) -> str:
    """The image as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def is_image(shape: tuple[int, ...], whole: bool) -> bool:
    """Whether samples of a shape are drawn: height, width and 1, 3 or 4 channels, or height and width of `whole` numbers."""
    if len(shape) == 2:
        return whole and min(shape) > 1
    return len(shape) == 3 and shape[2] in COLOURS and min(shape[:2]) > 1


def grey_levels(images: Array) -> Array:
    """Images [count, height, width(, channels)] of any numbers as u8, from the least of all (or 0) to the greatest."""
    images = images if images.ndim == 4 else images[..., None]
    values = np.nan_to_num(images.astype(np.float64))
    low = min(0.0, float(values.min(initial=0.0)))
    high = max(float(values.max(initial=0.0)), low + 1e-12)
    return np.asarray(np.round((values - low) / (high - low) * 255), dtype=np.uint8)
