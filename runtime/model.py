"""A compiled model: train it, ask it, read and write its parameters, save it."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ..compiler.backend.executable import Executable
from ..compiler.deadline import deadline
from ..compiler.driver import SINGLE, Blueprint, Numbering
from ..compiler.errors import DataError, RanvierError, RanvierWarning, ResourceError
from ..compiler.frontend.context import Parameter, StateVariable
from ..compiler.ir.evaluate import Evaluator
from ..compiler.ir.op import Context
from ..compiler.ir.ops import Source
from ..compiler.ir.types import BATCH, F64, TensorType, batched, elements
from ..compiler.kept import executable
from ..compiler.passes.stream import Stage
from ..compiler.passes.weights import WEIGHT
from ..compiler.updating import RUNTIME, counter_of
from .convert import as_array, cast
from .data import Field, fit_arrays, learn_vocabularies
from .every import DEFAULT_EVERY
from .frames import as_only_input, frame_columns, require_joined, require_rows, with_joined
from .gathering import Weights, complete
from .memory import Array, Memory, allocate, require_memory
from .row_weights import NAME as WEIGHT_NAME
from .row_weights import row_weights
from .sequences import check_lengths, padded
from .streaming import Rows, StreamedRows, in_order, row_count
from .table import Origin, Table
from .team import Team, shared_team
from .training import Standing, train
from .weights import ClassWeight

if TYPE_CHECKING:
    from .checkpoints import Checkpoints

Arrays = Mapping[str, Array]

INITIAL_BYTES = 40
"""What an initialiser takes for each element while it runs: five arrays of eight bytes, such as random words and their products."""


@dataclass(frozen=True)
class Final:
    """What follows from a stage's accumulators, ready to be evaluated, and the keys of what it reads from memory."""

    stage: Stage
    evaluator: Evaluator
    read: list[str]


@dataclass
class Entry:
    """A native program with the context it is called with; the context is renewed when memory moved."""

    code: Executable
    context: Array
    address: int
    scratch: Array
    team: Team
    single: bool
    generation: int = -1

    def bind(self, feeds: tuple[Feed, ...], results: Array, *, targets: bool, as_is: bool) -> Call:
        """The entry for single batches; bound once, since small models take no longer than a few attributes and arguments."""
        start = self.team.starter(self.code.body, self.address, self.code.parallel)
        return Call(feeds, targets, as_is, Results(results), self.generation, self.context.data, start, self.single)


class Feed(dict[tuple[int, ...], Array | None]):
    """Where an array of a batch goes unchecked: its shape -> a view of the input buffer, made once (small models take no longer)."""

    def __init__(self, name: str, dtype: np.dtype[Any], view: Array) -> None:
        """`view` is the whole buffer, [capacity, …]."""
        self.name, self.dtype, self.view = name, dtype, view

    def __missing__(self, shape: tuple[int, ...]) -> Array | None:
        if not shape or shape[1:] != self.view.shape[1:] or not 0 < shape[0] <= len(self.view):
            return None
        return self.setdefault(shape, self.view[: shape[0]])

    def load(self, array: Any) -> int:
        """Copy a fitting array in and return its rows; -1 when it does not fit."""
        if type(array) is not np.ndarray or (array.dtype is not self.dtype and array.dtype != self.dtype):
            return -1
        view = self[array.shape]
        if view is None:
            return -1
        view[...] = array
        return len(view)


class Results(dict[int, Array]):
    """The rows of a result: their number -> a view of the output buffer."""

    def __init__(self, view: Array) -> None:
        """`view` is the whole buffer, [capacity, …]."""
        self.view = view

    def __missing__(self, rows: int) -> Array:
        return self.setdefault(rows, self.view[:rows])


