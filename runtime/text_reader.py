"""A text as a table: one character a row, in the column `text`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .limits import LIMITS, Limits
from .regular_file import read_regular

Array = np.ndarray[Any, Any]
COLUMN = "text"


def read_text(path: str | os.PathLike[str], limits: Limits = LIMITS) -> dict[str, Array]:
    """The characters of a UTF-8 file, line ends as one `\\n` each. Raises DataError for other bytes and for what exceeds the limits."""
    data = read_regular(Path(path), limits.size // 4, DataError)  # four bytes a character
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from None
    if "\0" in text:
        raise DataError(f"{path}: character {text.index(chr(0)) + 1} is NUL, so it is no text file")
    return {COLUMN: characters(text.replace("\r\n", "\n").replace("\r", "\n"))}


def characters(text: str) -> Array:
    """The characters of a text, [length] of one each."""
    if "\0" in text:
        raise DataError("a text holds the character NUL: it is no text")
    return np.array(list(text), dtype="U1") if text else np.empty(0, dtype="U1")
