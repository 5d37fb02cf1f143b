"""What was found out of a file as plain values for JSON; numbers that JSON cannot hold become null."""

from __future__ import annotations

import math
from typing import Any

from .facts import FileFacts
from .roles import Judged, class_counts

FREQUENT = 5
"""Most frequent values that are shown of a column."""


def as_json(facts: FileFacts, starter: str | None, no_starter: str | None) -> dict[str, Any]:
    """All facts, the starter, or why there is none."""
    source = facts.source
    return {
        "path": str(source.path),
        "rows": source.rows,
        "rows_looked_at": facts.looked,
        "bytes": source.bytes,
        "in_pieces": source.piecewise,
        "columns": [_column(column) for column in facts.columns],
        "unreadable": dict(source.unreadable),
        "image_sizes": [{"height": h, "width": w, "channels": c, "images": n} for (h, w, c), n in source.sizes.items()],
        "parts": {name: {"rows": part.rows, "also_in_training": part.known} for name, part in facts.parts.items()},
        "repeated_rows": facts.repeats,
        "contradicting_rows": facts.contradictions,
        "target": facts.target,
        "classes": _classes(facts),
        "starter": starter,
        "no_starter": no_starter,
    }


def _column(column: Judged) -> dict[str, Any]:
    facts = column.facts
    return {
        "name": facts.name,
        "type": facts.type,
        "shape": list(facts.column.shape),
        "role": column.role.value,
        "could_be_label": column.label,
        "missing": facts.missing,
        "missing_share": facts.missing_share,
        "distinct": facts.distinct,
        "constant": facts.constant,
        "places_that_never_vary": facts.still,
        **_numbers(column),
        "frequent": [{"value": _plain(value), "rows": rows} for value, rows in facts.frequent(FREQUENT)],
        "remarks": list(column.remarks),
    }


def _numbers(column: Judged) -> dict[str, Any]:
    numbers = column.facts.numbers
    if numbers is None:
        return {}
    low, median, high = numbers.quartiles
    figures = {"min": numbers.least, "25%": low, "median": median, "75%": high, "max": numbers.most}
    figures |= {"mean": numbers.mean, "std": numbers.deviation}
    plain = {name: _plain(value) for name, value in figures.items()}
    return plain | {"quartiles_exact": numbers.exact, "infinite": numbers.infinite}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _classes(facts: FileFacts) -> list[dict[str, Any]] | None:
    """The balance of the target's classes."""
    target = None if facts.target is None else facts.column(facts.target)
    if target is None or not target.label:
        return None
    counted = class_counts(target.facts)
    known = sum(rows for _, rows in counted)
    return [{"value": value, "rows": rows, "share": rows / known} for value, rows in counted]
