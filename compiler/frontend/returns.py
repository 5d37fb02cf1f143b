"""Where bodies end: one that may end without `return`, and lines that no path comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..diagnostics import Diagnostic, Note
from .references import every
from .syntax import Definition, If, Repeat, Return, Statement


def check_returns(definition: Definition) -> list[Diagnostic]:
    """What is wrong with the ends of a body."""
    found = [d for body in _bodies(definition) for d in _unreachable(body)]
    if definition.kind != "model" and not _returns(definition.body):
        some = any(isinstance(s, Return) for s in every(definition.body))
        message = f"`{definition.name.id}` may end without `return`" if some else f"`{definition.name.id}` returns nothing"
        mend = "give every branch its `return`, or put one at the end" if some else "end it with `return value`"
        found.append(Diagnostic("no-return", message, definition.name.span, help=mend))
    return found


def _bodies(definition: Definition) -> Iterator[Sequence[Statement]]:
    yield definition.body
    for statement in every(definition.body):
        match statement:
            case If():
                yield statement.then
                yield statement.otherwise
            case Repeat():
                yield statement.body


def _unreachable(body: Sequence[Statement]) -> Iterator[Diagnostic]:
    end = next((n for n, s in enumerate(body) if _always_returns(s)), len(body))
    if end + 1 < len(body):
        notes = (Note("the body ends here", body[end].span),)
        yield Diagnostic("unreachable", "this line is never reached", body[end + 1].span, notes, help="remove it")


def _returns(statements: Sequence[Statement]) -> bool:
    return any(_always_returns(statement) for statement in statements)


def _always_returns(statement: Statement) -> bool:
    return isinstance(statement, Return) or (isinstance(statement, If) and _returns(statement.then) and _returns(statement.otherwise))
