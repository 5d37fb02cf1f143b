"""Diagnostics are data before they are text: what is wrong, where, the other end of it, how we got there, and the mend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

from .source import Span


@dataclass(frozen=True)
class Note:
    """A second place that explains the first: the other end of a mismatch, or one call of the chain."""

    text: str
    span: Span | None = None


@dataclass(frozen=True)
class Diagnostic:
    """One mistake in a `.nn` file.

    `code` is a stable kebab-case name such as `shape-mismatch`; `notes` show the other end, `calls` the chain of
    layer applications from the innermost outwards, `help` what to change.
    """

    code: str
    message: str
    span: Span | None
    notes: tuple[Note, ...] = ()
    calls: tuple[Note, ...] = ()
    help: str | None = None
    order: int = field(default=0, compare=False)

    def render(self) -> str:
        """The diagnostic as people read it: `file:line:col: error code: text`, excerpts with carets, notes, help."""
        place = f"{self.span}: " if self.span else ""
        lines = [f"{place}error {self.code}: {self.message}"]
        if self.span:
            lines += excerpt(self.span)
        for note in self.notes:
            lines += _render_note("note", note)
        for call in self.calls:
            lines.append(f"  in: {call.text}" + (f" ({call.span})" if call.span else ""))
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)


def _render_note(label: str, note: Note) -> list[str]:
    if note.span is None:
        return [f"  {label}: {note.text}"]
    return [f"  {label}: {note.span}: {note.text}", *excerpt(note.span)]


def excerpt(span: Span) -> list[str]:
    """The source line of a span and a line of carets under it; long lines are cut round the place."""
    width = 120
    line, column = span.source.position(span.start)
    text = span.source.line(line).replace("\t", " ").rstrip("\r")
    length = max(1, min(span.end - span.start, len(text) - column + 1))
    if len(text) > width:
        first = max(0, column - 1 - width // 3)
        text = text[first : first + width]
        column -= first
        length = max(1, min(length, len(text) - column + 1))
    number = f"{line:>5}"
    return [f"{number} | {text}", f"{' ' * len(number)} | {' ' * (column - 1)}{'^' * length}"]


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """The known names that a misspelt one may mean: the same letters in another case, else up to two that look alike."""
    spellings = sorted(set(known))
    same = [k for k in spellings if k.casefold().replace("_", "") == name.casefold().replace("_", "")]
    return same or get_close_matches(name, spellings, n=2, cutoff=0.6)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the closest known spelling, or nothing when none is close."""
    close = close_names(name, known)
    if not close:
        return None
    return "did you mean " + " or ".join(f"`{c}`" for c in close) + "?"
