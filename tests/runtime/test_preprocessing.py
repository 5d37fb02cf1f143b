"""Preprocessing against scikit-learn: fitted natively on the training rows alone, saved with the model, applied to raw data.

If these fail, a model sees features other than those it was described with, or knows of rows that it is tested on.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from declared import declared
from ranvier.runtime.data import split_rows
from ranvier.runtime.feeding import data_path, read_split

import ranvier as rv

ROWS, FEATURES = 203, 4
Array = np.ndarray[Any, Any]


def samples(seed: int = 0) -> Array:
    """Correlated features of different scales and places, one of them with many equal values."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(ROWS, FEATURES)) @ random.normal(size=(FEATURES, FEATURES)) * [1, 50, 0.01, 1] + [0, 1000, 0, -3]
    x[:, 3] = np.round(x[:, 3])
    return x.astype(np.float32)


def model_of(expression: str, kind: str = f"f32[{FEATURES}]", data: str = "", batch: int = 32) -> rv.Model:
    text = f"""
        model m() {{
            input x: {kind}
            target y: f32
            z = x -> {expression}
            predict z
            loss sum(float(z)) * 0 + y
        }}
        data {{ {data} }}
        """
    return rv.compile(text, batch=batch)


def transformed(expression: str, x: Array, kind: str = f"f32[{FEATURES}]", data: str = "") -> Array:
    model = model_of(expression, kind, data)
    model.fit({"x": x, "y": np.zeros(len(x))}, epochs=0, validation=0)
    return model.predict(x)


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("interactions", [False, True])
def test_polynomial(degree: int, interactions: bool) -> None:
    made = pytest.importorskip("sklearn.preprocessing").PolynomialFeatures(degree, interaction_only=interactions, include_bias=False)
    found = transformed(f"polynomial({degree}, interactions = {str(interactions).lower()})", samples())
    np.testing.assert_allclose(found, made.fit_transform(samples()), rtol=1e-6)


def test_scalers() -> None:
    library = pytest.importorskip("sklearn.preprocessing")
    x = samples()
    for expression, scaler in (
        ("standardize()", library.StandardScaler()),
        ("minmax(low = -1, high = 2)", library.MinMaxScaler((-1, 2))),
        ("robust()", library.RobustScaler()),
        ("robust(low = 0.1, high = 0.95)", library.RobustScaler(quantile_range=(10, 95))),
    ):
        np.testing.assert_allclose(transformed(expression, x), scaler.fit_transform(x.astype(np.float64)), atol=2e-4, err_msg=expression)


def test_scaled_and_cut() -> None:
    x = samples()
    np.testing.assert_array_equal(transformed("scale(0.5)", x), np.float32(0.5) * x)
    np.testing.assert_array_equal(transformed("clip(-1, 2)", x), np.clip(x, -1, 2))
    np.testing.assert_allclose(transformed("clip(0, 1e9) -> log1p", x), np.log1p(np.maximum(x, 0)), rtol=1e-6)


def test_one_of_classes() -> None:
    encoder = pytest.importorskip("sklearn.preprocessing").OneHotEncoder(categories=[range(6)], sparse_output=False)
    x = np.random.default_rng(2).integers(0, 6, 40).astype(np.int32)
    np.testing.assert_array_equal(transformed("onehot(6)", x, "i32"), encoder.fit_transform(x[:, None]))


@pytest.mark.parametrize("rows", [1, 2, 3, 50])
@pytest.mark.parametrize("q", [0, 0.1, 0.5, 0.77, 1])
def test_quantiles(rows: int, q: float) -> None:
    """Exactly the value of a row where the quantile is one: no threshold lies beside it."""
    x = samples()[:rows]
    layer = f"layer probe()(x) {{\nfit value = quantile(float(x), {q})\nreturn x * 0 + value\n}}\n"
    text = f"{layer}model m() {{\ninput x: f32[{FEATURES}]\ntarget y: f32\nz = probe()(x)\npredict z\nloss sum(z) * 0 + y\n}}"
    model = rv.compile(text, batch=7)
    model.fit({"x": x, "y": np.zeros(rows)}, epochs=0, validation=0)
    np.testing.assert_allclose(model.predict(x)[0], np.quantile(x, q, axis=0), rtol=2e-6, atol=1e-6)
    if q * (rows - 1) == int(q * (rows - 1)):
        np.testing.assert_array_equal(model.predict(x)[0], np.quantile(x, q, axis=0).astype(np.float32))


