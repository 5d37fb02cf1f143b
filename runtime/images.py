"""Images in folders, a folder for each class, as one array: decoded by Pillow, checked before a pixel of them is unpacked.

Only formats of pixels are opened (no documents, no scripts), and the size that a header claims is judged first: a few bytes can claim
a picture of gigabytes.
"""

from __future__ import annotations

import importlib
import io
import math
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .limits import Limits
from .regular_file import gibibytes, read_regular, reason

Array = np.ndarray[Any, Any]
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff"}
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
EIGHT_BIT = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "La", "RGBa"}
PIXELS = 2**26
DAMAGE = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, RuntimeError, OverflowError)


def holds_images(path: Path) -> bool:
    """Whether a folder, or a folder in it, has a file named like an image."""
    return any(is_image(entry) or (entry.is_dir() and any(is_image(e) for e in _listed(entry))) for entry in _listed(path))


def read_images(path: Path, limits: Limits, shape: tuple[int, ...] | None, *, resize: bool = False) -> dict[str, Array]:
    """`images` [rows, height, width, channels] of u8, `files` (their paths in the folder) and, from folders of classes, `labels`.

    `shape` is [height, width] or [height, width, channels], that of the first image where it is None; images of another size are refused
    unless they may be resized. Rows are in the order of the names of classes, then of files. Raises DataError.
    """
    files, classes = image_files(path)
    images = decode_images(files, limits, _full(shape, path) or image_shape(files[0], limits), resize=resize)
    found = {"images": images, "files": np.array([str(file.relative_to(path)) for file in files], dtype=np.str_)}
    return found | ({"labels": np.array([file.parent.name for file in files], dtype=np.str_)} if classes else {})


def image_files(path: Path) -> tuple[list[Path], bool]:
    """The images of a folder in the order of rows, and whether they lie in a folder for each class."""
    classes = [entry for entry in _listed(path) if entry.is_dir() and any(map(is_image, _listed(entry)))]
    return [file for folder in classes or [path] for file in _listed(folder) if is_image(file)], bool(classes)


def decode_images(files: Sequence[Path], limits: Limits, shape: tuple[int, int, int], *, resize: bool = False) -> Array:
    """The pixels of some files of one folder, [files, height, width, channels]; see `read_images`."""
    pillow, needed = _pillow(files[0]), len(files) * math.prod(shape)
    if needed > limits.size:
        folder = os.path.commonpath(files)
        raise DataError(f"{folder}: {len(files)} images need {gibibytes(needed)}, the limit is {gibibytes(limits.size)}")
    images = np.empty((len(files), *shape), dtype=np.uint8)
    for row, file in enumerate(files):
        images[row] = _pixels(pillow, file, limits, shape, resize=resize)
    return images


def _pillow(path: Path) -> ModuleType:
    try:
        importlib.import_module("PIL.ImageOps")
        return importlib.import_module("PIL.Image")
    except ImportError:
        raise DataError(f"{path}: reading images needs Pillow, which is not installed: pip install 'ranvier[images]'") from None


def is_image(path: Path) -> bool:
    """Whether a file is named like an image."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _listed(path: Path) -> Sequence[Path]:
    """What a folder holds, by name."""
    try:
        return [Path(path, name) for name in sorted(os.listdir(path)) if not name.startswith(".")]
    except OSError as failure:
        raise DataError(f"{path}: cannot be read: {reason(failure)}") from failure


def _full(shape: tuple[int, ...] | None, path: Path) -> tuple[int, int, int] | None:
    if shape is None:
        return None
    full = (*shape, 1) if len(shape) == 2 else shape
    if len(full) != 3 or full[2] not in MODES:
        raise DataError(f"{path}: holds images, and the model declares {list(shape)}: an image is [height, width, 1, 3 or 4]")
    return full[0], full[1], full[2]


def image_shape(file: Path, limits: Limits) -> tuple[int, int, int]:
    """Height, width and channels (1 of grey images, else 3) as the head of a file says. Raises DataError."""
    pillow = _pillow(file)
    image = _opened(pillow, file, limits)
    grey = image.mode in ("1", "L", "LA", "La")
    with _damage_refused(pillow, file):
        width, height = importlib.import_module("PIL.ImageOps").exif_transpose(image).size
    return height, width, 1 if grey else 3


@contextmanager
def _damage_refused(pillow: ModuleType, file: Path) -> Iterator[None]:
    """Whatever Pillow raises on bad bytes becomes one message."""
    try:
        yield
    except (*DAMAGE, pillow.DecompressionBombError) as failure:
        unknown = isinstance(failure, pillow.UnidentifiedImageError)  # its words name an object in memory, not the file
        why = "its form is none of those that are known" if unknown else str(failure)[:100] or type(failure).__name__
        raise DataError(f"{file}: is not an image that can be read: {why}; remove it, or save it anew") from None


def _opened(pillow: ModuleType, file: Path, limits: Limits) -> Any:
    """The image with its header read; its pixels are still packed."""
    data = read_regular(file, limits.size, DataError)
    with _damage_refused(pillow, file):
        image = pillow.open(io.BytesIO(data), formats=FORMATS)
        pixels = image.size[0] * image.size[1]
    if pixels > PIXELS:
        raise DataError(f"{file}: claims {pixels:,} pixels, the limit is {PIXELS:,}; make it smaller")
    if image.mode not in EIGHT_BIT:
        raise DataError(f"{file}: has pixels of mode {image.mode}, and only 8 bits a channel are read; save it so, or use an .npy file")
    return image


def _pixels(pillow: ModuleType, file: Path, limits: Limits, shape: tuple[int, int, int], *, resize: bool) -> Array:
    """[height, width, channels] of one file, upright as its camera says."""
    image = _opened(pillow, file, limits)
    with _damage_refused(pillow, file):
        upright = importlib.import_module("PIL.ImageOps").exif_transpose(image).convert(MODES[shape[2]])
        if upright.size != (shape[1], shape[0]) and resize:
            upright = upright.resize((shape[1], shape[0]), pillow.Resampling.BILINEAR)
        found: Array = np.asarray(upright)
    if found.shape[:2] != shape[:2]:
        has, wanted = f"{found.shape[0]}×{found.shape[1]}", f"{shape[0]}×{shape[1]}"
        raise DataError(f"{file}: is {has} (height × width), {wanted} is wanted; `resize = true` in the data block makes them so")
    return found.reshape(shape)
