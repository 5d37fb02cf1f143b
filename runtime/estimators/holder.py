"""A trained model inside an estimator: one caller at a time, and pickled as the bytes of its safetensors file.

Nothing in such a pickle is code: who loads it gets source, settings and tensors, each checked as a saved model is, and compiles them again.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..model import Model
from ..saving import load
from .rest import lay_down

FILE = "model.safetensors"


class Holder:
    """Holds a model; after unpickling its bytes, until it is first used.

    Its blueprint is laid down for other fits, by its `key`, when the holder goes, unless the model was lent to somebody who may keep it.
    """

    def __init__(self, model: Model, threads: int | None, key: Hashable) -> None:
        self.key = key
        self._model: Model | None = model
        self._rest: weakref.finalize[..., Any] | None = weakref.finalize(self, lay_down, key, model.blueprint)
        self._rest.atexit = False
        self._content = b""
        self._threads = threads
        self._lock = threading.RLock()

    @contextmanager
    def using(self) -> Iterator[Model]:
        """The model, for one Python thread at a time: its buffers are its own."""
        with self._lock:
            yield self._loaded()

    def lend(self) -> Model:
        """The model itself, for whoever asks."""
        if self._rest is not None:
            self._rest.detach()
        return self._loaded()

    def _loaded(self) -> Model:
        with self._lock:
            if self._model is None:
                self._model, self._content = _unpacked(self._content, self._threads), b""
            return self._model

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {"content": self._content if self._model is None else _packed(self._model), "threads": self._threads}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._model, self._content, self._threads = None, state["content"], state["threads"]
        self.key, self._rest, self._lock = None, None, threading.RLock()


def _packed(model: Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        model.save(path)
        return path.read_bytes()


def _unpacked(content: bytes, threads: int | None) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, FILE)
        path.write_bytes(content)
        return load(path, threads)
