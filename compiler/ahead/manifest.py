"""The manifest of a library: what it takes and gives, memory, arithmetic, CPU levels, and what it was made from. Plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..kernels.cost import launch_cost
from . import codes
from .levels import Level
from .library import Tensor
from .make import FORMAT, Library


def manifest(library: Library, about: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest; `about` says what the library was made from, and by which versions.

    `flops` are those of one call of a program with as many rows as there is room for, at the best level.
    """
    face = library.face
    fixed, scratch = library.workspace
    found: dict[str, Any] = {
        "format": FORMAT,
        "name": face.name,
        **about,
        "levels": [_level(part.level) for part in library.parts],
        "capacity": face.capacity,
        "train": face.train,
        "parallel": any(made.parallel for part in library.parts for made in part.programs.values()),
        "inputs": [_tensor(each) for each in face.inputs],
        "targets": [_tensor(each) for each in face.fields if each.name in face.targets],
        "fields": [each.name for each in face.fields],
        "row_weight": _tensor(face.row_weight) | {"column": face.weight_column} if face.row_weight is not None else None,
        "outputs": [_tensor(face.output)] if face.output is not None else [],
        "parameters": [_tensor(each) for each in face.parameters],
        "scalars": list(face.scalars),
        "codes": {str(n): name for n, (name, _) in enumerate(codes.CODES)},
        "range": codes.RANGE,
        "memory": {
            "workspace_bytes": fixed,
            "bytes_per_thread": scratch,
            "weights_bytes": len(library.weights),
            "state_bytes": library.state_bytes if face.train else 0,
        },
        "flops": {name: sum(launch_cost(made.program, each).flops for each in made.program.launches) for name, made in _programs(library)},
        "weights": {"outside": bool(face.weights), "file": face.weights, "sha256": hashlib.sha256(library.weights).hexdigest()},
    }
    return found


def spell(found: Mapping[str, Any]) -> str:
    """A manifest as text, the same for the same content."""
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _programs(library: Library) -> Any:
    """The programs of the best level, by name."""
    return library.parts[-1].programs.items()


def _level(level: Level) -> dict[str, Any]:
    target = level.target
    return {"name": level.name, "triple": target.triple, "cpu": target.cpu, "vector_bits": target.vector_bits, "code": level.attributes}


def _tensor(each: Tensor) -> dict[str, Any]:
    found: dict[str, Any] = {"name": each.name, "type": each.dtype.name, "shape": list(each.shape), "bytes": each.bytes}
    if each.high is not None:
        found["range"] = [each.low, each.high]
    more = {"classes": each.count, "class_names": list(each.classes), "length": each.length, "gaps": each.gaps}
    return found | {name: value for name, value in more.items() if value}
