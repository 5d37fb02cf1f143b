"""Rows reach a model with the right names, shapes, types and values, or the first wrong one is named by its place."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from ranvier.compiler.errors import DataError
from ranvier.compiler.ir.types import BOOL, F32, F64, I32, I64, U8, DType
from ranvier.runtime.convert import as_array
from ranvier.runtime.data import Field, fit_arrays, learn_vocabularies, learn_vocabulary, split_rows
from ranvier.runtime.limits import Limits
from ranvier.runtime.reading import Wanted, read_table
from ranvier.runtime.table import Origin, Table, select_columns

SPECIES = Field("species", I32, (), 3)


def fit(field: Field, value: Any, **options: Any) -> np.ndarray:
    return fit_arrays([field], {field.name: value}, **options)[field.name]


def refused(field: Field, value: Any, words: str, **options: Any) -> None:
    with pytest.raises(DataError, match=words):
        fit(field, value, **options)


# --- what is right


def test_an_array_that_is_right_is_given_back_as_it_is() -> None:
    array = np.ones((4, 3), dtype=np.float32)
    assert fit(Field("x", F32, (3,)), array) is array


@pytest.mark.parametrize(
    "make", [lambda a: a.T.copy().T, lambda a: a[::-1], lambda a: a.astype(">f4"), lambda a: a.astype(np.float64), lambda a: a.tolist()]
)
def test_any_layout_becomes_native_and_contiguous(make: Any) -> None:
    array = np.arange(12, dtype=np.float32).reshape(4, 3)
    given_ = make(array)
    found = fit(Field("x", F32, (3,)), given_)
    np.testing.assert_array_equal(found, np.asarray(given_, dtype=np.float32))
    assert found.dtype == np.float32
    assert found.dtype.isnative
    assert found.flags.c_contiguous
    assert found.flags.aligned


def test_misaligned_memory_is_copied() -> None:
    array = np.frombuffer(b"\0" + np.arange(3, dtype=np.float32).tobytes(), dtype=np.uint8)[1:].view(np.float32)
    assert not array.flags.aligned
    found = fit(Field("x", F32, ()), array)
    assert found.flags.aligned
    assert found.tolist() == [0, 1, 2]


@settings(max_examples=150, deadline=None)
@given(
    dtype=st.sampled_from([F32, F64, I32, I64, U8]),
    source=st.sampled_from(["f4", "f8", "i4", "i8", "u1", "?", ">i2", ">f8"]),
    shape=hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4),
    data=st.data(),
)
def test_small_whole_numbers_survive_every_conversion(dtype: DType, source: str, shape: tuple[int, ...], data: st.DataObject) -> None:
    elements = st.integers(0, 1) if source == "?" else st.integers(0, 100)
    array = data.draw(hnp.arrays(np.int64, shape, elements=elements)).astype(source)
    found = fit(Field("x", dtype, shape[1:]), array)
    assert found.dtype == dtype.numpy
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found.astype(np.int64), array.astype(np.int64))


def test_pandas_and_torch() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1.5, 2.5], "n": pandas.array([1, 2], dtype="Int64"), "species": pandas.Categorical(["b", "a"])})
    fields = [Field("x", F32, ()), Field("n", I32, ()), Field("species", I32, (), 2)]
    found = fit_arrays(fields, frame, vocabularies={"species": ["a", "b"]})
    assert {name: array.tolist() for name, array in found.items()} == {"x": [1.5, 2.5], "n": [1, 2], "species": [1, 0]}
    assert fit(Field("x", F32, (2,)), frame[["x", "n"]]).tolist() == [[1.5, 1], [2.5, 2]]
    refused(Field("n", I32, ()), pandas.Series([1, None], dtype="Int64"), "`n` row 1 ")
    torch = pytest.importorskip("torch")
    assert fit(Field("x", F32, (2,)), torch.ones(3, 2)).tolist() == [[1, 1]] * 3
    refused(Field("x", F32, (2,)), torch.ones(3, 2, requires_grad=True), "cannot be read as an array")


def test_dlpack_alone_is_enough() -> None:
    class Tensor:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    assert fit(Field("x", F32, (2,)), Tensor(np.ones((3, 2), np.float32))).tolist() == [[1, 1]] * 3


# --- names, rows and shapes


def test_a_missing_name_is_answered_with_the_closest() -> None:
    with pytest.raises(DataError, match="has no `image`; did you mean `images`"):
        fit_arrays([Field("image", F32, ())], {"images": [1.0], "digit": [1]})
    with pytest.raises(DataError, match="has no `image`; it has `q`"):
        fit_arrays([Field("image", F32, ())], {"q": [1.0]})


def test_data_without_names() -> None:
    with pytest.raises(DataError, match="type list; give a dictionary"):
        fit_arrays([Field("image", F32, ())], [1.0])


def test_rows_must_agree() -> None:
    with pytest.raises(DataError, match="`a` 2, `b` 3"):
        fit_arrays([Field("a", F32, ()), Field("b", F32, ())], {"a": [1, 2], "b": [1, 2, 3], "unused": [0]})


def test_a_trailing_axis_of_one_comes_and_goes() -> None:
    assert fit(Field("image", U8, (8, 8, 1)), np.zeros((5, 8, 8), np.uint8)).shape == (5, 8, 8, 1)
    assert fit(Field("y", F32, ()), np.zeros((5, 1))).shape == (5,)
    assert fit(Field("y", F32, (1,)), np.zeros(5)).shape == (5, 1)
    assert fit(Field("y", F32, (1,)), np.zeros(0)).shape == (0, 1)


def test_other_shapes_are_refused_with_both() -> None:
    refused(
        Field("image", U8, (8, 8, 1)),
        np.zeros((5, 64)),
        r"shape \[rows, 64\], the model declares \[rows, 8, 8, 1\]; .*reshape\(-1, 8, 8, 1\)",
    )
    refused(Field("image", U8, (8, 8, 1)), np.zeros((5, 1, 8, 8)), "reshape")
    refused(Field("x", F32, (3,)), np.zeros((5, 4)), r"shape \[rows, 4\], the model declares \[rows, 3\]$")
    refused(Field("x", F32, (3,)), 1.0, "single value")
    refused(Field("x", F32, (3,)), [[1, 2, 3], [4, 5]], "cannot be read as an array")


# --- values


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (Field("x", F32, (2,)), [[1, 2], [3, np.nan]], "`x` row 1 column 1 is nan"),
        (Field("x", F32, ()), np.array([1, -np.inf], np.float32), "`x` row 1 is -inf"),
        (Field("x", F32, (2, 2)), [[[1, 2], [3, 1e300]]], r"`x` row 0 at \[1, 1\] is 1e\+300; it exceeds what f32 holds"),
        (Field("x", U8, ()), [3, 256], "`x` row 1 is 256; u8 holds 0 to 255"),
        (Field("x", U8, ()), [3.0, -1.0], "`x` row 1 is -1.0; u8 holds"),
        (Field("x", U8, ()), [3.0, 0.5], "`x` row 1 is 0.5; u8 holds whole numbers"),
        (Field("x", I32, ()), np.array([0, 2**31]), "row 1 is 2147483648"),
        (Field("x", I64, ()), np.array([2.0**63]), "row 0 is 9.22"),
        (Field("x", I64, ()), np.array([1, 2**63], np.uint64), "row 1 is 9223372036854775808"),
        (Field("x", BOOL, ()), [0, 2], "row 1 is 2; bool holds 0 to 1"),
        (Field("x", F32, ()), ["1.5", "two"], "`x` row 1 holds the text 'two'"),
        (Field("x", F32, ()), ["1.5"], r"astype\(float\)"),
        (Field("x", F32, ()), [1.5, "a", None], "row 1 holds 'a'|row 2 holds"),
        (Field("x", F32, ()), np.array([1.5, None], dtype=object), "row 1 is nan, a missing value"),
        (Field("x", F32, ()), np.array([10**400, 1], dtype=object), "cannot be read as numbers"),
        (Field("x", F32, ()), np.array([1j]), "complex128"),
        (Field("x", F32, ()), np.array(["2020-01-01"], "M8[D]"), "datetime64"),
        (Field("x", F32, ()), np.zeros(2, "f4,f4"), "elements of type"),
        (Field("x", F32, ()), np.ma.array([1.0, 2.0], mask=[0, 1]), "`x` row 1 is masked"),
        (SPECIES, [0, 3], "`species` row 1 is class 3, outside 0..2"),
        (SPECIES, [0, -1], "`species` row 1 is class -1"),
        (SPECIES, [0.0, 1.5], "row 1 is 1.5; i32 holds whole numbers"),
        (SPECIES, [0.0, np.nan], "row 1 is nan"),
        (SPECIES, ["setosa"], "text labels"),
        (Field("words", I32, (2,), 9), [[1, 2], [3, 9]], "`words` row 1 column 1 is class 9"),
    ],
)
def test_the_first_unusable_value_is_named(field: Field, value: Any, words: str) -> None:
    refused(field, value, words)


def test_values_at_the_edge_are_kept() -> None:
    assert fit(Field("x", U8, ()), [0.0, 255.0]).tolist() == [0, 255]
    assert fit(Field("x", I64, ()), [-(2**63), 2**63 - 1]).tolist() == [-(2**63), 2**63 - 1]
    assert fit(Field("x", BOOL, ()), [0.0, 1.0]).tolist() == [False, True]
    assert fit(SPECIES, [0.0, 2.0]).tolist() == [0, 2]
    assert fit(Field("x", F32, ()), np.ma.array([1.0, 2.0])).tolist() == [1, 2]
    assert fit(Field("x", F32, ()), np.array([1, 2.5, True], dtype=object)).tolist() == [1, 2.5, 1]


# --- labels


def test_vocabulary_is_sorted_and_from_the_given_rows() -> None:
    data = {"species": ["b", "a", "c", "a"], "x": [1, 2, 3, 4]}
    assert learn_vocabulary(SPECIES, data) == ["a", "b", "c"]
    assert learn_vocabulary(SPECIES, data, np.array([0, 1])) == ["a", "b"]
    assert learn_vocabularies([SPECIES, Field("x", I32, (), 9), Field("absent", I32, (), 2)], data) == {"species": ["a", "b", "c"]}


def test_labels_become_indices_of_any_order_of_names() -> None:
    assert fit(SPECIES, ["a", "b", "a"], vocabularies={"species": ["b", "c", "a"]}).tolist() == [2, 0, 2]
    assert fit(SPECIES, np.array([b"a"]), vocabularies={"species": ["a"]}).tolist() == [0]
    refused(
        SPECIES,
        ["setosa", "setossa"],
        "row 1 holds the label 'setossa', which training did not see; did you mean `setosa`",
        vocabularies={"species": ["setosa"]},
    )
    refused(SPECIES, ["a"], "0 known labels", vocabularies={"species": []})


def test_labels_that_cannot_be_learned() -> None:
    with pytest.raises(DataError, match=r"4 different labels \(`a`, `b`, `c`, `d`\), the model declares class\[3\]"):
        learn_vocabulary(SPECIES, {"species": list("abcd")})
    with pytest.raises(DataError, match="row 1 has no label"):
        learn_vocabulary(SPECIES, {"species": ["a", ""]})
    with pytest.raises(DataError, match="numbers, not text"):
        learn_vocabulary(SPECIES, {"species": [1, 2]})
    with pytest.raises(DataError, match="has no `species`"):
        learn_vocabulary(SPECIES, {"specie": ["a"]})


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=4), min_size=1, max_size=30))
def test_any_labels_come_back(labels: list[str]) -> None:
    field = Field("y", I32, (), len(set(labels)))
    vocabulary = learn_vocabulary(field, {"y": labels})
    assert [vocabulary[i] for i in fit(field, labels, vocabularies={"y": vocabulary})] == labels


# --- tables


def test_tables_are_chosen_by_suffix(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.ones((3, 2)))
    np.save(tmp_path / "x.npy", np.arange(3))
    (tmp_path / "x.npy").rename(tmp_path / "x.NPY")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "a.tsv").write_text("x\ty\n1\t2\n")
    assert read_table(tmp_path / "a.npz").rows == 3
    assert list(read_table(tmp_path / "a.csv")) == list(read_table(tmp_path / "a.tsv")) == ["x", "y"]
    assert read_table(tmp_path / "a.csv", wanted=Wanted({"x"}))["x"].tolist() == ["1"]
    assert list(read_table(tmp_path / "x.NPY")) == ["x"]
    with pytest.raises(DataError, match=r"\.npz, \.npy, \.csv, \.tsv"):
        read_table(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="the limit is"):
        read_table(tmp_path / "a.npz", Limits(size=10))


def test_a_table_has_one_number_of_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train=np.arange(3), test=np.arange(2))
    with pytest.raises(DataError, match=r"a\.npz: .*`train` 3, `test` 2"):
        read_table(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.arange(3), rate=1.0)
    with pytest.raises(DataError, match="`rate` is a single value"):
        read_table(tmp_path / "a.npz")


def test_messages_name_the_row_and_column_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("w,h,species\n1,2,a\n3,,b\n5,6,\n")
    table = select_columns(read_table(tmp_path / "a.csv"), {"features": ["w", "h"], "kind": ["species"]})
    assert table["features"].shape == (3, 2)
    assert table["kind"].tolist() == ["a", "b", ""]
    with pytest.raises(DataError, match=r"a\.csv: `features` row 3 column `h` is nan"):
        fit_arrays([Field("features", F32, (2,))], table)
    with pytest.raises(DataError, match=r"a\.csv: `kind` row 4 has no label"):
        learn_vocabulary(Field("kind", I32, (), 3), table)


def test_columns_that_cannot_be_joined(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("w,h,n\n1,2,4\n3,#NAME?,5\n")
    table = read_table(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"`h` row 3 holds the text '#NAME\?'"):
        select_columns(table, {"features": ["w", "h"]})
    with pytest.raises(DataError, match="no column `ww` for `features`; did you mean `w`"):
        select_columns(table, {"features": ["ww"]})
    with pytest.raises(DataError, match="no columns"):
        select_columns(table, {"features": []})
    with pytest.raises(DataError, match="only plain columns"):
        select_columns(Table({"a": np.zeros((2, 2)), "b": np.zeros(2)}), {"x": ["a", "b"]})


# --- splits


@given(rows=st.integers(2, 300), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**64))
def test_a_split_is_a_partition_by_the_seed(rows: int, fraction: float, seed: int) -> None:
    if not 0 < round(rows * fraction) < rows:
        with pytest.raises(DataError, match="one part empty"):
            split_rows(rows, fraction, seed)
        return
    train, held_out = split_rows(rows, fraction, seed)
    assert sorted([*train, *held_out]) == list(range(rows))
    assert len(held_out) == round(rows * fraction)
    again = split_rows(rows, fraction, seed)
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(held_out, again[1])


def test_seeds_differ() -> None:
    assert not np.array_equal(split_rows(100, 0.2, 0)[1], split_rows(100, 0.2, 1)[1])


@given(labels=st.lists(st.sampled_from("abcd"), min_size=8, max_size=200), seed=st.integers(0, 9))
def test_classes_keep_their_shares(labels: list[str], seed: int) -> None:
    values = np.array(labels)
    train, held_out = split_rows(len(labels), 0.25, seed, labels)
    for label in set(labels):
        size, taken = (values == label).sum(), (values[held_out] == label).sum()
        assert abs(taken - size * 0.25) <= 1 + 1 / 8 + 1e-9
        assert label in values[train]


@pytest.mark.parametrize(
    ("rows", "fraction", "labels"),
    [(10, 0, None), (10, 1, None), (10, -1, None), (3, 0.1, None), (0, 0.5, None), (4, 0.5, list("abcd")), (4, 0.5, [1])],
)
def test_splits_that_leave_nothing_or_make_no_sense(rows: int, fraction: float, labels: Any) -> None:
    with pytest.raises(DataError):
        split_rows(rows, fraction, 0, labels)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.arange(1, 4), "classes count from 0: these count from 1, subtract 1 or declare class"),
        (np.array([0, 3, 1]), r"is class 3, outside 0..2; classes count from 0, and class\[3\] is declared"),
        (np.eye(3)[[0, 2, 1]], r"classes are given by their numbers: `.argmax\(axis=-1\)`"),
    ],
)
def test_the_mend_of_labels(array: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        fit_arrays([Field("y", I32, (), 3)], {"y": array})


def test_numbers_with_commas_are_told_to_have_points() -> None:
    with pytest.raises(DataError, match=r"`x` row 1 holds the text '1.000,5', where a number .* write numbers with a point"):
        fit_arrays([Field("x", F32, ())], {"x": ["2", "1.000,5"]})


def test_a_single_row_is_told_from_rows() -> None:
    with pytest.raises(DataError, match=r"a single row is a list of one: `\[row\]`"):
        fit_arrays([Field("x", F32, (4,))], {"x": np.zeros(4)})


def test_strings_of_varying_width_are_texts() -> None:
    texts = np.array(["setosa", "iris"], dtype=np.dtypes.StringDType())
    assert as_array(texts, "y", Origin()).tolist() == ["setosa", "iris"]


def test_a_row_without_label_is_named_as_it_stands_in_the_file(tmp_path: Path) -> None:
    """Whichever rows the names are learned from, and whether they are known already."""
    field, origin = Field("kind", I32, (), 3), Origin("a.csv", first_row=2)
    table = Table({"kind": np.array(["a", "b", "", "c"])}, origin)
    with pytest.raises(DataError, match=r"a.csv: `kind` row 4 has no label; .*`missing = drop`"):
        learn_vocabularies([field], table, np.array([1, 2, 3]))
    with pytest.raises(DataError, match=r"a.csv: `kind` row 4 has no label; .*`missing = drop`"):
        fit_arrays([field], table, vocabularies={"kind": ["a", "b", "c"]})
