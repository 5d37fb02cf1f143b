"""Names for a `.nn` file from names of columns and files, and texts that can stand in one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from ...compiler.frontend.arrange import BLOCKS, DEFINITIONS, RESERVED, STATEMENTS
from ...compiler.frontend.blocks import KNOWN
from ...compiler.frontend.expressions import CONSTANTS
from ...compiler.frontend.library import standard_names
from ...compiler.frontend.limits import INVISIBLE
from ...compiler.frontend.names import RUNTIME_NAMES
from ...compiler.frontend.primitives import TABLE
from ...compiler.frontend.spelling import spell

LONGEST = 40
WORDS = {"import", "column", "columns", "next", "batch", "training", "True", "False", "None"}
"""Words that mean something, or are taken for a slip, where a name could stand."""


def reserved() -> set[str]:
    """Names that a column of a starter may not have: they mean something there."""
    settings = {name for block in KNOWN.values() for name in block}
    known = {*TABLE, *CONSTANTS, *RUNTIME_NAMES, *(name for _, name in standard_names())}
    return settings | known | DEFINITIONS | BLOCKS | STATEMENTS | RESERVED | WORDS


def free_name(wanted: str, otherwise: str, taken: Collection[str]) -> str:
    """A name of letters, digits and underscores like the one wanted, that is not taken."""
    plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode()
    name = re.sub(r"\W+", "_", plain).strip("_")[:LONGEST]
    name = name if name and not name[0].isdigit() else f"{otherwise}_{name}".rstrip("_")
    candidates = [name, f"{name}_column", *(f"{name}_{n}" for n in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)


def can_be_spelled(text: str) -> bool:
    """Whether a text can stand in quotes in a `.nn` file, which holds no invisible characters."""
    return INVISIBLE.search(spell(text)) is None


def spelled(column: str) -> str:
    """A column as the argument of `column(…)`."""
    return column if column.isascii() and column.isidentifier() and column not in reserved() else spell(column)
