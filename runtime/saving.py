"""A model to and from one `.safetensors` file: its source, settings, tensors in logical shapes, class names and progress."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..compiler.diagnostics import Diagnostic
from ..compiler.driver import Unit, open_unit
from ..compiler.errors import CheckpointError, SourceError
from ..compiler.frontend.spelling import spell
from ..compiler.ir.types import F32, F64, TensorType
from ..compiler.kernels.placement import pack, unpack
from ..compiler.source import Source
from .averaging import saved_parameters
from .checkpoint import SavedModel, save_model
from .history import HISTORY, history_arrays, history_of
from .memory import Array
from .model import Model
from .opening import make_blueprint
from .rotation import load_latest
from .snapshot import CLOCK, Snapshot, take
from .soundness import check_sound
from .tensor_file import require_shapes
from .training import Standing

REALS = {"f32": F32, "f64": F64}
BEST, ACCUMULATOR, TRAINED, WATCHED = "best:", "accumulator:", "trained:", "watched:"
BESIDE = (BEST, ACCUMULATOR, TRAINED, WATCHED, HISTORY)
"""What is kept beside the optimizer's states."""


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model, atomically, with all that is needed to predict and to train on; raises CheckpointError."""
    save_model(path, to_saved(take(model)))


def load(path: str | os.PathLike[str], threads: int | None = None, *, allow_nonfinite: bool = False) -> Model:
    """The model of a file, or where that is damaged of the one before it, with a warning.

    Raises CheckpointError when there is none, when its parts do not fit each other or, unless `allow_nonfinite`, when it holds values
    that no sound training gives.
    """
    saved, found = load_latest(path, allow_nonfinite=allow_nonfinite)
    settings = _settings(saved, str(found))
    blueprint = make_blueprint(
        _unit(saved, str(found)), settings["model"], settings["overrides"], capacity=settings["capacity"], real=REALS[settings["real"]]
    )
    model = Model(blueprint, threads=threads, initialise=False)
    model.origin = str(settings.get("origin", ""))
    if saved.progress.get("weighted"):
        model.weigh()
    restore(model, saved, found, allow_nonfinite=allow_nonfinite)
    return model


def to_saved(snapshot: Snapshot) -> SavedModel:
    """What of a model outlives the process."""
    blueprint = snapshot.blueprint
    inference, standing = blueprint.inference, snapshot.standing
    optimizer = {label: snapshot.read(f"state:{label}") for label in sorted(snapshot.begun)} or dict(snapshot.resumed)
    parameters, trained = saved_parameters(snapshot)
    return SavedModel(
        sources=sources_of(blueprint.unit),
        settings={
            "model": {name: spell(value) for name, value in blueprint.settings.items()},
            "overrides": {name: spell(value) for name, value in blueprint.overrides.items()},
            "real": str(blueprint.real),
            "capacity": blueprint.capacity,
            "origin": snapshot.origin,
        },
        params=parameters,
        state=_read(snapshot, "state", inference.states),
        fit=_read(snapshot, "fit", inference.fits) if snapshot.fitted else {},
        optimizer={**optimizer, **{TRAINED + k: v for k, v in trained.items()}, **_standing_arrays(snapshot)},
        vocabularies=snapshot.vocabularies,
        progress={
            **{"epoch": snapshot.epoch, "seed": snapshot.seed, **_clock(snapshot), **_standing_figures(standing)},
            **({"weighted": 1} if blueprint.weighted else {}),
        },
    )


def restore(model: Model, saved: SavedModel, path: str | os.PathLike[str], *, allow_nonfinite: bool = False) -> None:
    """Put saved tensors and progress into a model; raises CheckpointError, nothing changed, when they are not those of this model.

    Unless `allow_nonfinite`, neither may any be what no sound training gives, such as a negative mean of squares.
    """
    inference = model.blueprint.inference
    parameters = {label: each.type for label, each in inference.parameters.items()}
    states = {label: each.type for label, each in inference.states.items()}
    _require(saved.params, parameters, "parameters", path)
    _require(saved.state, states, "states", path, model.capacity)
    if saved.fit:
        _require(saved.fit, inference.fits, "fitted statistics", path)
    optimizer = {label: value for label, value in saved.optimizer.items() if not label.startswith(BESIDE)}
    if optimizer:
        wanted = {label: each.type for label, each in model.blueprint.optimizer_states.items()}
        _require(optimizer, wanted, "optimizer states", path)
    best = {label.removeprefix(BEST): value for label, value in saved.optimizer.items() if label.startswith(BEST)}
    if best:
        _require(
            best,
            {f"parameter:{k}": v for k, v in parameters.items()} | {f"state:{k}": v for k, v in states.items()},
            "best values",
            path,
            model.capacity,
        )
    trained = {label.removeprefix(TRAINED): value for label, value in saved.optimizer.items() if label.startswith(TRAINED)}
    if trained:
        _require(trained, {f"parameter:{k}": v for k, v in parameters.items()}, "trained parameters", path)
    if not allow_nonfinite:
        check_sound(model.blueprint, saved, str(path))
    for kind, values in (("parameter", saved.params), ("state", saved.state), ("fit", saved.fit)):
        for label, value in values.items():
            model.memory.write(f"{kind}:{label}", value)
    model.resume_optimizer(optimizer)
    model.standing = _standing(model, saved, best)
    model.standing.trained = {key: pack(model.memory.place(key), value) for key, value in trained.items()}
    model.fitted = model.fitted or bool(saved.fit)
    model.vocabularies = {name: list(words) for name, words in saved.vocabularies.items()}
    model.epoch, model.seed = int(saved.progress.get("epoch", 0)), int(saved.progress.get("seed", 0))
    model.set_runtime(seed=model.seed, **{name: float(saved.progress[name]) for name in CLOCK if name in saved.progress})
    if model.standing.watched:
        model.set_runtime(watched=model.standing.watched[-1])


def _read(snapshot: Snapshot, kind: str, labels: Iterable[str]) -> dict[str, Array]:
    return {label: snapshot.read(f"{kind}:{label}") for label in labels}


def _require(found: Mapping[str, Array], wanted: Mapping[str, TensorType], what: str, path: str | os.PathLike[str], rows: int = 0) -> None:
    """Names, shapes and element types are the model's; what each row has, for all `rows` there is room for."""
    shapes = {label: tuple(d if isinstance(d, int) else rows for d in kind.shape) for label, kind in wanted.items()}
    require_shapes(found, shapes, what, str(path))
    odd = [label for label, kind in wanted.items() if found[label].dtype != kind.dtype.numpy]
    if odd:
        raise CheckpointError(f"{path}: `{odd[0]}` has elements of type {found[odd[0]].dtype}, the model's are {wanted[odd[0]].dtype}")


