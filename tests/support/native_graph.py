"""Running an op graph as native code, without a model round it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from ranvier.compiler.backend.program import build
from ranvier.compiler.backend.target import Target, host
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.kernels.lower import lower
from ranvier.compiler.kernels.memory import plan
from ranvier.compiler.kernels.program import ARENA, Program
from ranvier.compiler.layout import Layout
from ranvier.compiler.passes.fusion import fuse
from ranvier.runtime.memory import Memory, allocate
from ranvier.runtime.team import shared_team


def run_natively(
    graph: Graph, sources: Mapping[str, Any], rows: int, *, capacity: int = 0, threads: int = 1, target: Target | None = None
) -> dict[str, Any]:
    """The outputs of a graph by compiled code: `sources` by label as the reference evaluator takes them."""
    target, capacity = target or host(), capacity or max(rows, 1)
    layout = Layout(16, capacity)
    fusion = fuse(graph)
    used = {n.op.key: n for n in fusion.graph if isinstance(n.op, Source)}
    places = {key: layout.place(key, node.type) for key, node in used.items()}
    outputs = {name: layout.place(f"output:{name}", graph.type(value)) for name, value in fusion.graph.outputs.items()}
    lowered = lower(fusion, places, outputs, layout.panel, capacity)
    arena, size = plan(lowered.launches, lowered.temporaries, capacity, names=lowered.names)
    buffers, spaces = dict(arena), {ARENA: max(size, 64)}
    for space in layout.places:
        found, bytes_ = layout.buffers(space)
        buffers |= found
        spaces[space] = bytes_
    buffers |= lowered.buffers(buffers)
    native = build(Program(graph.name, capacity, buffers, spaces, tuple(lowered.launches), loops=lowered.loops), target, threads)
    memory = Memory(layout)
    context = np.zeros(native.layout.words, dtype=np.int64)
    block, scratch = allocate(spaces[ARENA]), allocate(max(native.scratch_stride * threads, 64))
    for space, bytes_ in spaces.items():
        context[native.layout.space(space)] = block.ctypes.data if space == ARENA else memory.ensure(space, bytes_)
    context[0], context[native.layout.scratch] = rows, scratch.ctypes.data
    for key, node in used.items():
        array = np.asarray(sources[node.op.label], dtype=node.type.dtype.numpy)
        _view(memory, key, node.type.shape, rows)[...] = array
    assert shared_team(threads).run(native.body, int(context.ctypes.data), native.parallel) == 0
    return {name: _view(memory, f"output:{name}", graph.type(value).shape, rows).copy() for name, value in graph.outputs.items()}


def _view(memory: Memory, key: str, shape: tuple[Any, ...], rows: int) -> Any:
    if shape and not isinstance(shape[0], int):
        return memory.rows(key)[:rows]
    return memory.flat(key)[: int(np.prod(shape, dtype=int))].reshape(shape)
