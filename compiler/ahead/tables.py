"""Constant tables of a library in LLVM text: names, shapes and classes that a caller may ask for, and where values lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..ir.types import DTYPES, Symbol
from ..kernels.placement import Placement
from ..kernels.program import Buffer
from .library import Tensor

TENSOR = "%tensor = type { ptr, i32, i32, ptr, i64, i64, i64, ptr, i64, ptr }"
"""A tensor as the header declares it: name, type, rank, shape, bytes, low, high, classes, their count, name of its lengths."""

RECORD = 8
"""Words of a record of a value: offset of the word with its space's address, bytes from there, then its geometry (`record`)."""


@dataclass
class Tables:
    """Global constants being written; each different text is written once."""

    lines: list[str] = field(default_factory=lambda: [TENSOR])
    _texts: dict[str, str] = field(default_factory=dict)

    def text(self, value: str) -> str:
        """The address of a text that ends with a zero byte."""
        if value not in self._texts:
            encoded = value.encode() + b"\0"
            self._texts[value] = name = f"@text.{len(self._texts)}"
            self.lines.append(f'{name} = private unnamed_addr constant [{len(encoded)} x i8] c"{spelled(encoded)}", align 1')
        return self._texts[value]

    def array(self, name: str, type_: str, values: Iterable[object], alignment: int = 8) -> str:
        """The address of an array; null where it would have no elements."""
        found = [f"{type_} {value}" for value in values]
        if not found:
            return "null"
        self.lines.append(f"@{name} = internal constant [{len(found)} x {type_}] [{', '.join(found)}], align {alignment}")
        return f"@{name}"

    def tensors(self, name: str, tensors: Sequence[Tensor]) -> str:
        """The address of descriptions."""
        return self.array(name, "%tensor", [self._tensor(f"{name}.{n}", each) for n, each in enumerate(tensors)])

    def _tensor(self, name: str, each: Tensor) -> str:
        shape = self.array(f"{name}.shape", "i64", each.shape)
        classes = self.array(f"{name}.classes", "ptr", [self.text(text) for text in each.classes])
        low, high = (each.low, each.high) if each.high is not None else (0, -1)
        length = self.text(each.length) if each.length else "null"
        kind = list(DTYPES).index(each.dtype.name)
        head = f"ptr {self.text(each.name)}, i32 {kind}, i32 {len(each.shape)}, ptr {shape}, i64 {each.bytes}"
        return f"{{ {head}, i64 {low}, i64 {high}, ptr {classes}, i64 {len(each.classes)}, ptr {length} }}"


def spelled(content: bytes) -> str:
    """Bytes as LLVM writes them."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:02x}" for byte in content)


def record(place: Placement, buffer: Buffer, word: int, capacity: int) -> tuple[int, ...]:
    """Where a value lies and how, so that one routine can copy any of them in row-major order.

    It is so many rows of so many bytes, each in panels of so many; from panel to panel and from row to row it is so many bytes; and
    the bytes of all of it.
    """
    size = place.dtype.bytes
    shape = [capacity if isinstance(d, Symbol) else d for d in place.shape]
    columns = size * (shape[-1] if place.panel else 1)
    rows = 1
    for extent in shape[:-1] if place.panel else shape:
        rows *= extent
    total = rows * columns
    if place.panel:
        geometry = (rows, columns, place.panel * size, place.panel_stride * size, place.panel * size)
    elif any(isinstance(d, Symbol) for d in place.shape):
        geometry = (capacity, total // capacity, total // capacity, 0, place.strides[0] * size)
    else:
        geometry = (1, total, total, 0, 0)
    return word, buffer.offset + place.offset * size, *geometry, total
