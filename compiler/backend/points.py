"""Evaluates the body of a nest at a place in its loops: every value once, at the outermost place where it is known.

A place binds axes to indices. Innermost stands a block of `Slot`s: vectors (or scalars) at fixed distances from the place, such as the
vectors of an unrolled turn, the points of a small window or the rows of a transposed block. A value that does not depend on an axis that
tells two slots apart is the same value.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..ir.types import I64
from ..kernels.model import Access, Apply, Constant, Extents, Fold, Index, Instruction, Load, Store
from . import elementwise, vectors
from .lanes import Lanes
from .loop_plan import Plan, Walk, dtype_of
from .text import Text, Value, i64

Key = tuple[int, tuple[tuple[str, int], ...], bool]


@dataclass(frozen=True)
class Slot:
    """A vector of the block: its distance from the place by axis, and its real lanes: all, the first `active`, or those of `mask`."""

    shift: tuple[tuple[str, int], ...] = ()
    active: int | None = None
    mask: Value | None = None

    def along(self, axes: frozenset[str]) -> tuple[tuple[str, int], ...]:
        """The part of the distance that values depending on `axes` can tell."""
        return tuple(s for s in self.shift if s[0] in axes and s[1])


HERE = (Slot(),)


@dataclass
class Place:
    """Where the writer is: bound axes, addresses of accesses, known values, and the block of slots.

    `values` maps an instruction, its part of a slot's distance, and whether it is spread over lanes, to what was written.
    """

    plan: Plan
    text: Text
    indices: dict[str, Value]
    pointers: dict[Access, Value]
    values: ChainMap[Key, Value]
    slots: tuple[Slot, ...] = HERE
    lanes: int = 1
    walk: Walk | None = None

    @contextmanager
    def inside(self, axis: str, index: Value, offsets: dict[int, Value]) -> Iterator[None]:
        """A place in the loop of `axis`; `offsets` are index * stride for the strides that occur."""
        before = (self.indices, self.pointers, self.values)
        self.indices = {**self.indices, axis: index}
        self.values = self.values.new_child()
        self.pointers = dict(self.pointers)
        for access in self.accesses():
            stride = access.stride(axis)
            if stride and index.name != "0":
                self.pointers[access] = self.text.at(self.pointers[access], vectors.memory_type(access.dtype), offsets[stride])
        yield
        self.indices, self.pointers, self.values = before

    @contextmanager
    def block(self, slots: tuple[Slot, ...], lanes: int) -> Iterator[None]:
        """A block of slots at this place; axes that the slots are told apart by count as bound."""
        before = (self.slots, self.lanes, self.values, self.indices)
        self.slots, self.lanes, self.values = slots, lanes, self.values.new_child()
        told = {name for slot in slots for name, _ in slot.shift}
        self.indices = {**{name: i64(0) for name in told}, **self.indices}
        yield
        self.slots, self.lanes, self.values, self.indices = before

    @contextmanager
    def walking(self, walk: Walk) -> Iterator[None]:
        """The instructions of one walk over the folded axes are wanted."""
        before, self.walk = self.walk, walk
        yield
        self.walk = before

    @property
    def wanted(self) -> frozenset[int]:
        """Instructions that are evaluated at or inside this place."""
        return self.walk.wanted if self.walk else self.plan.needed

    def accesses(self) -> list[Access]:
        """Accesses whose addresses are needed at or inside this place."""
        body, plan = self.plan.nest.body, self.plan
        found = [i.access for n in sorted(self.wanted) if isinstance(i := body[n], Load)]
        if self.walk is None:
            found += [a for w in plan.walks for a in w.saves.values()] + [s.access for s in plan.nest.stores]
        else:
            found += [*self.walk.saves.values(), *self.walk.saved.values(), *(plan.nest.stores[s].access for s in self.walk.stores)]
        return list(dict.fromkeys(found))

    def define_known(self) -> None:
        """Evaluate what is wanted, is not known yet and can be known here."""
        for number in sorted(self.wanted):
            instruction = self.plan.nest.body[number]
            if isinstance(instruction, (Constant, Fold)) or not self.plan.depends[number] <= self.indices.keys():
                continue
            for slot in self.slots:
                if self.find(number, slot) is None and self._has_operands(number, instruction, slot):
                    self.assign(number, slot, self._evaluate(number, instruction, slot))

    def find(self, number: int, slot: Slot) -> Value | None:
        """The value of an instruction as it was written: a vector if it varies over lanes, else a scalar."""
        return self.values.get((number, slot.along(self.plan.depends[number]), False))

    def assign(self, number: int, slot: Slot, value: Value) -> None:
        """Make a value known here and further in; one that lanes share is spread at once, outside the loops that use it."""
        key = slot.along(self.plan.depends[number])
        self.values[(number, key, False)] = value
        if number in self.plan.widened and self.plan.lanes > 1:
            self.values[(number, key, True)] = vectors.splat(self.text, value, self.plan.lanes)

    def operand(self, number: int, slot: Slot, lanes: int) -> Value:
        """A known value in `lanes` lanes."""
        instruction = self.plan.nest.body[number]
        if isinstance(instruction, Constant):
            return vectors.splat(self.text, vectors.literal(instruction.value, instruction.dtype), lanes)
        spread = lanes > 1 and not self.plan.varies(number)
        return self.values[(number, slot.along(self.plan.depends[number]), spread)]

    def store(self, store: Store) -> None:
        """Store at every slot, once where slots are the same element."""
        axes = frozenset(name for name, _ in store.access.strides)
        done: set[tuple[tuple[str, int], ...]] = set()
        for slot in self.slots:
            if slot.along(axes) in done:
                continue
            done.add(slot.along(axes))
            varies = self.plan.vector in axes
            value = self.operand(store.value, slot, self.lanes if varies else 1)
            self.write(store.access, slot, value, varies)

    def write(self, access: Access, slot: Slot, value: Value, varies: bool) -> None:
        """Store a slot's value: a vector along the vector axis, or a scalar."""
        pointer, dtype = self._address(access, slot), access.dtype
        if not varies or self.lanes == 1:
            vectors.store(self.text, value, pointer, dtype)
        else:
            vectors.store(self.text, value, pointer, dtype, self.lanes, slot.active, self.plan.lane_stride(access), slot.mask)

    def read(self, access: Access, slot: Slot, varies: bool) -> Value:
        """Load a slot's value: a vector along the vector axis, or a scalar."""
        pointer, dtype = self._address(access, slot), access.dtype
        if not varies or self.lanes == 1:
            return vectors.load(self.text, pointer, dtype)
        return vectors.load(self.text, pointer, dtype, self.lanes, slot.active, self.plan.lane_stride(access), slot.mask)

    def index(self, instruction: Index, slot: Slot, varies: bool) -> Value:
        """`offset + sum(stride * index)` at a slot, lane by lane where it varies."""
        shift, total, constant = dict(slot.shift), i64(0), instruction.offset
        for axis, stride in instruction.strides:
            constant += stride * shift.get(axis, 0)
            total = self.text.add(total, self.text.mul(self.indices[axis], stride))
        base = elementwise.cast(self.text, self.text.add(total, i64(constant)), I64, instruction.dtype, 1)
        if not varies or self.lanes == 1:
            return base
        vector = Lanes(self.text, instruction.dtype, self.lanes)
        stride = dict(instruction.strides)[self.plan.vector or ""]
        steps = ", ".join(str(vectors.literal(stride * lane, instruction.dtype)) for lane in range(self.lanes))
        return vector.add(vectors.splat(self.text, base, self.lanes), Value(vector.type, f"<{steps}>"))

    def _has_operands(self, number: int, instruction: Instruction, slot: Slot) -> bool:
        if not isinstance(instruction, Apply) or (self.walk and number in self.walk.saved):
            return True
        body = self.plan.nest.body
        return all(isinstance(body[a], Constant) or self.find(a, slot) is not None for a in instruction.args)

    def _evaluate(self, number: int, instruction: Instruction, slot: Slot) -> Value:
        varies = self.plan.varies(number)
        lanes = self.lanes if varies else 1
        if self.walk and number in self.walk.saved:
            return self.read(self.walk.saved[number], slot, True)
        if isinstance(instruction, Load):
            return self.read(instruction.access, slot, varies)
        if isinstance(instruction, Index):
            return self.index(instruction, slot, varies)
        if isinstance(instruction, Extents):
            return elementwise.cast(self.text, Value("i64", "%rows"), I64, instruction.dtype, 1)
        assert isinstance(instruction, Apply)
        args = [self.operand(a, slot, lanes) for a in instruction.args]
        dtypes = [dtype_of(self.plan.nest.body[a]) for a in instruction.args]
        value = elementwise.apply(self.text, instruction.op, args, dtypes, instruction.dtype, lanes)
        if self.walk and number in self.walk.saves:
            self.write(self.walk.saves[number], slot, value, True)
        return value

    def _address(self, access: Access, slot: Slot) -> Value:
        shift = sum(access.stride(axis) * distance for axis, distance in slot.shift)
        return self.text.at(self.pointers[access], vectors.memory_type(access.dtype), shift)
