"""`ranvier predict`: what a saved model says about rows."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import allow_nonfinite_option, data_option, model_argument, threads_option

if TYPE_CHECKING:
    from ..model import Model

SHOWN = 10
SHOWN_VALUES = 8


@click.command("predict")
@model_argument()
@data_option("Rows of the inputs: .npz, .npy, .csv, .tsv, .parquet, IDX or a folder.", required=True)
@click.option(
    "-o", "output", metavar="OUT", type=click.Path(path_type=Path, dir_okay=False), help="Write all predictions to a .npz or .csv file."
)
@allow_nonfinite_option()
@threads_option()
def command(model: Path, data: Path, output: Path | None, allow_nonfinite: bool, threads: int | None) -> None:
    """Predictions of a saved model: `prediction`, and for a model of classes the likeliest `class` and its `label`.

    Without -o the first rows are printed.
    """
    from ..feeding import read_rows, stored_rows, streamed
    from ..saving import load

    if output is not None and output.suffix.lower() not in (".npz", ".csv"):
        raise click.UsageError(f"predictions are written to a file that ends in .npz or .csv, not {output.suffix or 'no suffix'}")
    loaded = load(model, threads=threads, allow_nonfinite=allow_nonfinite)
    stored = stored_rows(loaded, data, part="test")
    if stored is not None:
        prediction = loaded.predict(streamed(loaded, stored, targets=False))
    else:
        read = read_rows(loaded, data, targets=False)
        prediction = loaded.predict(_inputs(loaded, read.test or read))
    found = columns(loaded, prediction)
    if output is None:
        click.echo(_table(found))
        return
    from ..atomic import write_atomic

    write_atomic(output, _npz(found) if output.suffix.lower() == ".npz" else _csv(found))
    click.echo(f"wrote {len(found['prediction']):,} rows to {output}", err=True)


def _inputs(model: Model, table: Any) -> Any:
    """The table; a file of a single array is that of the only input, whatever its name."""
    inputs = [name for name, field in model.fields.items() if name not in model.blueprint.inference.targets and field.most is None]
    if len(inputs) == 1 and len(table) == 1 and inputs[0] not in table:
        return {inputs[0]: next(iter(table.values()))}
    return table


def columns(model: Model, prediction: Any) -> dict[str, Any]:
    """`prediction`, and where it has one value a class of the only target with classes, `class` and (with names) `label`."""
    import numpy as np

    found = {"prediction": prediction}
    targets = model.blueprint.inference.targets
    classes = [field for name, field in model.fields.items() if name in targets and field.classes]
    if len(classes) == 1 and prediction.shape[1:] == (classes[0].classes,):
        found["class"] = prediction.argmax(axis=1).astype(np.int32)
        names = model.vocabularies.get(classes[0].name)
        if names:
            known = [*names, *(f"class {n}" for n in range(len(names), classes[0].classes or 0))]
            found["label"] = np.array(known)[found["class"]]
    return found


def _npz(found: dict[str, Any]) -> bytes:
    import numpy as np

    stream = io.BytesIO()
    np.savez_compressed(stream, **found)
    return stream.getvalue()


def _csv(found: dict[str, Any]) -> bytes:
    """A row a prediction, its values in columns `prediction_0`, `prediction_1`, …; numbers read back as they are."""
    heads, rows = _cells(found)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return stream.getvalue().encode()


def _cells(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    prediction = found["prediction"]
    flat = prediction.reshape(len(prediction), -1)
    single = prediction.ndim == 1
    heads = ["prediction"] if single else [f"prediction_{n}" for n in range(flat.shape[1])]
    others = {name: value for name, value in found.items() if name != "prediction"}
    rows = [[*map(str, values), *(str(value[n]) for value in others.values())] for n, values in enumerate(flat)]
    return [*heads, *others], rows


def _table(found: dict[str, Any]) -> str:
    """The first rows, each with its first values."""
    from .tables import Table, render

    prediction = found["prediction"]
    others = {name: value for name, value in found.items() if name != "prediction"}
    table = Table(("row", *others, "prediction"), ">" + "<" * len(others) + "<")
    for n, values in enumerate(prediction[:SHOWN].reshape(min(SHOWN, len(prediction)), -1)):
        shown = "  ".join(f"{value:.4g}" for value in values[:SHOWN_VALUES]) + ("  …" if len(values) > SHOWN_VALUES else "")
        table.add(str(n), *(str(value[n]) for value in others.values()), shown)
    rest = len(prediction) - SHOWN
    return render(table) + (f"\n… and {rest:,} more rows: write them with -o OUT.npz or OUT.csv" if rest > 0 else "")
