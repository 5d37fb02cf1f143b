"""The one canonical way to write a `.nn` file.

Four blanks a level; one blank round every sign but `^`; one statement a line unless the author joined short ones with `;`; braces on one
line only where the author put them there and they fit. A pipeline is broken where its author broke it and where it passes 100 columns, each
line after the first beginning with `->` under the first one. Brackets that do not fit are opened, one element a line. Comments stay where
they are; those inside an expression, where no line can be made for them, move above the statement. Empty lines stay, at most one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ..source import Source
from .arrange import ARITHMETIC, COMPARISONS, ENDS_VALUE
from .limits import check_text
from .parser import parse, tokenize
from .trivia import Item, items

WIDTH = 100
_INDENT = 4
_DEEPEST_INDENT = 80
_DEEPEST_COMMENT = 20
_RIGHTMOST_ARROW = 60
_OPENERS = ("LPAR", "LSQB", "LBRACE")
_CLOSERS = ("RPAR", "RSQB", "RBRACE")
_LEVELS = (
    frozenset({"COMMA"}),
    frozenset({"ELSE"}),
    frozenset({"OR"}),
    frozenset({"AND"}),
    COMPARISONS,
    frozenset({"PLUS", "MINUS"}),
    ARITHMETIC - {"PLUS", "MINUS", "POWER"},
)
"""What a line may be broken after, the loosest first: an operation is broken before those of its operands are."""

Items = Sequence[Item]


def format_source(source: Source) -> str:
    """The canonical text of a `.nn` text: the same tree and the same comments; raises SourceError when it does not parse
    or when the result would be too long to.
    """
    parse(source)
    tokens, _ = tokenize(source)
    found = items(tokens)
    lines: list[str] = []
    _write_body(found[:-1], found[-1], lines, 0)
    text = "".join(line + "\n" for line in lines)
    check_text(Source(source.name, text))
    return text


# --- statements ------------------------------------------------------------------------------------------------------------------------


def _write_body(body: Items, closer: Item, lines: list[str], indent: int) -> None:
    """Append the statements between two braces, or of a whole file, and the comments before what closes them."""
    top = len(lines)
    for group in _joined(_statements(body)):
        first = group[0][0]
        _write_comments(first, lines, indent, top)
        if first.blank and len(lines) > top:
            lines.append("")
        texts = [_on_one_line(statement) for statement in group]
        line = " " * indent + " ; ".join(text or "" for text in texts)
        if all(texts) and len(line) <= WIDTH:
            lines.append(line)
            continue
        for statement in group:
            _write_statement(statement, lines, indent)
    _write_comments(closer, lines, indent, top)


def _statements(body: Items) -> list[Items]:
    """The statements of a body, each with the braces it opens."""
    starts, depth = [], 0
    for position, item in enumerate(body):
        if item.first and depth == 0:
            starts.append(position)
        depth += (item.type == "LBRACE") - (item.type == "RBRACE")
    return [body[start:stop] for start, stop in pairwise([*starts, len(body)])]


def _joined(statements: list[Items]) -> list[list[Items]]:
    """Statements grouped by the line that `;` keeps them on."""
    groups: list[list[Items]] = []
    for statement in statements:
        if statement[0].joined and groups:
            groups[-1].append(statement)
        else:
            groups.append([statement])
    return groups


def _on_one_line(statement: Items) -> str | None:
    """The statement as one line, or None where its comments, or line breaks that its author wants, forbid it."""
    if _has_comments(statement[1:]) or _has_broken_arrow(statement):
        return None
    brace = next((position for position, item in enumerate(statement) if item.type == "LBRACE"), len(statement))
    if any(item.broken for item in statement[brace:]):
        return None
    return _flat(statement)


def _flat(run: Items) -> str:
    parts: list[str] = []
    for item in run:
        if item.first and parts and parts[-1] != " {":
            parts.append(" ;")
        parts.append(f" {item.text}" if item.space and parts else item.text)
    return "".join(parts)


def _write_comments(item: Item, lines: list[str], indent: int, top: int) -> None:
    """Append the comments before an item: to the line before, or on lines of their own."""
    for comment in item.comments:
        if not comment.own_line and lines:
            lines[-1] += f"  {comment.text}"
            continue
        if comment.blank and len(lines) > top:
            lines.append("")
        lines.append(" " * indent + comment.text)


def _write_statement(statement: Items, lines: list[str], indent: int) -> None:
    """Append one statement that need not fit on a line."""
    line = _on_one_line(statement)
    if line is not None and indent + len(line) <= WIDTH:
        lines.append(" " * indent + line)
        return
    header, rest = _split_header(statement)
    header, homeless = _without_homeless_comments(header)
    lines += [" " * indent + text for text in homeless]
    lines += _layout(header, indent, reserve=2 if rest else 0)
    while rest:
        rest = _write_braces(rest, lines, indent)


def _split_header(statement: Items) -> tuple[list[Item], Items]:
    brace = next((position for position, item in enumerate(statement) if item.type == "LBRACE"), len(statement))
    return [statement[0]._replace(comments=()), *statement[1:brace]], statement[brace:]


def _write_braces(rest: Items, lines: list[str], indent: int) -> Items:
    """Append ` {`, the body and `}`, with the `else …` up to the next brace; returns what follows from that brace on."""
    lines[-1] += " {"
    close = _partner(rest, 0)
    top = len(lines)
    _write_comments(rest[0], lines, indent + _INDENT, top)
    _write_body(rest[1:close], rest[close], lines, indent + _INDENT)
    if len(lines) == top and not rest[close].comments:
        lines[-1] += "}"
    else:
        lines.append(" " * indent + "}")
    brace = next((position for position in range(close + 1, len(rest)) if rest[position].type == "LBRACE"), len(rest))
    between = rest[close + 1 : brace]
    if not between:
        return ()
    lines[-1] += " " + _flat(between)
    comments = tuple(comment._replace(own_line=True) for item in between for comment in item.comments)
    return [rest[brace]._replace(comments=comments + rest[brace].comments), *rest[brace + 1 :]]


def _partner(run: Items, opening: int) -> int:
    """The position of the bracket that closes the one at `opening`."""
    depth = 0
    for position in range(opening, len(run)):
        depth += (run[position].type in _OPENERS) - (run[position].type in _CLOSERS)
        if depth == 0:
            return position
    raise AssertionError("the parser has paired the brackets")


# --- expressions -----------------------------------------------------------------------------------------------------------------------


def _without_homeless_comments(run: list[Item]) -> tuple[list[Item], list[str]]:
    """Take out the comments that have no line to stand on: only before `->`, an element or a closing bracket is there one."""
    kept, homeless = [], []
    opened: list[str] = []
    previous = ""
    for item in run:
        at_element = bool(opened) and previous in ("LPAR", "LSQB", "COMMA")
        if item.comments and (len(opened) > _DEEPEST_COMMENT or not (at_element or item.type in ("ARROW", "RPAR", "RSQB"))):
            homeless += [comment.text for comment in item.comments]
            item = item._replace(comments=())
        if item.type in _OPENERS:
            opened.append(item.type)
        elif item.type in _CLOSERS:
            opened.pop()
        previous = item.type
        kept.append(item)
    return kept, homeless


def _layout(run: Items, indent: int, reserve: int = 0) -> list[str]:
    """The lines of an expression or header that starts at `indent` and leaves `reserve` columns free at its end."""
    line = " " * indent + _flat(run)
    has_comments = _has_comments(run[1:])
    if len(line) + reserve <= WIDTH and not has_comments and not _has_broken_arrow(run):
        return [line]
    segments = list(_split(run, before=frozenset({"ARROW"})))
    if len(segments) > 1:
        return _layout_pipeline(segments, indent, reserve)
    if indent > _DEEPEST_INDENT and not has_comments:
        return [line]
    chunks = _operands(run)
    return _fill(chunks, indent, reserve) if len(chunks) > 1 else _open_bracket(run, indent)


def _operands(run: Items) -> list[Items]:
    """A run cut after its loosest operators; the message of a requirement stands apart from its condition."""
    levels = (frozenset({"COLON"}), *_LEVELS) if run[0].type == "REQUIRE" else _LEVELS
    cuts = (list(_split(run, after=level)) for level in levels)
    return next((chunks for chunks in cuts if len(chunks) > 1), [run])


def _has_comments(run: Items) -> bool:
    return any(item.comments for item in run)


def _has_broken_arrow(run: Items) -> bool:
    """Whether the author broke the line at a `->` outside brackets."""
    return any(_is_broken(segment) for segment in list(_split(run, before=frozenset({"ARROW"})))[1:])


def _is_broken(segment: Items) -> bool:
    """Whether a line break stands before the `->` of a segment, or after it."""
    return segment[0].broken or (len(segment) > 1 and segment[1].broken)


def _split(run: Items, before: frozenset[str] = frozenset(), after: frozenset[str] = frozenset()) -> Iterator[Items]:
    """Cut a run outside its brackets, before or after the given terminals; a sign before a value is no place to cut."""
    start = depth = 0
    for position, item in enumerate(run):
        if depth == 0 and item.type in before and position > start:
            yield run[start:position]
            start = position
        depth += (item.type in _OPENERS) - (item.type in _CLOSERS)
        cuts = depth == 0 and item.type in after and position + 1 < len(run)
        if cuts and run[position + 1].space:
            yield run[start : position + 1]
            start = position + 1
    yield run[start:]


def _layout_pipeline(segments: list[Items], indent: int, reserve: int) -> list[str]:
    lines = _layout(segments[0], indent)
    column = len(lines[-1]) + 1
    first_stays = column + len(_flat(segments[1])) <= WIDTH and not _is_broken(segments[1]) and not _has_comments(segments[1])
    if column > _RIGHTMOST_ARROW or not first_stays:
        column = indent + _INDENT
    for position, segment in enumerate(segments[1:], start=2):
        free = reserve if position == len(segments) else 0
        text = _flat(segment)
        if not _has_comments(segment) and not _is_broken(segment) and len(lines[-1]) + 1 + len(text) + free <= WIDTH:
            lines[-1] += " " + text
            continue
        _write_comments(segment[0], lines, column, 0)
        lines += _layout([segment[0]._replace(comments=()), *segment[1:]], column, free)
    return lines


def _fill(chunks: list[Items], indent: int, reserve: int) -> list[str]:
    """Put as many operands on each line as fit, opening the brackets of those that do not fit on one alone."""
    lines: list[str] = []
    for position, chunk in enumerate(chunks):
        free = reserve if position == len(chunks) - 1 else 0
        text = _flat(chunk)
        has_comments = _has_comments(chunk[1:])
        if lines and not has_comments and len(lines[-1]) + 1 + len(text) + free <= WIDTH:
            lines[-1] += " " + text
            continue
        column = indent + _INDENT if lines else indent
        fits = column + len(text) + free <= WIDTH and not has_comments
        lines += [" " * column + text] if fits else _layout(chunk, column, free)
    return lines


def _open_bracket(run: Items, indent: int) -> list[str]:
    """Break the widest bracket of a run, or the first that holds comments, one element a line."""
    opening = _bracket_to_open(run)
    if opening is None:
        return [" " * indent + _flat(run)]
    close = _partner(run, opening)
    lines = [" " * indent + _flat(run[: opening + 1])]
    elements = list(_split(run[opening + 1 : close], after=frozenset({"COMMA"})))
    for element in elements:
        _write_comments(element[0], lines, indent + _INDENT, 0)
        lines += _layout([element[0]._replace(comments=()), *element[1:]], indent + _INDENT, reserve=1)
    if len(elements) > 1 or _takes_comma(run, opening):
        lines[-1] += ","
    _write_comments(run[close], lines, indent + _INDENT, 0)
    rest = [run[close]._replace(comments=()), *run[close + 1 :]]
    line = " " * indent + _flat(rest)
    fits = len(line) <= WIDTH and not _has_comments(rest)
    return lines + ([line] if fits else _open_bracket(rest, indent))


def _bracket_to_open(run: Items) -> int | None:
    widest, best = 0, None
    position = 0
    while position < len(run):
        if run[position].type in ("LPAR", "LSQB"):
            close = _partner(run, position)
            if _has_comments(run[position + 1 : close + 1]):
                return position
            width = len(_flat(run[position + 1 : close]))
            if width > widest:
                widest, best = width, position
            position = close
        position += 1
    return best


def _takes_comma(run: Items, opening: int) -> bool:
    """Whether a comma may stand after the last element: not in parentheses round a single value."""
    return run[opening].type == "LSQB" or (opening > 0 and run[opening - 1].type in ENDS_VALUE)
