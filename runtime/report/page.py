"""The page of a report: what was asked, what came out, how training went, what the model is, and where it is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..classification import Judgement, class_names
from ..data import Field
from ..history import series
from ..memory import Array
from ..model import Model
from ..saving import sources_of
from ..show.drawing import svg_text
from ..show.learning_curves import panels_of
from ..show.memory import human_bytes
from ..show.picture import draw
from ..show.plot import Panel, Series, plot_text
from ..show.resolved import resolve
from ..show.summary import declared, parameter_sizes, summarise
from .evidence import Evidence
from .examples import examples_part
from .markup import Child, Markup, facts, joined, section, table, tag
from .style import sheet

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The page may load nothing, and runs nothing."""

MOST_CLASSES = 40
MOST_PAIRS = 15
MOST_EPOCHS = 500
Part = tuple[str, str, Child]


def page(model: Model, evidence: Evidence | None, *, version: str) -> str:
    """The whole report; the same model and data give the same text."""
    name = model.blueprint.unit.model.name.id
    parts = [part for part in _parts(model, evidence) if joined(part[2])]
    links = tag("nav", tag("ul", [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title, _ in parts]), aria_label="Contents")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{name}: report"),
        tag("style", Markup(sheet())),
    )
    top = tag("header", tag("h1", name), _summary(model, evidence))
    main = tag("main", [section(anchor, title, content) for anchor, title, content in parts])
    body = tag("body", top, links, main, tag("footer", f"Made by Ranvier {version}."))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _parts(model: Model, evidence: Evidence | None) -> Iterator[Part]:
    if evidence is not None:
        yield "figures", "Figures", _figures(evidence)
        yield "classes", "Classes", _classes(evidence.judged) if evidence.judged else ()
        yield "numbers", "Predictions and truth", _scatter(evidence)
    yield "curves", "Learning curves", _curves(model)
    if evidence is not None:
        yield "examples", "Worst examples", examples_part(model, evidence)
    yield "data", "Data", _data(model, evidence)
    yield (
        "graph",
        "The model as a graph",
        tag("div", Markup(svg_text(draw(model.blueprint))), class_="graph scroll", tabindex="0", role="region"),
    )
    yield "layers", "Layers and parameters", _layers(model)
    yield "settings", "Settings", _settings(model)
    yield "text", "The model's text", _texts(model)


# --- what came out


def _summary(model: Model, evidence: Evidence | None) -> Child:
    """The figures that a reader wants first."""
    standing, settings = model.standing, model.blueprint.train_settings
    pairs: list[tuple[str, Child]] = [(name, f"{value:.4g}") for name, value in _single(evidence).items()]
    pairs.append(("parameters", f"{sum(parameter_sizes(model.blueprint).values()):,}"))
    pairs.append(("epochs", f"{standing.epochs:,}" + (f", the best {standing.best_epoch:,}" if standing.stopped else "")))
    pairs.append(("seed", str(model.seed)))
    pairs.append(("batch", f"{settings.batch:,}"))
    origin = tag("p", f"How it was chosen: {model.origin}") if model.origin else ()
    return (facts(pairs), origin)


def _single(evidence: Evidence | None) -> dict[str, float]:
    """The scores that are one number, the loss first."""
    scores = evidence.scores if evidence else {}
    found = {name: value for name, value in scores.items() if isinstance(value, float)}
    return dict(sorted(found.items(), key=lambda pair: pair[0] != "loss"))


def _figures(evidence: Evidence) -> Child:
    """Every metric over the rows."""
    rows = [(name, f"{value:.6g}") for name, value in _single(evidence).items()]
    one = table(f"Over {evidence.rows:,} rows: {evidence.what}", ("figure", "value"), rows, numbers=1)
    names = evidence.judged.names if evidence.judged else ()
    several = [_array(name, value, names) for name, value in evidence.scores.items() if not isinstance(value, float)]
    return (one, several)


def _array(name: str, value: Array, names: tuple[str, ...]) -> Child:
    """A metric with axes; one that is the confusion matrix stands under Classes."""
    if names and value.shape == (len(names), len(names)):
        return ()
    labels = names if value.shape == (len(names),) else [str(n) for n in range(len(value))]
    rows = [(label, f"{each:.6g}" if value.ndim == 1 else str(each)) for label, each in zip(labels, value, strict=True)]
    return table(name, ("", "value"), rows[:MOST_CLASSES], numbers=1)


