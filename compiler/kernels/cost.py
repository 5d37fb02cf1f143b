"""What a kernel costs at a number of rows: floating-point operations and the bytes it must move, from its extents alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.elementwise import ROWS
from ..ir.types import BATCH
from .model import Access, Apply, Axis, Contract, Fold, Index, Kernel, Load, Lookup, Nest, extent, kernel_axes, loads, reached_axes, stores
from .program import Launch, Program


@dataclass(frozen=True)
class Cost:
    """`flops`: arithmetic as the table of elementwise operations counts it, two for a multiply-add; `bytes`: every element read or
    written once, however often the loops come back to it.
    """

    flops: int
    bytes: int

    def times(self, turns: int) -> Cost:
        """The cost of so many runs, each of which moves its bytes anew."""
        return Cost(self.flops * turns, self.bytes * turns)


def cost(kernel: Kernel, rows: int) -> Cost:
    """The cost of one run of a kernel on `rows` rows."""
    sizes = {BATCH.name: rows}
    return Cost(_flops(kernel, sizes), _bytes(kernel, sizes))


def launch_cost(program: Program, launch: Launch) -> Cost:
    """The cost of a launch in one call of its program at full capacity: of all its turns if it is in a loop."""
    return cost(launch.kernel, program.capacity).times(program.turns(launch))


def _flops(kernel: Kernel, sizes: dict[str, int]) -> int:
    """Products and sums, then the body: at every point what depends on a folded axis, once an output what does not."""
    axes = kernel_axes(kernel)
    if isinstance(kernel, Lookup):
        return math.prod(extent(a, sizes) for a in axes) if kernel.add else 0
    folded = () if isinstance(kernel, Contract) else kernel.over
    every = math.prod(extent(a, sizes) for a in axes)
    inner = math.prod(extent(a, sizes) for a in (kernel.k if isinstance(kernel, Contract) else folded))
    outputs = every // inner if inner else 0
    depends = _inside(kernel, folded)
    body = sum(_operations(each) * (every if inside else outputs) for each, inside in zip(kernel.body, depends, strict=True))
    return body + (2 * every if isinstance(kernel, Contract) else 0)


def _inside(kernel: Contract | Nest, folded: Sequence[Axis]) -> list[bool]:
    """For each instruction whether its work is done at every point of the folded axes; a fold's is, its result's users' is not."""
    names = {name for axis in folded for name in (axis.name, axis.name + "/")}
    varies: list[bool] = []
    works: list[bool] = []
    for each in kernel.body:
        match each:
            case Load():
                inside = any(name in names for name, _ in each.access.strides)
            case Index():
                inside = any(name in names for name, _ in each.strides)
            case Apply():
                inside = any(varies[a] for a in each.args)
            case _:
                inside = False
        varies.append(inside)
        works.append(inside or isinstance(each, Fold))
    return works


def _operations(instruction: object) -> int:
    """Operations of one instruction; a comparison or conversion of a float counts as one."""
    if isinstance(instruction, Apply):
        return ROWS[instruction.op].flops if instruction.op in ROWS else 1
    return 1 if isinstance(instruction, Fold) else 0


def _bytes(kernel: Kernel, sizes: dict[str, int]) -> int:
    axes = {axis.name: axis for axis in reached_axes(kernel)}
    return sum(_footprint(access, axes, sizes) for group in (loads(kernel), stores(kernel)) for access in dict.fromkeys(group))


def _footprint(access: Access, axes: dict[str, Axis], sizes: dict[str, int]) -> int:
    """Bytes of the elements that an access reaches, counted as if no two points meet the same one but along axes it ignores."""
    touched = {name.removesuffix("/") for name, stride in access.strides if stride}
    return access.dtype.bytes * math.prod(extent(axes[name], sizes) for name in touched)
