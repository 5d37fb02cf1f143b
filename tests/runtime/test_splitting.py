"""Rows held out by class, group and time: nobody is on both sides, shares are kept, and a seed decides the rest."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ranvier.compiler.errors import DataError, SourceError
from ranvier.compiler.frontend.data_block import DataSettings
from ranvier.runtime.feeding import Given, read_rows, read_split
from ranvier.runtime.splitting import Keys, split, split_keys
from ranvier.runtime.table import Origin

import ranvier as rv

MODEL = """model flowers() {
    input features: f32[2]
    target kind: class[3]
    logits = features -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, kind)
}
data {
    source = "rows.csv"
    features = columns(width, height)
    kind = column(species)
    SETTINGS
}
train { batch = 16 ; epochs = 2 ; validate = 10% }
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    lines = ["id,width,height,species,plant,day"]
    for number in range(200):
        w, h = rng.normal(size=2)
        day = np.datetime64("2024-01-01") + int(rng.integers(0, 100))
        lines.append(f"{number},{w},{h},{'abc'[int(rng.choice(3, p=[0.8, 0.15, 0.05]))]},p{rng.integers(0, 30)},{day}")
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def model_of(folder: Path, text: str, **overrides: Any) -> Any:
    (folder / "flowers.nn").write_text(MODEL.replace("SETTINGS", text))
    return rv.compile(folder / "flowers.nn", **{f"data.{k}": v for k, v in overrides.items()})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=120), st.floats(0.05, 0.6), st.integers(0, 3), st.booleans())
def test_no_group_is_on_both_sides(groups: list[int], share: float, seed: int, classes: bool) -> None:
    values = np.array(groups)
    keys = Keys(groups=values, labels=values % 3 if classes else None)
    if len(set(groups)) == 1:
        with pytest.raises(DataError, match="one group"):
            split(len(values), share, seed, keys)
        return
    rest, part = split(len(values), share, seed, keys)
    assert len(rest)
    assert len(part)
    assert not set(values[rest]) & set(values[part])
    np.testing.assert_array_equal(np.sort(np.concatenate([rest, part])), np.arange(len(values)))
    again = split(len(values), share, seed, keys)
    np.testing.assert_array_equal(part, again[1])


def test_groups_hold_out_about_the_share_and_other_ones_by_another_seed() -> None:
    groups = np.repeat(np.arange(100), 7)
    parts = [split(700, 0.2, seed, Keys(groups=groups))[1] for seed in range(3)]
    assert all(abs(len(part) - 140) <= 7 for part in parts)
    assert set(parts[0]) != set(parts[1])
    labels = (groups % 10 == 0).astype(int)
    part = split(700, 0.2, 0, Keys(labels=labels, groups=groups))[1]
    assert abs(labels[part].sum() - 14) <= 7


def test_the_latest_rows_are_held_out_and_one_time_is_not_cut() -> None:
    times = np.array([3, 1, 2, 2, 2, 5, 4])
    rest, part = split(7, 0.4, 0, Keys(times=times))
    assert times[part].min() > times[rest].max()
    assert part.tolist() == [0, 5, 6]
    with pytest.raises(DataError, match="same time"):
        split(3, 0.5, 0, Keys(times=np.ones(3)))


def test_times_are_numbers_or_iso_dates() -> None:
    by_time = DataSettings(time="day")
    keys = split_keys(by_time, {"day": np.array(["2024-02-01", "2023-12-31"])}, Origin())
    assert split(2, 0.5, 0, keys)[1].tolist() == [0]
    with pytest.raises(DataError, match="row 0 holds '1/2/2024', which is no time in ISO 8601"):
        split_keys(by_time, {"day": np.array(["1/2/2024", "2/2/2024"])}, Origin())
    with pytest.raises(DataError, match="row 1 is missing"):
        split_keys(by_time, {"day": np.array([1.0, np.nan])}, Origin())
    with pytest.raises(DataError, match="has no column `day` to split by; did you mean `days`"):
        split_keys(by_time, {"days": np.array([1.0])}, Origin())
    with pytest.raises(DataError, match="too many to stratify by"):
        split_keys(DataSettings(stratify="x"), {"x": np.arange(5000.0)}, Origin())


def test_the_data_block_decides(rows: Path) -> None:
    counts = lambda arrays: np.bincount(arrays["kind"], minlength=3) / len(arrays["kind"])  # noqa: E731
    plain = read_split(model_of(rows, "test = 25% ; validate = 20%"), rows / "rows.csv")
    assert plain.test is not None
    assert plain.validation is not None
    assert [len(part["kind"]) for part in (plain.training, plain.validation, plain.test)] == [120, 30, 50]
    even = read_split(model_of(rows, "test = 25% ; validate = 20% ; stratify = kind"), rows / "rows.csv")
    assert even.test is not None
    np.testing.assert_allclose(counts(even.test), counts(even.training), atol=0.03)
    by_plant = read_split(model_of(rows, "test = 25% ; group = column(plant)"), rows / "rows.csv")
    assert by_plant.test is not None
    assert abs(len(by_plant.test["kind"]) - 50) < 10
    model = model_of(rows, "test = 25% ; time = column(day)")
    table, late = read_rows(model, rows / "rows.csv"), read_split(model, rows / "rows.csv")
    assert late.test is not None
    assert late.validation is not None
    days = {tuple(row): day for row, day in zip(table["features"].astype(np.float32).tolist(), table["day"], strict=True)}
    of = [[days[tuple(row)] for row in part["features"].tolist()] for part in (late.training, late.validation, late.test)]
    assert max(of[0]) < min(of[1])
    assert max(of[1]) < min(of[2])


