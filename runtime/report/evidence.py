"""What rows of data tell about a model: its scores, its classes, its predictions beside the truth, and the rows that cost it most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...compiler.errors import DataError
from ..classification import Judgement, inputs_of, judge, parts
from ..feeding import read_rows, read_split
from ..memory import Array
from ..model import Model
from ..streaming import rows_in_memory
from ..table import Table

WORST = 12
COMPARED = 2000


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows by how much they cost, the dearest first: their numbers, losses, arrays [examples, …] and predictions if there are any."""

    rows: Array
    losses: Array
    arrays: Mapping[str, Array]
    predictions: Array | None


@dataclass(frozen=True, eq=False)
class Evidence:
    """Of `rows` rows, `what` they are; they are called by `numbering` and a number from `first` on. `columns` are the names of those
    joined under a name; `pairs` are truth and prediction of a target of numbers, of some of the rows.
    """

    what: str
    numbering: str
    first: int
    arrays: dict[str, Array]
    columns: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, Any]
    judged: Judgement | None
    pairs: tuple[str, Array, Array] | None
    worst: Examples | None

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.arrays.values())))


def gather(model: Model, path: Path, *, test: bool) -> Evidence:
    """Evaluate a model on a file: on all its rows (of a source that keeps test rows apart, on those), or on those kept for the test."""
    table = read_rows(model, path)
    what, arrays = _chosen(model, path, table, test=test)
    told = "predict" in model.blueprint.inference.graph.outputs
    pairs, worst = _pairs(model, arrays) if told else None, _worst(model, arrays)
    numbering = "row" if not test and table.test is None else "test row"
    first = table.origin.first_row if numbering == "row" else 0
    return Evidence(what, numbering, first, arrays, table.origin.columns, model.evaluate(arrays), judge(model, arrays), pairs, worst)


def _chosen(model: Model, path: Path, table: Table, *, test: bool) -> tuple[str, dict[str, Array]]:
    """What rows these are, and the rows."""
    if not test:
        arrays = model.arrays(table.test or table, targets=True)
        return (f"the test rows of {path.name}" if table.test else f"all rows of {path.name}"), arrays
    kept = read_split(model, path).test
    if kept is None:
        raise DataError(f"{path}: no rows are kept for the test: the data block has no `test`; leave out --test")
    return f"the rows of {path.name} that are kept for the test", rows_in_memory(kept)


def _pairs(model: Model, arrays: Mapping[str, Array]) -> tuple[str, Array, Array] | None:
    """Truth and prediction of the only target, when it holds numbers in the shape of the prediction."""
    targets = [model.fields[name] for name in model.blueprint.inference.targets if model.fields[name].most is None]
    if len(targets) != 1 or not targets[0].dtype.is_float or targets[0].length is not None:
        return None
    rows = len(arrays[targets[0].name])
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, COMPARED)).astype(np.int64))
    some = {name: array[chosen] for name, array in arrays.items()}
    predictions = model.predict(inputs_of(model, some))
    truth = some[targets[0].name]
    return (targets[0].name, truth.reshape(-1), predictions.reshape(-1)) if predictions.size == truth.size else None


def _worst(model: Model, arrays: dict[str, Array]) -> Examples | None:
    """The rows of greatest loss, those of one loss in the order of the data; what is not a number comes first."""
    if "loss" not in model.blueprint.inference.graph.outputs:
        return None
    losses = np.concatenate([model.losses(part) for part in parts(arrays)]).astype(np.float64)
    dear = np.where(np.isnan(losses), np.inf, losses)
    rows = np.argsort(-dear, kind="stable")[:WORST]
    chosen = {name: array[rows] for name, array in arrays.items()}
    told = "predict" in model.blueprint.inference.graph.outputs
    return Examples(rows, losses[rows], chosen, model.predict(inputs_of(model, chosen)) if told else None)
