"""An estimator's parameters as a blueprint: which file, the settings of its model and of its blocks, and what only the data knows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from ...compiler.driver import Blueprint, Unit
from ...compiler.frontend.limits import read_source
from ...compiler.frontend.spelling import spell
from ..making import REALS
from ..opening import is_text, make_blueprint, open_source

TEMPLATES = Path(__file__).parent / "templates"


def open_model(model: Any, template: str) -> Unit:
    """The unit of a path or a source; of the template of that name when there is none."""
    return open_source(TEMPLATES / template if model is None else model)


def source_text(model: Any, template: str) -> tuple[str, str]:
    """What tells files apart without reading them as a model: where it is, and its text. TypeError for what is no path and no text."""
    if model is None:
        model = TEMPLATES / template
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"`model` is the path or the text of a .nn file, or None, not {type(model).__name__}; sizes of layers are `hidden`")
    if is_text(model):
        return "", str(model)
    return os.fspath(model), read_source(Path(model), os.fspath(model)).text


def chosen_settings(given: Mapping[str, Any], *, sizes: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is not None of some parameters: settings of the model, and of its blocks (`train__batch` is `train.batch`).

    With `sizes` one number as `hidden` stands for a list of it, as the templates want it.
    """
    plain = {name.replace("__", "."): _plain(value) for name, value in given.items() if value is not None}
    if sizes and isinstance(plain.get("hidden"), Integral):
        plain["hidden"] = [plain["hidden"]]
    own = {name: value for name, value in plain.items() if "." not in name}
    return own, {name: value for name, value in plain.items() if "." in name}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def blueprint_for(unit: Unit, own: Mapping[str, Any], overrides: Mapping[str, Any], known: Mapping[str, int], real: str) -> Blueprint:
    """The blueprint; what the data knows (`features`, `classes`, `outputs`) goes to the settings of that name that the model has."""
    declared = {setting.name.id for setting in unit.model.settings or ()} | set(unit.lengths)
    found = {name: value for name, value in known.items() if name in declared}
    return make_blueprint(unit, {**found, **own}, overrides, real=REALS[real])


def says_seed(blueprint: Blueprint) -> bool:
    """Whether the file, or who sets its settings, says what the seed is."""
    block = blueprint.unit.blocks.get("train")
    return "train.seed" in blueprint.overrides or (block is not None and any(setting.name.id == "seed" for setting in block.settings))


def same_program(one: Blueprint, other: Blueprint) -> bool:
    """Whether two blueprints compile to the same code."""
    return _identity(one) == _identity(other)


def _identity(blueprint: Blueprint) -> tuple[Any, ...]:
    values = ({name: spell(value) for name, value in each.items()} for each in (blueprint.settings, blueprint.overrides))
    return (blueprint.unit.library.file.source.text, *values, blueprint.real, blueprint.rows)