def _classes(judged: Judgement) -> Child:
    """The figures of each class, the matrix, and what is most often taken for what."""
    names = judged.names
    order = sorted(range(len(names)), key=lambda n: (judged.figures[n].f1, n)) if len(names) > MOST_CLASSES else list(range(len(names)))
    rows = [(names[n], *(f"{f:.4f}" for f in judged.figures[n]), f"{int(judged.support[n]):,}") for n in order[:MOST_CLASSES]]
    rows += [(name, *(f"{f:.4f}" for f in means), f"{int(judged.support.sum()):,}") for name, means in judged.averages().items()]
    cut = f", the {MOST_CLASSES} worst of {len(names):,}" if len(names) > MOST_CLASSES else ""
    figures = table(f"Each class of {judged.target}{cut}", ("class", *judged.figures[0]._fields, "rows"), rows, numbers=4)
    pairs = [(names[t], names[s], f"{times:,}") for t, s, times in judged.confusions()[:MOST_PAIRS]]
    wrong = (
        table("Most often taken for another", ("true", "said", "rows"), pairs, numbers=1)
        if pairs
        else tag("p", "None is taken for another.")
    )
    return (figures, _matrix(judged) if len(names) <= MOST_CLASSES else (), wrong)


def _matrix(judged: Judgement) -> Markup:
    """The confusion matrix, each cell shaded by its share of its row."""
    head = tag("tr", tag("th", "true \\ said", scope="col"), [tag("th", name, scope="col", class_="num") for name in judged.names])
    rows = []
    for n, name in enumerate(judged.names):
        shares = judged.counts[n] / max(int(judged.support[n]), 1)
        cells = [_cell(int(c), float(s), hit=k == n) for k, (c, s) in enumerate(zip(judged.counts[n], shares, strict=True))]
        rows.append(tag("tr", tag("th", name, scope="row"), cells))
    caption = tag("caption", f"Confusion matrix: a row a true {judged.target}, a column what the model said")
    inner = tag("table", caption, tag("thead", head), tag("tbody", rows), class_="matrix")
    return tag("div", inner, class_="scroll", role="region", aria_label="Confusion matrix", tabindex="0")


def _cell(count: int, share: float, *, hit: bool) -> Markup:
    kind = ("hit" if hit else "said") if count else None
    return tag("td", f"{count:,}" if count else "0", class_=kind, style=f"--share: {share:.3f}" if count else None)


def _scatter(evidence: Evidence) -> Child:
    """Predictions over the truth, and what is left over."""
    if evidence.pairs is None:
        return ()
    name, truth, predictions = evidence.pairs
    some = f" ({len(truth):,} values)"
    along = [float(min(truth.min(), predictions.min())), float(max(truth.max(), predictions.max()))]
    told = Series("", truth.astype(float).tolist(), predictions.astype(float).tolist(), points=True)
    left = Series("", predictions.astype(float).tolist(), (truth - predictions).astype(float).tolist(), points=True)
    ideal = Series("exact", along, along)
    panels = (
        Panel(f"prediction and truth{some}", f"true {name}", "predicted", (told, ideal)),
        Panel("what is left over", f"predicted {name}", "truth - prediction", (left,)),
    )
    return tag("div", [Markup(plot_text(panel)) for panel in panels], class_="plots")


def _curves(model: Model) -> Child:
    """Every figure over the epochs, and the numbers behind the lines."""
    standing = model.standing
    panels = panels_of(standing.history, standing.best_epoch if standing.stopped else 0)
    if not panels:
        return ()
    names = [(name, n, label) for name, pair in series(standing.history).items() for n, label in enumerate(("training", "validation"))]
    columns = [(f"{label} {name}", series(standing.history)[name][n]) for name, n, label in names]
    columns = [(head, values) for head, values in columns if any(map(math.isfinite, values))]
    rows = [(str(epoch + 1), *(f"{values[epoch]:.5g}" for _, values in columns)) for epoch in range(len(standing.history))]
    caption = "The figures of every epoch" if len(rows) <= MOST_EPOCHS else f"The figures of the last {MOST_EPOCHS} epochs"
    numbers = table(caption, ("epoch", *(head for head, _ in columns)), rows[-MOST_EPOCHS:], numbers=len(columns))
    drawn = tag("div", [Markup(plot_text(panel)) for panel in panels], class_="plots")
    return (drawn, tag("details", tag("summary", "The numbers"), numbers))


