"""A saved model is one safetensors file: source, settings, tensors, class names and progress, with a digest of every part.

All but the tensors is one JSON text under the metadata key `ranvier`: two keys would be written in random order, and the same
model must give the same bytes. It carries the SHA-256 of its own content and of each tensor, so that any flipped bit is found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from ..compiler.errors import CheckpointError
from .atomic import write_atomic
from .limits import LIMITS, Limits
from .regular_file import read_regular, reason
from .tensor_file import DTYPES, HEADER_LIMIT, REMEDY, TENSOR_LIMIT, check_tensor_file, strict_json

Array = np.ndarray[Any, Any]

FORMAT = 1
KEY = "ranvier"
GROUPS = {"params": "param/", "state": "state/", "fit": "fit/", "optimizer": "optimizer/"}
TEXTS = ("sources", "settings", "vocabularies", "progress")
COUNTERS = ("epoch", "step")
FIGURES = ("optimizer/accumulator:", "optimizer/history:")
ALLOW = "load an earlier model, or take it as it is with `--allow-nonfinite` (in Python `allow_nonfinite=True`)"


@cache
def ranvier_version() -> str:
    """The version of the installed package."""
    from importlib.metadata import version  # slow to import, and only saving needs it

    return version("ranvier")


@dataclass(frozen=True, eq=False)
class SavedModel:
    """Everything of a model that outlives the process.

    `sources` maps file names to their text, the model's own file first and its imports after it; `settings` is anything JSON can
    hold; the four groups of arrays have logical shapes; `vocabularies` name the classes of text fields; `progress` holds the
    counters and figures of training (`epoch`, `step`, `seed`, …).
    """

    sources: Mapping[str, str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Array] = field(default_factory=dict)
    state: Mapping[str, Array] = field(default_factory=dict)
    fit: Mapping[str, Array] = field(default_factory=dict)
    optimizer: Mapping[str, Array] = field(default_factory=dict)
    vocabularies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    progress: Mapping[str, int | float] = field(default_factory=dict)
    format: int = FORMAT
    ranvier: str = field(default_factory=ranvier_version)


class UnsoundError(CheckpointError):
    """A file is whole, but what it holds should not be trained or predicted with."""


def save_model(path: str | os.PathLike[str], saved: SavedModel, *, previous: Path | None = None) -> None:
    """Write a model atomically: after any failure the file that stood at `path` is as it was. Raises CheckpointError.

    With `previous`, that file keeps this name beside the new one.
    """
    named = {prefix + name: array for group, prefix in GROUPS.items() for name, array in getattr(saved, group).items()}
    tensors = {name: _storable(name, array, path) for name, array in sorted(named.items())}  # the order of the description, too
    if len(tensors) > TENSOR_LIMIT:
        raise CheckpointError(f"{path}: the model has {len(tensors)} tensors, a file holds at most {TENSOR_LIMIT}")
    try:
        data = safetensors.numpy.save(tensors, {KEY: _described(saved, tensors)})
    except (TypeError, ValueError, RecursionError, MemoryError, SafetensorError) as failure:
        raise CheckpointError(f"{path}: the model cannot be put into a file: {str(failure) or type(failure).__name__}") from failure
    if int.from_bytes(data[:8], "little") > HEADER_LIMIT:
        raise CheckpointError(f"{path}: sources, settings and names of tensors exceed {HEADER_LIMIT} bytes; shorten them")
    try:
        write_atomic(path, data, previous=previous)
    except OSError as failure:
        mend = "no file was harmed; check the folder, its permissions and the space left"
        raise CheckpointError(f"{path}: could not be written: {reason(failure)}; {mend}") from failure


def _storable(name: str, array: Array, path: str | os.PathLike[str]) -> Array:
    """The array as the file holds it: C-contiguous and little-endian, which safetensors itself does not see to."""
    if array.dtype.newbyteorder("=") not in DTYPES.values():
        raise CheckpointError(f"{path}: `{name}` has elements of type {array.dtype}; a saved model has {', '.join(DTYPES)}")
    return np.require(array, array.dtype.newbyteorder("="), ["C"])


def _described(saved: SavedModel, tensors: Mapping[str, Array]) -> str:
    """The JSON text of all but the tensors, with the digest of its own content."""
    content: dict[str, Any] = {key: dict(getattr(saved, key)) for key in TEXTS}
    content["vocabularies"] = {name: list(words) for name, words in saved.vocabularies.items()}
    content["ranvier"] = saved.ranvier
    content["digests"] = {name: digest(array) for name, array in tensors.items()}
    content = strict_json(json.dumps(content))  # as it will be read: JSON turns tuples to lists and all keys to text
    return json.dumps({"format": saved.format, "digest": _content_digest(content), "content": content})


def digest(array: Array) -> str:
    """SHA-256 of an array's element type, shape and bytes."""
    found = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
    found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _content_digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the one way to write a content: sorted keys, no spaces, so that it can be formed again from what was read."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_model(path: str | os.PathLike[str], *, allow_nonfinite: bool = False, limits: Limits = LIMITS) -> SavedModel:
    """The model of a file, every byte of it checked; its arrays are read-only.

    Raises CheckpointError when the file is damaged, something else than a model or from a later format, UnsoundError (unless
    `allow_nonfinite`) when a tensor holds NaN or an infinity. Nothing in it is executed.
    """
    try:
        data = read_regular(Path(path), limits.size, CheckpointError)
        content = _content(check_tensor_file(data, str(path)), str(path))
        tensors = safetensors.numpy.load(data)
        _check_digests(content["digests"], tensors, str(path))
        _check_values(tensors, allow_nonfinite, str(path))
    except MemoryError:
        raise CheckpointError(f"{path}: does not fit the memory of this machine; load it where there is more") from None
    except (SafetensorError, RecursionError) as failure:
        raise CheckpointError(f"{path}: is damaged: {failure}; {REMEDY}") from failure
    groups: dict[str, Any] = {group: _group(tensors, prefix) for group, prefix in GROUPS.items()}
    return SavedModel(**{key: content[key] for key in TEXTS}, **groups, ranvier=content["ranvier"])


