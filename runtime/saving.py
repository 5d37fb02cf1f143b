"""A model to and from one `.safetensors` file: its source, settings, tensors in logical shapes, class names and progress."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..compiler.diagnostics import Diagnostic
from ..compiler.driver import Unit, open_unit
from ..compiler.errors import CheckpointError, SourceError
from ..compiler.frontend.spelling import spell
from ..compiler.ir.types import F32, F64, TensorType
from ..compiler.kernels.placement import pack, unpack
from ..compiler.source import Source
from .checkpoint import SavedModel, load_model, save_model
from .memory import Array
from .model import Model
from .opening import make_blueprint
from .tensor_file import require_shapes
from .training import Standing

REALS = {"f32": F32, "f64": F64}
BEST, ACCUMULATOR = "best:", "accumulator:"


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model, atomically, with all that is needed to predict and to train on; raises CheckpointError."""
    save_model(path, to_saved(model))


def load(path: str | os.PathLike[str], threads: int | None = None) -> Model:
    """The model of a file; raises CheckpointError when it is damaged or its parts do not fit each other."""
    saved = load_model(path)
    settings = _settings(saved, str(path))
    blueprint = make_blueprint(
        _unit(saved, str(path)), settings["model"], settings["overrides"], capacity=settings["capacity"], real=REALS[settings["real"]]
    )
    model = Model(blueprint, threads=threads, seed=int(saved.progress.get("seed", 0)), initialise=False)
    if saved.progress.get("weighted"):
        model.weigh()
    restore(model, saved, path)
    return model


def to_saved(model: Model) -> SavedModel:
    """What of a model outlives the process; arrays are copies."""
    blueprint = model.blueprint
    inference = blueprint.inference
    return SavedModel(
        sources=_sources(blueprint.unit),
        settings={
            "model": {name: spell(value) for name, value in blueprint.settings.items()},
            "overrides": {name: spell(value) for name, value in blueprint.overrides.items()},
            "real": str(blueprint.real),
            "capacity": blueprint.capacity,
        },
        params=_read(model, "parameter", inference.parameters),
        state=_read(model, "state", inference.states),
        fit=_read(model, "fit", inference.fits) if model.fitted else {},
        optimizer={**model.optimizer_states(), **_standing_arrays(model)},
        vocabularies=model.vocabularies,
        progress={
            **{"epoch": model.epoch, "step": int(model.runtime("step")), "seed": model.seed},
            **({"weighted": 1} if model.blueprint.weighted else {}),
            **_standing_figures(model.standing),
        },
    )


def restore(model: Model, saved: SavedModel, path: str | os.PathLike[str]) -> None:
    """Put saved tensors and progress into a model; raises CheckpointError, nothing changed, when they are not those of this model."""
    inference = model.blueprint.inference
    parameters = {label: each.type for label, each in inference.parameters.items()}
    states = {label: each.type for label, each in inference.states.items()}
    _require(saved.params, parameters, "parameters", path)
    _require(saved.state, states, "states", path, model.capacity)
    if saved.fit:
        _require(saved.fit, inference.fits, "fitted statistics", path)
    optimizer = {label: value for label, value in saved.optimizer.items() if not label.startswith((BEST, ACCUMULATOR))}
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
    for kind, values in (("parameter", saved.params), ("state", saved.state), ("fit", saved.fit)):
        for label, value in values.items():
            model.memory.write(f"{kind}:{label}", value)
    model.resume_optimizer(optimizer)
    model.standing = _standing(model, saved, best)
    model.fitted = model.fitted or bool(saved.fit)
    model.vocabularies = {name: list(words) for name, words in saved.vocabularies.items()}
    model.epoch = int(saved.progress.get("epoch", 0))
    model.set_runtime(step=saved.progress.get("step", 1))


def _read(model: Model, kind: str, labels: Iterable[str]) -> dict[str, Array]:
    return {label: model.memory.read(f"{kind}:{label}") for label in labels}


def _require(found: Mapping[str, Array], wanted: Mapping[str, TensorType], what: str, path: str | os.PathLike[str], rows: int = 0) -> None:
    """Names, shapes and element types are the model's; what each row has, for all `rows` there is room for."""
    shapes = {label: tuple(d if isinstance(d, int) else rows for d in kind.shape) for label, kind in wanted.items()}
    require_shapes(found, shapes, what, str(path))
    odd = [label for label, kind in wanted.items() if found[label].dtype != kind.dtype.numpy]
    if odd:
        raise CheckpointError(f"{path}: `{odd[0]}` has elements of type {found[odd[0]].dtype}, the model's are {wanted[odd[0]].dtype}")


# --- how far training is


def _standing_figures(standing: Standing) -> dict[str, int | float]:
    figures: dict[str, int | float] = {"finished": standing.epochs, "position": standing.position, "stopped": int(standing.stopped)}
    return figures | ({"best": standing.best, "best_epoch": standing.best_epoch} if math.isfinite(standing.best) else {})


def _standing_arrays(model: Model) -> dict[str, Array]:
    """The best values seen, and in the midst of an epoch what its figures are made of."""
    memory, standing = model.memory, model.standing
    arrays = {BEST + key: unpack(memory.place(key), value) for key, value in standing.best_values.items()}
    stage = model.blueprint.objective.progress if standing.position else None
    if stage is not None:
        arrays |= {f"{ACCUMULATOR}{a.label}": memory.read(f"accumulator:{a.label}") for a in stage.accumulators}
    return arrays


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
    )


def _has_type(value: Array, kind: TensorType) -> bool:
    return bool(value.shape == kind.shape and value.dtype == kind.dtype.numpy)


# --- sources


def _sources(unit: Unit) -> dict[str, str]:
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
