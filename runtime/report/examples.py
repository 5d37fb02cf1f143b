"""Examples in a report: images drawn, sequences of numbers as curves, texts as texts, rows of columns as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..classification import class_names, inside, judged_target, said_classes
from ..data import Field
from ..memory import Array
from ..model import Model
from ..show.plot import Panel, Series, plot_text
from .evidence import Evidence, Examples
from .images import data_uri, grey_levels, is_image
from .markup import Child, Markup, table, tag

SIDE = 160
MOST_COLUMNS = 16
MOST_CURVES = 6
MOST_VALUES = 12


def examples_part(model: Model, evidence: Evidence) -> Child:
    """The examples as cards, or as one table where every input is a number or a row of numbers."""
    worst = evidence.worst
    if worst is None or not len(worst.rows):
        return ()
    inputs = [field for field in model.fields.values() if field.name not in model.blueprint.inference.targets and field.most is None]
    captions = [_caption(model, evidence, worst, n) for n in range(len(worst.rows))]
    if all(len(field.shape) < 2 and field.length is None and not is_curve(field) for field in inputs):
        return _rows_table(model, evidence, worst, inputs, captions)
    drawn = {field.name: list(_drawn(model, field, evidence, worst)) for field in inputs}
    cards = []
    for n, caption in enumerate(captions):
        words = [[tag("strong", name), " ", value, tag("br")] for name, value in caption]
        cards.append(tag("figure", [drawn[field.name][n] for field in inputs], tag("figcaption", words)))
    return tag("div", cards, class_="cards")


def is_curve(field: Field) -> bool:
    """Whether a sample is one series: more numbers in a row than a table has columns."""
    return len(field.shape) == 1 and field.shape[0] > MOST_COLUMNS and field.classes is None


def _caption(model: Model, evidence: Evidence, worst: Examples, n: int) -> list[tuple[str, str]]:
    """What is said of an example beside its inputs: its row, loss, truth and prediction."""
    pairs = [(evidence.numbering, called(evidence, n).rpartition(" ")[2]), ("loss", f"{worst.losses[n]:.4g}")]
    targets = [model.fields[name] for name in model.blueprint.inference.targets if model.fields[name].most is None]
    pairs += [(f"true {field.name}", spelled(model, field, worst.arrays, n)) for field in targets]
    if worst.predictions is not None and (judged_target(model) or worst.predictions[n].size <= MOST_VALUES):
        pairs.append(("predicted", _said(model, worst, n)))
    return pairs


def _said(model: Model, worst: Examples, n: int) -> str:
    """The prediction of an example: a class by its name, with its score if there is but one; else numbers."""
    assert worst.predictions is not None
    field, scores = judged_target(model), worst.predictions[n]
    if field is None:
        return numbers(scores)
    said = said_classes(field, worst.predictions)
    words = spelled(model, field, {**worst.arrays, field.name: said}, n)
    if field.shape:
        return words
    score = float(scores[said[n]]) if scores.shape == (field.classes,) else float(scores.reshape(-1)[0])
    return f"{words} ({score:.3g})"


def spelled(model: Model, field: Field, arrays: Mapping[str, Array], n: int) -> str:
    """A value of an input or target in words: names of classes, up to a sequence's own end; or numbers."""
    values = arrays[field.name][n][inside(field, arrays)[n]]
    if field.classes is None and field.dtype.kind != "b":
        return numbers(values)
    names = class_names(model, field)
    words = [names[int(value)] for value in np.asarray(values).reshape(-1)]
    known = model.vocabularies.get(field.name, ())
    return ("" if known and all(len(word) == 1 for word in known) else " ").join(words)


def numbers(values: Array) -> str:
    """The first numbers of an array."""
    flat = np.asarray(values).reshape(-1)
    shown = ", ".join(f"{value:.4g}" for value in flat[:MOST_VALUES].tolist())
    return shown + (" …" if len(flat) > MOST_VALUES else "")


def called(evidence: Evidence, n: int) -> str:
    """Which row an example is."""
    assert evidence.worst is not None
    return f"{evidence.numbering} {int(evidence.worst.rows[n]) + evidence.first:,}"


def _drawn(model: Model, field: Field, evidence: Evidence, worst: Examples) -> Iterator[Markup]:
    """One input of every example."""
    values = worst.arrays[field.name]
    if field.length is None and is_image(field.shape, whole=field.dtype.kind in "ui" and field.classes is None):
        scale = max(1, SIDE // max(field.shape[:2]))
        for n, pixels in enumerate(grey_levels(values)):
            size = {"width": str(pixels.shape[1] * scale), "height": str(pixels.shape[0] * scale)}
            yield tag("img", src=data_uri(pixels), alt=f"{field.name} of {called(evidence, n)}", **size)
        return
    for n in range(len(values)):
        if field.classes is not None or not field.shape or field.shape[0] < 2 or len(field.shape) > 2:
            yield tag("blockquote", f"{field.name}: " if len(model.fields) > 2 else "", spelled(model, field, worst.arrays, n))
        else:
            yield Markup(plot_text(_curves(field, evidence, worst, n)))


def _curves(field: Field, evidence: Evidence, worst: Examples, n: int) -> Panel:
    """A series of numbers over its times, up to its own end, each of its first features a line."""
    values = worst.arrays[field.name][n].reshape(field.shape[0], -1)
    end = int(worst.arrays[field.length][n]) if field.length else len(values)
    times = [float(t) for t in range(end)]
    lines = [Series("", times, values[:end, k].astype(np.float64).tolist()) for k in range(min(values.shape[1], MOST_CURVES))]
    more = f", {MOST_CURVES} of {values.shape[1]} features" if values.shape[1] > MOST_CURVES else ""
    return Panel(f"{field.name} of {called(evidence, n)}{more}", "time", "", tuple(lines))


def _rows_table(model: Model, evidence: Evidence, worst: Examples, inputs: list[Field], captions: list[list[tuple[str, str]]]) -> Markup:
    """A row an example: what is said of it, then its columns."""
    heads = [name for name, _ in captions[0]]
    columns = [column for field in inputs for column in _columns(model, evidence, field)]
    heads += [name for name, _ in columns]
    rows = [[*(value for _, value in caption), *(cells[n] for _, cells in columns)] for n, caption in enumerate(captions)]
    return table("The rows of greatest loss", heads, rows)


def _columns(model: Model, evidence: Evidence, field: Field) -> list[tuple[str, list[str]]]:
    """The columns of an input by their names in the file."""
    assert evidence.worst is not None
    arrays = evidence.worst.arrays
    values = arrays[field.name]
    if not field.shape or field.classes is not None:
        return [(field.name, [spelled(model, field, arrays, n) for n in range(len(values))])]
    known = evidence.columns.get(field.name, ())
    names = [f"{field.name} {k}" for k in range(field.shape[0])] if field.shape[0] > 1 else [field.name]
    names = list(known) if len(known) == field.shape[0] else names
    return [(name, [f"{value:.6g}" for value in values[:, k].tolist()]) for k, name in enumerate(names)]
