"""What a model says of rows whose classes are known: how often each class is taken for which, and what follows for each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .data import Field
from .memory import Array
from .streaming import Rows, StreamedRows, row_count

if TYPE_CHECKING:
    from .model import Model

ROWS_AT_ONCE = 2**14
MOST_CLASSES = 2048
"""Of more classes nobody reads each, and a matrix of their pairs would not fit memory."""
ANSWERS = ("no", "yes")
HALF = 0.5


class Figures(NamedTuple):
    """Of those said to be of a class, the share that are; of those of a class, the share said to be; the harmonic mean of both."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Judgement:
    """Counts [true class, said class] of a target's samples, or of the places of its sequences, with the names of the classes."""

    target: str
    names: tuple[str, ...]
    counts: Array

    @cached_property
    def support(self) -> Array:
        """How many are of each class."""
        return np.asarray(self.counts.sum(axis=1))

    @cached_property
    def figures(self) -> list[Figures]:
        """What is said of each class; 0 where a share is of none."""
        hits, said = self.counts.diagonal(), self.counts.sum(axis=0)
        shares = (hits / np.maximum(said, 1), hits / np.maximum(self.support, 1), 2 * hits / np.maximum(said + self.support, 1))
        return [Figures(*each) for each in np.stack(shares, axis=1).tolist()]

    @property
    def accuracy(self) -> float:
        """The share said rightly."""
        return float(self.counts.trace() / max(self.counts.sum(), 1))

    def averages(self) -> dict[str, Figures]:
        """The means of the figures over the classes: all alike, and weighted by support."""
        weights = self.support / max(int(self.support.sum()), 1)
        alike = np.full(len(weights), 1 / len(weights))
        return {name: Figures(*(w @ np.array(self.figures)).tolist()) for name, w in (("mean", alike), ("weighted mean", weights))}

    def confusions(self) -> list[tuple[int, int, int]]:
        """What is taken for what, as (true class, said class, how often), the most frequent first."""
        wrong = self.counts - np.diag(self.counts.diagonal())
        found = [(int(t), int(s), int(wrong[t, s])) for t, s in np.argwhere(wrong)]
        return sorted(found, key=lambda each: (-each[2], each[:2]))


def judged_target(model: Model) -> Field | None:
    """The only target of classes, or of yes and no, that the prediction tells; None when there is none, or when it is not clear."""
    if "predict" not in model.blueprint.inference.graph.outputs:
        return None
    told = tuple(
        d for d in model.blueprint.inference.graph.type(model.blueprint.inference.graph.outputs["predict"]).shape if isinstance(d, int)
    )
    targets = [model.fields[name] for name in model.blueprint.inference.targets]
    fitting = [field for field in targets if _is_scored(field, told) or _is_answered(field, told)]
    return fitting[0] if len(fitting) == 1 else None


def _is_scored(field: Field, told: tuple[int, ...]) -> bool:
    """A score for each class."""
    return field.classes is not None and field.classes <= MOST_CLASSES and told == (*field.shape, field.classes)


def _is_answered(field: Field, told: tuple[int, ...]) -> bool:
    """The probability of a yes."""
    return (field.classes == len(ANSWERS) or field.dtype.kind == "b") and told in (field.shape, (*field.shape, 1))


def class_names(model: Model, field: Field) -> tuple[str, ...]:
    """The names of a target's classes: those learned from text, else their numbers, or no and yes."""
    known = model.vocabularies.get(field.name, ())
    if field.classes is None:
        return ANSWERS
    return (*known, *map(str, range(len(known), field.classes)))


def said_classes(field: Field, predictions: Array) -> Array:
    """The class that each prediction says, in the shape of the target: [rows, …]."""
    if field.classes is not None and predictions.shape[1:] == (*field.shape, field.classes):
        return np.asarray(predictions.argmax(axis=-1))
    return (predictions.reshape(len(predictions), *field.shape) > HALF).astype(np.int64)


def inside(field: Field, arrays: Mapping[str, Array]) -> Array:
    """True for the places of a target that count: all, but for what lies past a sample's own end. [rows, *shape]"""
    marks = np.ones((len(arrays[field.name]), *field.shape), dtype=np.bool_)
    if field.length is not None:
        ends = arrays[field.length].reshape(-1, *[1] * len(field.shape))
        marks &= np.arange(field.shape[0]).reshape(-1, *[1] * (len(field.shape) - 1)) < ends
    return marks


def judge(model: Model, rows: Rows) -> Judgement | None:
    """What the model says of rows that fit already; None when it tells no classes. Runs the prediction over all rows."""
    field = judged_target(model)
    if field is None:
        return None
    names = class_names(model, field)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for part in parts(rows):
        said = said_classes(field, model.predict(inputs_of(model, part)))
        count(counts, part[field.name], said, inside(field, part))
    return Judgement(field.name, names, counts)


def inputs_of(model: Model, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Without the targets."""
    return {name: array for name, array in arrays.items() if name not in model.blueprint.inference.targets}


def parts(rows: Rows) -> Iterator[dict[str, Array]]:
    """The rows in parts whose predictions fit memory."""
    total = row_count(rows)
    for start in range(0, total, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, total)
        yield rows.read(start, end) if isinstance(rows, StreamedRows) else {k: v[start:end] for k, v in rows.items()}


def count(counts: Array, truth: Array, said: Array, marks: Array) -> None:
    """Add up pairs of classes where the marks are true."""
    classes = len(counts)
    pairs = truth.astype(np.int64)[marks] * classes + said.astype(np.int64)[marks]
    counts += np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
