"""Folds: every row is held out once, classes and groups stay as they should, later rows are judged by earlier ones alone.

If these fail, a cross-validated score is that of rows that were trained on.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranvier.runtime.folds import make_folds

import ranvier as rv

COUNTS = st.integers(2, 7)


@settings(max_examples=60, deadline=None)
@given(st.integers(7, 60), COUNTS, st.integers(0, 5))
def test_every_row_is_held_out_once(rows: int, count: int, seed: int) -> None:
    folds = make_folds(rows, count, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([held for _, held in folds])), np.arange(rows))
    for training, held in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([training, held])), np.arange(rows))
        assert len(held) in (rows // count, rows // count + 1)
    again = make_folds(rows, count, seed)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(folds, again, strict=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=60), COUNTS)
def test_classes_are_dealt_out_evenly(labels: list[int], count: int) -> None:
    values = np.array(labels)
    folds = make_folds(len(values), count, 0, labels=values)
    for label in np.unique(values):
        shares = [int((values[held] == label).sum()) for _, held in folds]
        assert max(shares) - min(shares) <= 1
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(len(values)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=30, max_size=80), st.integers(2, 4))
def test_no_group_is_on_both_sides(groups: list[int], count: int) -> None:
    values = np.array(groups)
    if len(np.unique(values)) < count:
        return
    folds = make_folds(len(values), count, 1, groups=values)
    for training, held in folds:
        assert not set(values[training]) & set(values[held])
        assert len(held)


@settings(max_examples=60, deadline=None)
@given(st.integers(10, 60), COUNTS)
def test_ordered_rows_are_those_of_scikit_learn(rows: int, count: int) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    if rows <= count + 1:
        return
    wanted = list(selection.TimeSeriesSplit(count).split(np.zeros(rows)))
    for found, expected in zip(make_folds(rows, count, 0, ordered=True), wanted, strict=True):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("count", [0, 1, 6])
def test_folds_that_cannot_be(count: int) -> None:
    with pytest.raises(rv.DataError, match="folds need at least"):
        make_folds(5, count, 0)
    with pytest.raises(rv.DataError, match="groups"):
        make_folds(5, 3, 0, groups=np.array([0, 0, 1, 1, 1]))
