"""Counts that are gathered piece by piece are those of all rows at once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranvier.runtime.looking import measures
from ranvier.runtime.looking.measures import Tally
from ranvier.runtime.looking.repeats import different, known

WHOLE = st.integers(-5, 5)
PIECES = st.lists(st.one_of(st.lists(WHOLE, max_size=9), st.lists(WHOLE.map(lambda n: n / 4), max_size=9)), max_size=6)
MARKS = st.lists(st.integers(2**64 - 4, 2**64 - 1) | st.integers(0, 5), max_size=12)


def told(pieces: list[Any]) -> Tally:
    tally = Tally()
    for piece in pieces:
        tally.see(piece)
    tally.settle()
    return tally


@given(PIECES)
def test_numbers_are_counted_over_pieces(pieces: list[list[float]]) -> None:
    tally, wanted = told([np.array(piece, dtype=np.float64) for piece in pieces]), Counter(value for piece in pieces for value in piece)
    assert dict(zip([] if tally.values is None else tally.values.tolist(), tally.counts.tolist(), strict=True)) == wanted
    assert tally.values is None or (np.diff(tally.values) > 0).all()


@given(st.lists(st.lists(st.text("ab", max_size=4), max_size=9), max_size=5))
def test_texts_of_growing_width_are_counted_over_pieces(pieces: list[list[str]]) -> None:
    tally, wanted = told([np.array(piece, dtype=np.str_) for piece in pieces]), Counter(text for piece in pieces for text in piece)
    found = [] if tally.values is None else tally.values.tolist()
    assert found == sorted(wanted)
    assert tally.counts.tolist() == [wanted[text] for text in found]
    assert tally.counts.dtype == np.int64


def test_too_many_values_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "MOST_VALUES", 10)
    assert not told([np.arange(5), np.arange(10)]).full
    tally = told([np.arange(5), np.arange(11), np.arange(3)])
    assert tally.full
    assert tally.values is None
    assert not tally.counts.size


@given(MARKS, MARKS)
def test_marks_are_counted(own: list[int], others: list[int]) -> None:
    assert different(np.array(own, dtype=np.uint64)) == len(set(own))
    assert known(np.array(own, dtype=np.uint64), np.array(others, dtype=np.uint64)) == sum(mark in others for mark in own)
