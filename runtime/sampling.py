"""Text from a trained model, one symbol after the other: each is drawn from what the model says may follow the ones before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..compiler.errors import DataError, RanvierError
from .data import Field
from .labels import label_indices
from .model import Model
from .table import Origin
from .text_reader import characters


def sample(model: Model, prompt: str, *, temperature: float = 1.0, seed: int = 0) -> Iterator[str]:
    """The symbols that follow a prompt, without end; the same for the same seed.

    The model has one input of symbols in a row, and its prediction at each of them is how likely each symbol is to come next. It sees as
    many of the latest symbols as it has room for. `temperature` below 1 prefers the likely ones (0: always the likeliest), above 1 evens
    them out. Raises RanvierError for another kind of model, DataError for a prompt that is empty or holds symbols unknown to it.
    """
    field = _symbols(model)
    vocabulary = model.vocabularies[field.name]
    if not prompt:
        raise DataError("the prompt is empty: begin with at least one symbol")
    if temperature < 0:
        raise DataError(f"the temperature is at least 0, not {temperature:g}")
    history = label_indices(characters(prompt), vocabulary, "prompt", Origin()).tolist()
    generator = np.random.Generator(np.random.PCG64(seed))
    while True:
        following = _draw(_chances(model, field, history)[: len(vocabulary)], temperature, generator)
        history.append(following)
        yield vocabulary[following]


def _symbols(model: Model) -> Field:
    """The input of symbols."""
    inputs = [f for name, f in model.fields.items() if name not in model.blueprint.inference.targets and f.most is None]
    if len(inputs) != 1 or inputs[0].classes is None or len(inputs[0].shape) != 1:
        raise RanvierError("text is drawn from a model whose one input is a row of symbols, such as `input text: class[80][T]`")
    if inputs[0].name not in model.vocabularies:
        raise RanvierError(f"the model does not know what the classes of `{inputs[0].name}` stand for: train it on text")
    return inputs[0]


def _chances(model: Model, field: Field, history: list[int]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How likely each symbol is to follow the history."""
    room = field.shape[0]
    if field.length is None and len(history) < room:
        raise DataError(f"the prompt has {len(history)} symbols, and the model was made for {room} of them: give as many")
    seen = np.array([history[-room:]], dtype=np.int32)
    prediction = model.predict({field.name: seen})[0]
    if prediction.ndim == 2 and prediction.shape == (room, field.classes):
        prediction = prediction[seen.shape[1] - 1]
    if prediction.shape != (field.classes,):
        raise RanvierError(f"the model predicts {list(prediction.shape)}, not how likely each of {field.classes} symbols is to come next")
    return np.asarray(prediction, dtype=np.float64)


def _draw(chances: np.ndarray[tuple[int], np.dtype[np.float64]], temperature: float, generator: np.random.Generator) -> int:
    if temperature == 0:
        return int(chances.argmax())
    with np.errstate(divide="ignore"):
        scores = np.log(chances) / temperature
    weights = np.exp(scores - scores.max())
    return int(np.searchsorted(np.cumsum(weights) / weights.sum(), generator.random(), side="right").clip(0, len(weights) - 1))
