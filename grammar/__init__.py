"""The language itself: `nn.lark` is its grammar, `nn.tables.json` the parser tables made from it."""

from __future__ import annotations

from importlib.resources import files

TABLES = "nn.tables.json"


def grammar_text() -> str:
    """The text of `nn.lark`, the grammar of `.nn` files in Lark's notation."""
    return files(__package__).joinpath("nn.lark").read_text(encoding="utf-8")


def tables_text() -> str | None:
    """The text of the parser tables made from the grammar, or None where they are missing."""
    path = files(__package__).joinpath(TABLES)
    return path.read_text(encoding="utf-8") if path.is_file() else None
