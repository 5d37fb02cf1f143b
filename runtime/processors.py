"""How many threads to use: the processors that this process may occupy, or what RANVIER_THREADS says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..compiler.errors import ResourceError

MOST_THREADS = 256
CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


def default_threads() -> int:
    """RANVIER_THREADS if set, else `available()`. Raises ResourceError when the variable is not a number from 1 to 256."""
    wish = os.environ.get("RANVIER_THREADS", "").strip()
    if not wish:
        return min(available(), MOST_THREADS)
    if wish.isascii() and wish.isdigit() and 1 <= int(wish[:9]) <= MOST_THREADS:
        return int(wish)
    raise ResourceError(f"RANVIER_THREADS is `{wish[:40]}`: give a whole number from 1 to {MOST_THREADS}")


def available() -> int:
    """Processors this process may use: its affinity, cut to the quota of its control group (a container's limit)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(int(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Processors' worth of time that each control group around this process grants (Linux; nothing where it says nothing).

    Version 2 keeps `quota period` in cpu.max of every group up to the root; version 1 keeps them in two files. A limit is in microseconds
    of processor time in each period of real time.
    """
    for line in _read(OWN_GROUP).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        own = Path(path.strip().lstrip("/"))
        if number == "0" and not controllers:
            for group in (own, *own.parents):
                yield from _ratio(_read(CONTROL_GROUPS / group / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for group in (own, *own.parents):
                folder = CONTROL_GROUPS / "cpu" / group
                yield from _ratio([_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()])


def _ratio(words: list[str]) -> Iterator[float]:
    """quota / period when both are positive numbers (no limit is written `max` or -1)."""
    if len(words) == 2 and all(word.isdigit() and int(word) for word in words):
        yield int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
