"""The picture of a search is well-formed and everything lies inside it, whatever the values."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from ranvier.runtime.show.curve import HEIGHT, WIDTH, Curve, curve_text

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("values", [[3.0, 2.0, 1.0, 500.0], [1.0, 1.0, 1.0, 1.0], [-5.0, -6.0, -6.5, 1e30], [1e-9, 5e-10, 1e-10, 3e-9]])
def test_everything_lies_inside(values: list[float]) -> None:
    x = [1e-4, 1e-3, 1e-2, 1e-1]
    text = curve_text(Curve("a < b & c", "rate", "loss", x, values, values, [(x[2], "least & best"), (x[3], "end")]))
    root = ElementTree.fromstring(text)
    points = [tuple(map(float, pair.split(","))) for line in root.iter(f"{SVG}polyline") for pair in line.attrib["points"].split()]
    points += [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]
    assert len(points) == 8
    assert all(0 <= a <= WIDTH and 0 <= b <= HEIGHT for a, b in points)
    assert "least & best" in [t.text for t in root.iter(f"{SVG}text")]
