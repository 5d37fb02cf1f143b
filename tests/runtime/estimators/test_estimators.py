"""The estimators at work: in pipelines and searches on every backend, pickled, continued, weighted, with files of one's own."""

from __future__ import annotations

import copy
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from repository import EXAMPLES

import ranvier as rv

pytest.importorskip("sklearn")

import joblib
from ranvier.compiler.backend import jit
from ranvier.compiler.driver import Blueprint
from ranvier.runtime.estimators import base, rest
from ranvier.runtime.estimators.settings import blueprint_for
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_wine, make_multilabel_classification
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from ranvier.sklearn import NNClassifier, NNRegressor

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
DIABETES = load_diabetes(return_X_y=True)

TWO_INPUTS = """
model flowers() {
    input sepal: f32[2]
    input petal_length: f32
    input petal_width: f32
    target species: class[3]
    petal = reshape_to(petal_length, [1]) * 2
    width = reshape_to(petal_width, [1])
    logits = concat([sepal, petal, width]) -> standardize -> dense(3)
    predict softmax(logits)
    loss cross_entropy(logits, species)
}
data { sepal = columns("length", "width") }
train { epochs = 3 ; seed = 5 }
"""


def small(**more: Any) -> NNClassifier:
    return NNClassifier(**{"hidden": [8], "epochs": 20, "random_state": 0, **more})


# --- what it learns, beside scikit-learn


def test_without_hidden_layers_it_is_a_linear_model() -> None:
    slow = {"train__schedule": "cosine()", "learning_rate": 0.05, "epochs": 1500, "batch": 500, "train__stop": "reach(0)"}
    linear = NNRegressor(hidden=[], random_state=0, **slow).fit(*DIABETES)
    np.testing.assert_allclose(linear.predict(DIABETES[0]), LinearRegression().fit(*DIABETES).predict(DIABETES[0]), rtol=1e-3, atol=0.5)
    # The penalty is on the weights of standardised inputs; the intercept has none, as there.
    logistic = NNClassifier(hidden=[], random_state=0, train__regularize="l2(0.01)", **slow).fit(X, Y)
    scaled = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (2 * 0.01 * len(X)), tol=1e-8, max_iter=1000)).fit(X, Y)
    np.testing.assert_allclose(logistic.predict_proba(X), scaled.predict_proba(X), atol=2e-3)


def test_a_network_is_as_good_as_scikit_learns() -> None:
    wine = load_wine(return_X_y=True)
    peer = cross_val_score(make_pipeline(StandardScaler(), MLPClassifier(random_state=0, max_iter=400)), *wine, cv=5).mean()
    assert cross_val_score(NNClassifier(random_state=0), *wine, cv=5).mean() > peer - 0.015
    folds = KFold(5, shuffle=True, random_state=0)
    ridge = cross_val_score(Ridge(0.1), *DIABETES, cv=folds).mean()
    assert cross_val_score(NNRegressor(early_stopping=True, random_state=0), *DIABETES, cv=folds).mean() > ridge - 0.03


def test_several_targets_and_labels() -> None:
    y = np.column_stack([DIABETES[1], -3 * DIABETES[1] + 1, DIABETES[0][:, 2]])
    regressor = NNRegressor(hidden=[16], random_state=0).fit(DIABETES[0], y)
    assert regressor.predict(DIABETES[0]).shape == y.shape
    assert regressor.score(DIABETES[0], y) > 0.4
    rows, labels = make_multilabel_classification(n_samples=200, n_classes=4, random_state=0)
    classifier = NNClassifier(hidden=[32], random_state=0).fit(rows, labels)
    assert (classifier.predict(rows) == labels).mean() > 0.95
    assert classifier.predict_proba(rows).shape == labels.shape


# --- parameters


