"""Diagnostics are data before they are text: what is wrong, where, the other end of it, how we got there, and the mend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .source import Span

WIDTH = 120


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
        """The diagnostic as people read it: `file:line:col: error code: text`, excerpts with carets, notes, calls, help.

        Notes on the line that is shown anyway become carets under it.
        """
        place = f"{self.span}: " if self.span else ""
        lines = [f"{place}error {self.code}: {self.message}"]
        beside = [note for note in self.notes if self.span and note.span and _same_line(self.span, note.span)]
        if self.span:
            lines += excerpt(self.span, beside)
        for note in self.notes:
            if note not in beside:
                lines += _render_note(note)
        lines += [f"  {call.text}" for call in self.calls]
        if self.help:
            lines.append(f"  help: {self.help}")
        return "\n".join(lines)


def _same_line(span: Span, other: Span) -> bool:
    return span.source is other.source and span.line == other.line


def _render_note(note: Note) -> list[str]:
    if note.span is None:
        return [f"  note: {note.text}"]
    return [f"  note: {note.span}: {note.text}", *excerpt(note.span)]


def excerpt(span: Span, beside: Sequence[Note] = ()) -> list[str]:
    """The source line of a span and a line of carets under it, then one for each note on that line; long lines are cut round the place."""
    line, column = span.source.position(span.start)
    text = span.source.line(line).replace("\t", " ").rstrip("\r")
    first = max(0, column - 1 - WIDTH // 3) if len(text) > WIDTH else 0
    number = f"{line:>5}"
    margin = f"{' ' * len(number)} | "
    lines = [f"{number} | {text[first : first + WIDTH]}", margin + _carets(span, text, first)]
    for note in beside:
        assert note.span is not None
        lines.append(f"{margin}{_carets(note.span, text, first)} {note.text}")
    return lines


def _carets(span: Span, text: str, first: int) -> str:
    """Carets under a span of a line of which the part from `first` on is shown."""
    start = max(0, span.column - 1 - first)
    end = min(span.column - 1 + span.end - span.start, len(text), first + WIDTH) - first
    return " " * start + "^" * max(1, end - start)


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """The known names that a misspelt one may mean: the same letters in another case, else up to two that look alike."""
    spellings = sorted(set(known))
    same = [k for k in spellings if k.casefold().replace("_", "") == name.casefold().replace("_", "")]
    if same:
        return same
    from difflib import get_close_matches  # only where somebody slipped

    return get_close_matches(name, spellings, n=2, cutoff=0.6)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the closest known spelling, or nothing when none is close."""
    close = close_names(name, known)
    if not close:
        return None
    return "did you mean " + " or ".join(f"`{c}`" for c in close) + "?"
