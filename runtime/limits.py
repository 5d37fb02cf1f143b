"""How much a data file or a saved model may ask for before it is refused; every limit can be raised by the caller."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30
MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """`size`: bytes of a file and of all it unpacks to; `members`: arrays in an `.npz`; `ratio`: unpacked bytes for each
    packed one; `line`: bytes of a row of text; `columns`: columns of a text file;
    `resident`: bytes of a data set from which it stays in its files, where it can, and is read in pieces.
    """

    size: int = 4 * GIB
    members: int = 200
    ratio: int = 1000
    line: int = MIB
    columns: int = 10_000
    resident: int = GIB


LIMITS = Limits()
