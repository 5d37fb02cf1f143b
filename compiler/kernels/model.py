"""The kernel level: loop nests over affine accesses, and the straight-line program that runs them.

Everything here is a frozen, hashable description; the generators in `backend/` turn one `Nest` or `Contract` into one LLVM function.

    Axis      a loop: a name and an extent (a number, or a `Symbol` such as BATCH known at run time)
    Access    an element of a buffer: offset + sum of stride * index
    body      instructions in order; an instruction names its operands by their position in the body
    Nest      map and reduce: for every point of `axes` evaluate the body; `Fold`s reduce over the `over` axes
    Contract  acc[batch, m, n] = sum over k of a * b; the body sees the sum as `Accumulator`
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ..ir.types import DType, Symbol

Extent = int | Symbol


@dataclass(frozen=True)
class Axis:
    """A loop of `extent` steps.

    With `split` = P > 0 an index i is seen by accesses as two digits: `name` is i mod P and `name + "/"` is i div P, so that a
    blocked ("panel") layout stays affine. An access that gives no stride for `name/` has P times its stride for `name` there.
    """

    name: str
    extent: Extent
    split: int = 0

    @property
    def panels(self) -> int:
        """Number of panels of a split axis of fixed extent."""
        assert isinstance(self.extent, int)
        return -(-self.extent // self.split)


@dataclass(frozen=True)
class Access:
    """The element `offset + sum(stride * index)` of `buffer`, strides in elements by axis name (absent means 0)."""

    buffer: str
    dtype: DType
    strides: tuple[tuple[str, int], ...] = ()
    offset: int = 0

    def stride(self, axis: Axis | str) -> int:
        """Elements between neighbours along `axis` (within a panel when the axis is split)."""
        name = axis if isinstance(axis, str) else axis.name
        return dict(self.strides).get(name, 0)

    def panel_stride(self, axis: Axis) -> int:
        """Elements between panels of a split axis."""
        return dict(self.strides).get(axis.name + "/", axis.split * self.stride(axis))


@dataclass(frozen=True)
class Load:
    """Read one element."""

    access: Access


@dataclass(frozen=True)
class Constant:
    """A number; `value` is exact for the dtype (a float, an int or a bool)."""

    value: float | int | bool
    dtype: DType


@dataclass(frozen=True)
class Apply:
    """A row of the elementwise table applied to earlier instructions; `dtype` is the result's (for `cast` the wanted one)."""

    op: str
    args: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True)
class Index:
    """The integer `offset + sum(stride * index)` of the point being computed."""

    strides: tuple[tuple[str, int], ...]
    offset: int
    dtype: DType


@dataclass(frozen=True)
class Extents:
    """The run-time extent of a symbol, as a number (the rows of this batch, for a mean over them)."""

    symbol: Symbol
    dtype: DType


@dataclass(frozen=True)
class Fold:
    """Reduce an earlier instruction over all `over` axes. `kind` is sum, max, min, argmax (first index, i32), argmin, any, all.

    argmax and argmin count in the row-major order of the `over` axes.
    """

    kind: str
    arg: int
    dtype: DType


@dataclass(frozen=True)
class Accumulator:
    """The finished sum of a contraction at this (batch, m, n)."""

    dtype: DType


Instruction = Load | Constant | Apply | Index | Extents | Fold | Accumulator


@dataclass(frozen=True)
class Store:
    """Write instruction `value` to `access` at every point where it is defined."""

    access: Access
    value: int


@dataclass(frozen=True)
class Nest:
    """A map/reduce kernel.

    `axes` are the points that are independent of each other (outer to inner); `over` the folded axes (outer to inner, empty for a map).
    A store whose value depends on no `over` index is made once per point of `axes`. Folds associate in a fixed order that depends on
    extents and vector width only, never on the number of threads. An access may be loaded and stored (in place) when both are equal.
    """

    axes: tuple[Axis, ...]
    over: tuple[Axis, ...]
    body: tuple[Instruction, ...]
    stores: tuple[Store, ...]


