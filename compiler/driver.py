"""The driver: from the text of a `.nn` file to native programs. Read `Unit`, then `Blueprint`, top to bottom.

A unit is a parsed file with its library. A blueprint is a unit with its settings chosen: it makes op graphs (`train`, `gradients`,
`predict`, `evaluate`, `fit`), and from each a program for the shared memory layout, on demand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from .backend.target import Target
from .diagnostics import Diagnostic, Note, did_you_mean
from .errors import SourceError
from .frontend.blocks import TrainSettings, read_train
from .frontend.chain import innermost_own
from .frontend.context import Field, Parameter, StateVariable
from .frontend.data_block import DataSettings, read_data
from .frontend.elaborate import Elaboration, apply_function, elaborate
from .frontend.lengths import length_names
from .frontend.library import Library, Reader, open_library
from .frontend.mistakes import capped, find_mistakes
from .frontend.parser import parse
from .frontend.syntax import Block, Definition
from .frontend.values import Function, Instance, Live, Tensor, Value
from .ir.build import Build
from .ir.elementwise import Cast
from .ir.evaluate import Evaluator
from .ir.graph import NOWHERE, Graph, Node, rewrite
from .ir.op import Array, Op, Trait
from .ir.ops import Reduce, Source
from .ir.take import Take
from .ir.types import BATCH, F32, F64, I32, DType, TensorType, batched
from .kernels.lower import Lowered, lower
from .kernels.memory import plan
from .kernels.model import rename
from .kernels.placement import Placement
from .kernels.program import ARENA, Buffer, Gather, Launch, Program
from .layout import SPACES, Layout, panelled_parameters
from .passes.autodiff import differentiate
from .passes.cse import cse
from .passes.fusion import Fusion
from .passes.loops import has_loops
from .passes.pipeline import Watcher, optimise
from .passes.products import join_products
from .passes.stream import Stage, carry, part_of, passes_over, split_stream
from .passes.weights import weighted
from .source import Source as Text
from .source import Span
from .updating import RUNTIME, Updating, penalties, returned

if TYPE_CHECKING:
    from .backend.executable import Executable

SINGLE = "predict.1"
"""The entry that predicts a single row."""


@dataclass(frozen=True)
class Unit:
    """A parsed file: its library, its one model and its blocks."""

    library: Library
    model: Definition
    blocks: dict[str, Block]

    @property
    def lengths(self) -> dict[str, str]:
        """Names of lengths that are each sample's own, with the first input that has each; how much room there is, is a setting."""
        return length_names(self.library, self.model)


def open_unit(text: Text, read: Reader) -> Unit:
    """Parse a file and what it imports; raises SourceError with everything that is wrong."""
    file = parse(text)
    library = open_library(file, read)
    problems = list(library.duplicates)
    blocks: dict[str, Block] = {}
    for block in file.blocks:
        if block.kind in blocks:
            first = Note("first here", blocks[block.kind].span)
            problems.append(Diagnostic("duplicate-name", f"a second `{block.kind}` block", block.span, (first,)))
        blocks.setdefault(block.kind, block)
    models = [d for d in file.definitions if d.kind == "model"]
    if len(models) > 1:
        problems.append(
            Diagnostic("duplicate-name", "a file has one model", models[1].name.span, (Note("first here", models[0].name.span),))
        )
    if not models:
        problems.append(Diagnostic("no-model", "the file has no model", Span(text, 0, 0), help="add `model name() { … }`"))
    problems += find_mistakes(library, models[0] if len(models) == 1 else None, blocks)
    if problems:
        raise SourceError(capped(problems))
    return Unit(library, models[0], blocks)


@dataclass(frozen=True)
class Objective:
    """The training graph before clean-up, and how its running figures are read."""

    graph: Graph
    progress: Stage | None


