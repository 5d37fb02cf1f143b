"""A model compiled ahead of time, in Python: the same predictions and steps with NumPy alone, no compiler imported.

Loading a library runs code that is in it. What is wrong with an argument is said by the library itself, with a code. What is imported here
decides how long a program waits for its first prediction, so what not every program needs is imported where it is needed.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiler.errors import CheckpointError, DataError, RanvierError

if TYPE_CHECKING:
    from threading import Thread

    from .data import Field

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]

SUFFIXES = (".so", ".dylib")
MANIFEST, FORMAT = "ranvier_manifest", "ranvier library 1"
TYPES = {"f32": "f4", "f64": "f8", "i32": "i4", "i64": "i8", "u8": "u1", "u32": "u4", "bool": "?"}
POINTER, SIZE, CODE, WORD = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32, ctypes.c_int64


def is_library(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a shared library, by its name."""
    return os.fspath(path).endswith(SUFFIXES)


def load_library(path: str | os.PathLike[str], threads: int | None = None, weights: str | os.PathLike[str] | None = None) -> Library:
    """The model of a library, which is code that is run from now on; `weights` is the file of those that are not in it.

    Raises CheckpointError for what is no library of a model, or for weights that are not its own.
    """
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: there is no such file")
    try:
        code = ctypes.CDLL(os.path.abspath(path))
        text = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(code, MANIFEST)))
    except (OSError, ValueError) as failure:
        raise CheckpointError(f"{path}: is no library of a model for this machine: {failure}") from None
    manifest = json.loads(text)
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{path}: was made by another version of Ranvier: compile the model again")
    return Library(os.fspath(path), code, manifest, threads, weights)


