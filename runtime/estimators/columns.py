"""Columns of X to the inputs of a model, by name where the data block or the inputs name them, else in order."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...compiler.errors import DataError
from ..data import Field
from ..memory import Array
from ..model import Model

WEIGHT = "weight"
"""The target of a model that takes the weight of each row."""


def model_inputs(model: Model) -> list[Field]:
    """What the model reads of X: its inputs without lengths, which are those of the array."""
    targets = model.blueprint.inference.targets
    return [field for name, field in model.fields.items() if name not in targets and field.most is None]


def label_field(model: Model) -> Field:
    """The one target that y goes to; DataError when there is none or more than one."""
    names = [name for name in model.blueprint.inference.targets if name != WEIGHT and model.fields[name].most is None]
    if len(names) != 1:
        raise DataError(f"an estimator's model has one target (and `{WEIGHT}`, if it takes weights), this one has {len(names)}: {names}")
    return model.fields[names[0]]


def takes_weights(model: Model) -> bool:
    """Whether the model has a target for the weights of rows."""
    return WEIGHT in model.blueprint.inference.targets


def split_columns(model: Model, X: Array, names: Sequence[str] | None) -> dict[str, Array]:
    """X [rows, …] as an array for each input; `names` are those of its columns, where it has any. DataError when they do not fit."""
    fields = model_inputs(model)
    if X.ndim > 2:
        return {_only(fields).name: X}
    places = _named(model, fields, list(names)) if names is not None else None
    if places is None:
        ends = np.cumsum([math.prod(field.shape) for field in fields])
        if not len(ends) or ends[-1] != X.shape[1]:
            wanted = ", ".join(f"`{field.name}` {list(field.shape)}" for field in fields)
            raise DataError(f"X has {X.shape[1]} columns, the inputs of the model take {ends[-1] if len(ends) else 0} ({wanted})")
        places = dict(zip((field.name for field in fields), np.split(np.arange(X.shape[1]), ends[:-1]), strict=True))
    return {field.name: X[:, places[field.name]].reshape(len(X), *field.shape) for field in fields}


def _only(fields: Sequence[Field]) -> Field:
    if len(fields) != 1:
        raise DataError(f"the model has {len(fields)} inputs: give X as a table, [rows, columns]")
    return fields[0]


def _named(model: Model, fields: Sequence[Field], names: list[str]) -> dict[str, Array] | None:
    """Which columns go to each input, when all of them are named by the data block or by inputs of one number."""
    columns = model.blueprint.data_settings.columns
    wanted = {field.name: columns.get(field.name, (field.name,)) for field in fields}
    fitting = all(len(wanted[field.name]) == math.prod(field.shape) and set(wanted[field.name]) <= set(names) for field in fields)
    return {name: np.array([names.index(each) for each in chosen]) for name, chosen in wanted.items()} if fitting else None
