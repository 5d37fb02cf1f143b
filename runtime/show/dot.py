"""A picture in the DOT language, for Graphviz."""

from __future__ import annotations

import json

from .picture import Picture

SHAPES = {"input": "ellipse", "target": "ellipse", "layer": "box", "step": "box", "output": "ellipse"}


def dot_text(picture: Picture) -> str:
    """The text of a directed graph. What comes from the user's file stands in quotes only."""
    lines = [f"digraph {_quoted(picture.title)} {{", '  node [fontname="monospace"]; edge [fontname="monospace", fontsize=10];']
    for number, box in enumerate(picture.boxes):
        label = f"{box.title}\n{box.detail}" if box.detail else box.title
        style = ', style="rounded"' if box.kind == "layer" else ""
        lines.append(f"  n{number} [shape={SHAPES[box.kind]}, label={_quoted(label)}{style}];")
    lines += [f"  n{arrow.start} -> n{arrow.end} [label={_quoted(arrow.label)}];" for arrow in picture.arrows]
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    """A DOT string: its escapes for quotes, backslashes and line breaks are those of JSON."""
    return json.dumps(text, ensure_ascii=False)