@dataclass(frozen=True)
class Contract:
    """acc[batch, m, n] = sum over k of a[batch, m, k] * b[batch, n, k], then `stores` of expressions on it.

    Several axes in `m` or `k` are walked in row-major order. `n` is one axis, split when b (or a store) is panel-blocked.
    Each accumulator is one chain over k in order, whatever the tile, so results depend on no partition.
    """

    batch: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: Axis
    k: tuple[Axis, ...]
    a: Access
    b: Access
    body: tuple[Instruction, ...]
    stores: tuple[Store, ...]
    dtype: DType


@dataclass(frozen=True)
class Lookup:
    """rows[point, feature] = table[index[point], feature] at every point of `axes`; or, to `add`, the table is made zero and then
    table[index[point], feature] += rows[point, feature], points in row-major order.

    The table has an entry along `entry`. An index outside it counts as the nearest inside.
    """

    axes: tuple[Axis, ...]
    entry: Axis
    feature: Axis
    index: Access
    table: Access
    rows: Access
    add: bool

    @property
    def entries(self) -> int:
        """Rows of the table."""
        assert isinstance(self.entry.extent, int)
        return self.entry.extent

    @property
    def features(self) -> int:
        """Columns of the table."""
        assert isinstance(self.feature.extent, int)
        return self.feature.extent

    @property
    def body(self) -> tuple[Instruction, ...]:
        """Nothing is computed."""
        return ()


Kernel = Nest | Contract | Lookup


def kernel_axes(kernel: Kernel) -> tuple[Axis, ...]:
    """All loops of a kernel, outer to inner."""
    if isinstance(kernel, Nest):
        return kernel.axes + kernel.over
    if isinstance(kernel, Lookup):
        return (*kernel.axes, kernel.feature)
    return (*kernel.batch, *kernel.m, kernel.n, *kernel.k)


def reached_axes(kernel: Kernel) -> tuple[Axis, ...]:
    """All axes along which a kernel may reach elements: its loops, and the entries of a table."""
    return (*kernel_axes(kernel), kernel.entry) if isinstance(kernel, Lookup) else kernel_axes(kernel)


def loads(kernel: Kernel) -> Iterator[Access]:
    """Every access that a kernel reads, in order."""
    if isinstance(kernel, Lookup):
        yield kernel.index
        yield kernel.rows if kernel.add else kernel.table
    if isinstance(kernel, Contract):
        yield kernel.a
        yield kernel.b
    for instruction in kernel.body:
        if isinstance(instruction, Load):
            yield instruction.access


def stores(kernel: Kernel) -> Iterator[Access]:
    """Every access that a kernel writes, in order."""
    if isinstance(kernel, Lookup):
        yield kernel.table if kernel.add else kernel.rows
        return
    for store in kernel.stores:
        yield store.access


def buffers(kernel: Kernel) -> tuple[str, ...]:
    """Names of the buffers that a kernel touches, in order of first appearance."""
    return tuple(dict.fromkeys(a.buffer for a in (*loads(kernel), *stores(kernel))))


def rename(kernel: Kernel, names: Mapping[str, str]) -> Kernel:
    """The same kernel on buffers of other names."""

    def moved(access: Access) -> Access:
        return replace(access, buffer=names.get(access.buffer, access.buffer))

    if isinstance(kernel, Lookup):
        return replace(kernel, index=moved(kernel.index), table=moved(kernel.table), rows=moved(kernel.rows))
    body = tuple(Load(moved(i.access)) if isinstance(i, Load) else i for i in kernel.body)
    written = tuple(Store(moved(s.access), s.value) for s in kernel.stores)
    if isinstance(kernel, Nest):
        return replace(kernel, body=body, stores=written)
    return replace(kernel, body=body, stores=written, a=moved(kernel.a), b=moved(kernel.b))


def extent(axis: Axis, sizes: Mapping[str, int]) -> int:
    """The extent of an axis once symbols have values."""
    return axis.extent if isinstance(axis.extent, int) else sizes[axis.extent.name]


def points(axes: tuple[Axis, ...], sizes: Mapping[str, int]) -> int:
    """Number of points of a domain."""
    return math.prod(extent(a, sizes) for a in axes)
