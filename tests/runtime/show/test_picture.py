"""Pictures show what the author wrote, whatever is shared or skipped, and never draw a box over another."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree

import pytest
from ranvier.runtime.opening import open_blueprint
from ranvier.runtime.show.dot import dot_text
from ranvier.runtime.show.drawing import svg_text
from ranvier.runtime.show.picture import Picture, draw
from ranvier.runtime.show.resolved import resolve

SHARED = """layer block(units)(x: [..., c]) {
    return x -> dense(units) -> relu -> dense(c)
}
model twins(hidden = 6) {
    input a: f32[4]
    input b: f32[4]
    target y: f32[1]
    shared = dense(hidden)
    u = shared(a) -> relu
    v = shared(b) -> relu
    w = u * v + u
    repeat 3 { w = w + (w -> block(5)) }
    repeat 2 { w = shared(w -> dense(4)) }
    out = w -> dense(1)
    predict out
    loss mse(out, y)
    metric rmse(out, y)
}
"""


@pytest.fixture(scope="module")
def picture() -> Picture:
    return draw(open_blueprint(SHARED))


def test_every_arrow_goes_forward(picture: Picture) -> None:
    assert picture.arrows
    assert all(arrow.start < arrow.end for arrow in picture.arrows)


def test_a_shared_layer_is_a_box_at_each_application(picture: Picture) -> None:
    titles = [box.title for box in picture.boxes]
    assert titles.count("dense_1") == 4
    assert {"a", "b", "y", "block_1", "block_2", "block_3", "predict", "loss", "rmse"} <= set(titles)
    assert "block_1.dense_1" not in titles


def test_arrows_carry_shapes(picture: Picture) -> None:
    into = {picture.boxes[a.end].title: a.label for a in picture.arrows}
    assert into["block_2"] == "f32[6]"


def test_a_cell_is_one_box_however_it_is_read() -> None:
    text = """model m() {
        input x: f32[6, 4]
        input h0: f32[5]
        encoder = gru(5)
        seen = encoder(x, h = h0)
        again = encoder(x, h = last(seen))
        both = bidirectional(lstm(3))(again)
        predict both -> last
    }"""
    drawn = draw(open_blueprint(text))
    titles = [box.title for box in drawn.boxes]
    assert titles == ["x", "h0", "gru_1", "last(seen)", "gru_1", "bidirectional_1", "last", "predict"]
    labels = {(titles[a.start], titles[a.end]): a.label for a in drawn.arrows}
    assert labels["gru_1", "last(seen)"] == "f32[5]"
    assert labels["gru_1", "bidirectional_1"] == "f32[6, 5]"
    assert labels["bidirectional_1", "last"] in ("f32[6]", "f32[6, 6]")


def test_boxes_do_not_meet(picture: Picture) -> None:
    root = ElementTree.fromstring(svg_text(picture))
    rectangles = [r for r in root.iter("{http://www.w3.org/2000/svg}rect") if r.get("rx")]
    assert len(rectangles) == len(picture.boxes)
    areas = [tuple(float(r.get(k) or 0) for k in ("x", "y", "width", "height")) for r in rectangles]
    for (x, y, w, h), (u, v, s, t) in itertools.combinations(areas, 2):
        assert x + w <= u or u + s <= x or y + h <= v or v + t <= y
    assert min(x for x, *_ in areas) >= 0


def test_what_the_author_wrote_cannot_break_the_picture() -> None:
    text = 'model m() { input x: f32[2] ; y = x -> dense(2) with name = "a" ; predict (y if x < y else x) * 2 }\n'
    picture = draw(open_blueprint(text))
    ElementTree.fromstring(svg_text(picture))
    assert dot_text(picture).count("{") == 1


def test_resolving_twice_changes_nothing() -> None:
    text = resolve(open_blueprint(SHARED, settings={"hidden": 7}))
    assert "hidden = 7" in text
    assert resolve(open_blueprint(text)) == text
