"""Cells that a user writes beside the library's LSTM, all 64-256 over 100 times and 32 rows: `python -m benchmarks.cells`.

For each the best training step of some rounds, what its kernels' operations are of the peak of the machine's multiply-adds, the best
that these rounds have seen, and that share over the LSTM's. The library's LSTM under another name must come to the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
from ranvier.runtime.measuring import Measurement, measure

import ranvier as rv

FILES = ("lstm", "own_lstm", "peephole", "minimal", "gru")
ROUNDS = 3


@dataclass(frozen=True)
class Found:
    """The best of some rounds: seconds of a training step, operations of it, its share of the peak."""

    seconds: float
    flops: int
    share: float


@click.command()
@click.option("--threads", default="1,2", show_default=True, help="Numbers of threads, separated by commas.")
def main(threads: str) -> None:
    """Time training steps of recurrent networks of one size."""
    once: dict[str, float] = {}
    for count in map(int, threads.split(",")):
        found = rounds(count)
        print(f"{count} thread{'s' * (count > 1)}      step, us   GFLOP/s   peak   over the LSTM's" + "   over one thread" * bool(once))
        for name, best in found.items():
            speed, of_lstm = best.flops / best.seconds / 1e9, best.share / found[FILES[0]].share
            faster = f"   {once[name] / best.seconds:15.2f}" if once else ""
            print(f"{name:12} {best.seconds * 1e6:10,.0f}   {speed:7.1f}   {best.share:4.0%}   {of_lstm:16.2f}{faster}")
        once = once or {name: best.seconds for name, best in found.items()}
        print()


def rounds(threads: int) -> dict[str, Found]:
    """All cells in turns, so that a slow minute of the machine meets all alike."""
    folder = Path(__file__).parent / "models"
    models = {name: rv.compile(folder / f"{name}_64_256.nn", threads=threads) for name in FILES}
    measured = [{name: measure(model, "train") for name, model in models.items()} for _ in range(ROUNDS)]
    peak = max(each.peak for found in measured for each in found.values())
    return {name: best([each[name] for each in measured], peak) for name in FILES}


def best(measured: list[Measurement], peak: float) -> Found:
    """The best round."""
    fastest = min(measured, key=lambda each: each.seconds)
    flops = sum(kernel.cost.flops for kernel in fastest.kernels)
    return Found(fastest.seconds, flops, flops / fastest.seconds / peak)


if __name__ == "__main__":
    main()
