"""Compile-time values as `.nn` text that reads back as the same value: for saved settings and for the resolved file."""

from __future__ import annotations

import math

from .values import Function, Instance, Live, Primitive, Value, describe


def spell(value: Value) -> str:
    """The text of a number, truth value, text, list, function or made layer; raises ValueError for what has no text (a tensor)."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if not math.isnan(value):
            return repr(value)
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
        case tuple():
            return "[" + ", ".join(map(spell, value)) + "]"
        case Live():
            return f"any {value.name}"  # no text of the language: a program for every value
        case Function() | Primitive():
            return value.name
        case Instance():
            return f"{value.function.name}({', '.join(f'{name} = {spell(each)}' for name, each in value.settings.items())})"
        case _:
            raise ValueError(f"{describe(value)} cannot be written in a file")
