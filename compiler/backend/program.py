"""A program of kernels turned into native code: generate, share out, write the entries, compile what is not cached, link."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from ..deadline import check
from ..kernels.model import Contract, Kernel, Lookup
from ..kernels.program import Program
from . import jit
from .cache import cached_objects
from .canonical import Canonical, canonical
from .contract import emit_contract
from .entry import Call, Layout, body_text, epoch_text
from .executable import Executable, body_symbol, epoch_symbol, link
from .lookup import emit_lookup
from .nest import emit_nest
from .schedule import SERIAL, Step, partition, plan, row_units
from .target import Target
from .text import Emitted, Text

LINE = 128
"""The scratch of a thread begins on its own pair of cache lines."""
MOST_CALLS = 64
"""Calls of kernels in a body that is optimised; in a longer one the kernels take so long that the time of the calls is nothing."""


@dataclass(frozen=True)
class Compiled:
    """One distinct kernel: its symbol, the text of its module and what was generated, the numbers of the launches that call it."""

    name: str
    module: str
    emitted: Emitted
    launches: tuple[int, ...]


@dataclass(frozen=True)
class Generated:
    """A program as LLVM text: its distinct kernels, and its entries by their symbols; `scratch` are the bytes that each thread needs."""

    program: Program
    target: Target
    steps: tuple[Step, ...]
    kernels: tuple[Compiled, ...]
    calls: tuple[Call, ...]
    functions: Mapping[str, Text]
    scratch: int

    @property
    def parallel(self) -> bool:
        """Whether a team has anything to share."""
        return any(step.mode != SERIAL for step in self.steps)

    @property
    def layout(self) -> Layout:
        """The words of the context that the entries are called with."""
        return Layout(tuple(self.program.spaces), len(self.program.gathers))


@dataclass(frozen=True)
class Native(Executable):
    """An executable with all that it was made from, to be shown and timed kernel by kernel."""

    program: Program
    target: Target
    steps: tuple[Step, ...]
    kernels: tuple[Compiled, ...]
    calls: tuple[Call, ...]
    entries: str

    @property
    def modules(self) -> list[str]:
        """The texts of the modules that are linked: the kernels' and the entries'."""
        return [*(k.module for k in self.kernels), self.entries]

    def text(self) -> str:
        """The LLVM text of everything, for people: the kernels in order of first use, then the entries."""
        return "\n".join([*(f"; {self.title(k)}\n{k.module}" for k in self.kernels), self.entries])

    def assembly(self) -> str:
        """The assembly of everything, for people."""
        parts = [f"# {self.title(k)}\n{jit.assembly(k.module, self.target)}" for k in self.kernels]
        return "\n".join([*parts, jit.assembly(self.entries, self.target)])

    def title(self, kernel: Compiled) -> str:
        """The symbol of a kernel and the labels of the launches that use it."""
        labels = dict.fromkeys(self.program.launches[n].label for n in kernel.launches)
        return f"{kernel.name}: {', '.join(labels)}"

    @functools.cached_property
    def launches(self) -> jit.Linked:
        """An entry `launch_N` for every launch alone, without barriers, to be timed; of a loop's launches at all times.

        Compiled when first asked for.
        """
        texts = {f"launch_{call.step.launch}": self._launch_text(call) for call in self.calls}
        return link(cached_objects([*(k.module for k in self.kernels), _module(texts)], self.target), list(texts))

    def _launch_text(self, call: Call) -> Text:
        """The body with one call in it."""
        alone = replace(call, step=replace(call.step, barrier=False))
        unchecked = replace(self.program, checks=0, fault=None)
        return body_text(f"launch_{call.step.launch}", [alone], unchecked, self.layout, self.scratch_stride, self.target)


def build(program: Program, target: Target, threads: int = 1) -> Native:
    """Compile a program for this process, planned for `threads` threads and right for any number.

    Raises ValueError for a program with checks but without a place for the fault.
    """
    made = generate(program, target, threads)
    text = (jit.QUICK if len(made.calls) > MOST_CALLS else "") + _module(made.functions)
    linked = link(cached_objects([*(k.module for k in made.kernels), text], target), list(made.functions))
    about = (program.name, program.spaces, program.gathers, made.scratch, made.parallel)
    return Native(*about, linked, program, target, made.steps, made.kernels, made.calls, text)


def generate(program: Program, target: Target, threads: int = 1) -> Generated:
    """The text of a program; see `build`."""
    if program.checks and program.fault is None:
        raise ValueError(f"program {program.name} has checks but no fault buffer")
    bare = [canonical(launch.kernel, program.buffers) for launch in program.launches]
    emitted = _emit_all([(c, launch.loop > 0) for c, launch in zip(bare, program.launches, strict=True)], target, program.capacity, threads)
    kernels = _distinct(emitted)
    steps = plan(program, [e.grid for e in emitted], threads)
    names = {n: kernel.name for kernel in kernels for n in kernel.launches}
    calls = tuple(_call(names[n], bare[n], emitted[n], steps[n], launch.loop) for n, launch in enumerate(program.launches))
    scratch = -(-max((e.scratch for e in emitted), default=0) // LINE) * LINE
    layout = Layout(tuple(program.spaces), len(program.gathers))
    return Generated(program, target, steps, kernels, calls, _entries(program, calls, layout, scratch, target), scratch)


def emit(bare: Canonical, target: Target, capacity: int, threads: int, *, loop: bool = False) -> Emitted:
    """The function of a kernel, by the generator of its kind."""
    kernel = bare.kernel
    if isinstance(kernel, Contract):
        return emit_contract(kernel, target, partition=partition(kernel, target, capacity, threads, loop=loop), fresh=bare.fresh)
    return emit_lookup(kernel, target) if isinstance(kernel, Lookup) else emit_nest(kernel, target)


def _emit_all(kernels: Sequence[tuple[Canonical, bool]], target: Target, capacity: int, threads: int) -> list[Emitted]:
    """The functions of all kernels (and whether each is in a loop), each distinct one generated once."""
    made: dict[tuple[Kernel, Set[str], bool], Emitted] = {}
    for bare, loop in kernels:
        if (bare.kernel, bare.fresh, loop) not in made:
            check("generating code")
            made[bare.kernel, bare.fresh, loop] = emit(bare, target, capacity, threads, loop=loop)
    return [made[bare.kernel, bare.fresh, loop] for bare, loop in kernels]


def _distinct(emitted: Sequence[Emitted]) -> tuple[Compiled, ...]:
    """Kernels of equal text are one; its symbol is made of the text, so that programs share cached objects."""
    launches: dict[tuple[str, tuple[tuple[str, str], ...]], list[int]] = {}
    for n, each in enumerate(emitted):
        launches.setdefault((each.text, each.needs), []).append(n)
    return tuple(_compiled(emitted[numbers[0]], numbers) for numbers in launches.values())


def _compiled(emitted: Emitted, launches: Sequence[int]) -> Compiled:
    helpers = "\n".join(definition for _, definition in emitted.needs)
    digest = hashlib.sha256((emitted.text + helpers).encode()).hexdigest()
    name = f"kernel_{digest[:16]}"
    return Compiled(name, f"{helpers}\n\n{_named(emitted, name)}\n{jit.ATTRIBUTES}", emitted, tuple(launches))


def _named(emitted: Emitted, name: str, linkage: str = "") -> str:
    """The function of a kernel under its own name."""
    return emitted.text.replace("define internal void @KERNEL(", f"define {linkage}void @{name}(", 1)


def single_module(programs: Sequence[Generated], attributes: str = jit.ATTRIBUTES) -> str:
    """Programs with all their kernels as one module, in which what they share stands once; nothing but the entries is seen outside."""
    kernels = {kernel.name: kernel.emitted for made in programs for kernel in made.kernels}
    entries = {name: text for made in programs for name, text in made.functions.items()}
    needs = [each.needs.items() for each in entries.values()] + [emitted.needs for emitted in kernels.values()]
    helpers = {name: definition for some in needs for name, definition in some if name not in kernels}
    lines = [line for text in entries.values() for line in text.lines]
    return "\n".join([*helpers.values(), "", *(_named(e, name, "internal ") for name, e in kernels.items()), *lines, attributes])


def _call(function: str, bare: Canonical, emitted: Emitted, step: Step, loop: int) -> Call:
    places = tuple(bare.places[buffer] for buffer in emitted.buffers)
    local = dict(step.local)
    reused = tuple(local.get(bare.names[buffer], 0) for buffer in emitted.buffers)
    return Call(function, places, emitted.grid, row_units(bare.kernel, emitted.grid) or 0, step, loop, reused)


def _entries(program: Program, calls: Sequence[Call], layout: Layout, scratch: int, target: Target) -> dict[str, Text]:
    """The entries by their symbols."""
    body, epoch = body_symbol(program.name), epoch_symbol(program.name)
    entries = {body: body_text(body, calls, program, layout, scratch, target)}
    if program.gathers:
        entries[epoch] = epoch_text(epoch, body, program, layout, target)
    return entries


def _module(functions: Mapping[str, Text]) -> str:
    """One module of several functions and what they need."""
    needs = {name: definition for function in functions.values() for name, definition in function.needs.items()}
    return "\n".join([*needs.values(), "", *(line for function in functions.values() for line in function.lines), jit.ATTRIBUTES])
