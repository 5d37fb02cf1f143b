"""The random numbers are Philox2x32-10, number for number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.ops import Position
from ranvier.compiler.ir.random import philox2x32
from ranvier.compiler.ir.types import F32, U32

WORD = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(("index", "counter", "key", "expected"), [
    (0x00000000, 0x00000000, 0x00000000, 0xFF1DAE59),
    (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0x2C3F628B),
    (0x243F6A88, 0x85A308D3, 0x13198A2E, 0xDD7CE038),
])  # fmt: skip
def test_known_answers(index: int, counter: int, key: int, expected: int) -> None:
    """The vectors `philox2x32 10` of the file kat_vectors of Random123, first word."""
    assert philox2x32(index, counter, key) == expected


@given(st.lists(WORD, min_size=1, max_size=5), WORD, WORD)
def test_a_number_depends_on_its_own_place_alone(indices: list[int], counter: int, key: int) -> None:
    together = philox2x32(np.array(indices, dtype=np.uint32), counter, key)
    assert together.dtype == np.uint32
    assert together.tolist() == [philox2x32(i, counter, key) for i in indices]


def test_bits_are_even_and_unlike_from_step_to_step() -> None:
    first, second = (philox2x32(np.arange(20_000), step, 7) for step in (0, 1))
    for bits in (first, first ^ second):
        ones = np.unpackbits(bits.view(np.uint8)).reshape(-1, 32).mean(0)
        assert np.abs(ones - 0.5).max() < 0.02


def test_the_operation_draws_them() -> None:
    graph = Graph()
    build = Build(graph, F32)
    position = build.add_op(Position((2, 3), (3, 1), U32))
    graph.outputs = {"y": build.apply("random_bits", position, build.constant(5, U32), build.constant(9, U32))}
    expected = [[philox2x32(3 * row + column, 5, 9) for column in range(3)] for row in range(2)]
    assert evaluate(graph, {})["y"].tolist() == expected
