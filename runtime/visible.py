"""Text of strangers made fit for a terminal: what it would obey, hide or reorder is shown as an escape."""

from __future__ import annotations

from ..compiler.frontend.limits import INVISIBLE


def visible(text: str, *, keep: str = "") -> str:
    """The text with every character that is not printed written as in `\\x1b`; those of `keep` stay as they are."""
    return "".join(c if c in keep or (c.isprintable() and not INVISIBLE.match(c)) else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