@pytest.mark.parametrize("whiten", [False, True])
def test_pca(whiten: bool) -> None:
    """Scores up to the sign of a direction, which is fixed here by its largest coordinate; scikit-learn whitens by rows - 1."""
    x = samples() * np.float32([1, 0.02, 100, 1])
    made = pytest.importorskip("sklearn.decomposition").PCA(3, whiten=whiten).fit(x.astype(np.float64))
    largest = np.abs(made.components_).argmax(1)[:, None]
    wanted = made.transform(x) * np.sign(np.take_along_axis(made.components_, largest, 1))[:, 0]
    found = transformed(f"pca(3, whiten = {str(whiten).lower()})", x)
    np.testing.assert_allclose(found, wanted * (np.sqrt(ROWS / (ROWS - 1)) if whiten else 1), atol=2e-4 * np.abs(wanted).max())


def test_buckets() -> None:
    x = samples()
    found = transformed("bucketize([-1, 0, 2])", x)
    np.testing.assert_array_equal(found, np.digitize(x, [-1, 0, 2]))
    edges = np.quantile(x, [0.25, 0.5, 0.75], axis=0).astype(np.float32)
    wanted = np.stack([np.digitize(x[:, n], edges[:, n]) for n in range(FEATURES)], 1)
    assert (transformed("quantize(4)", x) == wanted).mean() > 0.99, "but for rows that lie on an edge, to rounding"


