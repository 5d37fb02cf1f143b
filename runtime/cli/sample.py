"""`ranvier sample`: text from a model of symbols."""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from .options import allow_nonfinite_option, model_argument, threads_option


@click.command("sample")
@model_argument()
@click.option("--prompt", metavar="TEXT", required=True, help="What the text begins with.")
@click.option("--length", type=click.IntRange(min=0), default=500, show_default=True, help="Symbols to add.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="0 takes the likeliest symbol each time.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Decides what is drawn.")
@allow_nonfinite_option()
@threads_option()
def command(model: Path, prompt: str, length: int, temperature: float, seed: int, allow_nonfinite: bool, threads: int | None) -> None:
    """Text drawn from a saved model of symbols, such as one trained by `loss cross_entropy(logits[:-1], text[1:])`."""
    from ..sampling import sample
    from ..saving import load

    loaded = load(model, threads=threads, allow_nonfinite=allow_nonfinite)
    text = sample(loaded, prompt, temperature=temperature, seed=seed)
    first = list(itertools.islice(text, min(length, 1)))  # a prompt that will not do is said before anything is written
    click.echo(prompt, nl=False)
    for symbol in itertools.chain(first, itertools.islice(text, length - len(first))):
        click.echo(symbol, nl=False)
    click.echo()
