"""What training costs beside its steps, rows read from files and a checkpoint every epoch: `python -m benchmarks.beside`.

Both ways of a pair take turns, each in a process of its own; the figure is the median over the turns of a turn's median epoch, the first
epoch left out. Rows from files are a third more bytes than the reading process may have in memory (the system enforces it), the other
holds them all. Results of both ways are the same bits, which is checked. A row is an image of 784 pixels, a byte each, or with `--f32`
four: then training at a hundred thousand rows a second reads 300 MB a second, which not every disk gives.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

TIMES = 3
FEATURES = 784
MODEL = Path(__file__).parent / "models" / "perceptron_784_256_128_10.nn"
MIB = 2**20
FEW = 60_000
"""Rows of the set that checkpoints are taken with."""
RUN = """
import hashlib, json, resource, sys, time
file, data, stream, checkpoint, epochs, threads, limit = json.loads(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
from pathlib import Path
from ranvier.runtime.feeding import data_path, read_split
from ranvier.runtime.limits import LIMITS
from ranvier.runtime.making import compile_model
object.__setattr__(LIMITS, "size", 2**50)
model = compile_model(file, threads=threads, seed=None, settings={"data.source": data, "data.stream": stream})
split = read_split(model, Path(data))
ends = []
def report(progress):
    if progress.finished:
        ends.append(time.perf_counter())
given = {"checkpoint": checkpoint, "checkpoint_every": "epoch"} if checkpoint else {}
model.fit(split.training, validation=0, epochs=epochs, report=report, **given)
digest = hashlib.sha256(b"".join(model.params[name].tobytes() for name in model.params)).hexdigest()
seconds = [end - begin for begin, end in zip(ends, ends[1:])]
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([seconds, digest, int(peak)]))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--mib", type=int, default=1536, help="size of the rows that are read from files (default: %(default)s)")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, separated by commas (default: %(default)s)")
    parser.add_argument("--times", type=int, default=TIMES, help="turns of each way (default: %(default)s)")
    parser.add_argument("--f32", action="store_true", help="four bytes a pixel instead of one")
    given = parser.parse_args(arguments)
    pixel = np.dtype(np.float32 if given.f32 else np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.nn"
        file.write_text(_model(pixel), encoding="utf-8")
        rows = _write_rows(Path(folder) / "rows", given.mib * MIB // (pixel.itemsize * FEATURES), pixel)
        few = _write_rows(Path(folder) / "few", FEW, pixel)
        for threads in map(int, given.threads.split(",")):
            _streaming(file, Path(folder) / "rows", rows, given.mib, threads, given.times)
            _checkpoints(file, Path(folder), few, threads, given.times)


def _model(pixel: np.dtype[Any]) -> str:
    """The perceptron of the other benchmarks for rows of this kind, beside them."""
    text = MODEL.read_text(encoding="utf-8")
    if pixel == np.uint8:
        text = text.replace("f32[784]", "u8[784]").replace("logits = x\n", "logits = x -> scale(1/255)\n")
    return text + '\ndata { source = "rows" }\n'


def _write_rows(folder: Path, rows: int, pixel: np.dtype[Any]) -> int:
    """Rows of random pixels and classes, and their number."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    pixels = np.lib.format.open_memmap(folder / "x.npy", "w+", pixel, (rows, FEATURES))
    for begin in range(0, rows, 2**14):
        found = generator.integers(0, 256, (min(2**14, rows - begin), FEATURES), dtype=np.uint8)
        pixels[begin : begin + 2**14] = found if pixel == np.uint8 else found / np.float32(255)
    pixels.flush()
    np.save(folder / "y.npy", generator.integers(0, 10, rows, dtype=np.uint8))
    return rows


def _streaming(file: Path, data: Path, rows: int, mib: int, threads: int, times: int) -> None:
    limit = mib * MIB * 3 // 4
    ways = {"from files": (str(data), True, None, 3, threads, limit), "in memory": (str(data), False, None, 3, threads, 0)}
    _tell(f"{rows:,} rows, {mib / 1024:.1f} GiB, {threads} thread(s)", *_timed(file, ways, times))


def _checkpoints(file: Path, folder: Path, rows: int, threads: int, times: int) -> None:
    few = str(folder / "few")
    ways = {
        "a checkpoint every epoch": (few, False, str(folder / "m.safetensors"), 12, threads, 0),
        "none": (few, False, None, 12, threads, 0),
    }
    _tell(f"{rows:,} rows, {threads} thread(s)", *_timed(file, ways, times))


def _timed(file: Path, ways: Mapping[str, tuple[object, ...]], times: int) -> tuple[dict[str, float], dict[str, int]]:
    """Seconds of an epoch and the most memory (KiB) of each way."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    memory, digests = dict.fromkeys(ways, 0), set[str]()
    for turn in range(times):
        for way in list(ways)[:: 1 if turn % 2 == 0 else -1]:
            for kept in Path(file).parent.glob("m.*safetensors"):
                kept.unlink()
            command = [sys.executable, "-c", RUN, json.dumps([str(file), *ways[way]])]
            found, digest, peak = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            seconds[way].append(statistics.median(found))
            memory[way] = max(memory[way], peak)
            digests.add(digest)
    if len(digests) != 1:
        raise SystemExit("the two ways do not come to the same parameters")
    return {way: statistics.median(found) for way, found in seconds.items()}, memory


def _tell(what: str, seconds: dict[str, float], memory: dict[str, int]) -> None:
    (way, one), (other, base) = seconds.items()
    spread = ", ".join(f"{name} {seconds[name]:.3f} s an epoch with {memory[name] / 1024:,.0f} MiB" for name in seconds)
    print(f"{what}: {way} costs {one / base - 1:+.1%} over {other} ({spread})", flush=True)


if __name__ == "__main__":
    main()
