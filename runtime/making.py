"""What `ranvier.compile` does: open, choose, make the model."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..compiler.ahead.levels import NATIVE, level
from ..compiler.errors import RanvierError
from ..compiler.ir.types import F32, F64
from .model import Model
from .opening import open_blueprint, split_settings

REALS = {"f32": F32, "f64": F64}


def compile_model(
    path_or_source: str | os.PathLike[str],
    *,
    batch: int | None = None,
    threads: int | None = None,
    seed: int | None = None,
    dtype: str = "f32",
    target: str = NATIVE,
    settings: Mapping[str, object],
) -> Model:
    """A model from a path or a text; see `ranvier.compile`."""
    if dtype not in REALS:
        raise RanvierError(f"dtype is f32 or f64, not {dtype!r}")
    own, overrides = split_settings(settings)
    given = {"train.batch": batch, "train.seed": seed}
    overrides |= {name: value for name, value in given.items() if value is not None}
    blueprint = open_blueprint(path_or_source, settings=own, overrides=overrides, real=REALS[dtype], target=level(target).target)
    for name, field in blueprint.unit.lengths.items():
        if name not in blueprint.settings:
            raise RanvierError(f"`{field}` is as long as each sample says: give the most times there can be, such as {name} = 100")
    return Model(blueprint, threads=threads)
