"""Times from nothing, each in a process of its own: imports, the first training step with and without kept code, `ranvier --help`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from .peers import PEERS
from .work import NETWORKS

Found = tuple[str, str, float]
"""The line of the table, the peer, and seconds."""

NETWORK, OURS = "784-256-128-10", ("resnet-20", "lstm-64-256")
"""The network whose first step everyone takes, and those of which Ranvier alone does: another compiles them for a minute."""

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


def measure(peers: list[str], times: int, say: Callable[[str], None]) -> Iterator[Found]:
    """What happens once a process, as it is measured; of a peer that fails nothing, the reason having been said."""
    bare = running("pass", times)
    for peer in peers:
        if peer not in ("compiled", "scan"):
            yield from tried(["import"], peer, partial(more_than, bare, f"import {PEERS[peer].library}", times), say)
    if "ranvier" in peers:
        yield from tried(["`ranvier --help`"], "ranvier", partial(helping, times), say)
    for name, code, peer in first_steps(peers):
        lines = [f"first step of {name}, cold", f"first step of {name}, warm"]
        yield from tried(lines, peer, partial(cold_and_warm, peer, code, times), say)


def first_steps(peers: list[str]) -> Iterator[tuple[str, str, str]]:
    """What is trained, the code of a process that does a step, and the peer."""
    for name in NETWORK, *OURS:
        index = [network.name for network in NETWORKS].index(name)
        for peer in peers:
            if peer == "ranvier" or (name == NETWORK and peer != "scan"):
                yield name, FIRST_STEP.format(network=index, module=PEERS[peer].module), peer
    if "ranvier" in peers:
        yield DIGITS.name, DIGITS_STEP.format(path=str(DIGITS)), "ranvier"


def tried(lines: Sequence[str], peer: str, action: Callable[[], Sequence[float]], say: Callable[[str], None]) -> Iterator[Found]:
    """The seconds that an action gives for some lines; nothing where it gives none or a process fails."""
    say(f"{lines[0]}: {PEERS[peer].title}")
    try:
        yield from ((line, peer, seconds) for line, seconds in zip(lines, action(), strict=False))
    except subprocess.CalledProcessError as error:
        say(f"left out: {PEERS[peer].title}: exit status {error.returncode}\n{error.stderr}")


def cold_and_warm(peer: str, code: str, times: int) -> tuple[float, ...]:
    """Seconds that the code prints, with an empty folder of kept code and with a filled one; nothing where it prints nothing."""
    pairs = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            kept = {PEERS[peer].cache: os.path.join(folder, "kept")} if PEERS[peer].cache else {}
            printed = [output(code, PEERS[peer].variables(1) | kept) for _ in range(2)]
            if not all(printed):
                return ()
            pairs.append([float(text) for text in printed])
    return tuple(statistics.median(column) for column in zip(*pairs, strict=True))


def output(code: str, variables: dict[str, str]) -> str:
    """What a process prints."""
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout.strip()


def more_than(seconds: float, code: str, times: int) -> list[float]:
    """Seconds by which a process that runs some Python takes longer."""
    return [running(code, times) - seconds]


def helping(times: int) -> list[float]:
    """Seconds until the command line has told how it is used."""
    return [median(times, [sys.executable, "-m", "ranvier", "--help"])]


def running(code: str, times: int) -> float:
    """Seconds of a process that runs some Python."""
    return median(times, [sys.executable, "-c", code])


def median(times: int, command: list[str]) -> float:
    """The median of the seconds of some processes, from start to end."""
    return statistics.median(whole(command) for _ in range(times))


def whole(command: list[str]) -> float:
    """Seconds of a process from start to end."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - start
