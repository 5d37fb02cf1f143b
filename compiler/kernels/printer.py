"""The stable text of a kernel: its loops, then one instruction a line, then what it stores."""

from __future__ import annotations

from .model import (
    Access,
    Accumulator,
    Apply,
    Axis,
    Constant,
    Contract,
    Extents,
    Fold,
    Index,
    Instruction,
    Kernel,
    Load,
    Lookup,
    Nest,
    kernel_axes,
)


def print_kernel(kernel: Kernel) -> str:
    """The whole kernel; `%n` is the n-th instruction of the body, `acc` the finished sum of a contraction."""
    if isinstance(kernel, Lookup):
        return "\n".join(_lookup(kernel))
    lines = _heading(kernel)
    lines += [f"  %{number} = {_instruction(each)}" for number, each in enumerate(kernel.body)]
    lines += [f"  {_access(store.access)} = %{store.value}" for store in kernel.stores]
    return "\n".join(lines)


def loops(kernel: Kernel) -> str:
    """The loops in one line: `batch, 128 over 64`."""
    if isinstance(kernel, Nest):
        outer, folded = kernel.axes, kernel.over
    elif isinstance(kernel, Lookup):
        outer, folded = kernel_axes(kernel), ()
    else:
        outer, folded = (*kernel.batch, *kernel.m, kernel.n), kernel.k
    text = " x ".join(str(a.extent) for a in outer) or "1"
    return text + (" over " + " x ".join(str(a.extent) for a in folded) if folded else "")


def _lookup(kernel: Lookup) -> list[str]:
    table, rows = _access(kernel.table), _access(kernel.rows)
    index = f"{kernel.entry.name} = {_access(kernel.index)}"
    return [f"for {_axes(kernel_axes(kernel))}", f"  {index}", f"  {table} += {rows}" if kernel.add else f"  {rows} = {table}"]


def _heading(kernel: Nest | Contract) -> list[str]:
    if isinstance(kernel, Nest):
        over = f" over {_axes(kernel.over)}" if kernel.over else ""
        return [f"for {_axes(kernel.axes)}{over}"]
    outer = _axes((*kernel.batch, *kernel.m, kernel.n))
    product = f"acc = sum over {_axes(kernel.k)} of {_access(kernel.a)} * {_access(kernel.b)} : {kernel.dtype}"
    return [f"for {outer}", f"  {product}"]


def _axes(axes: tuple[Axis, ...]) -> str:
    return ", ".join(f"{a.name} < {a.extent}" + (f" in panels of {a.split}" if a.split else "") for a in axes) or "one point"


def _access(access: Access) -> str:
    return f"{access.buffer}[{_affine(access.strides, access.offset)}]"


def _affine(strides: tuple[tuple[str, int], ...], offset: int) -> str:
    terms = [name if step == 1 else f"{step}*{name}" for name, step in strides]
    return " + ".join([*terms, str(offset)] if offset or not terms else terms)


def _instruction(each: Instruction) -> str:
    match each:
        case Load():
            text = _access(each.access)
            return f"{text} : {each.access.dtype}"
        case Constant():
            text = repr(each.value)
        case Apply():
            text = f"{each.op}({', '.join(f'%{a}' for a in each.args)})"
        case Index():
            text = f"index({_affine(each.strides, each.offset)})"
        case Extents():
            text = f"extent({each.symbol})"
        case Fold():
            text = f"{each.kind}(%{each.arg})"
        case Accumulator():
            text = "acc"
    return f"{text} : {each.dtype}"