def test_hashes_are_knuths() -> None:
    """Multiplication by 2^32 over the golden ratio, modulo 2^32 (section 6.4), and the bucket by the share of the signed result."""
    x = np.random.default_rng(4).integers(-(2**31), 2**31, 2000).astype(np.int32)
    product = (x.astype(np.int64) * 1640531527 + 2**31) % 2**32 - 2**31
    np.testing.assert_array_equal(transformed("hash(8)", x, "i32"), (product + 2**31) // 2**29)


def test_hashes_are_spread_and_stay() -> None:
    x = np.arange(-5000, 5000, dtype=np.int32)
    found = transformed("hash(10)", x, "i32")
    np.testing.assert_array_equal(np.bincount(found.astype(int), minlength=10) > 950, True)
    np.testing.assert_array_equal(found, transformed("hash(10)", x[::-1], "i32")[::-1])
    assert found.min() == 0
    assert found.max() == 9


def test_indices_from_features_go_into_an_embedding() -> None:
    found = transformed("bucketize([-1, 0, 2]) -> embedding(4, 3)", samples())
    assert found.shape == (ROWS, FEATURES, 3)


def with_gaps() -> Array:
    x = samples()
    x[np.random.default_rng(1).random(x.shape) < 0.2] = np.nan
    return x


@pytest.mark.parametrize("strategy", ["mean", "median", "constant"])
def test_gaps_are_filled_in(strategy: str) -> None:
    imputer = pytest.importorskip("sklearn.impute").SimpleImputer(strategy=strategy, fill_value=-7)
    value = -7 if strategy == "constant" else f'"{strategy}"'
    found = transformed(f"impute({value})", with_gaps(), data="missing = keep")
    np.testing.assert_allclose(found, imputer.fit_transform(with_gaps()), rtol=1e-5)
    objects = [[None if np.isnan(v) else float(v) for v in row] for row in with_gaps()]
    masked = np.ma.masked_invalid(with_gaps())
    for other in (objects, masked):
        np.testing.assert_array_equal(transformed(f"impute({value})", other, data="missing = keep"), found)


COMPARED = {
    "scale": test_scaled_and_cut,
    "clip": test_scaled_and_cut,
    "standardize": test_scalers,
    "minmax": test_scalers,
    "robust": test_scalers,
    "impute": test_gaps_are_filled_in,
    "bucketize": test_buckets,
    "quantize": test_buckets,
    "hash": test_hashes_are_knuths,
    "polynomial": test_polynomial,
    "pca": test_pca,
    "onehot": test_one_of_classes,
}


def test_every_step_is_compared() -> None:
    """Whoever adds one to the library adds its comparison, or this fails."""
    assert declared("preprocessing.nn") == set(COMPARED)
    for name, test in COMPARED.items():
        assert re.search(rf"\b{name}\(", inspect.getsource(test)), f"{test.__name__} has nothing of {name}"


def test_a_gap_that_nobody_asked_for_is_an_error_and_so_is_an_infinity() -> None:
    with pytest.raises(rv.DataError, match=r"is nan, a missing value: .*`missing = keep`, `impute`"):
        transformed("impute()", with_gaps())
    x = samples()
    x[3, 1] = np.inf
    with pytest.raises(rv.DataError, match=r"row 3.* is inf"):
        transformed("impute()", x, data="missing = keep")
    with pytest.raises(rv.SourceError, match="`missing` is one of refuse, keep, drop"):
        model_of("impute()", data="missing = maybe")


def test_gaps_of_a_table(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    (tmp_path / "t.csv").write_text("a,b,y\n1,,2\n,4,1\n3,5,0\n5,6,1\n", encoding="utf-8")
    (tmp_path / "m.nn").write_text(
        "model m() {\ninput x: f32[2]\ntarget y: f32\nz = x -> impute() -> dense(1)\npredict z\nloss mse(z[0], y)\n}\n"
        "train { validate = 0\nepochs = 2\n}\n"
        'data {\nsource = "t.csv"\nx = columns(a, b)\ny = column(y)\nmissing = keep\n}\n',
        encoding="utf-8",
    )
    model = rv.compile(tmp_path / "m.nn")
    split = read_split(model, data_path(model.blueprint, None))
    assert np.isnan(split.training["x"]).sum() == 2
    model.fit(split.training)
    np.testing.assert_allclose(model.memory.read("fit:impute_1.usual"), [3, 5])


@pytest.mark.parametrize("expression", ["standardize()", "minmax()", "robust()", 'impute("median")', "pca(2)", "quantize(3)"])
def test_rows_that_are_held_out_decide_nothing(expression: str, tmp_path: Path) -> None:
    """Other values in the rows that are validated on: the same statistics, to the bit; so after saving and loading."""
    x, other = samples(), samples()
    model = model_of(expression)
    _, held_out = split_rows(ROWS, 0.25, model.seed)
    other[held_out] = np.random.default_rng(9).normal(size=(len(held_out), FEATURES)) * 1e4
    again = model_of(expression)
    for each, rows in ((model, x), (again, other)):
        each.fit({"x": rows, "y": np.zeros(ROWS)}, epochs=0, validation=0.25)
    model.save(tmp_path / "m.safetensors")
    loaded = rv.load(tmp_path / "m.safetensors")
    for label in model.blueprint.inference.fits:
        found = [each.memory.read(f"fit:{label}").tobytes() for each in (model, again, loaded)]
        assert found[0] == found[1] == found[2]
    np.testing.assert_array_equal(loaded.predict(other), again.predict(other))


@pytest.mark.parametrize("threads", [2, 3])
def test_statistics_are_the_same_bits_for_any_number_of_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for count in (1, threads):
        monkeypatch.setenv("RANVIER_THREADS", str(count))
        found.append(transformed("robust() -> pca(3, whiten = true)", samples()).tobytes())
    assert found[0] == found[1]


def test_a_layer_applied_again_keeps_its_statistics() -> None:
    """As it keeps its parameters: those of the first application."""
    text = f"""
        model m() {{
            input x: f32[{FEATURES}]
            input u: f32[{FEATURES}]
            target y: f32
            scale_ = standardize()
            a = scale_(x)
            z = scale_(u) + 0 * a
            predict z
            loss sum(z) * 0 + y
        }}
        """
    model = rv.compile(text, batch=16)
    x, u = samples(), samples(5) * 3
    model.fit({"x": x, "u": u, "y": np.zeros(ROWS)}, epochs=0, validation=0)
    wanted = (u - x.mean(0, dtype=np.float64)) / x.std(0, dtype=np.float64)
    np.testing.assert_allclose(model.predict({"x": x, "u": u}), wanted, rtol=1e-4, atol=1e-3)
