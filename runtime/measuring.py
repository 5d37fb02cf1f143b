"""How long each kernel of a program takes on this machine, beside the ceiling of its multiply-adds measured in the same run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from ..compiler.backend.measure import measuring_code, peak_flops
from ..compiler.backend.program import build
from ..compiler.kernels.cost import Cost, launch_cost
from .model import Entry, Model

BATCH_SECONDS = 2e-3
BATCHES = 5


@dataclass(frozen=True)
class KernelTime:
    """Launch number `launch` alone, its data in the caches if they fit: seconds, and what it costs by its extents.

    A launch in a loop runs `turns` times in a step; seconds and cost are those of all of them.
    """

    launch: int
    turns: int
    seconds: float
    cost: Cost


@dataclass(frozen=True)
class Measurement:
    """Seconds of every kernel and of the whole program on `rows` rows; `peak` operations a second of the whole team."""

    rows: int
    threads: int
    peak: float
    kernels: tuple[KernelTime, ...]
    seconds: float


def measure(model: Model, name: str) -> Measurement:
    """Time an entry of a model on random rows. It runs many times, so the model is not what it was afterwards."""
    entry = _filled(model, name)
    code = measuring_code(model.blueprint.target, model.blueprint.real)
    context = np.zeros(3, dtype=np.int64)

    def timed(job: int, inner: int, parallel: bool) -> float:
        context[:2] = job, inner
        return _best(model, code["repeat"], context, parallel)

    threads = model.team.threads
    peak = peak_flops(model.blueprint.target, model.blueprint.real) * threads / timed(code["peak"], entry.address, threads > 1)
    native = build(model.blueprint.program(name), model.blueprint.target, threads)
    found = []
    for call in native.calls:
        number = call.step.launch
        launch = native.program.launches[number]
        seconds = timed(native.launches[f"launch_{number}"], entry.address, native.parallel)
        found.append(KernelTime(number, native.program.turns(launch), seconds, launch_cost(native.program, launch)))
    return Measurement(model.capacity, threads, peak, tuple(found), timed(native.body, entry.address, native.parallel))


def _filled(model: Model, name: str) -> Entry:
    """The entry with a full batch of random rows in its inputs."""
    model.entry(name)
    generator = np.random.default_rng(0)
    for key in model.blueprint.layout.places["input"]:
        field = model.fields[key.removeprefix("input:")]
        rows = model.memory.rows(key)
        low, high = model.blueprint.limits.get(field.name, (0, 1 if field.dtype.kind == "b" else 99))
        low = high if field.most is not None else low  # sequences are as long as there is room
        rows[...] = generator.standard_normal(rows.shape) if field.dtype.is_float else generator.integers(low, high + 1, rows.shape)
    entry = model.entry(name)
    entry.context[0] = model.capacity
    return entry


def _best(model: Model, repeat: int, context: np.ndarray[tuple[int], np.dtype[np.int64]], parallel: bool) -> float:
    """Seconds of one turn: the best of some batches of turns, each long enough to be timed."""
    times, best, full = 1, float("inf"), 0
    while full < BATCHES:
        context[2] = times
        start = time.perf_counter()
        model.team.run(repeat, int(context.ctypes.data), parallel)
        spent = time.perf_counter() - start
        best = min(best, spent / times)
        full += spent >= BATCH_SECONDS / 2
        times = max(times, min(2 * times + 1, 10**6) if spent < BATCH_SECONDS / 8 else int(BATCH_SECONDS / best))
    return best