@dataclass
class Blueprint:
    """A model with its settings, ready to be compiled for a target at a capacity of rows."""

    unit: Unit
    target: Target
    settings: Mapping[str, Value]
    overrides: Mapping[str, Value]
    capacity: int | None = None
    real: DType = F32
    watch: Watcher | None = None
    checked: bool = False
    executables: dict[tuple[str, int], Executable] = field(default_factory=dict, init=False, compare=False)
    """What was compiled for a number of threads by the name of its entry (`compiler/kept.py`), for every model made from this."""
    weighted: bool = False
    _programs: dict[str, Program] = field(default_factory=dict)
    _initials: dict[tuple[type, str], Evaluator] = field(default_factory=dict, init=False, compare=False)

    # --- what the file says

    @cached_property
    def train_settings(self) -> TrainSettings:
        """The `train` block with defaults and overrides."""
        settings = read_train(self.unit.library, self.unit.blocks, self.overrides)
        name, _ = settings.watched
        if name != "loss":
            written = self.unit.blocks["train"].settings if "train" in self.unit.blocks else ()
            self._require_figure(name, next((s.value.span for s in written if s.name.id == "watch"), settings.place))
        return settings

    def _require_figure(self, name: str, place: Span) -> None:
        """SourceError when a figure to watch is no metric of one number."""
        graph = self.inference.graph
        known = {k.removeprefix("metric:"): v for k, v in graph.outputs.items() if k.startswith("metric:")}
        if name not in known:
            hint = did_you_mean(name, known) or f"the figures are {', '.join(['loss', *known])}"
            raise SourceError([Diagnostic("unknown-name", f"`watch` names `{name}`, which is no metric of the model", place, help=hint)])
        if any(isinstance(d, int) for d in graph.type(known[name]).shape):
            message = f"`watch` names `{name}`, which is {graph.type(known[name])} and not one number"
            raise SourceError([Diagnostic("shape-mismatch", message, place)])

    @cached_property
    def data_settings(self) -> DataSettings:
        """The `data` block."""
        return read_data(self.unit.library, self.unit.blocks, self.overrides, tuple(self.inference.fields))

    def reread(self, overrides: Mapping[str, Value]) -> Blueprint:
        """The same programs with other settings of blocks, of which they know nothing (`UNCOMPILED`)."""
        made = copy(self)
        made.overrides = overrides
        for name in ("train_settings", "data_settings", "_with_weights"):
            made.__dict__.pop(name, None)
        return made

    @property
    def live(self) -> tuple[Live, ...]:
        """The numbers among the settings that are known at run time only."""
        return tuple(value for value in (*self.settings.values(), *self.overrides.values()) if isinstance(value, Live))

    @cached_property
    def training(self) -> Elaboration:
        """The model while training."""
        return elaborate(self.unit.library, self.unit.model, self.settings, training=True, real=self.real)

    @cached_property
    def inference(self) -> Elaboration:
        """The model while predicting."""
        return elaborate(self.unit.library, self.unit.model, self.settings, training=False, real=self.real)

    @cached_property
    def training_graph(self) -> Graph:
        """The graph of the model while training, its loops made ready."""
        return self._loops_ready(self.training.graph)

    @cached_property
    def inference_graph(self) -> Graph:
        """The graph of the model while predicting, its loops made ready."""
        return self._loops_ready(self.inference.graph)

    def _loops_ready(self, graph: Graph) -> Graph:
        """Before there are gradients: a cell applied twice to one sequence is one loop, and so has one backward."""
        return join_products(cse(graph), self.rows) if has_loops(graph) else graph

    @property
    def rows(self) -> int:
        """The most rows of one native call."""
        return self.capacity or self.train_settings.batch

    @cached_property
    def limits(self) -> dict[str, tuple[int, int]]:
        """The least and the greatest value of inputs and targets that number something: classes, rows of a table, times."""
        found: dict[str, tuple[int, int]] = {}
        for name, entry in self.inference.fields.items():
            if entry.classes is not None or entry.most is not None:
                found[name] = (0, (entry.classes or 1) - 1) if entry.most is None else (1, entry.most)
        for lookup in self.lookups:
            low, high = found.get(lookup.input, (0, lookup.entries - 1))
            found[lookup.input] = low, min(high, lookup.entries - 1)
        return found

    @cached_property
    def lookups(self) -> tuple[Numbering, ...]:
        """What of the inputs numbers rows of tables."""
        return tuple(dict.fromkeys(each for e in (self.inference, self.training) for each in numberings(e.graph)))

    def with_weights(self) -> Blueprint:
        """The same model with every row counting as much as its weight says; parameters and states lie where they lie here."""
        return self if self.weighted else self._with_weights

    @cached_property
    def _with_weights(self) -> Blueprint:
        layout = self.layout  # made before it is shared
        new = replace(self, weighted=True, _programs={})
        kept = ("train_settings", "data_settings", "training", "inference", "limits", "lookups", "optimizer_states")
        new.__dict__.update({name: self.__dict__[name] for name in kept if name in self.__dict__}, layout=layout)
        return new

    # --- graphs

    @cached_property
    def objective(self) -> Objective:
        """Forward, loss, backward, optimizer and running figures in one graph."""
        graph, loss = self._forward()
        gradients = self._gradients(graph, loss)
        update = self.updating(graph)
        update.all(parameter_nodes(graph), gradients)
        outputs = {k: v for k, v in graph.outputs.items() if k.startswith(("parameter:", "state:", "runtime:"))}
        progress = self._progress(graph, loss)
        outputs |= {k: v for k, v in graph.outputs.items() if k.startswith("accumulator:")}
        build = Build(graph, self.real)
        step = build.add_op(Source("runtime", "step", TensorType(F64)))
        graph.outputs = {**outputs, "output:loss": loss, "runtime:step": build.add(step, build.constant(1.0))}
        return Objective(graph, progress)

    @cached_property
    def optimizer_states(self) -> dict[str, StateVariable]:
        """What training keeps beside the model, by label: the optimizer's states of every parameter, the schedule's, sums and averages."""
        return self.updating(Graph("update")).states()

    def updating(self, graph: Graph) -> Updating:
        """What writes the update of the parameters into a graph."""
        return Updating(self.unit.library, self.train_settings, self.training.parameters, graph, self.real)

    def gradient_graph(self) -> Graph:
        """Loss and gradients, nothing updated."""
        graph, loss = self._forward()
        gradients = self._gradients(graph, loss)
        graph.outputs = {"output:loss": loss} | {f"output:gradient:{label}": value for label, value in gradients.items()}
        return graph

    def predict_graph(self) -> Graph:
        """The prediction of every row."""
        return self._rows_graph("predict")

    def losses_graph(self) -> Graph:
        """What every row costs when the model predicts."""
        return self._rows_graph("loss")

    def _rows_graph(self, output: str) -> Graph:
        """An output of the model for every row."""
        graph = _copied(self.inference_graph)
        if output not in graph.outputs:
            place = self.unit.model.name.span
            raise SourceError([Diagnostic("no-output", f"the model `{self.unit.model.name.id}` has no `{output}`", place)])
        value = graph.outputs[output]
        if not batched(graph.type(value).shape):
            value = Build(graph, self.real, graph[value].where).broadcast_to(value, (BATCH, *graph.type(value).shape))
        graph.outputs = {"output:predict" if output == "predict" else "output:losses": value}
        return graph

    @cached_property
    def evaluation(self) -> list[Stage]:
        """The passes that compute loss and metrics over a whole set."""
        graph = _copied(self.inference_graph)
        results = {n.removeprefix("metric:"): v for n, v in graph.outputs.items() if n == "loss" or n.startswith("metric:")}
        build = Build(graph, self.real)
        means = {name: mean_over_batch(build, value) for name, value in results.items()}
        if not self.weighted:
            return split_stream(graph, means, "evaluate:")
        return split_stream(graph, weighted(build, means, frozenset()), "weighted-evaluate:")

    @cached_property
    def statistics(self) -> list[Stage]:
        """The passes that compute the fitted statistics over the training rows."""
        graph = _expose_fits(self.inference_graph)
        results = {name: value for name, value in graph.outputs.items() if name.startswith("fit:")}
        return split_stream(graph, results, "fit:") if results else []

    def _forward(self) -> tuple[Graph, int]:
        graph = _copied(self.training_graph)
        if "loss" not in graph.outputs:
            place = self.unit.model.name.span
            message = f"the model `{self.unit.model.name.id}` has no `loss` and cannot be trained"
            raise SourceError([Diagnostic("no-output", message, place, help="add `loss …`")])
        for label in self.training.states:
            if f"next:{label}" in graph.outputs:
                graph.outputs[f"state:{label}"] = graph.outputs[f"next:{label}"]
        build = Build(graph, self.real, graph[graph.outputs["loss"]].where)
        loss = mean_over_batch(build, graph.outputs["loss"])
        return graph, weighted(build, {"loss": loss}, _of_samples(graph, graph.outputs["loss"]))["loss"] if self.weighted else loss

    def _gradients(self, graph: Graph, loss: int) -> dict[str, int]:
        """The gradient of loss plus penalties for every parameter."""
        build = Build(graph, self.real, graph[loss].where)
        nodes = parameter_nodes(graph)
        total = loss
        for penalty, _ in self._penalties(build, nodes):
            total = build.add(total, penalty)
        build.where = graph[loss].where
        return dict(zip(nodes, differentiate(build, total, list(nodes.values())), strict=True))

    def _penalties(self, build: Build, nodes: Mapping[str, int]) -> Iterator[tuple[int, tuple[bool, ...]]]:
        """What every parameter costs, and what was decided by samples of the run time on the way."""
        for label, parameter in self.training.parameters.items():
            for penalty in penalties(self.unit.library, self.train_settings, parameter):
                build.where = parameter.where
                place = innermost_own([penalty.span, *parameter.where.places, self.train_settings.place])
                purpose = f"the penalty on `{label}`"
                done = apply_function(self.unit.library, build, penalty, [Tensor(nodes[label])], {}, place, purpose=purpose)
                value = returned(build, done.value, (), "a penalty is one number", place)
                yield build.cast(value, self.real), done.decisions

    @cached_property
    def decisions(self) -> tuple[bool, ...]:
        """What was decided by samples of the numbers that are known at run time only: with them, one program for all their values."""
        model = (*self.inference.decisions, *self.training.decisions)
        return (*model, *self._decisions_of_updates()) if self.live else model

    def _decisions_of_updates(self) -> Iterator[bool]:
        """Those of penalties and of the update, told by parameters and gradients that nobody computes."""
        build = Build(Graph("decisions"), self.real)
        kinds = {label: parameter.type for label, parameter in self.training.parameters.items()}
        nodes, gradients = (
            {label: build.add_op(Source(role, label, kind)) for label, kind in kinds.items()} for role in ("parameter", "gradient")
        )
        for _, decisions in self._penalties(build, nodes):
            yield from decisions
        update = self.updating(build.graph)
        update.all(nodes, gradients)
        yield from update.decisions

    def _progress(self, graph: Graph, loss: int) -> Stage | None:
        """Accumulators of loss and metrics while training; figures that need several passes are left to evaluation.

        What makes the loss of a sample is what the step computes on its batch, a normalisation over the batch too.
        """
        build = Build(graph, self.real)
        outputs = self.training_graph.outputs
        within = _of_samples(graph, outputs["loss"])
        metrics = {name.removeprefix("metric:"): mean_over_batch(build, v) for name, v in outputs.items() if name.startswith("metric:")}
        results = {"loss": loss, **(weighted(build, metrics, within) if self.weighted else metrics)}
        single = {name: value for name, value in results.items() if passes_over(graph, value, within) == 1}
        stages = split_stream(graph, single, "weighted-train:" if self.weighted else "train:", within)
        for accumulator in stages[0].accumulators if stages else ():
            carry(graph, part_of(accumulator), accumulator)
        return stages[0] if stages else None

    # --- values at the start

    def initial(self, parameter: Parameter | StateVariable, seed: int) -> Array:
        """The first value of a parameter or state: its initialiser, run by the reference evaluator."""
        key = (type(parameter), parameter.label)
        if key not in self._initials:
            self._initials[key] = Evaluator(self.initial_graph(parameter))
        return self._initials[key](dict.fromkeys(RUNTIME, 0.0) | {"seed": float(seed)})["value"]

    def initial_graph(self, parameter: Parameter | StateVariable) -> Graph:
        """What an initialiser computes; raises SourceError when it does not fit."""
        shape = tuple(d for d in parameter.type.shape if isinstance(d, int))
        build = Build(Graph("initial"), self.real, parameter.where)
        place = innermost_own([*parameter.where.places, self.unit.model.span])
        value: Value = parameter.init
        if isinstance(value, Function | Instance):
            value = apply_function(
                self.unit.library, build, value, [shape], {}, place, parameter.label, f"the first value of `{parameter.label}`"
            ).value
        wanted = f"the first value of `{parameter.label}` is one number or {parameter.type}"
        if isinstance(value, Tensor) and build.type(value.node).shape == shape:
            node = value.node
        else:
            node = build.broadcast(returned(build, value, (), wanted, place), shape, ())
        build.graph.outputs["value"] = build.cast(node, self.real)
        return build.graph

    # --- programs

    @cached_property
    def layout(self) -> Layout:
        """The shared memory: parameters in the layout their products want."""
        panelled = panelled_parameters([self.inference_graph, self.training_graph])
        return Layout(self.target.panel(self.real), self.rows, panelled)

    def program(self, name: str) -> Program:
        """The program of an entry: `train`, `gradients`, `predict`, `losses`, `evaluate.N` or `fit.N` (N counts passes from 0).

        `predict.1` is planned for a single row: its values lie close together, and threads share the work within the row.
        """
        if name not in self._programs:
            self._programs[name] = self._program(name)
        return self._programs[name]

    def entry_graph(self, name: str) -> Graph:
        """The op graph behind an entry."""
        kind, _, number = name.partition(".")
        makers: dict[str, Callable[[], Graph]] = {
            "train": lambda: self.objective.graph,
            "gradients": self.gradient_graph,
            "predict": self.predict_graph,
            "losses": self.losses_graph,
            "evaluate": lambda: self.evaluation[int(number)].batch,
            "fit": lambda: self.statistics[int(number)].batch,
        }
        return makers[kind]()

    def _program(self, name: str) -> Program:
        fusion = optimise(self.entry_graph(name), watch=self.watch, checked=self.checked)
        rows = 1 if name == SINGLE else self.rows
        lowered = self._lower(fusion, rows)
        used = _inputs(fusion.graph)
        checks, fault = self._checks(used, rows)
        temporaries = {**checks.temporaries, **lowered.temporaries}
        launches = [*checks.launches, *lowered.launches]
        arena, size = plan(launches, temporaries, rows, names=lowered.names)
        buffers: dict[str, Buffer] = dict(arena)
        spaces = {ARENA: max(size, 64)}
        for space in SPACES:
            found, bytes_ = self.layout.buffers(space)
            buffers |= found
            spaces[space] = bytes_
        buffers |= lowered.buffers(buffers)
        gathers = tuple(self._gather(f"input:{f}") for f in used)
        return Program(name, rows, buffers, spaces, tuple(launches), len(checks.launches), fault, gathers, lowered.loops)

    def _gather(self, key: str) -> Gather:
        """How rows of a data set come into an input."""
        place = self.layout.places["input"][key]
        size = math.prod(d for d in place.shape if isinstance(d, int))
        return Gather(key, size * place.dtype.bytes, place.strides[0] * place.dtype.bytes)

    def _lower(self, fusion: Fusion, rows: int) -> Lowered:
        graph = fusion.graph
        sources = {n.op.key: self._place(n.op.key, n.type) for n in graph if isinstance(n.op, Source)}
        outputs = {name: self._place(name, graph.type(value)) for name, value in graph.outputs.items()}
        return lower(fusion, sources, outputs, self.layout.panel, rows)

    def _place(self, key: str, kind: TensorType) -> Placement:
        """Parameters, their gradients and optimizer states (`state:dense_1.weight.m`) share one layout."""
        gradient = key.startswith("output:gradient:")
        label = key.removeprefix("output:gradient:") if gradient else key.partition(":")[2].rpartition(".")[0]
        owner = self.training.parameters.get(label)
        like = f"parameter:{label}" if owner is not None and owner.type.shape == kind.shape else None
        return self.layout.place(key, kind, like)

    def _numbered(self, build: Build, entry: Field, value: int) -> Iterator[tuple[int, int, int]]:
        """What of an input must lie from a least to a greatest number."""
        known = entry.most if entry.most is not None else (entry.classes or 0) - 1
        if entry.classes is not None or entry.most is not None:
            yield value, int(entry.most is not None), known
        for lookup in self.lookups:
            if lookup.input == entry.name and (entry.classes is None or entry.classes > lookup.entries):
                shown = value
                for view in lookup.views:
                    shown = build.add_op(view, shown)
                yield shown, 0, lookup.entries - 1

    def _checks(self, used: Sequence[str], rows: int) -> tuple[Lowered, str | None]:
        """Kernels that find a whole number out of its range before anything reads it."""
        fields = [self.inference.fields[f] for f in used if f in self.limits]
        if not fields:
            return Lowered([], {}), None
        build = Build(Graph("checks"), self.real, NOWHERE)
        fault = build.constant(0, I32)
        for number, entry in enumerate(self.inference.fields.values(), 1):
            if entry not in fields:
                continue
            value = build.add_op(Source("input", entry.name, entry.type))
            for shown, low, high in self._numbered(build, entry, value):
                whole = build.cast(shown, I32)
                above = build.apply("ge", whole, build.constant(high + 1, I32))
                outside = build.apply("or", build.lt(whole, build.constant(low, I32)), above)
                bad = build.add_op(Reduce("any", tuple(range(build.type(whole).rank))), outside)
                fault = build.apply("max", fault, build.select(bad, build.constant(number, I32), build.constant(0, I32)))
        build.graph.outputs["output:fault"] = fault
        lowered = self._lower(optimise(build.graph), rows)
        renamed = {name: f"check.{name}" for name in lowered.temporaries}
        return _renamed(lowered, renamed), "output:fault"