def _group(tensors: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {name.removeprefix(prefix): tensors[name] for name in sorted(tensors) if name.startswith(prefix)}


def _content(metadata: Mapping[str, str], path: str) -> dict[str, Any]:
    """The content of the metadata after its format, digest and types have been checked."""
    if metadata.keys() != {KEY}:
        raise CheckpointError(f"{path}: holds tensors but no model that Ranvier saved (its metadata has no `{KEY}`)")
    try:
        described = strict_json(metadata[KEY])
    except ValueError as failure:
        raise CheckpointError(f"{path}: is damaged: its description cannot be read ({failure}); {REMEDY}") from failure
    if not isinstance(described, dict) or described.keys() != {"format", "digest", "content"}:
        raise CheckpointError(f"{path}: is damaged: its description is not complete; {REMEDY}")
    if described["format"] != FORMAT:
        raise CheckpointError(f"{path}: is in format {str(described['format'])[:20]}, this version reads format {FORMAT}; update Ranvier")
    content: dict[str, Any] = described["content"]
    if described["digest"] != _content_digest(content):
        raise CheckpointError(f"{path}: is damaged: its description was changed after it was saved; {REMEDY}")
    if not _well_formed(content):
        raise CheckpointError(f"{path}: its description does not describe a model; {REMEDY}")
    return content


def _well_formed(content: Any) -> bool:
    """A digest proves that nothing changed by accident; whoever made the file could have digested anything."""
    if not isinstance(content, dict) or content.keys() != {*TEXTS, "ranvier", "digests"} or not isinstance(content["ranvier"], str):
        return False
    if not all(isinstance(content[key], dict) for key in (*TEXTS, "digests")):
        return False
    progress = content["progress"]
    return (
        all(isinstance(value, str) for key in ("sources", "digests") for value in content[key].values())
        and all(isinstance(words, list) and all(isinstance(w, str) for w in words) for words in content["vocabularies"].values())
        and all(type(value) in (int, float) for value in progress.values())
        and all(type(progress.get(name, 0)) is int and progress.get(name, 0) >= 0 for name in COUNTERS)
    )


def _check_digests(digests: Mapping[str, str], tensors: Mapping[str, Array], path: str) -> None:
    odd = sorted(digests.keys() ^ tensors.keys())
    odd += [name for name in tensors if not name.startswith(tuple(GROUPS.values()))]
    if odd:
        raise CheckpointError(f"{path}: is damaged: `{odd[0]}` is not both described and there; {REMEDY}")
    changed = [name for name in tensors if digest(tensors[name]) != digests[name]]
    if changed:
        raise CheckpointError(f"{path}: is damaged: the bytes of `{changed[0]}` are not those that were saved; {REMEDY}")


def _check_values(tensors: Mapping[str, Array], allow_nonfinite: bool, path: str) -> None:
    for name, array in tensors.items():
        if array.dtype.kind == "b" and array.size and array.view(np.uint8).max() > 1:
            raise CheckpointError(f"{path}: `{name}` holds a bool that is neither 0 nor 1; {REMEDY}")
        running = name.startswith(FIGURES)  # what figures of an epoch are made of: a model may rightly have an infinite figure
        if array.dtype.kind == "f" and not allow_nonfinite and not running and not np.isfinite(array).all():
            raise UnsoundError(f"{path}: `{name}` holds NaN or an infinity, so training went wrong before it was saved; {ALLOW}")
