"""The map in CONTRIBUTING.md names every source file once: a newcomer who follows it misses nothing."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("ranvier", "grammar", "compiler", "runtime", "examples", "benchmarks")
SUFFIXES = {".py", ".nn", ".lark", ".json", ".md", ".c", ".cpp"}


def test_every_file_is_on_the_map_once() -> None:
    listed = Counter(re.findall(r"^- `([^`]+)` — \S", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE))
    files = {f.relative_to(ROOT) for folder in FOLDERS for f in (ROOT / folder).rglob("*") if f.suffix in SUFFIXES}
    wanted = {f.as_posix() for f in files if "data" not in f.parts and "__pycache__" not in f.parts}
    assert {name for name, count in listed.items() if count > 1} == set()
    assert wanted - set(listed) == set(), "add these to the map"
    assert set(listed) - wanted == set(), "these are gone"
