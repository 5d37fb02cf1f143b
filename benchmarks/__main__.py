"""`python -m benchmarks`: Ranvier and every peer that is installed do the same work in one run."""

from __future__ import annotations

from pathlib import Path

import click

from . import first, report, steady
from .peers import PEERS
from .work import NETWORKS

FULL, QUICK = steady.Effort(blocks=15, seconds=0.2), steady.Effort(blocks=3, seconds=0.02)
TIMES_FROM_NOTHING = 5


@click.command()
@click.option("--quick", is_flag=True, help="The smallest network and few blocks: whether all of it works.")
@click.option("--threads", default="1,2", show_default=True, help="Numbers of threads, separated by commas.")
@click.option("--only", multiple=True, metavar="NAME", help=f"A peer or a network; may be repeated. Peers: {', '.join(PEERS)}.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all measurements to a file.")
@click.option("--markdown", is_flag=True, help="Print tables in Markdown.")
def main(quick: bool, threads: str, only: tuple[str, ...], json_file: Path | None, markdown: bool) -> None:
    """Time Ranvier and its peers: training steps, predictions, imports, first steps."""
    unknown = set(only) - PEERS.keys() - {network.name for network in NETWORKS}
    if unknown:
        raise click.UsageError(f"no peer or network is called {', '.join(unknown)}")
    peers = [peer for peer in PEERS if peer in only or not PEERS.keys() & set(only)]
    for peer in [p for p in peers if PEERS[p].missing]:
        say(f"not timed: {PEERS[peer].title} (missing: {PEERS[peer].missing})")
        peers.remove(peer)
    networks = [n for n in NETWORKS if n.name in only] or list(NETWORKS[: 1 if quick else None])
    effort = QUICK if quick else FULL
    rows = [row for count in threads.split(",") for n in networks for row in steady.measure(peers, n, int(count), effort, say)]
    times = first.measure(peers, 1 if quick else TIMES_FROM_NOTHING, say)
    report.show(rows, times, markdown=markdown)
    if json_file:
        report.write_json(json_file, rows, times)


def say(text: str) -> None:
    """What is going on, beside the results."""
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
