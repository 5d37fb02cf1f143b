"""Everything that is wrong with a file, gathered from the stages of the front end that do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..compiler.driver import Blueprint
from ..compiler.errors import SourceError
from ..compiler.frontend.mistakes import capped, reported
from .stopping import check_criteria


def check(blueprint: Blueprint) -> None:
    """Raise SourceError with every mistake of the model and its blocks; then of what is built from both."""
    _gather(
        lambda: blueprint.inference,
        lambda: blueprint.training,
        lambda: blueprint.train_settings,
        lambda: blueprint.data_settings,
    )
    outputs = blueprint.inference.graph.outputs
    _gather(
        *(partial(blueprint.initial_graph, variable) for variable in blueprint.inference.variables.values()),
        lambda: blueprint.objective if "loss" in outputs else None,
        lambda: blueprint.predict_graph() if "predict" in outputs else None,
        lambda: blueprint.evaluation,
        lambda: blueprint.statistics,
        lambda: check_criteria(blueprint),
    )


def _gather(*stages: Callable[[], object]) -> None:
    """Run all stages, then raise what they reported, each mistake once."""
    found = reported(stages)
    if found:
        raise SourceError(capped(found))
