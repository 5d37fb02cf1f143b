"""The one list of passes and their order, from an elaborated model to fused kernels-to-be."""

from __future__ import annotations

from collections.abc import Callable

from ..ir.graph import Graph
from ..ir.printer import print_graph
from ..ir.verifier import verify
from .columns import give_columns
from .cse import cse
from .dce import dce
from .extremes import compare_extremes
from .fold import fold
from .fusion import Fusion, fuse, print_fusion
from .linear import combine_sums
from .loops import has_loops, hoist, in_bodies, sink, tidy
from .moments import sum_about_samples
from .overlap import gather_overlaps
from .parts import take_parts
from .samples import reduce_samples
from .simplify import simplify

GraphPass = Callable[[Graph], Graph]


def loops(graph: Graph) -> Graph:
    """Bodies cleaned up by all passes, then what need not be done time after time moved out."""
    if not has_loops(graph):
        return graph
    return tidy(hoist(sink(tidy(in_bodies(graph, lambda body, _: settled(body))))))


def settled(graph: Graph) -> Graph:
    """The graph after all passes."""
    for _, run in PASSES:
        graph = run(graph)
    return graph


PASSES: tuple[tuple[str, GraphPass], ...] = (
    ("dce", dce),
    ("share", cse),
    ("loops", loops),
    ("fold", fold),
    ("simplify", simplify),
    ("parts", take_parts),
    ("extremes", compare_extremes),
    ("overlap", gather_overlaps),
    ("linear", combine_sums),
    ("moments", sum_about_samples),
    ("samples", reduce_samples),
    ("cse", cse),
    ("columns", give_columns),
    ("clean", dce),
)

Watcher = Callable[[str, str], None]


def optimise(graph: Graph, *, watch: Watcher | None = None, checked: bool = False) -> Fusion:
    """Run every pass in order; `watch` is given the name and the text after each, `checked` verifies after each."""
    if watch:
        watch("model", print_graph(graph))
    for name, run in PASSES:
        graph = run(graph)
        if checked:
            verify(graph, name)
        if watch:
            watch(name, print_graph(graph))
    verify(graph, "the passes")
    fusion = fuse(graph)
    if watch:
        watch("fusion", print_fusion(fusion))
    return fusion
