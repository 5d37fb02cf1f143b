"""`python -m benchmarks`: Ranvier and every peer that is installed do the same work in one run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from . import first, report, steady
from .peers import PEERS
from .work import NETWORKS, Network

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
    work = [(network, int(count)) for count in threads.split(",") for network in networks]
    found = report.Found([], {})
    try:
        for _ in measured(found, peers, work, quick=quick):
            if json_file:
                report.write_json(json_file, found)
    finally:
        report.show(found, markdown=markdown)


def measured(found: report.Found, peers: list[str], work: list[tuple[Network, int]], *, quick: bool) -> Iterator[None]:
    """Measure one thing after another; a turn ends when something more has been found."""
    for network, threads in work:
        rows = steady.measure(peers, network, threads, QUICK if quick else FULL, say)
        report.show_early(rows)
        found.rows.extend(rows)
        yield
    for line, peer, seconds in first.measure(peers, 1 if quick else TIMES_FROM_NOTHING, say):
        found.first.setdefault(line, {})[peer] = seconds
        yield


def say(text: str) -> None:
    """What is going on, beside the results."""
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