def test_settings_of_the_model_and_its_blocks_are_parameters() -> None:
    first = NNClassifier(hidden=[8], activation="tanh", settings={"train__optimizer__beta1": 0.8})
    assert first.get_params()["activation"] == "tanh"
    second = clone(first).set_params(train__optimizer="sgd(lr = 0.1)", train__optimizer__momentum=0.9, epochs=2, activation="gelu")
    assert first.get_params()["activation"] == "tanh"
    second.set_params(settings={key: value for key, value in second.settings.items() if "beta" not in key}).fit(X, Y)
    optimizer = second.model_.blueprint.train_settings.optimizer
    assert (optimizer.function.name, optimizer.settings["momentum"], second.n_iter_) == ("sgd", 0.9, 2)
    assert sorted(p.shape for p in NNClassifier(hidden=8, epochs=1).fit(X, Y).model_.params.values()) == [(3,), (4, 8), (8,), (8, 3)]
    searched = GridSearchCV(Pipeline([("nn", small())]), {"nn__activation": ["tanh", "relu"], "nn__hidden": [[4], [8]]}, cv=2).fit(X, Y)
    assert set(searched.best_params_) == {"nn__activation", "nn__hidden"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"hiden": [3]}, "hiden"),
        ({"train__optimizer__lrr": 1}, "train.optimizer.lr"),
        ({"dtype": "f16"}, "dtype is one of"),
        ({"model": 3}, "sizes of layers are `hidden`"),
        ({"settings": 3}, "dictionary"),
        ({"model": TWO_INPUTS, "early_stopping": True}, "no criterion"),
        ({"model": TWO_INPUTS.replace("class[3]", "class[2]").replace("dense(3)", "dense(2)")}, "room for 2"),
        ({"model": TWO_INPUTS.replace("f32[2]", "f32[7]")}, r"X has 4 columns, the inputs of the model take 9 \(`sepal` \[7\]"),
    ],
)
def test_mistakes_are_said_by_fit(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises((rv.RanvierError, ValueError, TypeError), match=message):
        NNClassifier(**parameters).fit(X, Y)


def test_without_scikit_learn_the_message_says_what_to_install() -> None:
    script = "import sys; sys.modules['sklearn'] = None; import ranvier\ntry: ranvier.sklearn\nexcept ImportError as e: print(e)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "ranvier.sklearn needs scikit-learn: pip install 'ranvier[sklearn]'"


# --- the same again


def test_a_seed_gives_the_same_bits_for_any_number_of_threads() -> None:
    one, same, other = small(threads=1).fit(X, Y), small(threads=2).fit(X, Y), small(random_state=1).fit(X, Y)
    np.testing.assert_array_equal(one.predict_proba(X), same.predict_proba(X))
    assert np.abs(one.predict_proba(X) - other.predict_proba(X)).max() > 1e-4
    drawn = small(random_state=None).fit(X, Y)
    np.testing.assert_array_equal(small(random_state=drawn.seed_).fit(X, Y).predict_proba(X), drawn.predict_proba(X))
    assert NNClassifier(TWO_INPUTS).fit(X, Y).seed_ == 5


def test_a_pickle_holds_the_bytes_of_a_saved_model_and_no_code(tmp_path: Path) -> None:
    fitted = small(early_stopping=True).fit(X, NAMES[Y])
    content = pickle.dumps(fitted)
    fitted.model_.save(tmp_path / "m.safetensors")
    saved = (tmp_path / "m.safetensors").read_bytes()
    assert saved in content
    texts = [argument for _, argument, _ in pickletools.genops(content) if isinstance(argument, str)]
    modules = {text for text in texts if text.startswith(("ranvier", "sklearn", "numpy", "builtins", "os", "posix", "llvmlite"))}
    assert {module.partition(".")[0] for module in modules} <= {"ranvier", "numpy"}
    again, copied = pickle.loads(content), copy.deepcopy(fitted)
    again = pickle.loads(pickle.dumps(again))
    for each in (again, copied):
        np.testing.assert_array_equal(each.predict_proba(X), fitted.predict_proba(X))
        assert each.predict(X[:1])[0] == "setosa"
    damaged = pickle.loads(content.replace(saved, saved[:-1] + bytes([saved[-1] ^ 1])))
    with pytest.raises(rv.CheckpointError):
        damaged.predict(X)


def test_a_saved_model_knows_the_names_of_its_classes(tmp_path: Path) -> None:
    fitted = small().fit(X, NAMES[Y])
    fitted.model_.save(tmp_path / "m.safetensors")
    loaded = rv.load(tmp_path / "m.safetensors")
    assert loaded.vocabularies == {"y": list(NAMES)}
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict_proba(X))


# --- searches


@pytest.fixture(scope="module")
def alone() -> list[float]:
    """Scores of a search in one process."""
    return search(None)


def search(jobs: int | None) -> list[float]:
    grid = {"nn__learning_rate": [1e-3, 1e-2], "nn__drop": [0, 0.2]}
    pipeline = Pipeline([("scale", MinMaxScaler()), ("nn", small(early_stopping=True))])
    found: list[float] = GridSearchCV(pipeline, grid, cv=3, n_jobs=jobs).fit(X, NAMES[Y]).cv_results_["mean_test_score"].tolist()
    return found


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_a_search_gives_the_same_on_every_backend(backend: str, alone: list[float]) -> None:
    with joblib.parallel_config(backend, n_jobs=2):
        assert search(2) == alone


