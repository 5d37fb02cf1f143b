"""All mistakes of a parsed file together: those of its names, and beside them those that running its model shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from ..diagnostics import Diagnostic
from ..errors import SourceError
from .block_names import check_block, declared
from .blocks import read_train
from .context import in_order
from .data_block import read_data
from .elaborate import elaborate
from .imports import unused_imports
from .library import Library
from .limits import MAX_ERRORS
from .names import check_definition
from .syntax import Block, Definition


def find_mistakes(library: Library, model: Definition | None, blocks: Mapping[str, Block]) -> list[Diagnostic]:
    """What is wrong with the names of a file and its imports; if anything is, also what elaborating the model shows, each mistake once."""
    found = [d for file in library.files.values() for d in unused_imports(library, file)]
    found += [d for file in library.files.values() for definition in file.definitions for d in check_definition(library, definition)]
    found += [d for block in library.file.blocks for d in check_block(library, block, model)]
    if model is not None and 0 < len(found) <= MAX_ERRORS:
        found = merged(found, _elaborated(library, model, blocks))
    return found


def merged(first: Sequence[Diagnostic], second: Sequence[Diagnostic]) -> list[Diagnostic]:
    """Both, in the order of their places; of the second, those that say nothing new beside the first are left out."""
    return in_order([*first, *(d for d in second if not any(_is_same(d, other) for other in first))])


def _is_same(one: Diagnostic, known: Diagnostic) -> bool:
    """True when a mistake is known: at the same place, of the same sort where places overlap, or because of a name that nothing defines."""
    a, b = one.span, known.span
    if a is None or b is None or a.source is not b.source:
        return False
    follows = known.code == "unknown-name" and a.start <= b.start and b.end <= a.end
    return follows or (a.start, a.end) == (b.start, b.end) or (one.code == known.code and a.start < b.end and b.start < a.end)


def _elaborated(library: Library, model: Definition, blocks: Mapping[str, Block]) -> list[Diagnostic]:
    """What elaboration finds with the settings' defaults; nothing when a setting has none, since then its value is the caller's."""
    stages: list[Callable[[], object]] = [
        lambda: read_train(library, blocks, {}),
        lambda: read_data(library, blocks, {}, declared(model)),
    ]
    if all(p.default is not None for p in model.settings or ()):
        stages += [lambda t=training: elaborate(library, model, {}, training=t) for training in (False, True)]  # type: ignore[misc]
    return reported(stages)


def reported(stages: Iterable[Callable[[], object]]) -> list[Diagnostic]:
    """What stages that do not depend on each other report, each mistake once."""
    found: list[Diagnostic] = []
    for stage in stages:
        try:
            stage()
        except SourceError as error:
            found = merged(found, error.diagnostics)
    return found


def capped(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """The first hundred, and a word about the rest."""
    ordered = in_order(found)
    rest = len(ordered) - MAX_ERRORS
    more = [Diagnostic("too-many-errors", f"{rest} further errors are not shown", None)] if rest > 0 else []
    return [*ordered[:MAX_ERRORS], *more]
