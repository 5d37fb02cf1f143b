"""The memory of a model: one page-aligned, zeroed block a space, and NumPy views of the buffers in it."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..compiler.errors import ResourceError
from ..compiler.ir.types import batched
from ..compiler.kernels.placement import Placement, pack, unpack
from ..compiler.kernels.program import Buffer
from ..compiler.layout import Layout

HUGE = 2**21
Array = np.ndarray[Any, Any]


@dataclass
class Memory:
    """The spaces of a layout. A space grows when a new program needs more of it; what it held stays at the same offsets."""

    layout: Layout
    blocks: dict[str, Array] = field(default_factory=dict)
    generation: int = 0
    _views: dict[str, Array] = field(default_factory=dict)

    def ensure(self, space: str, size: int) -> int:
        """The address of a space of at least `size` bytes."""
        block = self.blocks.get(space)
        if block is None or block.size < size:
            grown = allocate(size)
            if block is not None:
                grown[: block.size] = block
            self.blocks[space] = block = grown
            self.generation += 1
            self._views.clear()
        return int(block.ctypes.data)

    def flat(self, key: str) -> Array:
        """The elements of a buffer of the layout, as they lie."""
        if key not in self._views:
            buffer = self.buffer(key)
            block = self.blocks[buffer.space]
            self._views[key] = block[buffer.offset : buffer.offset + buffer.bytes].view(buffer.dtype.numpy)
        return self._views[key]

    def buffer(self, key: str) -> Buffer:
        """The buffer of a key, its space allocated."""
        found, size = self.layout.buffers(key.partition(":")[0])
        self.ensure(key.partition(":")[0], size)
        return found[key]

    def place(self, key: str) -> Placement:
        """The placement of a key."""
        return self.layout.places[key.partition(":")[0]][key]

    def read(self, key: str) -> Array:
        """A logical copy of a value; of one that each row has, for all rows there is room for."""
        return logical(self.place(key), self.flat(key), self.layout.capacity)

    def write(self, key: str, value: Array) -> None:
        """Set a value from its logical form; of one that each row has, for all rows there is room for, or one for all of them."""
        if self.is_batched(key):
            self.rows(key)[...] = value
            return
        packed = pack(self.place(key), value)
        self.flat(key)[: packed.size] = packed

    def is_batched(self, key: str) -> bool:
        """Whether each row has the value."""
        return batched(self.place(key).shape)

    def rows(self, key: str) -> Array:
        """A view [capacity, …] of a batched buffer; rows may lie further apart than they are long."""
        return rows_of(self.place(key), self.flat(key), self.layout.capacity)


def rows_of(place: Placement, flat: Array, capacity: int) -> Array:
    """A view [capacity, …] of the elements of a batched buffer."""
    shape = (capacity, *(d for d in place.shape if isinstance(d, int)))
    strides = tuple(s * place.dtype.bytes for s in place.strides)
    return np.ndarray(shape, place.dtype.numpy, flat.data, 0, strides)


def logical(place: Placement, flat: Array, capacity: int) -> Array:
    """A copy of what the elements of a buffer are: the whole value, or that of all rows."""
    return rows_of(place, flat, capacity).copy() if batched(place.shape) else unpack(place, flat)


def require_memory(size: int, purpose: str) -> None:
    """Raise ResourceError when `size` bytes are more than this machine has: asking would end the process, not the request."""
    if size > machine_bytes():
        raise ResourceError(
            f"{purpose} needs {size / 2**30:.1f} GiB of memory, this machine has {machine_bytes() / 2**30:.1f} GiB; make the model smaller"
        )


def machine_bytes() -> int:
    """The memory of this machine, or as much as a process can address where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**47


def allocate(size: int) -> Array:
    """Zeroed bytes at a page boundary; in huge pages where the system has them and the size is worth it. Raises ResourceError."""
    require_memory(size, "the model")
    try:
        block = mmap.mmap(-1, max(size, mmap.PAGESIZE))
    except (OSError, MemoryError):
        mend = "use a smaller batch or a smaller model"
        raise ResourceError(f"the system refuses {size / 2**30:.1f} GiB of memory for the model: {mend}") from None
    if size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(block, dtype=np.uint8)
