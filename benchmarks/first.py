"""Times from nothing, each in a process of its own: imports, the first training step with and without kept code, `ranvier --help`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .peers import PEERS
from .work import NETWORKS

NETWORK = 1
DIGITS = Path(__file__).parents[1] / "examples" / "digits.nn"

FIRST_STEP = """
import importlib, time
from benchmarks.work import NETWORKS
network = NETWORKS[{network}]
network.data, network.parameters
peer = importlib.import_module("benchmarks.peers.{module}")
start = time.perf_counter()
trained = peer.Choice(network, 1).train(1)
print(time.perf_counter() - start if trained else "")
"""

DIGITS_STEP = """
import time
import numpy as np
import ranvier as rv
rows = {{"image": np.zeros((64, 8, 8, 1), np.uint8), "digit": np.zeros(64, np.int32)}}
start = time.perf_counter()
rv.compile({path!r}, threads=1).step(rows)
print(time.perf_counter() - start)
"""


def measure(peers: list[str], times: int, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Seconds by what is done and by peer."""
    libraries = {peer: PEERS[peer].library for peer in peers if peer not in ("compiled", "scan")}
    say("imports")
    bare = running("pass", times)
    found = {"import": {peer: running(f"import {library}", times) - bare for peer, library in libraries.items()}}
    found["`ranvier --help`"] = {"ranvier": median(times, [sys.executable, "-m", "ranvier", "--help"])}
    name = NETWORKS[NETWORK].name
    cold, warm = found[f"first step of {name}, cold"], found[f"first step of {name}, warm"] = {}, {}
    for peer in peers:
        say(f"first step: {PEERS[peer].title}")
        code = FIRST_STEP.format(network=NETWORK, module=PEERS[peer].module)
        if peer != "scan" and (pair := cold_and_warm(peer, code, times)):
            cold[peer], warm[peer] = pair
    if "ranvier" in peers and (pair := cold_and_warm("ranvier", DIGITS_STEP.format(path=str(DIGITS)), times)):
        found["first step of digits.nn, cold"], found["first step of digits.nn, warm"] = ({"ranvier": seconds} for seconds in pair)
    return found


def cold_and_warm(peer: str, code: str, times: int) -> tuple[float, float] | None:
    """Seconds that the code prints, with an empty folder of kept code and with a filled one; None where it prints nothing."""
    pairs = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            kept = {PEERS[peer].cache: os.path.join(folder, "kept")} if PEERS[peer].cache else {}
            printed = [output(code, PEERS[peer].variables(1) | kept) for _ in range(2)]
            if not all(printed):
                return None
            pairs.append([float(text) for text in printed])
    cold, warm = (statistics.median(column) for column in zip(*pairs, strict=True))
    return cold, warm


def output(code: str, variables: dict[str, str]) -> str:
    """What a process prints."""
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.strip()


def running(code: str, times: int) -> float:
    """Seconds of a process that runs some Python."""
    return median(times, [sys.executable, "-c", code])


def median(times: int, command: list[str]) -> float:
    """The median of the seconds of some processes, from start to end."""
    return statistics.median(whole(command) for _ in range(times))


def whole(command: list[str]) -> float:
    """Seconds of a process from start to end."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start
