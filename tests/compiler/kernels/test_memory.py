"""The memory plan: two values alive at once must never share a byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranvier.compiler.errors import ResourceError
from ranvier.compiler.ir.types import F32, TensorType
from ranvier.compiler.kernels.memory import lifetimes, plan
from ranvier.compiler.kernels.model import Access, Axis, Load, Nest, Store
from ranvier.compiler.kernels.placement import dense
from ranvier.compiler.kernels.program import Launch


def copy(source: str, target: str, size: int) -> Launch:
    axes = (Axis("i", size),)
    load, store = (Access(name, F32, (("i", 1),)) for name in (source, target))
    return Launch(Nest(axes, (), (Load(load),), (Store(store, 0),)), "copy")


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30),
    st.lists(st.integers(1, 500), min_size=10, max_size=10),
)
def test_what_lives_together_lies_apart(moves: list[tuple[int, int]], sizes: list[int]) -> None:
    places = {f"t{n}": dense(f"t{n}", TensorType(F32, (size,))) for n, size in enumerate(sizes)}
    launches = [copy(f"t{a}", f"t{b}", 1) for a, b in moves]
    found, total = plan(launches, places, 1)
    alive = {life.name: life for life in lifetimes(launches, places, 1)}
    for a in found.values():
        assert a.offset % 64 == 0
        assert a.offset + a.bytes <= total
        for b in found.values():
            together = alive[a.name].first <= alive[b.name].last and alive[b.name].first <= alive[a.name].last
            apart = a.offset + a.bytes <= b.offset or b.offset + b.bytes <= a.offset
            assert a.name == b.name or apart or not together


def test_a_plan_that_cannot_fit_is_refused_before_it_is_tried() -> None:
    places = {name: dense(name, TensorType(F32, (2**20,))) for name in ("a", "b")}
    with pytest.raises(ResourceError, match="smaller batch"):
        plan([copy("a", "b", 1)], places, 1, limit=2**20)
