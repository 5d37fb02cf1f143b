"""The one family of errors that a user's file, data or machine can cause; the command line prints them without a traceback."""

from __future__ import annotations

from collections.abc import Sequence

from .diagnostics import Diagnostic


class RanvierError(Exception):
    """A mistake outside Ranvier, said in one clear message with its mend."""


class SourceError(RanvierError):
    """A `.nn` file is wrong: holds every diagnostic found in it, in the order of their places."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(d.render() for d in self.diagnostics))


class DataError(RanvierError):
    """Arrays or a data file do not fit the model or are damaged."""


class CheckpointError(RanvierError):
    """A saved model is damaged or belongs to another model."""


class ResourceError(RanvierError):
    """The work would exceed a limit of memory, size or time; says which, and how to raise it."""
