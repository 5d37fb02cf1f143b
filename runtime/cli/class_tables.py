"""What a model says of each class, as tables: figures of the classes, the confusion matrix, and metrics that are no single number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..visible import visible
from .tables import Table, render

if TYPE_CHECKING:
    from ..classification import Judgement
    from ..model import Model
    from ..streaming import Rows

MOST_CLASSES = 40
MOST_COLUMNS = 16
MOST_PAIRS = 10
LONGEST_NAME = 24


def class_report(model: Model, rows: Rows, scores: Mapping[str, Any]) -> str:
    """Tables of all that `scores` (the model's metrics over these rows) does not tell on one line; nothing if there is nothing."""
    import numpy as np

    from ..classification import judge

    judged = judge(model, rows)
    parts, told = [], False
    for name, value in scores.items():
        if not isinstance(value, float):
            parts.append(f"{name}\n{spell_array(value, judged.names if judged else ())}")
            told = told or (judged is not None and np.array_equal(value, judged.counts))
    if judged is not None:
        parts.append(render(class_table(judged)))
        parts += [] if told else [confusion_text(judged)]
    return "\n\n".join(parts)


def class_table(judged: Judgement) -> Table:
    """A row a class, those with the worst f1 first where there are too many, and the means."""
    from ..classification import Figures

    table = Table(("class", *Figures._fields, "rows"), "<>>>>")
    classes = list(range(len(judged.names)))
    if len(classes) > MOST_CLASSES:
        classes = sorted(classes, key=lambda n: (judged.figures[n].f1, n))[:MOST_CLASSES]
    for n in classes:
        table.add(short(judged.names[n]), *(f"{f:.4f}" for f in judged.figures[n]), f"{int(judged.support[n]):,}")
    if len(judged.names) > MOST_CLASSES:
        table.add(f"… {len(judged.names) - MOST_CLASSES:,} better ones", *[""] * 4)
    for name, means in judged.averages().items():
        table.add(name, *(f"{f:.4f}" for f in means), f"{int(judged.support.sum()):,}")
    return table


def confusion_text(judged: Judgement) -> str:
    """The matrix, or of many classes what is most often taken for what."""
    if len(judged.names) <= MOST_COLUMNS:
        return f"rows: true {judged.target}; columns: said\n{render(matrix_table(judged.counts, judged.names))}"
    table = Table(("true", "said", "rows"), "<<>")
    for true, said, times in judged.confusions()[:MOST_PAIRS]:
        table.add(short(judged.names[true]), short(judged.names[said]), f"{times:,}")
    return f"most often taken for another {judged.target}\n{render(table)}"


def matrix_table(counts: Any, names: Sequence[str]) -> Table:
    """A matrix with the names of its rows and columns."""
    table = Table(("", *map(short, names)), "<" + ">" * len(names))
    for name, row in zip(names, counts, strict=True):
        table.add(short(name), *(f"{value:,.6g}" for value in row.tolist()))
    return table


def spell_array(value: Any, names: Sequence[str]) -> str:
    """A metric with axes: by the names of the classes where it has one number a class, or a pair of them."""
    if names and value.shape == (len(names),):
        table = Table(("class", "value"), "<>")
        for name, each in zip(names, value.tolist(), strict=True):
            table.add(short(name), f"{each:.4f}")
        return render(table)
    if names and value.shape == (len(names), len(names)) and len(names) <= MOST_COLUMNS:
        return render(matrix_table(value, names))
    return str(value)


def short(name: str) -> str:
    """A name of a class that leaves room for others."""
    shown = visible(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[: LONGEST_NAME - 1]}…"
