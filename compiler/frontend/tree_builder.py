"""Reductions to syntax: one method for each production of `nn.lark` that makes a node, named as there; children come as written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from ..source import Span
from . import syntax
from .limits import read_number
from .parse_table import parse_table
from .syntax import Expression, Syntax
from .tokens import Token

Build = Callable[[list[Any]], Any]
_ESCAPES = {"n": "\n", "t": "\t"}


class Body(NamedTuple):
    """The statements or settings between braces, and where they end."""

    items: tuple[Any, ...]
    span: Span


@cache
def builders() -> list[Build | None]:
    """What makes the node of every rule of the grammar, by its number; None where an only child is handed on."""
    return [_builder(rule.build, [(i, spliced) for i, spliced in rule.keep], rule.size) for rule in parse_table().rules]


def _builder(name: str | None, keep: list[tuple[int, bool]], size: int) -> Build | None:
    if name is None and size == 1:
        return None
    if name is None:
        only = keep[0][0]
        return lambda values: values[only]
    build: Build = getattr(_Builder, name) if name else _as_it_is
    if [position for position, spliced in keep if not spliced] == list(range(size)):
        return build
    return lambda values: build(_kept(values, keep))


def _as_it_is(values: list[Any]) -> list[Any]:
    return values


def _kept(values: list[Any], keep: list[tuple[int, bool]]) -> list[Any]:
    """The children that reach the tree. A list that comes first grows in place: copying it for each element would cost its square."""
    kept: list[Any] = []
    for position, spliced in keep:
        if spliced and not kept:
            kept = values[position]
        elif spliced:
            kept += values[position]
        else:
            kept.append(values[position])
    return kept


def _cover(values: list[Any]) -> Span:
    """From the start of the first child to the end of the last."""
    first, last = values[0], values[-1]
    start = first.start if isinstance(first, Token) else first.span.start
    span = last.span
    return Span(span.source, start, span.end)


def _string(token: Token) -> syntax.String:
    value = re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), token.text[1:-1])
    return syntax.String(token.span, value)


def _name(token: Token) -> syntax.Name:
    return syntax.Name(token.span, token.text)


def _expressions(values: list[Any]) -> tuple[Any, ...]:
    return tuple(value for value in values if isinstance(value, Syntax))


class _Builder:
    """The productions by name; the class is only a namespace."""

    # --- file, definitions, blocks ---

    start = tuple

    @staticmethod
    def import_(values: list[Any]) -> syntax.Import:
        return syntax.Import(_cover(values), _string(values[1]))

    @staticmethod
    def definition(values: list[Any]) -> syntax.Definition:
        kind, name, first, *second, body = values
        settings, inputs = (first, second[0]) if second else (None, first) if kind.text == "fn" else (first, None)
        return syntax.Definition(_cover(values), kind.text, _name(name), settings, inputs, body.items)

    parameters = tuple

    @staticmethod
    def parameter(values: list[Any]) -> syntax.Parameter:
        annotation = next((v for v in values[1:] if isinstance(v, syntax.TypeExpression)), None)
        default = values[-1] if len(values) > 1 and values[-1] is not annotation else None
        return syntax.Parameter(_cover(values), _name(values[0]), annotation, default)

    @staticmethod
    def block(values: list[Any]) -> syntax.Block:
        return syntax.Block(_cover(values), values[0].text, tuple(values[1:-1]))

    @staticmethod
    def setting(values: list[Any]) -> syntax.Setting:
        return syntax.Setting(_cover(values), values[0], values[1])

    @staticmethod
    def choices(values: list[Any]) -> syntax.Setting:
        return syntax.Setting(_cover(values), values[0], values[1], choices=True)

    # --- statements ---

    @staticmethod
    def body(values: list[Any]) -> Body:
        return Body(tuple(values[:-1]), values[-1].span)

    @staticmethod
    def input_(values: list[Any]) -> syntax.Input:
        return syntax.Input(_cover(values), _name(values[1]), values[2])

    @staticmethod
    def target(values: list[Any]) -> syntax.Target:
        return syntax.Target(_cover(values), _name(values[1]), values[2])

    @staticmethod
    def param(values: list[Any]) -> syntax.Param:
        return syntax.Param(_cover(values), _name(values[1]), values[2], values[3])

    @staticmethod
    def state(values: list[Any]) -> syntax.State:
        _, names, *annotation, init = values
        return syntax.State(_cover(values), names, annotation[0] if annotation else None, init)

    @staticmethod
    def fit(values: list[Any]) -> syntax.Fit:
        return syntax.Fit(_cover(values), _name(values[1]), values[2])

    @staticmethod
    def next_state(values: list[Any]) -> syntax.NextState:
        return syntax.NextState(_cover(values), _name(values[1]), values[2])

    @staticmethod
    def assign(values: list[Any]) -> syntax.Assign:
        names, value = values
        return syntax.Assign(_cover([names[0], value]), names, value)

    @staticmethod
    def return_(values: list[Any]) -> syntax.Return:
        return syntax.Return(_cover(values), tuple(values[1:]))

    @staticmethod
    def predict(values: list[Any]) -> syntax.Predict:
        return syntax.Predict(_cover(values), values[1])

    @staticmethod
    def loss(values: list[Any]) -> syntax.Loss:
        return syntax.Loss(_cover(values), values[1])

    @staticmethod
    def metric(values: list[Any]) -> syntax.Metric:
        return syntax.Metric(_cover(values), None, values[1])

    @staticmethod
    def named_metric(values: list[Any]) -> syntax.Metric:
        return syntax.Metric(_cover(values), _name(values[1]), values[2])

    @staticmethod
    def require(values: list[Any]) -> syntax.Require:
        return syntax.Require(_cover(values), values[1], _string(values[2]))

    @staticmethod
    def choice(values: list[Any]) -> syntax.If:
        _, condition, then, *rest = values
        otherwise = () if not rest else rest[0].items if isinstance(rest[0], Body) else (rest[0],)
        return syntax.If(_cover(values), condition, then.items, otherwise)

    @staticmethod
    def repeat(values: list[Any]) -> syntax.Repeat:
        _, count, *variable, body = values
        return syntax.Repeat(_cover(values), count, _name(variable[0]) if variable else None, body.items)

    @staticmethod
    def expression_statement(values: list[Any]) -> syntax.ExpressionStatement:
        return syntax.ExpressionStatement(values[0].span, values[0])

    @staticmethod
    def names(values: list[Any]) -> tuple[syntax.Name, ...]:
        return tuple(map(_name, values))

    @staticmethod
    def type(values: list[Any]) -> syntax.TypeExpression:
        dtype = values[0].text if isinstance(values[0], Token) else None
        lists = [value.items for value in values if isinstance(value, syntax.Listing)]
        return syntax.TypeExpression(_cover(values), dtype, lists[0] if lists else None, lists[1] if len(lists) > 1 else ())

    # --- expressions ---

    @staticmethod
    def pipe(values: list[Any]) -> syntax.Pipe:
        return syntax.Pipe(_cover(values), values[0], values[1])

    @staticmethod
    def with_(values: list[Any]) -> syntax.With:
        return syntax.With(_cover(values), values[0], tuple(values[1:]))

    @staticmethod
    def option(values: list[Any]) -> syntax.Argument:
        return syntax.Argument(_cover(values), values[0].text, values[1])

    @staticmethod
    def conditional(values: list[Any]) -> syntax.Conditional:
        then, _, condition, otherwise = values
        return syntax.Conditional(_cover(values), condition, then, otherwise)

    @staticmethod
    def binary(values: list[Any]) -> syntax.Binary:
        left, operator, right = values
        return syntax.Binary(_cover(values), operator.text, left, right)

    @staticmethod
    def unary(values: list[Any]) -> syntax.Unary:
        return syntax.Unary(_cover(values), values[0].text, values[1])

    @staticmethod
    def call(values: list[Any]) -> syntax.Call:
        return syntax.Call(_cover(values), values[0], tuple(values[1:-1]))

    @staticmethod
    def argument(values: list[Any]) -> syntax.Argument:
        return syntax.Argument(_cover(values), values[0].text if len(values) == 2 else None, values[-1])

    @staticmethod
    def index(values: list[Any]) -> syntax.Index:
        return syntax.Index(_cover(values), values[0], tuple(values[1:-1]))

    @staticmethod
    def slice(values: list[Any]) -> syntax.Slice:
        parts: list[Expression | None] = [None, None, None]
        position = 0
        for value in values:
            if isinstance(value, Token):
                position += 1
            else:
                parts[position] = value
        return syntax.Slice(_cover(values), *parts)

    @staticmethod
    def number(values: list[Any]) -> syntax.Number:
        try:
            value, percent = read_number(values[0].text)
        except ValueError:  # the scanner has reported it, and the tree will not be used
            value, percent = 0, False
        return syntax.Number(values[0].span, value, percent)

    @staticmethod
    def string(values: list[Any]) -> syntax.String:
        return _string(values[0])

    @staticmethod
    def boolean(values: list[Any]) -> syntax.Boolean:
        return syntax.Boolean(values[0].span, values[0].type == "TRUE")

    @staticmethod
    def name(values: list[Any]) -> syntax.Name:
        return _name(values[0])

    @staticmethod
    def next_value(values: list[Any]) -> syntax.Next:
        return syntax.Next(_cover(values), values[1].text)

    @staticmethod
    def group(values: list[Any]) -> Any:
        """A value in parentheses is that value, but its place takes them in."""
        return replace(values[1], span=_cover(values))

    @staticmethod
    def listing(values: list[Any]) -> syntax.Listing:
        return syntax.Listing(_cover(values), _expressions(values))

    @staticmethod
    def ellipsis(values: list[Any]) -> syntax.Ellipsis:
        return syntax.Ellipsis(values[0].span)
