"""Five-fold cross-validation of `examples/digits.nn` beside the same in scikit-learn and PyTorch: `python -m benchmarks.folds`.

Everybody trains on the same rows of the same folds, 60 epochs in batches of 64, by Adam with the same rate and penalty, and says how many
of the rows held out are right. PyTorch drops out units and lowers the rate by a cosine, as the file says; scikit-learn can do neither, and
is compared with the file without both. Each is timed in processes of its own, in turns, from arrays in memory to the five scores, twice:
the first time has everybody's imports too, and Ranvier's the loading of programs kept from another run, in the last line its compilation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ranvier.runtime.folds import make_folds

DATA = Path(__file__).parents[1] / "examples" / "data" / "digits.npz"
FOLDS, PARTS = 5, ("training", "held_out")
TIMES = 3
SETUP = """
import json, math, time
import numpy as np
with np.load({data!r}) as kept:
    image, digit = kept["image"], kept["digit"].astype(np.int64)
with np.load({folds!r}) as kept:
    folds = [(kept[f"training{{n}}"], kept[f"held_out{{n}}"]) for n in range(FOLDS)]
EPOCHS, BATCH, RATE, PENALTY, DROP, UNITS = 60, 64, 5e-3, 1e-4, 0.3, 256
start = time.perf_counter()
"""
OURS = """
import ranvier as rv
def scores():
    settings = {{"train.validate": 0, "train.stop": [], **MORE}}
    found = rv.cross_validate({file!r}, {{"image": image, "digit": digit}}, folds=FOLDS, threads={threads}, **settings)
    return [fold["accuracy"] for fold in found.folds]
"""
PLAIN = "Ranvier, the same"
BESIDE = {"PyTorch": "Ranvier", "scikit-learn": PLAIN}
"""Who is compared with what."""
PEERS = {
    "Ranvier": OURS.replace("MORE", "{{}}"),
    PLAIN: OURS.replace("MORE", '{{"drop": 0, "train.schedule": "constant()"}}'),
    "scikit-learn": """
import warnings
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits
warnings.simplefilter("ignore", ConvergenceWarning)
threadpool_limits({threads})
def scores():
    rows = image.reshape(len(image), -1).astype(np.float32) / 16
    for training, held_out in folds:
        # its penalty on a batch is alpha / (2 * rows) times the sum of squares
        model = MLPClassifier((UNITS,), alpha=2 * PENALTY * BATCH, batch_size=BATCH, learning_rate_init=RATE, max_iter=EPOCHS,
                              n_iter_no_change=EPOCHS, tol=0, random_state=0)
        model.fit(rows[training], digit[training])
        yield model.score(rows[held_out], digit[held_out])
""",
    "PyTorch": """
import torch
from torch import nn
from torch.nn.functional import cross_entropy
torch.set_num_threads({threads})
def scores():
    rows, labels = torch.from_numpy(image.reshape(len(image), -1)).float() / 16, torch.from_numpy(digit)
    for training, held_out in folds:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, UNITS), nn.ReLU(), nn.Dropout(DROP), nn.Linear(UNITS, 10))
        weights, biases = [[p for p in model.parameters() if p.dim() == d] for d in (2, 1)]
        groups = [{{"params": weights, "weight_decay": 2 * PENALTY}}, {{"params": biases}}]
        optimizer = torch.optim.Adam(groups, lr=RATE, fused=True)
        x, y = rows[training], labels[training]
        steps, step = EPOCHS * math.ceil(len(x) / BATCH), 0
        rise = steps * 0.05
        for epoch in range(EPOCHS):
            for chosen in torch.randperm(len(x)).split(BATCH):
                step += 1
                way = min(max((step - 1 - rise) / (steps - 1 - rise), 0), 1)
                rate = RATE * min(step / rise, 1) * 0.5 * (1 + math.cos(math.pi * way))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad()
                cross_entropy(model(x[chosen]), y[chosen]).backward()
                optimizer.step()
        model.eval()
        with torch.no_grad():
            yield float((model(rows[held_out]).argmax(1) == labels[held_out]).float().mean())
""",
}
TELL = """
seconds = []
for _ in range(2):
    found = list(scores())
    seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
print(json.dumps([*seconds, sum(found) / len(found)]))
"""


def keep_folds(file: Path) -> None:
    """Write the rows of the folds for everybody: those that `cross_validate` makes, stratified by class."""
    with np.load(DATA) as kept:
        digit = kept["digit"].astype(np.int64)
    folds = make_folds(len(digit), FOLDS, 0, labels=digit)
    rows: dict[str, Any] = {f"{name}{n}": part for n, fold in enumerate(folds) for name, part in zip(PARTS, fold, strict=True)}
    np.savez(file, **rows)


def run(peer: str, threads: int, cache: str) -> list[float]:
    """Seconds of the first and the second cross-validation of a process, and the mean accuracy; raises CalledProcessError."""
    code = (SETUP + PEERS[peer] + TELL).replace("FOLDS", str(FOLDS))
    code = code.format(data=str(DATA), folds=str(Path(cache) / "folds.npz"), file=str(DATA.parents[1] / "digits.nn"), threads=threads)
    environment = os.environ | {"RANVIER_CACHE_DIR": cache}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    found: list[float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Time everybody and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.folds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=TIMES, help="processes of each peer, of which the medians count")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads, each timed")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        keep_folds(Path(cache) / "folds.npz")
        cold, *_ = run("Ranvier", chosen.threads[0], cache)
        for peer in BESIDE.values():
            for threads in chosen.threads:
                run(peer, threads, cache)
        found: dict[tuple[int, str], list[list[float]]] = {(n, peer): [] for n in chosen.threads for peer in PEERS}
        for _ in range(chosen.times):
            for (threads, peer), runs in found.items():
                runs.append(run(peer, threads, cache))
    medians = {key: [statistics.median(column) for column in zip(*runs, strict=True)] for key, runs in found.items()}
    print("threads  peer                  first, s  second, s  accuracy   Ranvier is faster by")
    for (threads, peer), (first, second, accuracy) in medians.items():
        ours = medians[threads, BESIDE[peer]] if peer in BESIDE else None
        times = f"{first / ours[0]:.1f}, {second / ours[1]:.1f}" if ours else ""
        print(f"{threads:7}  {peer:20}{first:10.2f}{second:11.2f}{accuracy:10.4f}{times:>23}".rstrip())
    print(f"{chosen.threads[0]:7}  {'nothing kept':20}{cold:10.2f}")


if __name__ == "__main__":
    main()