def test_files_of_their_own(rows: Path) -> None:
    lines = (rows / "rows.csv").read_text().splitlines()
    (rows / "later.csv").write_text("\n".join([lines[0], *lines[-7:]]) + "\n")
    (rows / "seen.csv").write_text("\n".join([lines[0], *lines[-9:]]) + "\n")
    found = read_split(model_of(rows, 'test = "later.csv" ; validate = "seen.csv"'), rows / "rows.csv")
    assert found.test is not None
    assert found.validation is not None
    assert [len(part["kind"]) for part in (found.training, found.validation, found.test)] == [200, 9, 7]
    given_ = read_split(model_of(rows, ""), Given(rows / "rows.csv", test=rows / "later.csv"))
    assert given_.test is not None
    assert len(given_.test["kind"]) == 7
    over = read_split(model_of(rows, "", test="later.csv", group="plant"), rows / "rows.csv")
    assert over.test is not None
    assert len(over.test["kind"]) == 7
    with pytest.raises(DataError, match="leaves the folder"):
        read_split(model_of(rows, 'test = "../later.csv"'), rows / "rows.csv")


def test_settings_that_contradict_each_other_are_refused(rows: Path) -> None:
    for text, words in (
        ("time = column(day) ; group = column(plant)", "nothing to group by"),
        ("window = 5 ; stratify = kind", "windows are held out from the end"),
        ("missing = no", "one of refuse, keep, drop"),
        ("class_weight = [1, 0]", "a positive number for each class"),
        ("weight = columns(a, b)", "is one column"),
        ("resize = 3", "true or false"),
        ("stratfy = kind", "did you mean `stratify`"),
    ):
        with pytest.raises(SourceError, match=words):
            _ = model_of(rows, text).fields


def test_in_python_the_frame_has_the_columns_to_split_by(rows: Path) -> None:
    import pandas as pd

    frame = pd.read_csv(rows / "rows.csv")
    features = frame[["width", "height"]].to_numpy()
    data = {"features": features, "kind": pd.Categorical(frame["species"]).codes, "plant": frame["plant"]}
    model = model_of(rows, "group = column(plant)")
    history = model.fit(data, validation=0.2)
    assert "validation_loss" in history[0]
    with pytest.raises(DataError, match="has no column `plant`"):
        model_of(rows, "group = column(plant)").fit({k: data[k] for k in ("features", "kind")}, validation=0.2)


# --- missing values


def test_a_missing_value_is_named_dropped_or_kept(rows: Path) -> None:
    lines = (rows / "rows.csv").read_text().splitlines()
    lines[4] = "3,,1.5,a,p1,2024-01-01"
    lines[9] = "8,0.5,0.5,,p1,2024-01-01"
    (rows / "rows.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="row 10 has no label"):
        read_split(model_of(rows, ""), rows / "rows.csv")
    dropped = read_split(model_of(rows, "missing = drop ; validate = 0"), rows / "rows.csv")
    assert len(dropped.training["kind"]) == 198
    lines[9] = "8,0.5,0.5,a,p1,2024-01-01"
    (rows / "rows.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"`features` row 5 column `width` is nan, a missing value: .*`missing = keep`"):
        read_split(model_of(rows, ""), rows / "rows.csv")
    kept = read_split(model_of(rows, "missing = keep ; validate = 0"), rows / "rows.csv").training["features"]
    assert np.isnan(kept).sum() == 1
    assert np.isnan(kept[3, 0])


def test_kept_missing_values_reach_the_graph(rows: Path) -> None:
    model = rv.compile(
        """model filled() {
    input x: f32[2]
    target y: f32
    known = x if x == x else 0
    predict sum(known)
    loss mse(sum(known -> dense(1)), y)
}
data { missing = keep }
train { epochs = 1 }
"""
    )
    x = np.array([[1, np.nan], [2, 3]], dtype=np.float64)
    np.testing.assert_array_equal(model.predict(x), [1, 5])
    model.fit(x, [1.0, 2.0])
    with pytest.raises(DataError, match="is inf"):
        model.predict([[np.inf, 0]])
    with pytest.raises(DataError, match="`y` row 1 is nan"):
        model.fit(x, [1.0, np.nan])


def test_a_file_without_rows_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("x,y\n")
    model = rv.compile("model m() {\ninput x: f32\ntarget y: f32\npredict x\nloss mse(x, y)\n}\ndata { test = 20% }\n")
    with pytest.raises(DataError, match=r"rows.csv: there are no rows to train on"):
        read_split(model, tmp_path / "rows.csv")


def test_parts_may_be_gzipped_tables(tmp_path: Path) -> None:
    for part, rows in (("train", 20), ("validation", 5), ("test", 7)):
        (tmp_path / f"{part}.csv.gz").write_bytes(gzip.compress(b"x,y\n" + b"1,2\n" * rows))
    split = read_split(rv.compile("model m() {\ninput x: f32\ntarget y: f32\npredict x\nloss mse(x, y)\n}\n"), tmp_path)
    assert [len(part["x"]) for part in (split.training, split.validation, split.test)] == [20, 5, 7]
