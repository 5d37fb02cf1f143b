"""Class labels: text to the index of a class by a vocabulary, and the range of every index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..compiler.errors import DataError
from .convert import as_array, first
from .table import Origin

Array = np.ndarray[Any, Any]


def sorted_vocabulary(values: Any, name: str, classes: int | None, origin: Origin) -> list[str]:
    """The different texts among `values`, sorted by code point; DataError for an empty text or more texts than classes."""
    texts = as_array(values, name, origin)
    if texts.dtype.kind != "U":
        raise DataError(f"{origin.prefix}`{name}` holds numbers, not text: its classes need no names")
    if (texts == "").any():
        raise _unlabelled(first(texts == ""), name, origin)
    vocabulary = [str(text) for text in np.unique(texts)]
    if classes is not None and len(vocabulary) > classes:
        shown = ", ".join(f"`{text}`" for text in vocabulary[:8]) + (", …" if len(vocabulary) > 8 else "")
        raise DataError(f"{origin.prefix}`{name}` has {len(vocabulary)} different labels ({shown}), the model declares class[{classes}]")
    return vocabulary


def label_indices(texts: Array, vocabulary: Sequence[str], name: str, origin: Origin) -> Array:
    """The place of each text in the vocabulary, as int64; DataError names the first text that is not in it."""
    known = np.array(list(vocabulary), dtype=np.str_)
    order = np.argsort(known)
    found = np.minimum(np.searchsorted(known[order], texts), max(len(known) - 1, 0))
    indices = order[found] if len(known) else np.zeros(texts.shape, dtype=np.int64)
    right = known[indices] == texts if len(known) else np.zeros(texts.shape, dtype=np.bool_)
    if not right.all():
        position = first(~right)
        text = str(texts[position])
        if not text:
            raise _unlabelled(position, name, origin)
        from ..compiler.diagnostics import did_you_mean

        hint = did_you_mean(text, vocabulary) or f"the {len(known)} known labels come from the training rows"
        raise DataError(
            f"{origin.place(name, position[0], position[1:])} holds the label {text[:60]!r}, which training did not see; {hint}"
        )
    return indices.astype(np.int64)


def _unlabelled(position: tuple[int, ...], name: str, origin: Origin) -> DataError:
    mend = "label the row or leave it out (`missing = drop` in the data block does)"
    return DataError(f"{origin.place(name, position[0], position[1:])} has no label; {mend}")


def check_classes(indices: Array, classes: int, name: str, origin: Origin) -> None:
    """DataError names the first index outside 0..classes-1: a kernel would read outside its table."""
    if not indices.size or (indices.min() >= 0 and indices.max() < classes):
        return
    position = first((indices < 0) | (indices >= classes))
    place = origin.place(name, position[0], position[1:])
    shifted = indices.min() == 1 and indices.max() == classes
    mend = f": these count from 1, subtract 1 or declare class[{classes + 1}]" if shifted else f", and class[{classes}] is declared"
    raise DataError(f"{place} is class {indices[position]}, outside 0..{classes - 1}; classes count from 0{mend}")
