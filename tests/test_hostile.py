"""Damaged and hostile `.nn` files: right, or refused with a place, in bounded memory and time. Else a file harms whoever opens it."""

from __future__ import annotations

import collections

import pytest
from mutations import damaged, originals, outcomes, truncations

EDITS = 250
"""Edited copies of each of the four originals."""

BOMBS = {
    "many layers": "y = x\nrepeat 3000 {\ny = y -> dense(8) -> relu\n}\npredict y\nloss sum(y)",
    "lists that share": "y = [1]\nz = [1]\nrepeat 60 {\ny = [y, y]\nz = [z, z]\n}\nrequire y == z : \"{y}\"\npredict x",
    "lists in lists": "y = [1]\nrepeat 5000 {\ny = [y]\n}\nrequire y == [y] : \"{y}\"\npredict x",
    "lists that grow": "y = [1]\nrepeat 10 {\nrepeat 9000 {\ny = y + [1]\n}\n}\npredict x * length(y)",
    "a value that doubles": "y = x\nrepeat 40 {\ny = concat([y, y])\n}\npredict y",
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, list[tuple[bytes, str]]]:
    """All damaged files with what they came to, by the kind of damage."""
    files = {"original": list(originals().values())}
    files["truncated"] = [cut for data in originals().values() for cut in truncations(data)]
    files["edited"] = [edit for n, data in enumerate(originals().values()) for edit in damaged(data, EDITS, n)]
    files["bomb"] = [f"model m() {{\ninput x: f32[8]\n{body}\n}}\n".encode() for body in BOMBS.values()]
    ends = iter(outcomes([data for group in files.values() for data in group]))
    return {kind: [(data, next(ends)) for data in group] for kind, group in files.items()}


def test_the_originals_are_right(found: dict[str, list[tuple[bytes, str]]]) -> None:
    assert [end for _, end in found["original"]] == ["ok"] * len(originals())


@pytest.mark.parametrize("kind", ["truncated", "edited"])
def test_damage_is_harmless_or_refused_with_a_place(kind: str, found: dict[str, list[tuple[bytes, str]]]) -> None:
    wrong = [(end, data.decode("utf-8", "replace")) for data, end in found[kind] if end not in ("ok", "refused")]
    assert not wrong, f"{len(wrong)} of {len(found[kind])}; the first: {wrong[0][0]}\n{wrong[0][1]}"
    count = collections.Counter(end for _, end in found[kind])
    assert count["refused"] > len(found[kind]) / 3


def test_what_would_take_for_ever_is_refused(found: dict[str, list[tuple[bytes, str]]]) -> None:
    assert {name: end for name, (_, end) in zip(BOMBS, found["bomb"], strict=True)} == dict.fromkeys(BOMBS, "refused")