# --- how far training is


def _clock(snapshot: Snapshot) -> dict[str, int | float]:
    values = {name: snapshot.clock[name] for name in CLOCK}
    return {name: int(value) if value.is_integer() else value for name, value in values.items()}


def _standing_figures(standing: Standing) -> dict[str, int | float]:
    figures: dict[str, int | float] = {"finished": standing.epochs, "position": standing.position, "stopped": int(standing.stopped)}
    return figures | ({"best": standing.best, "best_epoch": standing.best_epoch} if math.isfinite(standing.best) else {})


def _standing_arrays(snapshot: Snapshot) -> dict[str, Array]:
    """The best values seen, and in the midst of an epoch what its figures are made of."""
    standing = snapshot.standing
    arrays = {BEST + key: unpack(snapshot.held[key].place, value) for key, value in standing.best_values.items()}
    if standing.watched:
        arrays[WATCHED + "values"] = np.asarray(standing.watched)
    arrays |= history_arrays(standing.history)
    return arrays | {key: snapshot.read(key) for key in snapshot.held if key.startswith(ACCUMULATOR)}


def _standing(model: Model, saved: SavedModel, best: Mapping[str, Array]) -> Standing:
    """How far a saved training was. Where what an epoch's figures are made of does not fit, the epoch begins anew."""
    figures = saved.progress
    position = int(figures.get("position", 0))
    stage = model.blueprint.objective.progress if position else None
    if stage is not None:
        found = {a.label: saved.optimizer[ACCUMULATOR + a.label] for a in stage.accumulators if ACCUMULATOR + a.label in saved.optimizer}
        fits = all(a.label in found and _has_type(found[a.label], a.type) for a in stage.accumulators)
        position = position if fits else 0
        for a in stage.accumulators if fits else ():
            model.blueprint.layout.place(f"accumulator:{a.label}", a.type)
            model.memory.write(f"accumulator:{a.label}", found[a.label])
    return Standing(
        epochs=int(figures.get("finished", 0)),
        position=position,
        best=float(figures.get("best", math.inf)),
        best_epoch=int(figures.get("best_epoch", 0)),
        best_values={key: pack(model.memory.place(key), value) for key, value in best.items()},
        stopped=bool(figures.get("stopped", 0)),
        watched=_watched(saved.optimizer),
        history=history_of(saved.optimizer),
    )


def _watched(arrays: Mapping[str, Array]) -> tuple[float, ...]:
    """The watched figures of all epochs; none when they are no series of numbers."""
    values = arrays.get(WATCHED + "values")
    return tuple(map(float, values)) if values is not None and values.ndim == 1 and values.dtype == np.float64 else ()


def _has_type(value: Array, kind: TensorType) -> bool:
    return bool(value.shape == kind.shape and value.dtype == kind.dtype.numpy)


# --- sources


def sources_of(unit: Unit) -> dict[str, str]:
    """The texts of a file and its imports, by paths relative to the file: nothing of the machine's folders is told."""
    main = unit.library.file.source
    folder = os.path.dirname(main.name)
    imports = {_relative(name, folder): source.text for name, source in unit.library.sources.items() if name != main.name}
    return {os.path.basename(main.name): main.text, **imports}


def _relative(name: str, folder: str) -> str:
    return Path(os.path.relpath(name, folder or ".")).as_posix()


def _unit(saved: SavedModel, path: str) -> Unit:
    """The unit of saved sources; the file system is not asked for imports."""
    if not saved.sources:
        raise CheckpointError(f"{path}: holds no source")
    name, text = next(iter(saved.sources.items()))

    def read(wanted: str) -> Source:
        key = str(PurePosixPath(wanted))
        if key not in saved.sources:
            raise SourceError([Diagnostic("cannot-read", f"{wanted!r} is not in {path}", None)])
        return Source(key, saved.sources[key])

    return open_unit(Source(name, text), read)


def _settings(saved: SavedModel, path: str) -> dict[str, Any]:
    """The saved settings, checked: whoever made the file could have written anything."""
    found = dict(saved.settings)
    texts = [found.get("model"), found.get("overrides")]
    well = all(isinstance(t, dict) and all(isinstance(v, str) for v in t.values()) for t in texts)
    capacity = found.get("capacity")
    if not well or found.get("real") not in REALS or not (capacity is None or (type(capacity) is int and 1 <= capacity <= 2**24)):
        raise CheckpointError(f"{path}: its settings are not those of a model; load an earlier file")
    return found
