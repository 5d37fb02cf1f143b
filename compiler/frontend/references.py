"""Which parts of a statement are read, which names it binds, and which names an expression reads; names of axes stand for themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..source import Span
from .syntax import (
    Argument,
    Assign,
    Definition,
    Ellipsis,
    ExpressionStatement,
    Fit,
    If,
    Input,
    Listing,
    Loss,
    Metric,
    Name,
    Next,
    NextState,
    Param,
    Predict,
    Repeat,
    Require,
    Return,
    State,
    Statement,
    String,
    Syntax,
    Target,
)

_IN_MESSAGE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def nodes(root: Syntax) -> Iterator[Syntax]:
    """Every node of an expression or type that is evaluated, in the order written; without recursion, since a file decides the depth."""
    pending: list[Syntax] = [root]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(_children(node))


def _children(node: Syntax) -> list[Syntax]:
    if isinstance(node, Argument) and node.name == "over" and isinstance(node.value, Listing):
        return [item for item in node.value.items if not isinstance(item, Name | Ellipsis)]
    found: list[Syntax] = []
    for value in vars(node).values():
        found += [child for child in (value if isinstance(value, tuple) else (value,)) if isinstance(child, Syntax)]
    return found


def reads(parts: Iterable[Syntax]) -> Iterator[Name | Next]:
    """The names and `next` values that expressions read."""
    for part in parts:
        for node in nodes(part):
            if isinstance(node, Name | Next):
                yield node


def evaluated(statement: Statement) -> tuple[Syntax, ...]:
    """The expressions and types that a statement evaluates, without the statements inside it."""
    match statement:
        case Input() | Target():
            return (statement.type,)
        case Param():
            return (statement.type, statement.init)
        case State():
            if statement.type is None:
                return (statement.init,)
            return (*(statement.type.dims or ())[1:], statement.init) if has_rows(statement) else (statement.type, statement.init)
        case Return():
            return statement.values
        case Require():
            return (statement.condition, *message_names(statement.message))
        case If():
            return (statement.condition,)
        case Repeat():
            return (statement.count,)
        case Fit() | NextState() | Assign() | Predict() | Loss() | Metric() | ExpressionStatement():
            return (statement.value,)


def bindings(statement: Statement) -> tuple[Name, ...]:
    """The names that a statement binds for those after it."""
    match statement:
        case Assign() | State():
            return statement.names
        case Input() | Target() | Param() | Fit():
            return (statement.name,)
        case _:
            return ()


def inner(statement: Statement) -> tuple[Statement, ...]:
    """The statements inside a statement."""
    match statement:
        case If():
            return (*statement.then, *statement.otherwise)
        case Repeat():
            return statement.body
        case _:
            return ()


def every(statements: Iterable[Statement]) -> Iterator[Statement]:
    """All statements, those inside others too, in the order written."""
    pending = list(reversed(list(statements)))
    while pending:
        statement = pending.pop()
        yield statement
        pending += reversed(inner(statement))


def state_names(definition: Definition) -> tuple[str, ...]:
    """The states that a body declares."""
    return tuple(name.id for statement in every(definition.body) if isinstance(statement, State) for name in statement.names)


def message_names(message: String) -> tuple[Name, ...]:
    """The names in braces of a message, each in its place."""
    start = message.span.start
    found = _IN_MESSAGE.finditer(message.span.text)
    return tuple(Name(Span(message.span.source, start + m.start(1), start + m.end(1)), m[1]) for m in found)


def is_batch(dim: Syntax) -> bool:
    """Whether an axis is written as the batch."""
    return isinstance(dim, Name) and dim.id == "batch"


def has_rows(statement: State) -> bool:
    """Whether each row of a batch has a state of its own: `state h: [batch, units] = 0`."""
    return bool(statement.type and statement.type.dims and is_batch(statement.type.dims[0]))
