"""The measured figures as tables for people and as data for programs."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from .peers import PEERS
from .steady import Row
from .work import JOBS

PACKAGES = ("ranvier", "llvmlite", "numpy", "torch", "jax", "onnxruntime", "scikit-learn")
WIDTH = 200
"""Of tables that go to a file."""

MISSING = "—"
"""In the cell of a peer that does not do this, or failed."""


@dataclass(frozen=True)
class Found:
    """All that has been measured so far: rows, and seconds of what happens once a process by line and peer."""

    rows: list[Row]
    first: dict[str, dict[str, float]]


def show(found: Found, *, markdown: bool) -> None:
    """Print a table of ratios for each number of threads, and one of the times from nothing."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    style = box.MARKDOWN if markdown else box.SIMPLE_HEAD
    console.print(machine(), soft_wrap=True)
    for threads in sorted({row.threads for row in found.rows}):
        console.print(steady_table([row for row in found.rows if row.threads == threads], threads, style))
    if found.first:
        console.print(first_table(found.first, style))


def show_early(rows: Sequence[Row]) -> None:
    """Print what has just been measured beside the results: it is kept whatever becomes of the rest."""
    if rows:
        Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH).print(steady_table(rows, rows[0].threads, box.SIMPLE_HEAD))


def steady_table(rows: Sequence[Row], threads: int, style: box.Box) -> Table:
    """Microseconds of every peer, and the ratio of the best one to ours."""
    peers = [peer for peer in PEERS if any(peer in row.times for row in rows)]
    table = Table("network", "batch", "work", title=f"{threads} thread{'s' * (threads > 1)}: microseconds", box=style)
    for title in ("ratio", *(PEERS[peer].title for peer in peers)):
        table.add_column(title, justify="right")
    for row in rows:
        batch = "1" if row.job == "infer one" else str(row.batch)
        ratio = MISSING if row.ratio is None else f"{row.ratio:.2f}"
        cells = [microseconds(row.median(peer)) if peer in row.times else MISSING for peer in peers]
        table.add_row(row.network, batch, JOBS[row.job], ratio, *cells)
    return table


def first_table(first: Mapping[str, Mapping[str, float]], style: box.Box) -> Table:
    """Milliseconds of what happens once a process."""
    peers = [peer for peer in PEERS if any(peer in times for times in first.values())]
    table = Table("once a process", title="milliseconds", box=style)
    for peer in peers:
        table.add_column(PEERS[peer].title, justify="right")
    for name, times in first.items():
        table.add_row(name, *(f"{times[peer] * 1e3:,.0f}" if peer in times else MISSING for peer in peers))
    return table


def microseconds(seconds: float) -> str:
    """Three digits or more."""
    value = seconds * 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> str:
    """What it was measured on and with."""
    libraries = ", ".join(f"{name} {found}" for name in PACKAGES if (found := installed(name)))
    return f"{processor()}, {os.cpu_count()} processors; Python {platform.python_version()}; {libraries}"


def processor() -> str:
    """The name of the CPU and, as names can be vague, what LLVM takes it for."""
    from ranvier.compiler.backend.target import host

    names = [line.split(":")[1].strip() for line in cpu_information().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()} ({host().cpu})"


def cpu_information() -> str:
    """What Linux says of the processors; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def installed(name: str) -> str:
    """The version of a package, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def write_json(path: Path, found: Found) -> None:
    """All blocks of all peers, in seconds. Whoever reads the file meets the whole of it, as it is now or as it was."""
    steady = [asdict(row) | {"ratio": row.ratio} for row in found.rows]
    text = json.dumps({"machine": machine(), "steady": steady, "first": found.first}, indent=1)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)
