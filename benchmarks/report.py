"""The measured figures as tables for people and as data for programs."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from .peers import PEERS
from .steady import Row
from .work import JOBS

PACKAGES = ("ranvier", "llvmlite", "numpy", "torch", "jax", "onnxruntime", "scikit-learn")
FirstTimes = dict[str, dict[str, float]]


def show(rows: Sequence[Row], first: FirstTimes, *, markdown: bool) -> None:
    """Print a table of ratios for each number of threads, and one of the times from nothing."""
    console = Console(width=None if sys.stdout.isatty() else 200)
    style = box.MARKDOWN if markdown else box.SIMPLE_HEAD
    console.print(machine(), soft_wrap=True)
    for threads in sorted({row.threads for row in rows}):
        console.print(steady_table([row for row in rows if row.threads == threads], threads, style))
    if first:
        console.print(first_table(first, style))


def steady_table(rows: Sequence[Row], threads: int, style: box.Box) -> Table:
    """Microseconds of every peer, and the ratio of the best one to ours."""
    peers = [peer for peer in PEERS if any(peer in row.times for row in rows)]
    table = Table("network", "batch", "work", title=f"{threads} thread{'s' * (threads > 1)}: microseconds", box=style)
    for title in ("ratio", *(PEERS[peer].title for peer in peers)):
        table.add_column(title, justify="right")
    for row in rows:
        batch = "1" if row.job == "infer one" else str(row.batch)
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        cells = [microseconds(row.median(peer)) if peer in row.times else "" for peer in peers]
        table.add_row(row.network, batch, JOBS[row.job], ratio, *cells)
    return table


def first_table(first: FirstTimes, style: box.Box) -> Table:
    """Milliseconds of what happens once a process."""
    peers = [peer for peer in PEERS if any(peer in times for times in first.values())]
    table = Table("once a process", title="milliseconds", box=style)
    for peer in peers:
        table.add_column(PEERS[peer].title, justify="right")
    for name, times in first.items():
        table.add_row(name, *(f"{times[peer] * 1e3:,.0f}" if peer in times else "" for peer in peers))
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


def write_json(path: Path, rows: Sequence[Row], first: FirstTimes) -> None:
    """All blocks of all peers, in seconds."""
    steady = [asdict(row) | {"ratio": row.ratio} for row in rows]
    path.write_text(json.dumps({"machine": machine(), "steady": steady, "first": first}, indent=1) + "\n", encoding="utf-8")
