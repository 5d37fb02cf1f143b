"""Frames and tensors of other libraries go in as they are: by column names, text as classes, missing values named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from ranvier.compiler.errors import DataError
from scipy import sparse

import ranvier as rv

MODEL = """model flowers() {
    input features: f32[2]
    target kind: class[3]
    logits = features -> standardize -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, kind)
}
data { DATA }
train { epochs = 2 ; batch = 16 }
"""
COLUMNS = "features = columns(width, height) ; kind = column(species)"


def columns(rows: int = 60) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    names = np.array(["setosa", "iris", "virginica"])[rng.integers(0, 3, rows)]
    return {"width": rng.normal(size=rows), "height": rng.integers(0, 9, rows), "species": names.tolist()}


def model(data: str = COLUMNS) -> Any:
    return rv.compile(MODEL.replace("DATA", data), seed=1)


class Stream:
    """Only the Arrow stream, as a library that knows nothing else would give it."""

    def __init__(self, table: pa.Table) -> None:
        self.table, self.columns = table, table.column_names

    def __arrow_c_stream__(self, requested: object = None) -> object:
        return self.table.__arrow_c_stream__(requested)


class Interchange:
    """Only the interchange protocol."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __dataframe__(self, **options: Any) -> object:
        return self.frame.__dataframe__(**options)


MAKERS = {
    "pandas": lambda c: pd.DataFrame(c),
    "pandas, its own types": lambda c: pd.DataFrame(c).convert_dtypes(),
    "pandas, a categorical": lambda c: pd.DataFrame(c).astype({"species": "category"}),
    "polars": lambda c: pl.DataFrame(c),
    "polars, a closed set of names": lambda c: pl.DataFrame(c, schema_overrides={"species": pl.Enum(["virginica", "iris", "setosa"])}),
    "polars, a categorical": lambda c: pl.DataFrame(c, schema_overrides={"species": pl.Categorical}),
    "arrow": lambda c: pa.table(c),
    "arrow, a dictionary": lambda c: pa.table({**c, "species": pa.array(c["species"]).dictionary_encode()}),
    "pandas on arrow": lambda c: pd.DataFrame(c).convert_dtypes(dtype_backend="pyarrow"),
    "a structured array": lambda c: pd.DataFrame(c).to_records(index=False),
    "a record batch": lambda c: pa.record_batch(c),
    "a stream": lambda c: Stream(pa.table(c)),
    "interchange": lambda c: Interchange(pd.DataFrame({k: v for k, v in c.items() if k != "species"})),
}


@pytest.mark.parametrize("name", [n for n in MAKERS if n != "interchange"])
def test_a_frame_is_as_good_as_its_arrays(name: str) -> None:
    given = columns()
    arrays = {"features": np.stack([given["width"], given["height"]], axis=1), "kind": given["species"]}
    frame, plain = model(), model("")
    data = MAKERS[name](given)
    frame.fit(data)
    plain.fit(arrays)
    assert frame.vocabularies == plain.vocabularies == {"kind": ["iris", "setosa", "virginica"]}
    np.testing.assert_array_equal(frame.params["dense_1.weight"], plain.params["dense_1.weight"])
    np.testing.assert_array_equal(frame.predict(data), plain.predict(arrays["features"]))
    assert frame.evaluate(data) == plain.evaluate(arrays)


@pytest.mark.filterwarnings("ignore:The Dataframe Interchange")
def test_the_interchange_protocol_alone() -> None:
    given = columns()
    plain = model("")
    plain.fit({"features": np.stack([given["width"], given["height"]], axis=1), "kind": given["species"]})
    found = plain.predict(Interchange(pd.DataFrame({k: given[k] for k in ("width", "height")})))
    np.testing.assert_array_equal(found, plain.predict(np.stack([given["width"], given["height"]], axis=1)))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_frame_of_the_only_input_beside_a_column_of_targets(make: Any) -> None:
    given = columns()
    features = make({"width": given["width"], "height": given["height"]})
    targets = make({"species": given["species"]})["species"]
    one, other = model(""), model()
    one.fit(features, targets, validation=(features, targets))
    other.fit(make(given))
    np.testing.assert_array_equal(one.params["dense_1.weight"], other.params["dense_1.weight"])