def parameter_nodes(graph: Graph) -> dict[str, int]:
    """The node of every parameter of a graph by its label."""
    return {n.op.label: n.id for n in graph if isinstance(n.op, Source) and n.op.kind == "parameter"}


def mean_over_batch(build: Build, value: int) -> int:
    """The mean over the rows of a value a sample; what has no batch axis is whole already."""
    kind = build.type(value)
    if not kind.shape or kind.shape[0] != BATCH:
        return value
    build.where = build.graph[value].where
    return build.div(build.sum(value, [0]), build.extent(BATCH))


def _of_samples(graph: Graph, loss: int) -> frozenset[int]:
    """What makes the loss of a sample; nothing where the loss is of all of them together."""
    return frozenset(graph.ancestors([loss])) if batched(graph.type(loss).shape) else frozenset[int]()


@dataclass(frozen=True)
class Numbering:
    """What is seen of an input through some views (innermost first) numbers the rows of a table of so many entries."""

    input: str
    views: tuple[Op, ...]
    entries: int


def numberings(graph: Graph) -> Iterator[Numbering]:
    """The lookups whose numbers come from an input as they are."""
    for node in graph:
        if isinstance(node.op, Take):
            index, views = graph[node.inputs[1]], list[Op]()
            while index.op.has(Trait.VIEW) or isinstance(index.op, Cast):
                views.insert(0, index.op)
                index = graph[index.inputs[0]]
            entries = graph.type(node.inputs[0]).shape[0]
            if isinstance(index.op, Source) and index.op.kind == "input" and isinstance(entries, int):
                yield Numbering(index.op.label, tuple(views), entries)


def _copied(graph: Graph) -> Graph:
    return rewrite(graph, lambda new, node, operands: None)


def _expose_fits(graph: Graph) -> Graph:
    """The graph with every fitted statistic replaced by the expression that computes it."""
    outputs = graph.outputs
    number: dict[str, int] = {}

    def rule(new: Graph, node: Node, operands: tuple[int, ...]) -> int | None:
        made = number[node.op.key] if isinstance(node.op, Source) and node.op.kind == "fit" else new.add(node.op, operands, node.where)
        number.update({name: made for name, value in outputs.items() if value == node.id})
        return made

    return rewrite(graph, rule)


def _inputs(graph: Graph) -> list[str]:
    live = graph.live()
    return [n.op.label for n in graph if n.id in live and isinstance(n.op, Source) and n.op.kind == "input"]


def _renamed(lowered: Lowered, names: Mapping[str, str]) -> Lowered:
    """The same kernels with other names for their temporaries."""
    launches = [Launch(rename(launch.kernel, names), launch.label, launch.where) for launch in lowered.launches]
    return Lowered(launches, {names[k]: replace(v, buffer=names[k]) for k, v in lowered.temporaries.items()})
