"""Names in `train`, `data` and `tune` blocks: settings that exist, each once, and expressions whose names are defined."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnostics import Diagnostic, Note, did_you_mean
from .blocks import KNOWN, SPACES
from .data_block import COLUMNS, WORDS
from .library import Library
from .names import check_expression
from .references import every
from .search import RANGES
from .syntax import Block, Call, Definition, Expression, Input, Listing, Name, Setting, Target


def check_block(library: Library, block: Block, model: Definition | None) -> list[Diagnostic]:
    """What is wrong with the names of one block; `model` is what it speaks of."""
    found = _duplicates(block)
    for setting in block.settings:
        found += _setting(library, block, setting, model)
    return found


def _duplicates(block: Block) -> list[Diagnostic]:
    first: dict[str, Name] = {}
    found = []
    for setting in block.settings:
        name = setting.name
        if name.id in first:
            notes = (Note("first here", first[name.id].span),)
            found.append(Diagnostic("duplicate-name", f"`{name.id}` is set twice", name.span, notes))
        first.setdefault(name.id, name)
    return found


def _setting(library: Library, block: Block, setting: Setting, model: Definition | None) -> list[Diagnostic]:
    name = setting.name.id
    fields = declared(model) if block.kind == "data" else ()
    if name in fields:
        return []
    if setting.choices:
        return [] if block.kind == "tune" else [_no_choices(block, setting)]
    known = (*KNOWN["data"], *fields) if block.kind == "data" else KNOWN[block.kind]
    if name not in known:
        return [] if block.kind == "data" and model is None else [_unknown(block, setting, known)]
    if block.kind == "tune" or name == "watch" or _is_word(block, setting):  # names of figures, which the model has, and of columns
        return []
    library.space = SPACES.get(name, "")
    try:
        return check_expression(library, setting.value)
    finally:
        library.space = ""


def _is_word(block: Block, setting: Setting) -> bool:
    """Whether a setting says a name that stands for itself: of a column, or one of a few words."""
    name = setting.name.id
    return block.kind == "data" and (name in COLUMNS or (name in WORDS and isinstance(setting.value, Name)))


def _unknown(block: Block, setting: Setting, known: Sequence[str]) -> Diagnostic:
    name = setting.name.id
    mend = did_you_mean(name, known) or f"the settings are {', '.join(known)}"
    if block.kind == "tune" and _gives_choices(setting.value):
        mend = f"what is searched is written with `in`: `{name} in {setting.value.span.text}`"
    return Diagnostic("unknown-setting", f"a {block.kind} block has no setting `{name}`", setting.name.span, help=mend)


def _gives_choices(value: Expression) -> bool:
    """Whether a value looks like what `in` gives to a search."""
    return isinstance(value, Listing) or (isinstance(value, Call) and isinstance(value.callee, Name) and value.callee.id in RANGES)


def _no_choices(block: Block, setting: Setting) -> Diagnostic:
    message = f"`in` gives choices to a search and stands in a tune block, not in a {block.kind} block"
    return Diagnostic("misplaced-statement", message, setting.span, help=f"write `{setting.name.id} = …`")


def declared(model: Definition | None) -> tuple[str, ...]:
    """The inputs and targets of a model, by name."""
    return tuple(s.name.id for s in every(model.body) if isinstance(s, Input | Target)) if model else ()
