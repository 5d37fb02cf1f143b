"""Curves are drawn where their values lie: a picture that misleads is worse than none."""

from __future__ import annotations

import math
import re
import struct
import xml.etree.ElementTree as ET
from xml.etree.ElementTree import Element

import pytest
from ranvier.runtime.show.learning_curves import curve_lines, curves_png, curves_svg, panels_of
from ranvier.runtime.show.plot import Panel, Series, plots_text, round_step

HISTORY = tuple({"loss": 1.0 / (n + 1), "area": n / 10, "validation_loss": 1.2 / (n + 1)} for n in range(9))
SVG = "{http://www.w3.org/2000/svg}"


def elements(text: str, tag: str) -> list[Element]:
    return list(ET.fromstring(text).iter(SVG + tag))


def test_a_panel_a_figure_and_a_line_a_series() -> None:
    text = curves_svg("<m>", HISTORY, best_epoch=4)
    assert elements(text, "title")[0].text == "<m>: learning curves"
    lines = elements(text, "polyline")
    assert [each.get("class") for each in lines] == ["s0 line", "s1 line", "s0 line"]
    assert all(len((each.get("points") or "").split()) == 9 for each in lines)
    words = [each.text for each in elements(text, "text")]
    assert words.count("best") == 2
    assert {"loss", "area", "training", "validation", "epoch"} <= set(words)


def test_places_are_in_proportion() -> None:
    """Equal steps of a value are equal distances, and a label stands at its own value."""
    text = plots_text("t", [Panel("p", "x", "y", (Series("s", [1.0, 2.0, 3.0], [0.0, 10.0, 20.0]),))])
    points = [tuple(map(float, pair.split(","))) for pair in (elements(text, "polyline")[0].get("points") or "").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert y0 > y1
    label = next(each for each in elements(text, "text") if each.text == "10")
    assert float(label.get("y") or 0) == pytest.approx(y1 + 4, abs=0.11)


def test_positive_values_far_apart_are_drawn_by_their_logarithm() -> None:
    text = plots_text("t", [Panel("p", "x", "", (Series("s", [1.0, 2.0, 3.0], [1e-4, 1e-2, 1.0]),))])
    ups = [float(pair.split(",")[1]) for pair in (elements(text, "polyline")[0].get("points") or "").split()]
    assert ups[0] - ups[1] == pytest.approx(ups[1] - ups[2], abs=0.11)
    assert {"0.0001", "0.01", "1"} <= {each.text for each in elements(text, "text")}


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0, 0.0], [math.nan, 3.0], [math.inf, math.nan], [-1e-30, 1e30], []])
def test_any_values_give_a_picture_without_nan(values: list[float]) -> None:
    text = plots_text("t", [Panel("p", "x", "", (Series("s", [float(n) for n in range(len(values))], values),))])
    assert not re.search(r'="[^"]*(nan|inf)', text)
    ET.fromstring(text)


def test_a_gap_parts_a_line() -> None:
    text = plots_text("t", [Panel("p", "x", "", (Series("s", [1, 2, 3, 4, 5], [1, 2, math.nan, 3, math.nan]),))])
    assert len(elements(text, "polyline")) == 1
    assert len(elements(text, "circle")) == 1


@pytest.mark.parametrize(("rough", "step"), [(0.11, 0.2), (1.0, 1.0), (3.0, 5.0), (7.0, 10.0), (2e-5, 2e-5)])
def test_steps_are_round(rough: float, step: float) -> None:
    assert round_step(rough) == pytest.approx(step)


def test_in_characters() -> None:
    loss, area = panels_of(HISTORY)
    lines = curve_lines(area)
    assert lines[0] == "area  (. training)"
    assert lines[1].endswith("|        .")
    assert lines[1].startswith("0.8 ")
    assert lines[8].startswith("  0 |.")
    assert lines[-1].endswith("+--------- epoch 9")
    assert len({len(line.partition("|")[0]) for line in lines[1:-1]}) == 1
    assert any("@" in line for line in curve_lines(loss))


def test_a_long_training_fits_the_terminal() -> None:
    lines = curve_lines(panels_of(tuple({"loss": float(n)} for n in range(1000)))[0])
    assert max(map(len, lines)) <= 79


def test_png() -> None:
    pytest.importorskip("matplotlib")
    data = curves_png("m", HISTORY, 4)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    assert width > height > 300
