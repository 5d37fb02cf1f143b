"""Programs kept between runs: a model that was compiled before is loaded without its graphs being rewritten or kernels being generated.

What is kept is a record of the executable: sizes, where shared values lie, and the names of the cached objects. Its name is a digest of
all that a program is made from, of the compiler's own code too, so that whoever changes a pass gets programs made by the new one.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..grammar import grammar_text
from .backend import cache
from .backend.executable import Executable, body_symbol, epoch_symbol, link
from .backend.program import Native, build
from .driver import Blueprint
from .frontend.blocks import UNCOMPILED
from .frontend.spelling import spell
from .ir.types import BATCH, DTYPES
from .kernels.placement import Placement
from .kernels.program import Gather
from .layout import Layout

FORMAT = "ranvier program 1"
SOURCES = ("*.py", "*.nn")
"""Files of this package that decide what is generated."""


def executable(blueprint: Blueprint, name: str, threads: int) -> Executable:
    """The program of an entry (see `Blueprint.program`), planned for some threads: made once for a blueprint."""
    if (name, threads) not in blueprint.executables:
        blueprint.executables[name, threads] = _kept_or_built(blueprint, name, threads)
    return blueprint.executables[name, threads]


def _kept_or_built(blueprint: Blueprint, name: str, threads: int) -> Executable:
    """The executable of the cache when it is there, else a new one."""
    seen = blueprint.watch or blueprint.checked  # the passes are to be seen at work
    if seen or not _own_code():
        return build(blueprint.program(name), blueprint.target, threads)
    key = _key(blueprint, name, threads)
    content = cache.load(key)
    found = _restored(json.loads(content), blueprint.layout) if content is not None else None
    if found is not None:
        return found
    before = {space: len(places) for space, places in blueprint.layout.places.items()}
    native = build(blueprint.program(name), blueprint.target, threads)
    cache.store(key, json.dumps(_record(native, _placed_since(before, blueprint.layout))).encode())
    return native


def _key(blueprint: Blueprint, name: str, threads: int) -> str:
    """The name of a record. What programs compiled before have placed in the shared memory stays where it is, so it counts too."""
    library = blueprint.unit.library
    parts = {
        "sources": [library.file.source.text, *(f"{path}\0{source.text}" for path, source in library.sources.items())],
        "settings": {key: spell(value) for key, value in blueprint.settings.items()},
        "overrides": {key: spell(value) for key, value in blueprint.overrides.items() if not UNCOMPILED.fullmatch(key)},
        "decisions": blueprint.decisions,
        "rows": blueprint.rows,
        "weighted": blueprint.weighted,
        "real": str(blueprint.real),
        "target": repr(blueprint.target),
        "threads": threads,
        "placed": {space: list(places) for space, places in blueprint.layout.places.items()},
    }
    return cache.name_of(blueprint.target, FORMAT, np.__version__, _own_code(), name, json.dumps(parts))


@functools.cache
def _own_code() -> str:
    """A digest of the compiler and its grammar; empty where it does not lie in files."""
    folder, digest = Path(__file__).parent, hashlib.sha256(grammar_text().encode())
    files = sorted(file for pattern in SOURCES for file in folder.rglob(pattern))
    for file in files:
        digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    return digest.hexdigest() if files else ""


def _placed_since(before: Mapping[str, int], layout: Layout) -> list[Placement]:
    return [place for space, places in layout.places.items() for place in list(places.values())[before[space] :]]


def _record(native: Native, places: list[Placement]) -> dict[str, object]:
    """An executable as plain data."""
    return {
        "name": native.name,
        "spaces": dict(native.spaces),
        "gathers": [asdict(gather) for gather in native.gathers],
        "scratch": native.scratch_stride,
        "parallel": native.parallel,
        "objects": [cache.key(text, native.target) for text in native.modules],
        "places": [_plain(place) for place in places],
    }


def _plain(place: Placement) -> dict[str, object]:
    return asdict(place) | {"dtype": str(place.dtype), "shape": [d if isinstance(d, int) else None for d in place.shape]}


def _placement(plain: Mapping[str, Any]) -> Placement:
    shape = tuple(BATCH if d is None else d for d in plain["shape"])
    frame = tuple((before, after) for before, after in plain["frame"])
    return Placement(**{**plain, "dtype": DTYPES[plain["dtype"]], "shape": shape, "strides": tuple(plain["strides"]), "frame": frame})


def _restored(record: Mapping[str, Any], layout: Layout) -> Executable | None:
    """The executable of a record, what it shares placed as it was; None when some of its code is no longer kept."""
    objects = cache.kept_objects(record["objects"])
    if objects is None:
        return None
    name, gathers = record["name"], tuple(Gather(**gather) for gather in record["gathers"])
    exports = [body_symbol(name), *([epoch_symbol(name)] if gathers else [])]
    for place in record["places"]:
        layout.adopt(_placement(place))
    return Executable(name, record["spaces"], gathers, record["scratch"], record["parallel"], link(objects, exports))