@dataclass(frozen=True)
class Call:
    """An entry bound to the memory of one generation: its inputs and its result, found once.

    Fitting arrays go in `as_is`, unless there are sequences: what lies past their ends is made zero first.
    """

    feeds: tuple[Feed, ...]
    targets: bool
    as_is: bool
    results: Results
    generation: int
    words: memoryview
    start: Callable[[], int]
    single: bool

    def load(self, data: Any) -> int:
        """Copy a batch of fitting arrays (or that of the only input) into the input buffers and return its rows.

        Returns -1, and nothing to rely on, when they do not fit as they are.
        """
        if type(data) is np.ndarray and len(self.feeds) == 1:
            return self.feeds[0].load(data)
        if type(data) is not dict or len(data) != len(self.feeds):
            return -1
        rows = 0
        for feed in self.feeds:
            found = feed.load(data.get(feed.name))
            if found < 0 or found != (rows or found):
                return -1
            rows = found
        return rows or -1

    def run(self, rows: int) -> int:
        """Run the entry on the rows that are loaded: 0 or a fault."""
        self.words[0] = rows
        return self.start()


class Parameters(MutableMapping[str, Array]):
    """The trained tensors by name (`dense_1.weight`), in their logical shapes: reading copies, assigning checks the shape."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def __getitem__(self, name: str) -> Array:
        self._known(name)
        return self._model.memory.read(f"parameter:{name}")

    def __setitem__(self, name: str, value: Any) -> None:
        wanted = self._known(name)
        array = as_array(value, name, Origin())
        if array.shape != wanted:
            raise DataError(f"`{name}` has shape {list(wanted)}, the value {list(array.shape)}")
        self._model.memory.write(f"parameter:{name}", cast(array, self._model.blueprint.real, name, Origin()))

    def __delitem__(self, name: str) -> None:
        raise TypeError("parameters cannot be removed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._model.blueprint.inference.parameters)

    def __len__(self) -> int:
        return len(self._model.blueprint.inference.parameters)

    def __repr__(self) -> str:
        shapes = (f"{name}: {list(p.type.shape)}" for name, p in self._model.blueprint.inference.parameters.items())
        return "{" + ", ".join(shapes) + "}"

    def _known(self, name: str) -> tuple[int, ...]:
        known = self._model.blueprint.inference.parameters
        if name not in known:
            from ..compiler.diagnostics import did_you_mean

            raise KeyError(f"no parameter is called `{name}`; {did_you_mean(name, known) or 'there are ' + ', '.join(known)}")
        return tuple(d for d in known[name].type.shape if isinstance(d, int))


class Model:
    """A model on this machine. Not for use from several Python threads at once: its buffers are its own."""

    def __init__(self, blueprint: Blueprint, *, threads: int | None = None, seed: int | None = None, initialise: bool = True) -> None:
        """With `initialise` false parameters and states are zeros, for whoever fills them next."""
        settings = blueprint.data_settings
        self.blueprint = blueprint.with_weights() if settings.weight or settings.class_weight else blueprint
        self.seed = blueprint.train_settings.seed if seed is None else seed
        self.team: Team = shared_team(threads)
        self.memory = Memory(blueprint.layout)
        self.params = Parameters(self)
        self.vocabularies: dict[str, list[str]] = {}
        self.fitted = not blueprint.inference.fits
        self.epoch = 0
        self.standing = Standing()
        self.origin = ""  # how the settings were chosen, in words
        self.begun: set[str] = set()
        self.resumed: dict[str, Array] = {}
        self._entries: dict[str, Entry] = {}
        self._calls: dict[str, Call] = {}
        self._finals: dict[int, Final] = {}
        self._predicts: Call | None = None
        inference = blueprint.inference
        keeps = blueprint.data_settings.missing == "keep"
        self._fields = {f.name: _field(f, missing=keeps and f.name not in inference.targets) for f in inference.fields.values()}
        self._inputs = [name for name in self._fields if name not in inference.targets]
        self._place()
        if initialise:
            self._initialise()

    def _place(self) -> None:
        """Room for parameters, states, statistics and run-time scalars; the step at 1."""
        for key, spec in self.blueprint.inference.variables.items():
            self.blueprint.layout.place(key, spec.type)
        for label, kind in self.blueprint.inference.fits.items():
            self.blueprint.layout.place(f"fit:{label}", kind)
        for name in (*RUNTIME, *(each.label for each in self.blueprint.live)):
            self.blueprint.layout.place(f"runtime:{name}", TensorType(F64))
        self._begin_clock()

    def _begin_clock(self) -> None:
        """Run-time scalars as they are before the first step."""
        self.set_runtime(**dict.fromkeys(RUNTIME, 0.0))
        self.set_runtime(step=1, update=1, steps=1, seed=self.seed, left=math.inf, watched=math.inf)

    def _initialise(self) -> None:
        """Parameters and states at their first values."""
        for key, spec in self.blueprint.inference.variables.items():
            self.memory.write(key, self._first_value(spec))

    def renew(self, seed: int | None = None) -> None:
        """Begin anew, with new first values by `seed` (default: the model's): as if just made, but for the compiled programs."""
        self.seed = self.seed if seed is None else seed
        self._begin_clock()
        self.epoch, self.standing, self.resumed = 0, Standing(), {}
        self.fitted = not self.blueprint.inference.fits
        self._initialise()
        if self.begun:
            self.begin_optimizer()

    def _first_value(self, spec: Parameter | StateVariable) -> Array:
        """What an initialiser gives; raises ResourceError when the work would not fit."""
        require_memory(elements(spec.type.shape) * INITIAL_BYTES, f"the first value of `{spec.label}`")
        try:
            return self.blueprint.initial(spec, self.seed)
        except MemoryError:
            raise ResourceError(f"the first value of `{spec.label}` does not fit the memory of this machine: make it smaller") from None

    # --- what it is

    @property
    def fields(self) -> dict[str, Field]:
        """Inputs and targets by name."""
        return self._fields

    @property
    def targets(self) -> frozenset[str]:
        """The names of the targets."""
        return self.blueprint.inference.targets

    @cached_property
    def carries_rows(self) -> bool:
        """Whether rows go on from batch to batch: the model has states of each row."""
        return any(batched(state.type.shape) for state in self.blueprint.inference.states.values())

    @property
    def in_order(self) -> bool:
        """Whether rows held out must be the last ones: neighbours go on from each other, or share what they hold."""
        return self.carries_rows or self.blueprint.data_settings.window > 0

    @property
    def watched_share(self) -> float:
        """The share of the training rows that is held out to be watched."""
        own = self.blueprint.data_settings.validate
        return self.blueprint.train_settings.validate if own is None else own

    @property
    def capacity(self) -> int:
        """The most rows of one native call."""
        return self.blueprint.rows

    @property
    def updates(self) -> int:
        """How many updates the parameters have had."""
        return int(self.runtime(counter_of(self.blueprint.train_settings))) - 1

    @property
    def history(self) -> list[dict[str, float]]:
        """The figures of every epoch of the last training, as `fit` returns them; those of a loaded model too."""
        return [dict(record) for record in self.standing.history]

    def set_runtime(self, **values: float) -> None:
        """Set run-time scalars."""
        for name, value in values.items():
            self.memory.flat(f"runtime:{name}")[0] = value

    def runtime(self, name: str) -> float:
        """A run-time scalar."""
        return float(self.memory.flat(f"runtime:{name}")[0])

    def weigh(self) -> None:
        """From now on every row counts as much as its weight says, 1 where none is given."""
        if self.blueprint.weighted:
            return
        self.blueprint = self.blueprint.with_weights()
        kept = {name: entry for name, entry in self._entries.items() if name.startswith(("predict", "fit."))}
        self._entries, self._calls = kept, {name: call for name, call in self._calls.items() if name in kept}

    # --- native calls

    def entry(self, name: str) -> Entry:
        """The native program of an entry, compiled at the first use, its context up to date."""
        if name not in self._entries:
            self._need_processor()
            with deadline():
                code = executable(self.blueprint, name, self.team.threads)
            context = np.zeros(code.layout.words, dtype=np.int64)
            scratch = allocate(max(code.scratch_stride * self.team.threads, 64))
            self._entries[name] = Entry(code, context, int(context.ctypes.data), scratch, self.team, name == SINGLE)
            if name == "train" and not self.begun:
                self.begin_optimizer()
        entry = self._entries[name]
        if entry.generation != self.memory.generation:
            self._connect(entry)
        return entry

    def _need_processor(self) -> None:
        """RanvierError where this machine cannot run the code of the model's target."""
        from ..compiler.ahead.levels import lacking, name_of

        target = self.blueprint.target
        if reason := lacking(target):
            mend = "write it as a library with `export`, or compile it without a target to run it here"
            raise RanvierError(f"the model is compiled for {name_of(target)}, and {reason}: {mend}")

    def _connect(self, entry: Entry) -> None:
        """Write the addresses of all spaces into a context."""
        layout = entry.code.layout
        for space, size in entry.code.spaces.items():
            shared = space in self.blueprint.layout.places
            block = space if shared else f"{space}:{entry.code.name}"
            most = max(size, self.blueprint.layout.buffers(space)[1]) if shared else size
            entry.context[layout.space(space)] = self.memory.ensure(block, most)
        entry.context[layout.scratch] = entry.scratch.ctypes.data
        entry.generation = self.memory.generation

    def begin_optimizer(self) -> None:
        """Give the optimizer's states their first values, or those of a saved model, now that they have a place."""
        self.begun = set(self.blueprint.optimizer_states)
        for label, spec in self.blueprint.optimizer_states.items():
            value = self.resumed[label] if label in self.resumed else self._first_value(spec)
            self.memory.write(f"state:{label}", value)
        self.resumed = {}

    def begin_streams(self) -> None:
        """Give the states of each row their first values."""
        for label, spec in self.blueprint.inference.states.items():
            if batched(spec.type.shape):
                self.memory.write(f"state:{label}", self._first_value(spec))

    def optimizer_states(self) -> dict[str, Array]:
        """Copies of the optimizer's states by label, in logical shapes; empty before the first step."""
        return {label: self.memory.read(f"state:{label}") for label in sorted(self.begun)} if self.begun else dict(self.resumed)

    def resume_optimizer(self, states: Mapping[str, Array]) -> None:
        """Take the optimizer's states from a saved model."""
        self.resumed = dict(states)
        for label in self.begun & states.keys():
            self.memory.write(f"state:{label}", states[label])

    def run_epoch(self, name: str, data: Arrays, order: Array, begin: int, end: int, batch: int) -> None:
        """Run an entry over positions begin..end of an order of rows of whole arrays, batch after batch, in one native call."""
        entry = self.entry(name)
        layout, gathers = entry.code.layout, entry.code.gathers
        if not gathers:
            raise DataError("the model reads none of its inputs")
        entry.context[[layout.order, layout.begin, layout.end, layout.batch]] = (order.ctypes.data, begin, end, batch)
        for number, gather in enumerate(gathers):
            entry.context[layout.data(number)] = data[gather.buffer.partition(":")[2]].ctypes.data
        fault = self.team.run(entry.code.epoch, entry.address, entry.code.parallel)
        if fault:
            self._explain(fault, data)

    def _explain(self, fault: int, data: Arrays | None) -> None:
        name = list(self._fields)[fault - 1]
        self._refuse(name, self.memory.rows(f"input:{name}") if data is None else data[name])

    def _refuse(self, name: str, values: Array) -> NoReturn:
        """Say which number of an input is outside its range."""
        field = self._fields[name]
        if field.most is not None:
            check_lengths(values, field)
        high = self.blueprint.limits[name][1]
        wrong = np.argwhere((values < 0) | (values > high))
        what = "a class index" if field.classes else "an index"
        if not wrong.size:
            raise DataError(f"`{name}` has {what} outside 0..{high}")
        place, value = Origin().place(name, int(wrong[0][0]), tuple(map(int, wrong[0][1:]))), values[tuple(wrong[0])]
        of = "" if field.classes else f": it is looked up in a table of {high + 1} rows"
        raise DataError(f"{place} holds {value}, {what} outside 0..{high}{of}")

    # --- rows in

    def named(self, data: Any, y: Any = None) -> Mapping[str, Any]:
        """User data by name: a single array stands for the only input, `y` for the only target; columns are joined as the file says."""
        own = [n for n in self._fields if self._fields[n].most is None]  # lengths stand beside their sequences, or are a list's rows
        found = self._by_name(data, [n for n in own if n in self._inputs])
        if y is None:
            return found
        rest = [n for n in own if n not in self._inputs]
        if len(rest) != 1:
            raise DataError(f"the model has {len(rest)} targets: give them by name in a dictionary")
        return {**found, rest[0]: y}

    def arrays(self, data: Any, *, targets: bool, y: Any = None, weights: Any = None) -> dict[str, Array]:
        """User data (see `named`) checked and converted to the model's fields, with the `weights` of rows where those count."""
        wanted = [n for n in self._fields if targets or n in self._inputs]
        own = [n for n in wanted if self._fields[n].most is None]
        data = self.named(data, y)
        fields = [self._fields[n] for n in sorted(wanted, key=lambda n: n not in own)]  # a missing sequence is named, not its lengths
        require_joined(own, data, self.blueprint.data_settings.columns)
        fitted = fit_arrays(fields, padded(fields, data), vocabularies=self.vocabularies)
        for lookup in self.blueprint.lookups:
            if lookup.input in fitted and len(fitted[lookup.input]):
                self._check_numbers(lookup, fitted[lookup.input])
        if targets and self.blueprint.weighted:
            fitted[WEIGHT] = self._weights(weights, data, len(next(iter(fitted.values()))))
        return fitted

    def _weights(self, given: Any, data: Mapping[str, Any], rows: int) -> Array:
        """How much rows count: what is given for them, the column that the data block names, else 1 each."""
        column = self.blueprint.data_settings.weight
        name, origin = WEIGHT_NAME, data.origin if isinstance(data, Table) else Origin()
        if given is None and WEIGHT in data:
            given = data[WEIGHT]
        elif given is None and column is not None and column in data:
            given, name = data[column], column
        return row_weights(given, rows, self.blueprint.real, name, origin)

    def learn_names(self, data: Mapping[str, Any]) -> None:
        """Names of classes from text among the data, unless they are known."""
        if not self.vocabularies:
            self.vocabularies = learn_vocabularies(list(self._fields.values()), data)

    def _by_name(self, data: Any, inputs: list[str]) -> Mapping[str, Any]:
        """Columns by name, joined as the data block says; what has no names is that of the only input."""
        frame = frame_columns(data)
        if frame is None and len(inputs) != 1:
            raise DataError(f"the model has the inputs {', '.join(inputs)}: give a dictionary with an array for each")
        if frame is None:
            require_rows(data)
            return {inputs[0]: data}
        named = with_joined(frame, self.blueprint.data_settings.columns)
        if len(inputs) == 1 and named is frame and not isinstance(data, Mapping):
            return as_only_input(frame, self._fields[inputs[0]], [n for n in self._fields if n != inputs[0]])
        return named

    def _check_numbers(self, lookup: Numbering, values: Array) -> None:
        """DataError names the first number without a row of the table: better now than in the midst of a training."""
        shown, context = values, Context({}, {BATCH.name: len(values)})
        for view in lookup.views:
            shown = view.evaluate(context, shown)
        if shown.min() < 0 or shown.max() >= lookup.entries:
            self._refuse(lookup.input, values)

    def _load(self, call: Call, data: Any, weights: Any = None) -> int:
        """Put a batch into the input buffers and return its rows; arrays that do not fit as they are get checked and converted."""
        rows = call.load(data) if call.as_is and weights is None else -1
        if rows < 0:
            arrays = self.arrays(data, targets=call.targets, weights=weights)
            if not len(next(iter(arrays.values()))):
                raise DataError("there are no rows")
            rows = call.load(arrays)
        if rows < 0:
            raise DataError(f"the rows exceed the batch of {self.capacity} that the model was compiled for")
        return rows

    def _call(self, name: str, *, targets: bool) -> Call:
        """An entry bound to the present memory."""
        call = self._calls.get(name)
        if call is None or call.generation != self.memory.generation:
            for field, declared in self.blueprint.inference.fields.items():
                self.blueprint.layout.place(f"input:{field}", declared.type)
            self.entry(name)
            wanted = self._fields if targets else {n: self._fields[n] for n in self._inputs}
            feeds = tuple(Feed(n, f.numpy, self.memory.rows(f"input:{n}")) for n, f in wanted.items())
            if targets and self.blueprint.weighted:
                self.blueprint.layout.place(f"input:{WEIGHT}", TensorType(self.blueprint.real, (BATCH,)))
                feeds += (Feed(WEIGHT, self.blueprint.real.numpy, self.memory.rows(f"input:{WEIGHT}")),)
            kind = name.partition(".")[0]
            result = self.memory.rows(f"output:{kind}") if kind in ("predict", "losses") else self.memory.flat("output:loss")
            entry = self.entry(name)  # again: the views may have moved memory that the context points at
            as_is = not any(f.length for f in wanted.values())
            call = self._calls[name] = entry.bind(feeds, result, targets=targets, as_is=as_is)
        return call

    def _go(self, call: Call, rows: int) -> None:
        """Run a bound entry on the rows that are loaded."""
        fault = call.run(rows)
        if fault:
            self._explain(fault, None)

    # --- what it does

    def step(self, data: Mapping[str, Any], *, sample_weight: Any = None) -> float:
        """One training step on a batch of at most `capacity` rows; returns the loss before the step (without penalties).

        Floats that fit as they are go in unseen, so a NaN among them comes out as the loss; `fit` looks at every value first.
        """
        if sample_weight is not None:
            self.weigh()
        if not self.fitted:  # before there is a call: compiling may move memory
            self.fit_statistics(self.arrays(data, targets=True))
        call = self._calls.get("train")
        if call is None or call.generation != self.memory.generation:
            call = self._call("train", targets=True)
        self._go(call, self._load(call, data, sample_weight))
        return float(call.results.view[0])

    def gradients(self, data: Mapping[str, Any], *, sample_weight: Any = None) -> dict[str, Array]:
        """The gradient of the mean loss (and penalties) over a batch for every parameter, in logical shapes."""
        if sample_weight is not None:
            self.weigh()
        if not self.fitted:
            self.fit_statistics(self.arrays(data, targets=True))
        call = self._call("gradients", targets=True)
        self._go(call, self._load(call, data, sample_weight))
        return {name: self.memory.read(f"output:gradient:{name}") for name in self.params}

    def loss(self, data: Mapping[str, Any]) -> float:
        """The mean loss of a batch while training, nothing changed."""
        self.gradients(data)
        return float(self._calls["gradients"].results.view[0])

    def predict(self, data: Any) -> Array:
        """The prediction for any number of rows: the `predict` of the model, [rows, …].

        Floats that fit as they are go in unseen: a row with a NaN gives what the arithmetic makes of it.
        """
        call = self._predicts
        if call is None or call.generation != self.memory.generation:
            self._need_fit()
            call = self._prediction(single=_is_single(data) if call is None else call.single)
        rows = call.load(data) if call.as_is else -1
        if rows >= 0:
            if (rows == 1) is not call.single and self.capacity > 1:
                call = self._prediction(single=rows == 1)
                call.load(data)  # again: compiling may have moved memory
            self._go(call, rows)
            return call.results[rows].copy()
        if isinstance(data, StreamedRows):
            return np.concatenate([self.predict({n: part.arrays[n] for n in self._inputs}) for part in in_order(data, self.capacity, None)])
        arrays = self.arrays(data, targets=False)
        return self._by_batches(self._prediction(single=len(next(iter(arrays.values()))) == 1), arrays)

    def _prediction(self, *, single: bool) -> Call:
        """The call that predicts, from now on the first to be tried: one for `single` rows, or that for any number of them."""
        self._predicts = self._call(SINGLE if single and self.capacity > 1 else "predict", targets=False)
        return self._predicts

    def losses(self, data: Any, y: Any = None) -> Array:
        """What each row costs when the model predicts: the `loss` of the model before the mean over the rows, [rows]."""
        self._need_fit()
        arrays = self.arrays(data, targets=True, y=y)
        return self._by_batches(self._call("losses", targets=True), arrays)

    def _by_batches(self, call: Call, arrays: Arrays) -> Array:
        """The results of all rows."""
        rows = len(next(iter(arrays.values())))
        view = call.results.view
        result = np.empty((rows, *view.shape[1:]), dtype=view.dtype)
        for start in range(0, rows, self.capacity):
            stop = min(start + self.capacity, rows)
            self._go(call, call.load({name: array[start:stop] for name, array in arrays.items()}))
            result[start:stop] = view[: stop - start]
        return result

    def evaluate(self, data: Any, y: Any = None, *, sample_weight: Any = None) -> dict[str, Any]:
        """Loss and metrics over all rows, weighted if weights are given; metrics with axes (a confusion matrix) are arrays."""
        self._need_fit()
        if isinstance(data, StreamedRows):
            return self.evaluate_arrays(data)
        if sample_weight is not None:
            self.weigh()
        named, weights = complete(self, self.named(data, y), sample_weight)
        return self.evaluate_arrays(self.arrays(named, targets=True, weights=weights))

    def evaluate_arrays(self, arrays: Rows) -> dict[str, Any]:
        """`evaluate` on rows that fit already."""
        found = self._stream("evaluate", self.blueprint.evaluation, arrays)
        return {name: float(value) if value.ndim == 0 else value for name, value in found.items()}

    def fit_statistics(self, arrays: Rows) -> None:
        """Compute every `fit` of the model over these rows: the training rows, once."""
        for key, value in self._stream("fit", self.blueprint.statistics, arrays).items():
            self.memory.write(key, value)
        self.fitted = True

    def compile_passes(self, kind: str) -> None:
        """Compile what `fit` statistics ("fit") or `evaluate` need now, not when they are first asked for."""
        stages = self.blueprint.statistics if kind == "fit" else self.blueprint.evaluation
        for number in range(len(stages)):
            self.entry(f"{kind}.{number}")

    def _stream(self, entry: str, stages: list[Stage], arrays: Rows) -> dict[str, Array]:
        """Run the passes of a whole-set computation and give its results."""
        rows, results = row_count(arrays), dict[str, Array]()
        if rows == 0:
            raise DataError("there are no rows")
        for number, stage in enumerate(stages):
            name = f"{entry}.{number}"
            self.entry(name)
            self.reset(stage)
            for part in in_order(arrays, self.capacity, None):
                self.run_epoch(name, part.arrays, part.order, 0, part.stop - part.start, self.capacity)
            kept: dict[str, Array] = {}
            for key, value in self.finish(stage, rows).items():
                if key.startswith("value:"):
                    self.blueprint.layout.place(f"fit:{key}", TensorType(self.blueprint.real, value.shape))
                    kept[f"fit:{key}"] = value
                else:
                    results[key] = value
            for key, value in kept.items():  # when all have their places: each write after a new one lays the space out again
                self.memory.write(key, value)
        return results

    def reset(self, stage: Stage) -> None:
        """Accumulators at their neutral values."""
        for accumulator in stage.accumulators:
            self.memory.flat(f"accumulator:{accumulator.label}")[:] = accumulator.start

    def finish(self, stage: Stage, rows: int) -> dict[str, Array]:
        """The values that follow from the accumulators after `rows` rows."""
        final = self._finals.get(id(stage))
        if final is None:
            evaluator = Evaluator(stage.final)
            read = dict.fromkeys(step.node.op.key for step in evaluator.steps if isinstance(step.node.op, Source))
            final = self._finals[id(stage)] = Final(stage, evaluator, [key for key in read if key != "runtime:rows"])
        return final.evaluator({"runtime:rows": rows, **{key: self.memory.read(key) for key in final.read}}, rows=rows)

    def fit(
        self,
        data: Any,
        y: Any = None,
        *,
        epochs: int | None = None,
        validation: Any = None,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        report: Any = None,
        resume: bool = False,
        checkpoint: str | os.PathLike[str] | Checkpoints | None = None,
        checkpoint_every: str = DEFAULT_EVERY,
        trap_nan: bool = True,
        log: str | os.PathLike[str] | None = None,
    ) -> list[dict[str, float]]:
        """Train: by the `train` block, but for what is given here. Returns a record an epoch.

        `validation` is a share of the rows to hold out, or other rows (named, or inputs and targets in a tuple). Loss and metrics are
        means weighted by `sample_weight` [rows]; while training also by `class_weight`: "balanced", a number a class, or a dictionary.
        `report` is called with progress about ten times a second; what it raises ends the training, as Ctrl-C does between two steps, and
        `resume` takes up such a fit (also that of a loaded model) where it ended, to the bit.

        With `checkpoint="m.safetensors"` the model is written there every `checkpoint_every` (`30s`, `5m`, `1000 steps`, `epoch`), at the
        end, and when training is ended early; beside it are kept the one before (`m.previous.safetensors`) and the best so far
        (`m.best.safetensors`). `resume` then takes up what stands there, if anything does. Raises NonFiniteError when the loss becomes NaN
        or infinite; with `trap_nan` it names the step and the operation, at the price of a copy of the model in memory. In the folder `log`
        figures are written as a table (`log.csv`) and as event files for TensorBoard.
        """
        weights = Weights(sample_weight, class_weight)
        fit = partial(
            train, self, data, y, epochs=epochs, validation=validation, weights=weights, report=report, trap_nan=trap_nan, log=log
        )
        if not isinstance(checkpoint, str | os.PathLike):
            return fit(resume=resume, checkpoints=checkpoint)
        from .checkpoints import open_checkpoints

        with open_checkpoints(checkpoint, checkpoint_every) as kept:
            if resume:
                kept.take_up(self)
            return fit(resume=resume, checkpoints=kept)

    def _need_fit(self) -> None:
        if not self.fitted:
            raise RanvierError("the model's statistics are not fitted yet: train it first, with `fit`")

    # --- saving

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one `.safetensors` file, atomically."""
        from .saving import save

        save(self, path)

    def export(
        self,
        folder: str | os.PathLike[str],
        *,
        name: str | None = None,
        target: str | None = None,
        multiversion: bool = False,
        train: bool = False,
        rows: int | None = None,
        threads: int = 1,
        weights: str | os.PathLike[str] | None = None,
    ) -> tuple[Path, ...]:
        """Write the model as a library into a folder, which is made if need be, as `ranvier compile` does; returns the files.

        The shared library is the first of them; where no linker is there it is left out, with a warning that says what is missing.
        Functions begin with `name` (default: that of the model in its file). `target` is the CPU (default: that of the model), all
        levels of x86-64 with `multiversion`. The library predicts, with `train` it trains too, up to `rows` rows a call (default: the
        batch), planned for so many `threads`. `weights` is a file for the weights beside the library. Raises RanvierError, and OSError for
        a file that cannot be written.
        """
        from .export import export

        written = export(
            self,
            folder,
            name=name or self.blueprint.unit.model.name.id,
            target=target,
            multiversion=multiversion,
            train=train,
            rows=rows,
            threads=threads,
            weights=weights,
        )
        if written.missing:
            warnings.warn(f"no shared library: {written.missing}", RanvierWarning, stacklevel=2)
        return written.files

    def __repr__(self) -> str:
        count = sum(elements(p.type.shape) for p in self.blueprint.inference.parameters.values())
        return f"<ranvier model {self.blueprint.unit.model.name.id}, {count} parameters>"


def _is_single(data: Any) -> bool:
    """Whether data is a single row, as far as can be seen at a glance."""
    arrays = data.values() if isinstance(data, dict) else (data,)
    return all(getattr(array, "shape", ())[:1] == (1,) for array in arrays)


def _field(declared: Any, *, missing: bool) -> Field:
    shape = tuple(d for d in declared.type.shape if isinstance(d, int))
    return Field(declared.name, declared.type.dtype, shape, declared.classes, declared.length, declared.most, missing)