# --- what it is


def _data(model: Model, evidence: Evidence | None) -> Child:
    """Inputs and targets; with rows, what they hold."""
    heads = ["name", "role", "type", *(("least", "mean", "greatest") if evidence else ())]
    rows = []
    for field in model.fields.values():
        role = "target" if field.name in model.blueprint.inference.targets else "input"
        reach = _reach(evidence.arrays[field.name]) if evidence else ()
        rows.append((field.name, role, declared(model.blueprint, field.name), *reach))
    source = model.blueprint.data_settings.source
    said = tag("p", "The file names the data ", tag("code", source), ".") if source else ()
    note = tag("p", f"Figures and examples are of {evidence.rows:,} rows: {evidence.what}.") if evidence else _no_data()
    fields = table("Inputs and targets", heads, rows, numbers=3 if evidence else 0)
    return (said, note, fields, [_balance(model, field, evidence) for field in model.fields.values()] if evidence else ())


def _no_data() -> Markup:
    return tag("p", "Made without data: give --data PATH for figures, classes and examples.", class_="note")


def _reach(values: Array) -> tuple[str, str, str]:
    """The least, mean and greatest number; what is missing does not count."""
    known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not known.size:
        return ("", "", "")
    return (f"{float(known.min()):.5g}", f"{float(known.mean(dtype=np.float64)):.5g}", f"{float(known.max()):.5g}")


def _balance(model: Model, field: Field, evidence: Evidence) -> Child:
    """How many rows are of each class of a target that has one a row."""
    if field.classes is None or field.shape or field.name not in model.blueprint.inference.targets:
        return ()
    counts = np.bincount(evidence.arrays[field.name].astype(np.int64), minlength=field.classes)
    names, most = class_names(model, field), max(int(counts.max()), 1)
    order = np.argsort(-counts, kind="stable")[:MOST_CLASSES] if field.classes > MOST_CLASSES else np.arange(field.classes)
    rows = [(names[n], _bar(counts[n] / most), f"{int(counts[n]):,}", f"{counts[n] / max(counts.sum(), 1):.1%}") for n in order.tolist()]
    return table(f"Classes of {field.name}", ("class", "", "rows", "share"), rows, numbers=2)


def _bar(share: float) -> Markup:
    return tag("span", "", class_="bar", style=f"width: {max(share, 0.0) * 12:.2f}rem", aria_hidden="true")


def _layers(model: Model) -> Child:
    """Every application of a layer, and the sums."""
    summary = summarise(model.blueprint)
    rows = [
        (f"{'· ' * row.path.count('.')}{row.path}", row.kind, row.shapes, f"{row.parameters:,}" if row.parameters else "")
        for row in summary.rows
    ]
    total = tag("p", f"{summary.parameters:,} parameters, {human_bytes(summary.bytes)}.")
    layers = table("Layers in the order of the file", ("layer", "made by", "shapes", "parameters"), rows, numbers=1) if rows else ()
    sizes = parameter_sizes(model.blueprint)
    shapes = {label: each.type for label, each in model.blueprint.inference.parameters.items()}
    tensors = [(label, str(shapes[label]), f"{size:,}") for label, size in sizes.items()]
    own = table("Trained tensors", ("name", "type", "elements"), tensors, numbers=1) if tensors else ()
    return (layers, total, tag("details", tag("summary", "Trained tensors"), own) if tensors else ())


def _settings(model: Model) -> Child:
    """The whole file with every default filled in."""
    note = tag("p", "The file with every setting, default and shape filled in; it is a .nn file itself.")
    return (note, tag("pre", tag("code", resolve(model.blueprint)), tabindex="0"))


def _texts(model: Model) -> Child:
    """The file as it was written, and what it imports."""
    sources = sources_of(model.blueprint.unit).items()
    return [(tag("h3", name), tag("pre", tag("code", text), tabindex="0")) for name, text in sources]
