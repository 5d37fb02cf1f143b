"""Parquet files: columns as pandas would give them, oddities named, damage refused."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ranvier.compiler.errors import DataError
from ranvier.runtime.limits import Limits
from ranvier.runtime.reading import Wanted, read_table
from ranvier.runtime.table import Table, select_columns


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.parquet"


def write(file: Path, **columns: object) -> Table:
    pq.write_table(pa.table(columns), file)
    return read_table(file)


def test_numbers_texts_truths_and_lists(file: Path) -> None:
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    table = write(
        file,
        whole=pa.array([1, 2, 3], pa.int16()),
        real=pa.array([0.5, 1.5, 2.5], pa.float32()),
        name=pa.array(["b", "a", "é"]),
        kind=pa.array(["x", "y", "x"]).dictionary_encode(),
        right=pa.array([True, False, True]),
        price=pa.array([1.25, 2.5, 3.75]).cast(pa.decimal128(10, 2)),
        vector=pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 2),
        pair=pa.array([[1, 2], [3, 4], [5, 6]]),
    )
    assert table["whole"].tolist() == [1, 2, 3]
    assert table["whole"].dtype == np.int16
    assert table["real"].dtype == np.float32
    assert table["name"].tolist() == ["b", "a", "é"]
    assert table["kind"].tolist() == ["x", "y", "x"]
    assert table["right"].tolist() == [True, False, True]
    assert table["price"].tolist() == [1.25, 2.5, 3.75]
    np.testing.assert_array_equal(table["vector"], vectors)
    assert table["pair"].tolist() == [[1, 2], [3, 4], [5, 6]]


def test_what_is_null_is_missing(file: Path) -> None:
    table = write(
        file,
        whole=pa.array([1, None]),
        right=pa.array([None, True]),
        name=pa.array(["a", None]),
        day=pa.array([datetime.date(2024, 2, 29), None]),
        nothing=pa.nulls(2),
    )
    np.testing.assert_array_equal(table["whole"], [1, np.nan])
    np.testing.assert_array_equal(table["right"], [np.nan, 1])
    assert table["name"].tolist() == ["a", ""]
    assert table["day"].tolist() == ["2024-02-29", ""]
    assert np.isnan(table["nothing"]).all()


def test_numbers_that_are_labels_stay_text(file: Path) -> None:
    write(file, code=pa.array([7, 10]))
    assert read_table(file, wanted=Wanted({"code"}))["code"].tolist() == ["7", "10"]


def test_columns_that_no_array_holds_are_named_only_when_they_are_asked_for(file: Path) -> None:
    table = write(file, x=pa.array([1.0, 2.0]), odd=pa.array([[1], [1, 2]]), record=pa.array([{"a": 1}, {"a": 2}]))
    assert list(table) == ["x"]
    with pytest.raises(DataError, match="the file has it, but its lists differ in length"):
        select_columns(table, {"y": ["odd"]})
    with pytest.raises(DataError, match="elements of type struct"):
        select_columns(table, {"y": ["record"]})


def test_what_exceeds_the_limits_is_refused(file: Path) -> None:
    write(file, x=pa.array(np.zeros(100_000)))
    with pytest.raises(DataError, match="the limit is"):
        read_table(file, Limits(size=500_000))
    write(file, x=pa.array([1]), y=pa.array([1]))
    with pytest.raises(DataError, match="2 columns, the limit is 1"):
        read_table(file, Limits(columns=1))


def test_a_short_dictionary_may_not_unfold_to_a_huge_column(file: Path) -> None:
    rows = 20_000
    write(file, x=pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["a" * 10_000])))
    with pytest.raises(DataError, match=r"too long for 20000 rows|the limit is"):
        select_columns(read_table(file, Limits(size=50_000_000)), {"y": ["x"]})


@pytest.mark.parametrize("position", np.linspace(0, 0.99, 33).tolist())
def test_a_file_cut_short_or_with_other_bytes_is_read_or_refused(file: Path, position: float) -> None:
    write(file, x=pa.array(np.arange(100.0)), name=pa.array(["a", "b"] * 50))
    whole = file.read_bytes()
    cut = int(len(whole) * position)
    for data in (whole[:cut], whole[:cut] + b"\xff" + whole[cut + 1 :]):
        file.write_bytes(data)
        try:
            assert read_table(file).rows == 100
        except DataError as error:
            assert str(error).startswith(str(file))  # noqa: PT017  # either is right
