"""Calls whose callee is known by name are checked against its argument lists, whether or not anything ever makes the call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..diagnostics import Diagnostic, close_names, did_you_mean
from ..source import Span
from . import primitives
from .library import Library
from .references import state_names
from .sequence_primitives import MAKERS
from .syntax import Argument, Call, Definition, Expression, Listing, Name, Parameter, Pipe, With


@dataclass(frozen=True)
class _List:
    """One argument list: whose it is, the names it takes, those that must be given, how it is called, and names that have no position."""

    owner: str
    names: tuple[str, ...]
    required: tuple[str, ...]
    made_first: bool = False
    by_name: tuple[str, ...] = ()


def check_call(library: Library, call: Call | Pipe, is_open: Callable[[str], bool]) -> list[Diagnostic]:
    """What is wrong with the arguments of one call or pipe stage; an `is_open` name may hold anything, so that its calls are left alone."""
    if isinstance(call, Call):
        lists = _lists(library, call.callee, is_open)
        return list(_check(lists[0], 0, call.arguments, call.span)) if lists else []
    stage = piped_into(call)
    callee, arguments = (stage.callee, stage.arguments) if isinstance(stage, Call) else (stage, ())
    lists = _lists(library, callee, is_open) if isinstance(callee, Name) else []
    if not lists:
        return []
    place = call.right.span if stage is None else stage.span
    if isinstance(callee, Name) and callee.id in MAKERS and library.lookup(callee.id, callee.span.source) is None:
        return list(_check(lists[0], 0, arguments, place))  # what it makes is applied
    if len(lists) == 1:
        return list(_check(lists[0], 1, arguments, place))
    return [*_check(lists[0], 0, arguments, place), *_check(lists[1], 1, (), place)]


def piped_into(pipe: Pipe) -> Call | Name | None:
    """The call or name on the right of a pipe, without its `with`."""
    stage = pipe.right
    while isinstance(stage, With):
        stage = stage.layer
    return stage if isinstance(stage, Call | Name) else None


def _lists(library: Library, callee: Expression, is_open: Callable[[str], bool]) -> list[_List]:
    """The argument lists that a callee takes, in turn; none when it is not known by name."""
    if isinstance(callee, Call):
        return _lists(library, callee.callee, is_open)[1:]
    if not isinstance(callee, Name) or is_open(callee.id):
        return []
    found = library.lookup(callee.id, callee.span.source)
    if found is not None:
        return _lists_of(found.definition)
    signature = primitives.TABLE.get(callee.id)
    return [] if signature is None else [_List(f"`{callee.id}`", signature.names, signature.names[: signature.required])]


def _lists_of(definition: Definition) -> list[_List]:
    if definition.kind == "model":
        return []
    made_first = definition.settings is not None and definition.inputs is not None
    return [_list(definition, p, made_first) for p in (definition.settings, definition.inputs) if p is not None]


def _list(definition: Definition, parameters: Sequence[Parameter], made_first: bool) -> _List:
    names = tuple(p.name.id for p in parameters)
    required = tuple(p.name.id for p in parameters if p.default is None)
    states = state_names(definition) if definition.kind == "cell" and parameters is definition.inputs else ()
    return _List(f"`{definition.name.id}`", names, required, made_first and parameters is definition.settings, states)


def _check(known: _List, piped: int, arguments: Sequence[Argument], site: Span) -> Iterator[Diagnostic]:
    """Arguments against a list, of which a pipe fills the first `piped` names."""
    positional = [a for a in arguments if a.name is None]
    count = piped + len(positional)
    if count > len(known.names):
        yield Diagnostic("bad-argument", f"{known.owner} takes {_count(known)}, not {count}", site, help=_mend(known))
    for name, argument in zip(known.names[piped:], positional, strict=False):
        if name == "over" and isinstance(argument.value, Listing):
            mend = f"write `over = {argument.value.span.text}`"
            yield Diagnostic("bad-argument", "a list of axes is given by name, so that its names are axes", argument.span, help=mend)
    given = set(known.names[:count])
    named = False
    for argument in arguments:
        if argument.name is None:
            if named:
                yield Diagnostic("bad-argument", "an argument without a name stands after named ones", argument.span)
            continue
        named = True
        if argument.name not in (*known.names, *known.by_name):
            hint = did_you_mean(argument.name, (*known.names, *known.by_name)) or _names(known)
            yield Diagnostic("unknown-argument", f"{known.owner} has no argument `{argument.name}`", argument.span, help=hint)
            given |= set(close_names(argument.name, known.required))
        elif argument.name in given:
            yield Diagnostic("bad-argument", f"`{argument.name}` of {known.owner} is given twice", argument.span)
        given.add(argument.name)
    missing = [name for name in known.required if name not in given]
    if missing:
        yield Diagnostic("missing-argument", f"{known.owner} needs {' and '.join(f'`{n}`' for n in missing)}", site, help=_names(known))


def _count(known: _List) -> str:
    count = len(known.names)
    return "no arguments here" if not count else "1 argument here" if count == 1 else f"{count} arguments here"


def _names(known: _List) -> str:
    if not known.names:
        return "it takes no settings" if known.made_first else "it takes no arguments"
    first_values = f", and first values by name: {', '.join(known.by_name)}" if known.by_name else ""
    return f"its {'settings' if known.made_first else 'arguments'} are {', '.join(known.names)}{first_values}"


def _mend(known: _List) -> str:
    if known.made_first:
        return f"{_names(known)}; what it is applied to is given apart: `x -> {known.owner.strip('`')}{'(…)' if known.names else ''}`"
    return _names(known)
