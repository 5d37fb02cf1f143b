"""When training ends by itself: the figure that is watched, and the criteria of the `train` block, asked after every epoch."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..compiler.diagnostics import Diagnostic
from ..compiler.errors import RanvierError, SourceError
from ..compiler.frontend.chain import innermost_own
from ..compiler.frontend.elaborate import apply_function
from ..compiler.frontend.values import Instance, Tensor, Value, describe
from ..compiler.ir.build import Build
from ..compiler.ir.evaluate import evaluate
from ..compiler.ir.graph import Graph
from ..compiler.ir.ops import Source
from ..compiler.ir.types import BOOL, F64, TensorType

if TYPE_CHECKING:
    from ..compiler.driver import Blueprint

TRIED = 100
"""Epochs after which a criterion is asked for a trial, so that it looks back as far as it does."""
WORST = sys.float_info.max
"""What a figure that is no number counts as; finite, since it is saved."""


def watched_value(blueprint: Blueprint, figures: Mapping[str, float], validation: Mapping[str, float]) -> float:
    """The figure of an epoch that is watched, smaller ones better: of the rows held out where there are some."""
    name, sign = blueprint.train_settings.watched
    value = sign * validation.get(name, figures.get(name, 0.0 if name == "loss" else math.nan))
    return WORST if math.isnan(value) else value


def require_watched(blueprint: Blueprint, *, held_out: bool) -> None:
    """RanvierError when the watched figure is not among those of an epoch."""
    name, _ = blueprint.train_settings.watched
    stage = blueprint.objective.progress
    if name != "loss" and not held_out and (stage is None or name not in stage.final.outputs):
        raise RanvierError(f"`watch = {blueprint.train_settings.watch}`: `{name}` is known for rows held out only; set `validate`")


def should_stop(blueprint: Blueprint, values: Sequence[float], gradient: float) -> bool:
    """Whether a criterion says so, given the watched figures of all epochs and the mean norm of this one's gradients."""
    return any(_holds(blueprint, criterion, values, gradient) for criterion in blueprint.train_settings.stop)


def check_criteria(blueprint: Blueprint) -> None:
    """SourceError when a criterion cannot be asked: better now than after an epoch."""
    for epochs in (1, TRIED):
        should_stop(blueprint, [0.0] * epochs, 0.0)


def _holds(blueprint: Blueprint, criterion: Instance, values: Sequence[float], gradient: float) -> bool:
    settings, build = blueprint.train_settings, Build(Graph("criterion"), F64)
    series = Tensor(build.add_op(Source("runtime", "values", TensorType(F64, (len(values),)))))
    given: list[Value] = [series, Tensor(build.constant(gradient)), settings.watched[1]]
    value = apply_function(blueprint.unit.library, build, criterion, given, {}, settings.place, purpose="the decision to stop").value
    if isinstance(value, bool):
        return value
    if not isinstance(value, Tensor) or build.type(value.node) != TensorType(BOOL):
        place = innermost_own([criterion.span, settings.place])
        what = build.type(value.node) if isinstance(value, Tensor) else describe(value)
        raise SourceError([Diagnostic("type-mismatch", f"a criterion returns true or false, not {what}", place)])
    build.graph.outputs["stop"] = value.node
    return bool(evaluate(build.graph, {"values": np.asarray(values, dtype=np.float64)})["stop"])
