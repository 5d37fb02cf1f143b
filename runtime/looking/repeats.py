"""Rows that say the same: each row becomes a number of 64 bits, a sum over its columns, so that a column can be taken out again."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from .source import Source, pieces

Array = np.ndarray[Any, Any]

MOST_ROWS = 2**24
"""Rows among which repeated ones are looked for; the marks of more would take too much memory."""
EXACT = 2.0**53


def marks(arrays: Mapping[str, Array]) -> Array:
    """A number a row, [rows] of uint64: equal rows of equally named columns have equal numbers, whatever else is in the table.

    Numbers that are equal count as equal whatever their type; so do missing ones. Unequal rows agree by chance once in 2^64.
    """
    total: Array = np.zeros(len(next(iter(arrays.values()), ())), dtype=np.uint64)
    for name, array in arrays.items():
        if array.size:
            total += _mark(_words(array), zlib.crc32(name.encode("utf-8", "surrogatepass")))
    return total


def _words(array: Array) -> Array:
    """Rows as whole words, [rows, words] of uint64."""
    rows = len(array)
    if array.ndim == 1 and array.dtype.kind == "f":
        values = array.astype(np.float64)
        with np.errstate(invalid="ignore"):
            whole = (np.abs(values) < EXACT) & (values == np.trunc(values))
        held = np.where(np.isnan(values), np.nan, values).view(np.uint64)
        found: Array = np.where(whole, np.where(whole, values, 0).astype(np.int64).view(np.uint64), held)
        return found[:, None]
    if array.ndim == 1 and array.dtype.kind in "iub":
        return array.astype(np.int64).view(np.uint64)[:, None]
    octets = np.ascontiguousarray(array).reshape(rows, -1).view(np.uint8).reshape(rows, -1)
    padded = np.zeros((rows, -(-octets.shape[1] // 8) * 8), dtype=np.uint8)
    padded[:, : octets.shape[1]] = octets
    words: Array = padded.view(np.uint64)
    return words


def _mark(words: Array, key: int) -> Array:
    """A sum over the words, each mixed with its place; words that are 0 add nothing, so that the width of text does not count."""
    places = _mixed(np.arange(words.shape[1], dtype=np.uint64) + np.uint64(key << 32))
    found: Array = (_mixed(words ^ places) - _mixed(places)).sum(axis=1, dtype=np.uint64)
    return found


def _mixed(given: Array) -> Array:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): every bit depends on every bit."""
    words: Array = given + np.uint64(0x9E3779B97F4A7C15)  # arrays of whole numbers wrap
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def without(source: Source, total: Array, names: Collection[str]) -> Array:
    """The marks of all rows without some columns, which are read again."""
    if not names:
        return total
    parts = [marks(arrays) for arrays in pieces(source, names)]
    return total - np.concatenate(parts) if parts else total


def different(total: Array) -> int:
    """How many different marks there are. They are sorted: finding them by their hashes takes many times as long."""
    ordered = np.sort(total)
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + min(len(ordered), 1)


def known(own: Array, total: Array) -> int:
    """How many of some marks stand among others."""
    ordered = np.sort(total)
    places = np.searchsorted(ordered, own)
    return int(np.count_nonzero(ordered[np.minimum(places, len(ordered) - 1)] == own)) if len(ordered) else 0
