"""From a model to a library: the model laid out for each CPU level, with its programs, its values and what a caller is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..compiler.ahead.levels import Level
from ..compiler.ahead.library import PREDICT, TRAIN, Face, Memory, Part, Tensor
from ..compiler.ahead.make import Library, part
from ..compiler.deadline import deadline
from ..compiler.driver import Blueprint
from ..compiler.errors import RanvierError
from ..compiler.frontend.values import Live
from ..compiler.ir.types import BATCH, DType, TensorType, batched
from ..compiler.kernels.program import Program
from ..compiler.layout import SPACES
from ..compiler.passes.weights import WEIGHT
from .model import Model

SCALARS = ("step", "update", "steps", "epoch", "seed", "left", "watched")
"""Numbers of the run time that a caller may set, beside the learning rate."""

RATE, RATE_SETTING = "rate", "train.optimizer.lr"
STARTED = ("parameter", "state", "fit", "runtime")
"""Spaces that begin with values of the model."""


@dataclass(frozen=True)
class Wish:
    """What a library is to be: its name, the most rows of a call and the threads it is planned for; whether it can train, and the
    name of the file for its weights if they are not in it.
    """

    name: str
    rows: int | None = None
    threads: int = 1
    train: bool = False
    weights: str = ""


def library_of(model: Model, levels: Iterable[Level], wish: Wish) -> Library:
    """The library of a model for some CPU levels. Raises RanvierError for a model whose statistics are not fitted."""
    if not model.fitted:
        raise RanvierError("the model's statistics are not fitted yet: train it first, and compile the saved model")
    with deadline():
        parts = [_part(model, level, number, wish) for number, level in enumerate(levels)]
    laid, made = parts[0]
    return Library(_face(laid, made, wish), tuple(each for _, each in parts))


def _part(model: Model, level: Level, number: int, wish: Wish) -> tuple[Model, Part]:
    """The model laid out for a level, and that level of the library."""
    laid = Model(_blueprint(model.blueprint, level, wish), threads=1, initialise=False)
    for field, declared in laid.blueprint.inference.fields.items():
        laid.blueprint.layout.place(f"input:{field}", declared.type)
    if wish.train and laid.blueprint.weighted:
        laid.blueprint.layout.place(f"input:{WEIGHT}", TensorType(laid.blueprint.real, (BATCH,)))
    programs = {name: laid.blueprint.program(name) for name in ((PREDICT, TRAIN) if wish.train else (PREDICT,))}
    _take_over(laid, model, train=wish.train)
    return laid, part(level, number, programs, wish.threads, _memory(laid, programs))


def _blueprint(blueprint: Blueprint, level: Level, wish: Wish) -> Blueprint:
    """The same model for another target and another number of rows, its learning rate known at run time only."""
    overrides = dict(blueprint.overrides)
    rate = blueprint.train_settings.optimizer.settings.get("lr")
    if wish.train and isinstance(rate, int | float):
        overrides[RATE_SETTING] = Live(RATE_SETTING, float(rate))
    return replace(blueprint, target=level.target, overrides=overrides, capacity=wish.rows or blueprint.rows, _programs={})


def _take_over(laid: Model, model: Model, *, train: bool) -> None:
    """Give a model all values of another, which lies otherwise in memory."""
    same = laid.capacity == model.capacity
    laid.vocabularies = model.vocabularies
    for key, spec in model.blueprint.inference.variables.items():
        if same or not batched(spec.type.shape):
            laid.memory.write(key, model.memory.read(key))
    if not same:
        laid.begin_streams()
    for label in model.blueprint.inference.fits:
        laid.memory.write(f"fit:{label}", model.memory.read(f"fit:{label}"))
    live = {each.label: each.sample for each in laid.blueprint.live}
    known = {key.partition(":")[2] for key in model.memory.layout.places["runtime"]} - live.keys()
    laid.set_runtime(**live, **{name: model.runtime(name) for name in known})
    if train:
        laid.resume_optimizer(model.optimizer_states())
        laid.begin_optimizer()


def _memory(laid: Model, programs: Mapping[str, Program]) -> Memory:
    """The shared memory, with room for all that the programs want."""
    layout = laid.blueprint.layout
    found = {space: layout.buffers(space) for space in SPACES}
    sizes = {space: max(size, *(p.spaces[space] for p in programs.values())) for space, (_, size) in found.items()}
    buffers = {key: buffer for some, _ in found.values() for key, buffer in some.items()}
    places = {key: place for space in SPACES for key, place in layout.places[space].items()}
    start = {}
    for space in STARTED:
        laid.memory.ensure(space, sizes[space])
        start[space] = laid.memory.blocks[space][: sizes[space]].tobytes()
    return Memory(buffers, places, sizes, start)


# --- what a caller is told


def _face(laid: Model, made: Part, wish: Wish) -> Face:
    """What callers see."""
    blueprint = laid.blueprint
    scalars = _scalars(blueprint) if wish.train else {}
    parameters = tuple(
        _tensor(label, each.type.dtype, tuple(d for d in each.type.shape if isinstance(d, int)))
        for label, each in blueprint.inference.parameters.items()
    )
    place = made.memory.places["output:predict"]
    output = _tensor("prediction", place.dtype, tuple(d for d in place.shape if isinstance(d, int)))
    fields = tuple(_field(laid, name) for name in laid.fields)
    weight = _tensor(WEIGHT, blueprint.real, ()) if wish.train and blueprint.weighted else None
    column = blueprint.data_settings.weight if weight is not None else None
    own = (wish.name, laid.capacity, fields, laid.targets, output, parameters, scalars, wish.train, wish.weights)
    return Face(*own, weight, column or "")


def _scalars(blueprint: Blueprint) -> dict[str, str]:
    """The numbers that may be set while training, by name, with their keys."""
    found = {name: f"runtime:{name}" for name in SCALARS}
    for each in blueprint.live:
        if each.name == RATE_SETTING:
            found = {RATE: f"runtime:{each.label}", **found}
    return found


def _tensor(name: str, dtype: DType, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, dtype, shape)


def _field(laid: Model, name: str) -> Tensor:
    """An input or target."""
    field = laid.fields[name]
    low, high = laid.blueprint.limits.get(name, (None, None))
    classes = tuple(laid.vocabularies.get(name, ()))
    return Tensor(name, field.dtype, field.shape, low, high, classes, field.classes or 0, field.length or "", field.missing)
