"""The kernels of a program as text: what each costs, how the threads share it, where it came from, its loops and its body."""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler.driver import Blueprint
from ...compiler.kernels.cost import Cost, launch_cost
from ...compiler.kernels.printer import loops, print_kernel
from ...compiler.kernels.program import Launch, Program
from ...compiler.source import Span


@dataclass(frozen=True)
class KernelRow:
    """One launch of a program: its number, label, kind, loops, how often it runs in a call, what that costs at full capacity, and the
    user's line that asked for it.
    """

    number: int
    label: str
    kind: str
    loops: str
    turns: int
    cost: Cost
    place: str


def kernel_rows(blueprint: Blueprint, program: Program) -> list[KernelRow]:
    """A row a launch, in the order they run."""
    return [
        KernelRow(
            number,
            launch.label,
            type(launch.kernel).__name__.lower(),
            loops(launch.kernel),
            program.turns(launch),
            launch_cost(program, launch),
            place(blueprint, launch),
        )
        for number, launch in enumerate(program.launches)
    ]


def kernel_listing(blueprint: Blueprint, program: Program) -> str:
    """Every kernel with its body."""
    parts = []
    for row, launch in zip(kernel_rows(blueprint, program), program.launches, strict=True):
        head = f"# {row.number} {row.label}  {row.place}"
        costs = f"# {row.cost.flops:,} operations, {row.cost.bytes:,} bytes at {program.capacity} rows{_turns(program, launch)}"
        parts.append(f"{head}\n{costs}\n{print_kernel(launch.kernel)}")
    return "\n\n".join(parts)


def _turns(program: Program, launch: Launch) -> str:
    """How often a launch runs, if it is in a loop."""
    if not launch.loop:
        return ""
    loop = program.loops[launch.loop]
    return f", in {loop.turns} turns of loop {launch.loop}, from the {'last' if loop.reverse else 'first'} time on"


def place(blueprint: Blueprint, launch: Launch) -> str:
    """The most telling line of a launch: the user's own if there is one."""
    own = blueprint.unit.library.sources.keys()
    spans = [span for span in launch.where if span.source.name in own] or list(launch.where)
    return line_of(spans[0]) if spans else ""


def line_of(span: Span) -> str:
    """`file:line`."""
    return f"{span.source.name}:{span.line}"
