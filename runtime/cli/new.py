"""`ranvier new`: a folder to begin in, with a model that runs at once."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

FILES = ("digits.nn", "data/digits.npz")
EXAMPLES = "ranvier.examples"

GUIDE = """# digits

A small network that reads handwritten digits: `digits.nn` is the model, `data/digits.npz` its 1,797 images.

    ranvier check   digits.nn
    ranvier train   digits.nn
    ranvier eval    digits.safetensors --data data/digits.npz
    ranvier predict digits.safetensors --data data/digits.npz -o predictions.csv

Try another size or learning rate without touching the file:

    ranvier train digits.nn --set hidden=64 --set train.optimizer.lr=1e-3

and look at what it becomes:

    ranvier show digits.nn
    ranvier show digits.nn --graph -o digits.svg
    ranvier bench digits.nn

From Python:

    import ranvier as rv

    model = rv.load("digits.safetensors")
    probabilities = model.predict(images)        # images: u8[rows, 8, 8, 1]
"""


@click.command("new")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Make a folder with a model, its data and a short guide. An existing folder must be empty."""
    from ...compiler.errors import RanvierError
    from ..atomic import write_atomic

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RanvierError(f"{folder} is there already and not an empty folder; name another one")
    source = resources.files(EXAMPLES)
    contents = {name: source.joinpath(name).read_bytes() for name in FILES}
    for name, content in {**contents, "README.md": GUIDE.encode()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / name, content)
    click.echo(f"made {folder}: digits.nn, its data and README.md\n\n  cd {folder}\n  ranvier train digits.nn")
