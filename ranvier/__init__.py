"""Ranvier, a compiler for neural networks: one `.nn` file becomes native code that trains and predicts.

    import ranvier as rv

    model = rv.compile("digits.nn", hidden=256)
    model.fit({"image": images, "digit": labels})
    probabilities = model.predict(images)
    model.save("digits.safetensors")
    model = rv.load("digits.safetensors")

What the library needs is imported when it is first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# In the repository the parts lie beside this folder, not in it: Python that is started there would else find half of the package.
if os.path.isfile(os.path.join(os.path.dirname(__file__), os.pardir, "grammar", "nn.lark")):
    __path__.append(os.path.dirname(os.path.dirname(__file__)))

from ranvier.compiler.errors import CheckpointError, DataError, NonFiniteError, RanvierError, RanvierWarning, ResourceError, SourceError

if TYPE_CHECKING:
    from ranvier.runtime.cross_validation import Validation
    from ranvier.runtime.model import Model
    from ranvier.runtime.tuning.face import Tuned

__all__ = [
    "CheckpointError",
    "DataError",
    "Model",
    "NonFiniteError",
    "RanvierError",
    "RanvierWarning",
    "ResourceError",
    "SourceError",
    "compile",
    "cross_validate",
    "load",
    "tune",
]


def compile(
    path_or_source: str | os.PathLike[str],
    *,
    batch: int | None = None,
    threads: int | None = None,
    seed: int | None = None,
    dtype: str = "f32",
    target: str = "native",
    **settings: Any,
) -> Model:
    """A model from the path of a `.nn` file, or from its text (anything with a line break or a brace in it).

    `batch` is the rows of a training step and the most rows of one native call (by default what the `train` block says); `threads` the
    size of the team (by default RANVIER_THREADS, else the processors of this process); `seed` decides first values, order and dropout;
    `dtype` is "f32" or "f64". `target` is the CPU that code is made for, as in `ranvier compile`: this machine's, or "x86-64", "x86-64-v3",
    "x86-64-v4", "aarch64-linux"; where this machine cannot run such code, the model can be written as a library (`Model.export`) and
    whatever would run it raises RanvierError. Other keywords set the model's own settings (`hidden=256`) or, with a dot, those of a block
    (`**{"train.optimizer.lr": 1e-2}`). Raises SourceError for a mistake in the file, RanvierError for a setting that does not exist.
    """
    from ranvier.runtime.making import compile_model

    return compile_model(path_or_source, batch=batch, threads=threads, seed=seed, dtype=dtype, target=target, settings=settings)


def load(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    allow_nonfinite: bool = False,
    weights: str | os.PathLike[str] | None = None,
) -> Any:
    """A saved model (`Model`), ready to predict and to be trained further; or, from a `.so` or `.dylib`, the `Library` that it is.

    Where the file is damaged, the checkpoint before it is loaded with a warning that names both. Raises CheckpointError when there is none,
    and (unless `allow_nonfinite`) when a tensor holds NaN, an infinity, or a negative number where training gives none.

    A library is code, which runs as soon as it is loaded: load only what you trust. `weights` is the file of those that are not in it, by
    default that which it was made with, beside it.
    """
    from ranvier.runtime.library import is_library, load_library

    if is_library(path):
        return load_library(path, threads, weights)
    from ranvier.runtime.saving import load as load_model

    return load_model(path, threads=threads, allow_nonfinite=allow_nonfinite)


def cross_validate(
    path_or_source: str | os.PathLike[str],
    data: Any,
    y: Any = None,
    *,
    folds: int = 5,
    groups: Any = None,
    threads: int | None = None,
    seed: int | None = None,
    **settings: Any,
) -> Validation:
    """The scores of a model on `folds` parts of the rows, each after training on the others; the parts are compiled once.

    Statistics are fitted on training rows alone. A single class target is stratified; rows with the same entry of `groups` [rows]
    stay together. Other arguments are those of `compile` and `Model.fit`. Raises DataError for too few rows.
    """
    from ranvier.runtime.cross_validation import cross_validate as validate
    from ranvier.runtime.cross_validation import given_keys
    from ranvier.runtime.gathering import complete
    from ranvier.runtime.making import compile_model

    model = compile_model(path_or_source, threads=threads, seed=seed, settings=settings)
    named, groups = complete(model, model.named(data, y), groups)
    model.learn_names(named)
    return validate(model, model.arrays(named, targets=True), folds, given_keys(model, named, groups))


def tune(
    path_or_source: str | os.PathLike[str],
    data: Any,
    y: Any = None,
    *,
    trials: int | None = None,
    folds: int | None = None,
    groups: Any = None,
    jobs: int = 1,
    study: str | os.PathLike[str] | None = None,
    resume: bool = False,
    threads: int | None = None,
    seed: int | None = None,
    **settings: Any,
) -> Tuned:
    """The `tune` block of a file searched: its `study`, and the `model` with the best settings, trained on all rows.

    `trials` and `folds` replace those of the block. `jobs` processes run trials at once (a script then needs the usual
    `if __name__ == "__main__":`). Every trial is written to the file `study` as it ends, and `resume` goes on with what stands there. Other
    arguments are those of `cross_validate`. Raises SourceError for a mistake in the file, RanvierError without a tune block or when no
    trial comes to its end, CheckpointError for the file of another study.
    """
    from ranvier.runtime.making import compile_model
    from ranvier.runtime.tuning.face import tune as search

    blueprint = compile_model(path_or_source, threads=threads, seed=seed, settings=settings).blueprint
    given = {"trials": trials, "folds": folds, "groups": groups, "jobs": jobs}
    return search(blueprint, data, y, **given, study=study, resume=resume, threads=threads)


def __getattr__(name: str) -> Any:
    if name == "Model":
        from ranvier.runtime.model import Model

        return Model
    if name == "sklearn":
        from importlib import import_module

        return import_module("ranvier.sklearn")
    if name == "__version__":
        from importlib.metadata import version

        return version("ranvier")
    raise AttributeError(f"module 'ranvier' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
