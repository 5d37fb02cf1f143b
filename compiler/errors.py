"""The one family of errors that a user's file, data or machine can cause; the command line prints them without a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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


class NonFiniteError(RanvierError):
    """Training came to NaN or an infinity: `step` is the one after which it shows, counted from 1, `epoch` the epoch of it."""

    def __init__(self, message: str, step: int, epoch: int) -> None:
        self.step, self.epoch = step, epoch
        super().__init__(message)


class RanvierWarning(UserWarning):
    """Something a person should know though the work goes on; the command line prints it as one line."""


class ResourceError(RanvierError):
    """The work would exceed a limit of memory, size or time; says which, and how to raise it."""
