"""Files and settings from outside: what may be read, how values are understood, what is refused in words."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from ranvier.compiler.errors import RanvierError, SourceError
from ranvier.runtime.opening import open_blueprint, open_source, path_below, split_settings
from repository import EXAMPLES

import ranvier as rv

TEXT = """model m(size = 4, act = relu, _rate = 0.5, _deep = true, _word = "a", _sizes = [3, 2]) {
    input x: f32[2]
    predict x -> dense(size) -> act
}
"""


def test_a_text_is_a_source_too() -> None:
    assert open_source(TEXT).model.name.id == "m"
    assert rv.compile(TEXT, size=3).predict(np.zeros((5, 2), np.float32)).shape == (5, 3)


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("size", 7, 7),
        ("size", np.int64(7), 7),
        ("size", "7", 7),
        ("size", "2 * 3", 6),
        ("_rate", "50%", 0.5),
        ("_rate", "-1e-3", -1e-3),
        ("_deep", "false", False),
        ("_deep", False, False),
        ("_word", "b", "b"),
        ("_word", '"b"', "b"),
        ("_sizes", [5, 6], (5, 6)),
        ("_sizes", "[5, 6]", (5, 6)),
    ],
)
def test_values_are_understood(name: str, given: object, value: object) -> None:
    assert open_blueprint(TEXT, settings={name: given}).settings == {name: value}


def test_a_function_is_given_by_its_name() -> None:
    for given in ("tanh", "gelu"):
        blueprint = open_blueprint(TEXT, settings={"act": given})
        assert getattr(blueprint.settings["act"], "name", None) == given
        assert blueprint.inference.graph.outputs


@pytest.mark.parametrize(
    ("settings", "overrides", "said"),
    [
        ({"size": object()}, {}, "not object"),
        ({"size": "1 2"}, {}, "size = 1 2"),
        ({"size": "nonsense"}, {}, "not defined"),
        ({"size": "1 } model"}, {}, "size = "),
        ({"size": "1 ; other = 2"}, {}, "one value"),
        ({}, {"train.bach": 3}, "did you mean `train.batch`"),
        ({}, {"tune.trials": 3}, "no setting is called `tune.trials`"),
    ],
)
def test_values_that_are_none_are_refused(settings: dict[str, object], overrides: dict[str, object], said: str) -> None:
    with pytest.raises(rv.RanvierError, match=said):
        open_blueprint(TEXT, settings=settings, overrides=overrides)


def test_dotted_names_belong_to_blocks() -> None:
    assert split_settings({"a": 1, "train.b": 2}) == ({"a": 1}, {"train.b": 2})


def test_the_dtype_is_checked() -> None:
    with pytest.raises(rv.RanvierError, match="f32 or f64"):
        rv.compile(TEXT, dtype="f16")


@pytest.mark.parametrize("text", ["", ".", "/etc/passwd", "../x.nn", "a/../../x.nn", "a\\b.nn", "c:x.nn", "a\0b"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="folder"):
        path_below(tmp_path, text)


def test_links_are_refused_at_every_step(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "x.nn").write_text("")
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "x.nn").symlink_to(tmp_path / "real" / "x.nn")
    assert path_below(tmp_path, "real/./x.nn") == tmp_path / "real" / "x.nn"
    for text in ("linked/x.nn", "x.nn"):
        with pytest.raises(ValueError, match="symbolic link"):
            path_below(tmp_path, text)


def test_imports_obey_the_rules_and_are_told_at_their_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nn")
    for path, said in (("../x.nn", "leaves the folder"), ("none.nn", "cannot read"), ("pipe.nn", "not a regular file")):
        (tmp_path / "m.nn").write_text(f'import "{path}"\n' + TEXT)
        with pytest.raises(SourceError, match=said) as caught:
            open_source(tmp_path / "m.nn")
        assert "m.nn:1:8" in str(caught.value)


def test_what_the_face_offers() -> None:
    assert set(rv.__all__) <= set(dir(rv))
    assert issubclass(rv.SourceError, rv.RanvierError)
    assert rv.Model.__name__ == "Model"
    assert rv.__version__
    with pytest.raises(AttributeError):
        _ = rv.nothing  # type: ignore[attr-defined]


def test_keywords_of_compile_reach_the_blocks() -> None:
    model = rv.compile(EXAMPLES / "digits.nn", batch=16, seed=9, threads=1, hidden=8, **{"train.optimizer.lr": 0.5})
    assert (model.capacity, model.seed, model.team.threads) == (16, 9, 1)
    assert model.blueprint.train_settings.optimizer.settings["lr"] == 0.5
    assert model.params["dense_1.weight"].shape == (64, 8)


COLUMNS = """model m() {
    input x: f32[2]
    target y: class[2]
    z = x -> dense(2)
    predict z
    loss cross_entropy(z, y)
}
data { x = columns(a, b) }
"""


@pytest.mark.parametrize("text", ["columns(c, d)", 'columns("c", "d")', '["c", "d"]', ["c", "d"], ("c", "d")])
def test_columns_from_outside(text: object, tmp_path: Path) -> None:
    blueprint = open_blueprint(COLUMNS, overrides={"data.x": text, "data.y": "column(kind)", "data.time": "column(day)"})
    found = blueprint.data_settings
    assert dict(found.columns) == {"x": ("c", "d"), "y": ("kind",)}
    assert found.time == "day"
    model = rv.compile(COLUMNS, **{"data.x": text, "data.y": "kind", "data.group": '"a person"'})
    model.save(tmp_path / "m.safetensors")
    saved = rv.load(tmp_path / "m.safetensors").blueprint.data_settings
    assert dict(saved.columns) == {"x": ("c", "d"), "y": ("kind",)}
    assert saved.group == "a person"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("data.x", "columns(a, 3)", "a column is a name, or a text in quotes"),
        ("data.x", "columns(a", "expected `)` or `,`"),
        ("data.x", 3, "say which columns"),
        ("data.x", "[1, 2]", "say which columns"),
        ("data.z", "column(a)", "no setting is called `data.z`"),
        ("data.time", "columns(a", "expected `)` or `,`"),
    ],
)
def test_columns_from_outside_that_are_none(name: str, text: object, words: str) -> None:
    with pytest.raises(RanvierError, match=re.escape(words)):
        _ = open_blueprint(COLUMNS, overrides={name: text}).data_settings
