"""Placements: a wrong stride reads another element, so every view is compared with NumPy's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import ShapeError
from ranvier.compiler.ir.ops import Source
from ranvier.compiler.ir.types import F32, F64, TensorType
from ranvier.compiler.kernels.placement import blocked, dense, elements, pack, sample_stride, unpack, view


@given(st.integers(1, 40), st.integers(1, 70), st.sampled_from([8, 16, 32]))
def test_panels_keep_every_element(rows: int, columns: int, panel: int) -> None:
    place = blocked("w", TensorType(F32, (rows, columns)), panel)
    array = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    flat = pack(place, array)
    assert flat.size == elements(place, 0)
    np.testing.assert_array_equal(unpack(place, flat), array)
    i, j = rows - 1, columns - 1
    assert flat[i * place.strides[0] + j % panel + j // panel * place.panel_stride] == array[i, j]
    assert np.count_nonzero(flat) <= array.size


@given(st.lists(st.sampled_from(["reshape", "transpose", "slice", "broadcast"]), max_size=5), st.data())
def test_views_address_what_numpy_addresses(steps: list[str], data: st.DataObject) -> None:
    build = Build(Graph("views"), F64)
    kind = TensorType(F64, (4, 6, 5))
    node = build.add_op(Source("input", "x", kind))
    place, memory = dense("x", kind), np.arange(120, dtype=np.float64)
    expected = memory.reshape(4, 6, 5)
    for step in steps:
        shape = build.type(node).shape
        try:
            if step == "transpose":
                order = data.draw(st.permutations(range(len(shape))))
                made, expected_next = build.transpose(node, order), expected.transpose(order)
            elif step == "slice":
                axis = data.draw(st.integers(0, len(shape) - 1))
                start = data.draw(st.integers(0, expected.shape[axis] - 1))
                made = build.slice_axis(node, axis, start, expected.shape[axis], 2)
                expected_next = expected[(slice(None),) * axis + (slice(start, None, 2),)]
            elif step == "broadcast":
                made = build.broadcast(node, (3, *shape), range(1, len(shape) + 1))
                expected_next = np.broadcast_to(expected, (3, *expected.shape))
            else:
                target = data.draw(st.sampled_from([(expected.size,), (1, expected.size), (2, expected.size // 2), (*shape, 1)]))
                made, expected_next = build.reshape(node, target), expected.reshape(target)
        except ShapeError:
            continue
        if made == node:
            continue
        found = view(build.graph, made, place)
        if found is None:
            assert step == "reshape"
            return
        node, place, expected = made, found, expected_next
        strides = [s * 8 for s in place.strides]
        seen = np.lib.stride_tricks.as_strided(memory[place.offset :], expected.shape, strides)
        np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("columns", [1, 10, 256, 512, 1000, 1024, 2048, 784])
def test_samples_do_not_alias(columns: int) -> None:
    stride = sample_stride(columns, F32)
    assert stride >= columns
    assert stride * 4 % 1024 or columns * 4 % 1024
