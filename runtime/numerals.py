"""Which texts are numbers, as files of data write them."""

from __future__ import annotations


def is_number(text: str) -> bool:
    """Is a text a number as data files write them: a point for the fraction, no underscores, no hexadecimal?"""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def decimal_comma(text: str) -> str:
    """What to say of a text that is a number but for its commas; nothing of any other."""
    return "write numbers with a point for the fraction, and nothing between thousands" if is_number(text.replace(",", "")) else ""
