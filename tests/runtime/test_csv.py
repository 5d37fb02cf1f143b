"""A text table gives exact numbers and text, or one DataError that names the row and column as a spreadsheet shows them."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ranvier.compiler.errors import DataError
from ranvier.runtime import csv_shape
from ranvier.runtime.csv_reader import read_csv
from ranvier.runtime.limits import Limits
from ranvier.runtime.reading import read_table

pandas = pytest.importorskip("pandas")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.csv"


def read(path: Path, content: str | bytes, **options: object) -> dict[str, list[object]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return {name: array.tolist() for name, array in read_csv(path, **options).items()}


def refused(path: Path, text: str | bytes, words: str, limits: Limits = Limits()) -> None:  # noqa: B008  # frozen
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError, match=words) as caught:
        read_csv(path, limits)
    assert str(path) in str(caught.value)


def test_columns_are_whole_numbers_floats_or_text(path: Path) -> None:
    path.write_text("count,width,species,right\n1,0.1,setosa,True\n-2,1e-3,NA,False\n")
    found = read_csv(path)
    assert {name: array.dtype.kind for name, array in found.items()} == {"count": "i", "width": "f", "species": "U", "right": "i"}
    assert {name: array.tolist() for name, array in found.items()} == {
        "count": [1, -2],
        "width": [0.1, 0.001],
        "species": ["setosa", "NA"],
        "right": [1, 0],
    }
    assert found["count"].dtype == np.int64
    assert found["width"].dtype == np.float64


def test_missing_numbers_are_nan_at_their_place(path: Path) -> None:
    found = read(path, "a,b,c\n1,,x\n,2,\n")
    assert np.isnan(found["a"][1])
    assert np.isnan(found["b"][0])
    assert found["c"] == ["x", ""]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n\r\n", {"a": [1], "b": [2]}),
        (b"a\n1\n2", {"a": [1, 2]}),
        (b' "a" , b\n1,2\n'.replace(b' "a" ', b'"a"'), {"a": [1], "b": [2]}),
        (b'a,"b,""c"""\n"x\r\ny, ""z""",2\n"""",3\n"",4\n', {"a": ['x\r\ny, "z"', '"', ""], 'b,"c"': [2, 3, 4]}),
        ("wörter,x\nä,1\n".encode(), {"wörter": ["ä"], "x": [1]}),
        (b"a,b\n", {"a": [], "b": []}),
        (b"a\n\n1\n", {"a": [None, 1.0]}),
        (b"a\n0x10\n1_0\n", {"a": ["0x10", "1_0"]}),
        (b'a\n"1,5"\n2\n', {"a": ["1,5", "2"]}),
        (b"a\n99999999999999999999\n1\n", {"a": ["99999999999999999999", "1"]}),
        (b"a\n#NAME?\n1\n", {"a": ["#NAME?", "1"]}),
        (b"a\nTrue\n\nx\n", {"a": ["True", "", "x"]}),
        (b"a\n1e999\n-1\n", {"a": [np.inf, -1]}),
    ],
)
def test_forms_of_the_same_thing(path: Path, text: bytes, expected: dict[str, list[object]]) -> None:
    found = read(path, text)
    assert {name: [None if v != v else v for v in values] for name, values in found.items()} == expected


def test_tabs_and_columns_kept_as_text(path: Path) -> None:
    assert read(path, "a,b\tc\n1\t2\n", separator="\t") == {"a,b": [1], "c": [2]}
    assert read(path, "zip,x\n007,1\n", text={"zip", "other"}) == {"zip": ["007"], "x": [1]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3\n", "row 3 column 2: the row has 1 fields, the header has 2"),
        ("a,b\n1,2\n3,4,5\n", "row 3 column 3: the row has 3 fields"),
        ("a,b\n1,2\n\n3,4\n", "row 3 column 2"),
        ('a,b\n"1\n2",3\n4\n', "row 3 column 2"),
        ('a,b\n1,"2\n3,4\n', "row 2 column 2: a quote is opened and never closed"),
        ('a,b\n1,2\n3,5" pipe\n', "row 3 column 2: a quote stands in the middle"),
        ('a,b\n1,2\n"3"x,4\n', "row 3 column 1: a quote stands in the middle"),
        ('a,b\n1, "2"\n', "row 2 column 2: a quote stands in the middle"),
        ("a,b\r1,2\r", "row 1: holds a carriage return"),
        ("a,a\n1,2\n", "row 1 column 2: the name `a` stands twice"),
        ("a,\n1,2\n", "row 1 column 2: the column has no name"),
        ("1,2\n3,4\n", "row 1: holds no names"),
        ("a|b\n1|2\n", r"separated by '\|'"),
        ("", "row 1: holds no names"),
        (b"a,b\n1,\0\n", "row 2: holds a NUL"),
        (b"a,b\n1,2\n\xff,3\n", "row 3: holds bytes that are not UTF-8"),
        (b"a,b\n1,\xe2\x82", "row 2: holds bytes that are not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_faults_are_placed(path: Path, text: str | bytes, words: str) -> None:
    refused(path, text, words)


def test_limits(path: Path) -> None:
    refused(path, "a\n1\n" + "9" * 2000 + "\n", "row 3: is at least 2001 bytes", Limits(line=1000))
    refused(path, "a,b,c\n1,2,3\n", "row 1: has 3 columns, the limit is 2", Limits(columns=2))
    refused(path, "a\n" + "1\n" * 1000, "the limit is", Limits(size=1000))
    refused(path, "a,b\n" + "1,2\n" * 1000, "1001 rows of 2 columns need", Limits(size=5000))
    refused(path, "a\nx\n" + "y" * 500 + "\n" + "x\n" * 500, "row 3 column `a`: a text of 500 characters is too long", Limits(size=9000))


def test_a_quote_left_open_is_found_by_the_limit_of_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_shape, "CHUNK", 64)
    refused(path, 'a,b\n1,"2\n' + "3,4\n" * 1000, "row 2: .* look for a quote", Limits(line=500))


def test_without_pandas_the_extra_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    refused(path, "a\n1\n", r"pip install 'ranvier\[csv\]'")


FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 3).flatmap(lambda n: st.lists(st.lists(FIELDS, min_size=n, max_size=n), min_size=1, max_size=8)),
    chunk=st.integers(1, 40),
)
def test_any_text_comes_back_whatever_the_chunks(path: Path, rows: list[list[str]], chunk: int) -> None:
    names = [f"column {i}" for i in range(len(rows[0]))]
    lines = [",".join('"' + field.replace('"', '""') + '"' for field in row) for row in [names, *rows]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_shape, "CHUNK", chunk)
        assert read(path, "\n".join(lines), text=names) == {name: [row[i] for row in rows] for i, name in enumerate(names)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_floats_come_back_bit_for_bit(path: Path, values: list[float]) -> None:
    path.write_text("x\n" + "\n".join(map(repr, values)))
    assert read_csv(path)["x"].tobytes() == np.array(values).tobytes()


def test_damaged_files_give_a_table_or_one_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_shape, "CHUNK", 50)
    whole = b'name,x,y\n"a, ""b""",1,2.5\nc,-3,\n"d\ne",4,1e9\n' + b"f,5,6\n" * 20
    generator = np.random.default_rng(1)
    versions = [whole[: len(whole) * part // 64] for part in range(64)]
    for _ in range(300):
        data = bytearray(whole)
        data[int(generator.integers(len(data)))] ^= 1 << int(generator.integers(8))
        versions.append(bytes(data))
    for data in versions:
        path.write_bytes(data)
        try:
            found = read_csv(path)
        except DataError:
            continue
        assert len({len(array) for array in found.values()}) == 1


def test_a_gzipped_table_is_the_table(path: Path) -> None:
    text = b"a,b\n1,x\n2.5,y\n"
    assert read(path, gzip.compress(text)) == read(path, text) == {"a": [1.0, 2.5], "b": ["x", "y"]}
    assert read_table(path).origin.first_row == 2
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(text))
    assert read_table(path.with_suffix(".csv.gz"))["a"].tolist() == [1.0, 2.5]
    path.with_suffix(".tsv.GZ").write_bytes(gzip.compress(text.replace(b",", b"\t")))
    assert read_table(path.with_suffix(".tsv.GZ"))["b"].tolist() == ["x", "y"]


def test_what_a_gzipped_table_may_be(path: Path) -> None:
    packed = gzip.compress(b"a,b\n" + b"1,2\n" * 100_000)
    refused(path, packed[:-20], "damaged: .*make the file anew")
    refused(path, packed[:40] + b"\0\0\0\0" + packed[44:], "damaged|no table|invalid")
    refused(path, packed, "unpacks to more than", Limits(ratio=10))
    refused(path, packed, "unpacks to more than", Limits(size=200_000))
    assert len(read(path, packed)["a"]) == 100_000


@pytest.mark.parametrize("mark", [";", "\t"])
def test_the_first_line_shows_the_separator(path: Path, mark: str) -> None:
    assert read(path, f"a{mark}b\n1{mark}x, y\n2{mark}z\n") == {"a": [1, 2], "b": ["x, y", "z"]}
    assert read(path, "a,b\n1,2;3\n") == {"a": [1], "b": ["2;3"]}
    assert read(path, "a,b\n1,2\n", separator="\t") == {"a": [1], "b": [2]}
    assert read(path, '"a;b"\n1\n') == {"a;b": [1]}


def test_truth_values_with_gaps_are_numbers(path: Path) -> None:
    found = read(path, "a,b\nTrue,1\n,2\nFalse,3\n")
    np.testing.assert_array_equal(found["a"], [1, np.nan, 0])
    assert read(path, "a\nTrue\nmaybe\n")["a"] == ["True", "maybe"]


def test_the_index_that_pandas_writes_is_a_column(path: Path) -> None:
    assert read(path, ",a\n0,x\n1,y\n") == {"Unnamed: 0": [0, 1], "a": ["x", "y"]}
    refused(path, "Unnamed: 0,\n0,x\n", "row 1 column 2: the column has no name")
    refused(path, "a,,b\n0,x,1\n", "row 1 column 2: the column has no name")