class Parameters(MutableMapping[str, Array]):
    """The trained tensors by name, in their logical shapes: reading copies, assigning checks the shape."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._places = {each["name"]: number for number, each in enumerate(library.manifest["parameters"])}

    def _known(self, name: str) -> tuple[int, Array]:
        """The number of a parameter, and an array for it."""
        if name not in self._places:
            raise KeyError(f"no parameter is called `{name}`; there are {', '.join(self._places)}")
        number = self._places[name]
        about = self._library.manifest["parameters"][number]
        return number, np.empty(about["shape"], TYPES[about["type"]])

    def __getitem__(self, name: str) -> Array:
        number, found = self._known(name)
        self._library.call("get_parameter", self._library.context, number, found.ctypes.data, found.nbytes)
        return found

    def __setitem__(self, name: str, value: Any) -> None:
        number, array = self._known(name)
        given = np.asarray(value)
        if given.shape != array.shape:
            raise DataError(f"`{name}` has shape {list(array.shape)}, the value {list(given.shape)}")
        self._library.need_training("parameters can be set")
        array[...] = given
        self._library.call("set_parameter", self._library.context, number, array.ctypes.data, array.nbytes)

    def __delitem__(self, name: str) -> None:
        raise TypeError("parameters cannot be removed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Library:
    """A model in a library. Not for use from several Python threads at once: its workspace is its own."""

    def __init__(
        self,
        path: str,
        code: ctypes.CDLL,
        manifest: dict[str, Any],
        threads: int | None,
        weights: str | os.PathLike[str] | None,
    ) -> None:
        """`threads` are the most that work at once, the caller's among them; by default as many as other models have."""
        self.path, self.manifest, self._code = path, manifest, code
        self.capacity: int = manifest["capacity"]
        self.targets = frozenset(each["name"] for each in manifest["targets"])
        self.vocabularies: dict[str, list[str]] = {n: t["class_names"] for n, t in self._tensors.items() if "class_names" in t}
        self._functions: dict[str, Callable[..., int]] = {}
        self._weights = _read_weights(path, manifest, weights)
        self.threads = self._wanted(threads)
        self._workspace, self.context = self._begin()
        self._team = _Team(self) if self.threads > 1 else None
        self.params = Parameters(self)

    def _wanted(self, threads: int | None) -> int:
        """The threads of the team; a program that has nothing to share needs none."""
        if threads is None and not self.manifest["parallel"]:
            return 1
        from .processors import MOST_THREADS, default_threads

        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise ValueError(f"a team has 1 to {MOST_THREADS} threads, not {threads}")
        if not self.manifest["parallel"]:
            return 1
        return default_threads() if threads is None else threads

    def _begin(self) -> tuple[mmap.mmap, int]:
        """A workspace and the context in it."""
        size, context = WORD(), POINTER()
        self.call("workspace_bytes", self.threads, ctypes.addressof(size))
        workspace = _own_memory(size.value)
        weights = (_address(self._weights), len(self._weights)) if self._weights is not None else ()
        self.call("init", _address(workspace), size.value, self.threads, *weights, ctypes.addressof(context))
        return workspace, int(context.value or 0)

    # --- calls

    def call(self, name: str, *arguments: float) -> None:
        """Call a function of the library; raises RanvierError with the text of its code."""
        code = self._function(name)(*arguments)
        if code:
            raise _error(code, self._text(code))

    def _function(self, name: str) -> Callable[..., int]:
        """A function of the library with the types of its parameters."""
        if name not in self._functions:
            found = getattr(self._code, f"{self.manifest['name']}_{name}")
            found.restype, found.argtypes = CODE, self._types(name)
            self._functions[name] = found
        return self._functions[name]

    def _types(self, name: str) -> Sequence[Any]:
        buffer = (POINTER, SIZE)
        match name:
            case "workspace_bytes":
                return (CODE, POINTER)
            case "init":
                return (*buffer, CODE, *(buffer if self._weights is not None else ()), POINTER)
            case "predict":
                return (POINTER, SIZE, *buffer * len(self._inputs), *buffer)
            case "train_step":
                return (POINTER, SIZE, *buffer * len(self._trained), POINTER)
            case "get_parameter" | "set_parameter":
                return (POINTER, SIZE, *buffer)
            case "get_scalar":
                return (POINTER, CODE, POINTER)
            case "set_scalar":
                return (POINTER, CODE, ctypes.c_double)
            case "work":
                return (POINTER, CODE)
            case "stop":
                return (POINTER,)
            case _:
                return (POINTER, *buffer)

    def _text(self, code: int) -> str:
        found = getattr(self._code, f"{self.manifest['name']}_error_text")
        found.restype, found.argtypes = ctypes.c_char_p, (CODE,)
        text: bytes = found(code)
        return text.decode()

    # --- what it is

    @cached_property
    def _tensors(self) -> dict[str, dict[str, Any]]:
        """Inputs and targets by name, in the order of the library."""
        known = {each["name"]: each for each in (*self.manifest["inputs"], *self.manifest["targets"])}
        return {name: known[name] for name in self.manifest["fields"]}

    @cached_property
    def _inputs(self) -> dict[str, dict[str, Any]]:
        return {name: each for name, each in self._tensors.items() if name not in self.targets}

    @cached_property
    def _trained(self) -> dict[str, dict[str, Any]]:
        """What a step of training takes, by name, in order: the weights of rows last, where they have some."""
        weight = self.manifest["row_weight"]
        return self._tensors if weight is None else {**self._tensors, weight["name"]: weight}

    @cached_property
    def fields(self) -> dict[str, Field]:
        """Inputs and targets by name."""
        from ..compiler.ir.types import DTYPES
        from .data import Field

        rooms = {each["length"]: each["shape"][0] for each in self._tensors.values() if "length" in each}
        return {
            name: Field(
                name,
                DTYPES[each["type"]],
                tuple(each["shape"]),
                each.get("classes"),
                each.get("length"),
                rooms.get(name),
                each.get("gaps", False),
            )
            for name, each in self._tensors.items()
        }

    def need_training(self, what: str) -> None:
        """Raise RanvierError unless the library can train."""
        if not self.manifest["train"]:
            raise RanvierError(f"{what} in a library that can train: compile it with `--train`")

    # --- rows in

    def _as_they_are(self, data: Any, fields: Mapping[str, dict[str, Any]]) -> dict[str, Array] | None:
        """The arrays of a call that need no conversion; None when some do."""
        given = data if isinstance(data, dict) else {next(iter(fields)): data} if len(fields) == 1 else {}
        rows = {name: given.get(name) for name in fields}
        counts = set()
        for name, about in fields.items():
            array = rows[name]
            if type(array) is not np.ndarray or array.dtype != TYPES[about["type"]] or array.shape[1:] != tuple(about["shape"]):
                return None
            if not array.ndim or not array.flags.c_contiguous or "length" in about:
                return None
            counts.add(len(array))
        return rows if len(given) == len(fields) and len(counts) == 1 else None  # type: ignore[return-value]

    def arrays(self, data: Any, *, targets: bool, y: Any = None) -> dict[str, Array]:
        """Data checked and converted to what the model reads; a single array stands for the only input, `y` for the only target."""
        from .data import fit_arrays
        from .sequences import padded

        wanted = [n for n in self._tensors if targets or n in self._inputs]
        own = [n for n in wanted if self.fields[n].most is None]
        if not isinstance(data, Mapping) and not hasattr(data, "columns"):
            data = {self._only([n for n in own if n in self._inputs], "inputs"): data}
        if y is not None:
            data = {**data, self._only([n for n in own if n in self.targets], "targets"): y}
        fields = [self.fields[n] for n in sorted(wanted, key=lambda n: n not in own)]
        fitted = fit_arrays(fields, padded(fields, data), vocabularies=self.vocabularies)
        return {name: fitted[name] for name in wanted}

    @staticmethod
    def _only(names: Sequence[str], what: str) -> str:
        if len(names) != 1:
            raise DataError(f"the model has the {what} {', '.join(names)}: give a dictionary with an array for each")
        return names[0]

    # --- what it does

    def predict(self, data: Any) -> Array:
        """The prediction for any number of rows, [rows, …]."""
        arrays = self._as_they_are(data, self._inputs) or self.arrays(data, targets=False)
        about = self.manifest["outputs"][0]
        rows = len(next(iter(arrays.values())))
        result = np.empty((rows, *about["shape"]), TYPES[about["type"]])
        for start in range(0, rows, self.capacity):
            stop = min(start + self.capacity, rows)
            part = result[start:stop]
            self._run("predict", {name: array[start:stop] for name, array in arrays.items()}, part.ctypes.data, part.nbytes)
        return result

    def step(self, data: Mapping[str, Any], y: Any = None, *, sample_weight: Any = None) -> float:
        """One training step on a batch of at most `capacity` rows; returns the loss before the step (without penalties).

        `sample_weight` [rows] is for a library of a model whose rows have weights; by default they are those of the column that its file
        names, else 1.
        """
        self.need_training("steps are made")
        weighted = self.manifest["row_weight"]
        if weighted is None and sample_weight is not None:
            raise RanvierError("rows of this library have no weights: compile a model that was trained with some")
        arrays = (None if weighted or y is not None else self._as_they_are(data, self._tensors)) or self.arrays(data, targets=True, y=y)
        if weighted is not None:
            arrays[weighted["name"]] = self._row_weights(sample_weight, data, len(next(iter(arrays.values()))))
        loss = ctypes.c_double()
        self._run("train_step", arrays, ctypes.addressof(loss))
        return loss.value

    def _start_team(self, team: _Team) -> _Team:
        """Have the other threads there; in the child of a fork, which has none of them, a new team goes on from where the old one was."""
        if team.process != os.getpid():
            state = self.save_state() if self.manifest["train"] else b""
            self._workspace, self.context = self._begin()
            if state:
                self.load_state(state)
            self._team = team = _Team(self)
        team.start()
        return team

    def _row_weights(self, given: Any, data: Mapping[str, Any], rows: int) -> Array:
        """How much rows count: what is given for them, the column that the model's file names, else 1 each."""
        from ..compiler.ir.types import DTYPES
        from .row_weights import NAME, row_weights
        from .table import Origin

        about = self.manifest["row_weight"]
        column = about["column"]
        found = data[column] if given is None and column and isinstance(data, Mapping) and column in data else given
        return row_weights(found, rows, DTYPES[about["type"]], NAME if found is given else column, Origin())

    def _run(self, name: str, arrays: Arrays, *out: int) -> None:
        """Run a program on some rows; raises DataError for what is wrong with them."""
        rows = len(next(iter(arrays.values())))
        if self._team is not None:
            self._start_team(self._team)
        order = [arrays[field] for field in (self._inputs if name == "predict" else self._trained)]
        given = [each for array in order for each in (array.ctypes.data, array.nbytes)]
        code = self._function(name)(self.context, rows, *given, *out)
        if code:
            raise self._refusal(code, arrays)

    def _refusal(self, code: int, arrays: Arrays) -> RanvierError:
        """What is wrong with rows: the first number outside its range, if that is it."""
        number = code - self.manifest["range"]
        if number <= 0:
            return _error(code, self._text(code))
        name = self.manifest["fields"][number - 1]
        low, high = self._tensors[name]["range"]
        wrong = np.argwhere((arrays[name] < low) | (arrays[name] > high))
        if not wrong.size:
            return DataError(self._text(code))
        index = tuple(int(i) for i in wrong[0])
        inside = f" at {list(index[1:])}" if index[1:] else ""
        return DataError(f"`{name}` row {index[0]}{inside} holds {arrays[name][index]}, which is outside {low} to {high}")

    # --- training

    @property
    def rate(self) -> float:
        """The learning rate, which a schedule may vary."""
        return self.scalar("rate")

    @rate.setter
    def rate(self, value: float) -> None:
        self.set_scalar("rate", value)

    def scalar(self, name: str) -> float:
        """A number of the training: `rate`, `step`, `steps`, `epoch`, `seed`, …"""
        value = ctypes.c_double()
        self.call("get_scalar", self.context, self._scalar(name), ctypes.addressof(value))
        return value.value

    def set_scalar(self, name: str, value: float) -> None:
        """Set a number of the training."""
        self.call("set_scalar", self.context, self._scalar(name), value)

    def _scalar(self, name: str) -> int:
        self.need_training("there is a learning rate")
        known = self.manifest["scalars"]
        if name not in known:
            raise KeyError(f"no number of the training is called `{name}`; there are {', '.join(known)}")
        place: int = known.index(name)
        return place

    def save_state(self) -> bytes:
        """All that training goes on from."""
        self.need_training("states are saved")
        state = ctypes.create_string_buffer(self.manifest["memory"]["state_bytes"])
        self.call("save_state", self.context, ctypes.addressof(state), len(state))
        return state.raw

    def load_state(self, state: bytes) -> None:
        """Go on from a saved state; raises CheckpointError for one that is damaged or of another model."""
        self.need_training("states are loaded")
        held = ctypes.create_string_buffer(state, len(state)) if state else ctypes.create_string_buffer(1)
        self.call("load_state", self.context, ctypes.addressof(held), len(state))

    def close(self) -> None:
        """Let the other threads of the team go; from now on the caller's does all."""
        if self._team is not None:
            self._start_team(self._team).close()
            self._team = None

    def __repr__(self) -> str:
        return f"<ranvier library {self.manifest['name']}, {len(self.params)} parameters>"