def test_a_search_runs_on_dask(alone: list[float]) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        assert search(2) == alone


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Modules that are compiled from now on."""
    seen: list[str] = []
    compile_object = jit.compile_object

    def watch(text: str, target: Any) -> bytes:
        seen.append(text)
        return compile_object(text, target)

    monkeypatch.setattr(jit, "compile_object", watch)
    return seen


def test_fits_that_differ_in_rows_seed_and_epochs_compile_once(compiled: list[str]) -> None:
    small(hidden=[7], activation="silu").fit(X, Y).predict(X)
    assert compiled
    compiled.clear()
    for rows, seed in ((140, 1), (90, 2), (33, 3)):
        chosen = np.random.default_rng(seed).permutation(len(X))[:rows]
        small(hidden=[7], activation="silu", random_state=seed, epochs=seed).fit(X[chosen], Y[chosen]).predict(X)
    assert compiled == []


def test_a_fit_takes_up_what_an_earlier_one_laid_down_and_none_that_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Blueprint] = []

    def watch(*arguments: Any) -> Blueprint:
        made.append(blueprint_for(*arguments))
        return made[-1]

    monkeypatch.setattr(base, "blueprint_for", watch)
    monkeypatch.setattr(rest, "_resting", [])
    first = NNClassifier(TWO_INPUTS, epochs=4).fit(X, Y)
    expected = first.predict_proba(X)
    second = NNClassifier(TWO_INPUTS, epochs=2).fit(X, Y)
    assert len(made) == 2
    np.testing.assert_array_equal(first.predict_proba(X), expected)
    lent = second.model_
    del first, second
    for _ in range(3):
        np.testing.assert_array_equal(NNClassifier(TWO_INPUTS, epochs=4).fit(X, Y).predict_proba(X), expected)
    assert len(made) == 2
    parts = {"sepal": X[:, :2], "petal_length": X[:, 2], "petal_width": X[:, 3]}
    assert np.abs(lent.predict(parts) - expected).max() > 1e-4
    NNClassifier(TWO_INPUTS, batch=31).fit(X, Y)
    assert len(made) == 3


def test_a_changed_import_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "block.nn").write_text("layer block()(x: [inputs]) {\n    return x -> dense(3)\n}\n")
    source = TWO_INPUTS.replace("-> dense(3)", "-> block")
    (tmp_path / "m.nn").write_text('import "block.nn"\n' + source)
    before = NNClassifier(tmp_path / "m.nn").fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(NNClassifier(tmp_path / "m.nn").fit(X, Y).predict_proba(X), before)
    (tmp_path / "block.nn").write_text("layer block()(x: [inputs]) {\n    return x -> dense(5) -> tanh -> dense(3)\n}\n")
    assert np.abs(NNClassifier(tmp_path / "m.nn").fit(X, Y).predict_proba(X) - before).max() > 1e-3


# --- going on


def test_partial_fit_goes_on_as_one_fit_would() -> None:
    whole, parts = small(epochs=4, train__stop="reach(0)").fit(X, Y), small()
    for _ in range(4):
        parts.partial_fit(X, Y, classes=[0, 1, 2])
    np.testing.assert_array_equal(parts.predict_proba(X), whole.predict_proba(X))
    assert parts.n_iter_ == 4
    assert [record["loss"] for record in parts.history_] == [record["loss"] for record in whole.history_]
    again = pickle.loads(pickle.dumps(parts)).partial_fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), parts.partial_fit(X, Y).predict_proba(X))
    with pytest.raises(ValueError, match="not in"):
        parts.partial_fit(X, Y + 1)
    with pytest.raises(ValueError, match="not what the first call"):
        parts.partial_fit(X, Y, classes=[0, 1])


def test_classes_may_come_later() -> None:
    learner = small().partial_fit(X[:60], NAMES[Y[:60]], classes=NAMES)
    for _ in range(150):
        learner.partial_fit(X[::-1], NAMES[Y[::-1]])
    assert learner.score(X, NAMES[Y]) > 0.9


def test_warm_start_goes_on_with_other_settings_too() -> None:
    learner = small(warm_start=True, learning_rate=0.01).fit(X, Y)
    before = learner.model_.params["dense_1.weight"]
    learner.set_params(learning_rate=1e-9, epochs=1).fit(X[:75], Y[:75])
    np.testing.assert_allclose(learner.model_.params["dense_1.weight"], before, atol=1e-6)
    with pytest.raises(ValueError, match="fit anew"):
        learner.set_params(hidden=[9]).fit(X, Y)
    with pytest.raises(ValueError, match="features"):
        learner.fit(X[:, :2], Y)


def test_early_stopping_watches_rows_of_every_class() -> None:
    learner = NNClassifier(hidden=[8], early_stopping=True, validation_fraction=0.2, epochs=500, learning_rate=0.05, random_state=0)
    learner.fit(X, Y)
    losses = [record["validation_loss"] for record in learner.history_]
    assert learner.n_iter_ == int(np.argmin(losses)) + 1 + 10 < 500
    assert all("validation_accuracy" in record for record in learner.history_)
    with pytest.raises(ValueError, match="n_samples=3"):
        learner.fit(X[::50], Y[::50])


def test_progress_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    small(verbose=True, epochs=2).fit(X, Y)
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["epoch 1/2", "epoch 2/2"]


# --- weights


def test_a_row_of_weight_two_counts_as_two_rows() -> None:
    weights = np.random.default_rng(0).integers(0, 4, len(DIABETES[1]))
    repeated = [np.repeat(each, weights, axis=0) for each in DIABETES]
    settings: dict[str, Any] = {"hidden": [8], "random_state": 0, "batch": 2000, "epochs": 30}
    weighted = NNRegressor(**settings).fit(*DIABETES, sample_weight=7 * weights).predict(DIABETES[0])
    np.testing.assert_allclose(weighted, NNRegressor(**settings).fit(*repeated).predict(DIABETES[0]), rtol=1e-8)


def test_weights_reach_a_model_that_says_nothing_of_them() -> None:
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    settings: dict[str, Any] = {"random_state": 0, "train__batch": 2000, "train__optimizer": "gd(lr = 0.1)", "epochs": 20, "dtype": "f64"}
    source = TWO_INPUTS.replace(" -> standardize", "")  # its statistics are those of the rows, each of them once
    weighted = NNClassifier(source, **settings).fit(X, Y, sample_weight=7 * weights).predict_proba(X)
    repeated = NNClassifier(source, **settings).fit(np.repeat(X, weights, axis=0), np.repeat(Y, weights))
    np.testing.assert_allclose(weighted, repeated.predict_proba(X), rtol=1e-9)
    assert np.abs(weighted - NNClassifier(source, **settings).fit(X, Y).predict_proba(X)).max() > 1e-3


# --- files of one's own


def test_a_file_trains_as_it_does_without_scikit_learn() -> None:
    with np.load(EXAMPLES / "data" / "digits.npz") as data:
        images, digits = data["image"][:500], data["digit"][:500]
    settings: dict[str, Any] = {"hidden": 32, "train__validate": 0, "train__stop": "reach(0)"}
    fitted = NNClassifier(EXAMPLES / "digits.nn", epochs=3, random_state=0, **settings)
    fitted.fit(images.reshape(500, 64), digits)
    model = rv.compile(EXAMPLES / "digits.nn", hidden=32, seed=0)
    model.fit({"image": images, "digit": digits}, epochs=3, validation=0)
    np.testing.assert_array_equal(fitted.predict_proba(images.reshape(500, 64)), model.predict(images))
    np.testing.assert_array_equal(fitted.fit(images, digits).predict_proba(images), model.predict(images))


def test_columns_of_a_frame_go_to_inputs_by_name() -> None:
    frame = pd.DataFrame(X, columns=["length", "width", "petal_length", "petal_width"])
    straight = NNClassifier(TWO_INPUTS).fit(X, Y)
    shuffled = frame.assign(other=1.0)[["petal_width", "other", "width", "petal_length", "length"]]
    named = NNClassifier(TWO_INPUTS, dtype="f64").fit(shuffled, Y)
    np.testing.assert_array_equal(named.predict_proba(shuffled), straight.predict_proba(X))
    assert list(named.feature_names_in_) == list(shuffled.columns)


def test_one_probability_stands_for_two_classes() -> None:
    source = """
    model yes(features) {
        input x: f32[features]
        target y: f32
        z = (x -> standardize -> dense(1))[0]
        predict sigmoid(z)
        loss binary_cross_entropy(z, y)
    }
    train { optimizer = adam(lr = 0.05) ; epochs = 50 }
    """
    kept = Y < 2
    fitted = NNClassifier(source, random_state=0).fit(X[kept], NAMES[Y[kept]])
    assert fitted.score(X[kept], NAMES[Y[kept]]) == 1
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)


def test_sequences_are_as_long_as_the_array() -> None:
    with np.load(EXAMPLES / "data" / "vowels" / "train.npz") as data:
        frames, speaker = data["frames"][:60], data["speaker"][:60]
    fitted = NNClassifier(EXAMPLES / "vowels.nn", epochs=1, random_state=0).fit(frames, speaker)
    assert fitted.predict_proba(frames).shape == (60, len(np.unique(speaker)))
