"""Where a person should look: what fails inside the library is shown at the user's own line that led there, with the calls between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..diagnostics import Note
from ..ir.build import Build
from ..source import Span
from .library import is_standard
from .values import Value

SHOWN_INSIDE, SHOWN_OUTSIDE = 4, 2
LONGEST = 60


@dataclass(frozen=True)
class Frame:
    """One call that is going on: what is called, where, the definition whose body runs, and the values given to it with their places.

    The values are in the graph of `build`.
    """

    name: str
    site: Span
    definition: Span
    operands: Sequence[tuple[Value, Span]]
    build: Build

    def holds(self, place: Span) -> bool:
        """True when a place is in the body that runs, not among the arguments of the call."""
        body = self.definition
        return body.source is place.source and body.start <= place.start and place.end <= body.end


def depth_to_show(span: Span, frames: Sequence[Frame]) -> int:
    """How many calls lead to the innermost place that is the user's own; all of them when none is."""
    places = [*(frame.site for frame in frames), span]
    own = [n for n, place in enumerate(places) if not is_standard(place.source)]
    return own[-1] if own else len(frames)


def innermost_own(places: Sequence[Span]) -> Span:
    """The first of some places, innermost first, that is the user's own; the outermost when none is."""
    return next((place for place in places if not is_standard(place.source)), places[-1])


def calls_between(span: Span, frames: Sequence[Frame], shown: int) -> tuple[Note, ...]:
    """The calls that led to a mistake at `span`, innermost first. `frames` are outermost first; `shown` of them lead to the place shown."""
    places = [*(frame.site for frame in frames), span]
    chain = []
    for n in reversed(range(len(frames))):
        frame, following = frames[n], places[n + 1]
        entered = frame.holds(following)
        if n < shown and entered:
            chain.append(Note(f"in {frame.name} (called at {frame.site}): {_excerpt(frame.site)}", frame.site))
        elif n < shown and frame.site.line != following.line:
            chain.append(Note(f"calling {frame.name} ({frame.site}): {_excerpt(frame.site)}", frame.site))
        elif entered:
            chain.append(Note(f"in {frame.name} ({following}): {_excerpt(following)}", following))
    return _shortened(chain)


def _excerpt(span: Span) -> str:
    text = " ".join(span.text[: 4 * LONGEST].split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _shortened(chain: list[Note]) -> tuple[Note, ...]:
    left_out = len(chain) - SHOWN_INSIDE - SHOWN_OUTSIDE
    if left_out <= 1:
        return tuple(chain)
    return (*chain[:SHOWN_INSIDE], Note(f"... {left_out} more calls ..."), *chain[-SHOWN_OUTSIDE:])