def test_tensors() -> None:
    torch = pytest.importorskip("torch")
    given = columns()
    x = np.stack([given["width"], given["height"]], axis=1).astype(np.float32)
    one = model("")
    kinds = np.arange(60) % 3
    one.fit({"features": torch.tensor(x), "kind": torch.tensor(kinds)})
    np.testing.assert_array_equal(one.predict(torch.tensor(x)), one.predict(x))
    assert one.step({"features": torch.tensor(x[:16]), "kind": torch.tensor(kinds[:16])}) > 0
    np.testing.assert_array_equal(one.predict(torch.tensor(x).to(torch.bfloat16)), one.predict(torch.tensor(x).to(torch.bfloat16).float()))
    with pytest.raises(DataError, match="is of type TensorDataset: give arrays"):
        one.predict(torch.utils.data.TensorDataset(torch.tensor(x)))
    with pytest.raises(DataError, match="detach"):
        one.predict(torch.tensor(x, requires_grad=True))


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, lambda c: pd.DataFrame(c).convert_dtypes()])
def test_what_is_missing_is_named_by_row_and_column(make: Any) -> None:
    given = columns()
    height: list[Any] = list(map(int, given["height"]))
    height[4] = None
    with pytest.raises(DataError, match="row 4 column 1 is nan, a missing value"):
        model().fit(make({**given, "height": height}))
    species = list(given["species"])
    species[7] = None
    with pytest.raises(DataError, match="`kind` row 7 has no label"):
        model().fit(make({**given, "species": species}))


def test_a_column_that_is_not_there() -> None:
    given = columns()
    given["widht"] = given.pop("width")
    with pytest.raises(DataError, match="the data has no `features`, and no column `width` for it; did you mean `widht`"):
        model().fit(pd.DataFrame(given))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda frame: pl.from_pandas(frame).lazy(), r"give `.collect\(\)` of it"),
        (lambda frame: pd.concat([frame, frame[["width"]]], axis=1), "the name `width` stands twice"),
        (lambda frame: frame.to_dict("records"), "a list of rows by name: give columns"),
        (lambda frame: "flowers.csv", "'flowers.csv' is not data but a path"),
        (lambda frame: Path("flowers.csv"), "'flowers.csv' is not data but a path"),
        (lambda frame: iter([1]), "is of type list_iterator: give arrays"),
        (lambda frame: None, "is of type NoneType: give arrays"),
        (lambda frame: sparse.csr_matrix(frame[["width", "height"]]), r"convert it with `.toarray\(\)`"),
    ],
)
@pytest.mark.filterwarnings("ignore:Determining the column names")
def test_what_is_no_frame_and_no_array(make: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        model().fit(make(pd.DataFrame(columns())))


@pytest.mark.parametrize(
    "change",
    [
        lambda day: day,
        lambda day: day.dt.tz_localize("Europe/Berlin"),
        lambda day: day.dt.date,
        lambda day: day.dt.strftime("%Y-%m-%d"),
        lambda day: day.astype("int64"),
    ],
)
def test_times_are_in_their_order_whatever_they_are(change: Any) -> None:
    given = pd.DataFrame(columns())
    day = pd.Series(pd.date_range("2024-03-28", periods=60, freq="12h")[np.random.default_rng(1).permutation(60)])
    timed = rv.compile(MODEL.replace("DATA", f"{COLUMNS} ; time = column(day) ; validate = 20%"), seed=1)
    plain = model()
    order = np.argsort(day.to_numpy(), kind="stable")
    late = np.sort(order[48:])
    timed.fit(given.assign(day=change(day)))
    plain.fit(given.iloc[np.sort(order[:48])], validation=given.iloc[late])
    assert timed.history == plain.history


def test_a_time_that_is_missing_is_named() -> None:
    day = pd.Series(pd.date_range("2024-01-01", periods=60)).where(lambda s: s.index != 3)
    timed = rv.compile(MODEL.replace("DATA", f"{COLUMNS} ; time = column(day) ; validate = 20%"), seed=1)
    with pytest.raises(DataError, match="`day` row 3 is missing"):
        timed.fit(pd.DataFrame(columns()).assign(day=day))


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame, pa.table])
def test_rows_with_gaps_are_dropped_in_python_too(make: Any) -> None:
    given = columns()
    height, species = list(map(float, given["height"])), list(given["species"])
    height[4], species[7] = None, None
    whole = np.delete(np.arange(60), [4, 7])
    weights = np.arange(60) + 1.0
    gaps, plain = rv.compile(MODEL.replace("DATA", f"{COLUMNS} ; missing = drop"), seed=1), model()
    data = make({**given, "height": height, "species": species})
    rest = pd.DataFrame(given).iloc[whole]
    assert gaps.fit(data, sample_weight=weights) == plain.fit(rest, sample_weight=weights[whole])
    assert gaps.evaluate(data) == plain.evaluate(rest)
    groups = np.arange(60) // 6
    source = MODEL.replace("DATA", f"{COLUMNS} ; missing = drop")
    found = [rv.cross_validate(source, d, folds=3, groups=g) for d, g in ((data, groups), (rest, groups[whole]))]
    assert found[0] == found[1]


def test_a_single_value_is_refused_where_rows_with_gaps_are_dropped() -> None:
    gaps = model("missing = drop")
    with pytest.raises(DataError, match="`kind` is a single value; give an array with one row a sample"):
        gaps.fit({"features": np.zeros((4, 2)), "kind": 1})
