"""A file with everything filled in: settings as chosen, defaults of layers and of the `train` block, imports, shapes as comments.

The text is a `.nn` file itself, and means the same. It is the author's own text with insertions, then formatted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from ...compiler.driver import Blueprint
from ...compiler.frontend.blocks import KNOWN
from ...compiler.frontend.expressions import CONSTANTS
from ...compiler.frontend.formatter import format_source
from ...compiler.frontend.library import Library
from ...compiler.frontend.spelling import spell
from ...compiler.frontend.syntax import (
    Argument,
    Assign,
    Boolean,
    Call,
    Definition,
    Expression,
    Listing,
    Name,
    Number,
    Parameter,
    Pipe,
    String,
    Syntax,
    Unary,
    With,
)
from ...compiler.source import Source


@dataclass(frozen=True)
class Edit:
    """The characters [start, end) of the main file become `text`."""

    start: int
    end: int
    text: str


def resolve(blueprint: Blueprint) -> str:
    """The resolved text of a blueprint's file; raises SourceError when the file is wrong."""
    unit = blueprint.unit
    file = unit.library.file
    edits = [*_settings(blueprint), *(edit for d in file.definitions for edit in _defaults(unit.library, d)), *_shapes(blueprint)]
    edits += [Edit(each.span.start, each.span.end, "") for each in file.imports]
    edits += [Edit(b.span.start, b.span.end, "") for kind, b in unit.blocks.items() if kind in ("train", "data")]
    text = _apply(file.source.text, edits)
    own = [d for d in unit.library.own.values() if d.definition.span.source is not file.source and d.definition.kind != "model"]
    parts = [text.rstrip(), *(d.definition.span.text for d in own), _data_block(blueprint), _train_block(blueprint)]
    return format_source(Source(file.source.name, "\n\n".join(part for part in parts if part) + "\n"))


def _apply(text: str, edits: list[Edit]) -> str:
    """All edits, in the order of their places; insertions at one place keep their order."""
    parts, position = [], 0
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:]])


# --- the model


def _settings(blueprint: Blueprint) -> Iterator[Edit]:
    """The model's settings at their chosen values."""
    chosen = blueprint.inference.settings
    for parameter in blueprint.unit.model.settings or ():
        name = parameter.name.id
        if name in chosen:
            yield Edit(parameter.span.start, parameter.span.end, f"{name} = {spell(chosen[name])}")


def _shapes(blueprint: Blueprint) -> Iterator[Edit]:
    """A comment at the end of every line on which the model applies layers: what comes out of each."""
    source = blueprint.unit.library.file.source
    lines: dict[int, list[str]] = {}
    for layer in blueprint.inference.layers:
        if layer.span.source is source and layer.depth == 1:
            lines.setdefault(layer.span.line, []).append(f"{layer.path}: {layer.output}")
    for number, texts in lines.items():
        start = source.line_starts[number - 1]
        line = source.line(number)
        comment = "; ".join(text for text in dict.fromkeys(texts) if text not in line)
        if comment:
            yield Edit(start + len(line), start + len(line), f"; {comment}" if "#" in line else f"  # {comment}")


# --- defaults of layers


def _defaults(library: Library, definition: Definition) -> Iterator[Edit]:
    """The settings that a body leaves to the defaults of the layers it makes."""
    nodes = [node for statement in definition.body for node in _walk(statement)]
    local = {name.id for node in nodes if isinstance(node, Assign) for name in node.names}
    local |= {p.name.id for p in (*(definition.settings or ()), *(definition.inputs or ()))}
    for node in nodes:
        if isinstance(node, Call) and isinstance(node.callee, Name) and node.callee.id not in local:
            yield from _call(library, node)
        bare = node.right if isinstance(node, Pipe) else node.layer if isinstance(node, With) else None
        if isinstance(bare, Name) and bare.id not in local and (missing := _missing(library, bare.id, ())):
            yield Edit(bare.span.end, bare.span.end, f"({', '.join(missing)})")


def _call(library: Library, call: Call) -> Iterator[Edit]:
    assert isinstance(call.callee, Name)
    missing = _missing(library, call.callee.id, call.arguments)
    if missing:
        before = call.span.text[:-1].rstrip()
        comma = "" if before.endswith(("(", ",")) else ", "
        yield Edit(call.span.end - 1, call.span.end - 1, comma + ", ".join(missing))


def _missing(library: Library, name: str, given: tuple[Argument, ...]) -> list[str]:
    """`bias = true` for each setting with a default that a making call does not give."""
    function = library.lookup(name)
    if function is None or function.definition.settings is None or function.definition.kind == "model":
        return []
    named = {a.name for a in given if a.name}
    positional = sum(a.name is None for a in given)
    rest = [p for p in function.definition.settings[positional:] if p.name.id not in named]
    return [f"{p.name.id} = {p.default.span.text}" for p in rest if p.default is not None and _stands_alone(library, p)]


def _stands_alone(library: Library, parameter: Parameter) -> bool:
    """Whether a default means the same at the call as in the definition: it names no other setting."""
    nodes = list(_walk(parameter.default)) if parameter.default else []
    simple = all(isinstance(n, Number | String | Boolean | Name | Listing | Unary) for n in nodes if isinstance(n, Expression))
    return simple and all(library.lookup(n.id) is not None or n.id in CONSTANTS for n in nodes if isinstance(n, Name))


def _walk(node: Syntax) -> Iterator[Syntax]:
    """A node and everything under it, in the order of the text."""
    yield node
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Syntax):
                yield from _walk(each)


# --- blocks


def _train_block(blueprint: Blueprint) -> str:
    """The `train` block with every setting."""
    if "loss" not in blueprint.inference.graph.outputs:
        return ""
    settings = blueprint.train_settings
    values = {name: getattr(settings, name) for name in KNOWN["train"] if hasattr(settings, name)}
    lines = [f"    {name} = {spell(value)}" for name, value in values.items() if value not in (None, ())]
    return "\n".join(["train {", *lines, "}"])


def _data_block(blueprint: Blueprint) -> str:
    """The `data` block as it is used."""
    if "data" not in blueprint.unit.blocks:
        return ""
    lines = [f"    {line}" for line in blueprint.data_settings.spelled(spell)]
    return "\n".join(["data {", *lines, "}"])