class _Team:
    """The other threads of a library: started with the first call, gone with the library."""

    def __init__(self, library: Library) -> None:
        import threading

        work, stop = library._function("work"), library._function("stop")
        self.process = os.getpid()
        self._threads: list[Thread] = []
        arguments = (work, library.context, library._workspace, library._weights)
        self._make = [threading.Thread(target=_work, args=(n, *arguments), daemon=True) for n in range(1, library.threads)]
        self._end = weakref.finalize(library, _stop, self.process, stop, library.context, library._workspace, self._threads)

    def start(self) -> None:
        """Start them, once."""
        while self._make:
            self._threads.append(self._make.pop())
            self._threads[-1].start()

    def close(self) -> None:
        """Let them go, once; the library is told that there are none."""
        self._end()


def _work(number: int, work: Callable[..., int], context: int, *_kept: object) -> None:
    """A thread's life; what it works in is kept as long."""
    work(context, number)


def _stop(process: int, stop: Callable[..., int], context: int, _kept: object, threads: list[Thread]) -> None:
    if process != os.getpid():
        return  # they are those of the process that this one was forked from
    if threads:
        stop(context)
    for each in threads:
        each.join()


def _error(code: int, text: str) -> RanvierError:
    """The error of a code that is none of numbers outside their range."""
    checkpoint = ("weights", "saved state", "processor")
    return CheckpointError(text) if any(word in text for word in checkpoint) else DataError(text)


def _own_memory(size: int) -> mmap.mmap:
    """Zeros at the beginning of a page; a child of the process has a copy of its own, as of all memory."""
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    return mmap.mmap(-1, size, **private)


def _address(block: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(block))


def _read_weights(path: str, manifest: Mapping[str, Any], weights: str | os.PathLike[str] | None) -> mmap.mmap | None:
    """The weights that are not in a library, in memory at the beginning of a page."""
    if not manifest["weights"]["outside"]:
        return None
    from pathlib import Path

    from .regular_file import read_regular

    place = Path(path).parent / manifest["weights"]["file"] if weights is None else Path(weights)
    content = read_regular(place, 2**40, CheckpointError)
    block = _own_memory(max(len(content), 1))
    block.write(content)
    return block
