"""What a formatter needs and a parser does not: each token with the comments, line breaks and blanks before it."""

from __future__ import annotations

import re
from typing import NamedTuple

from .arrange import ENDS_VALUE
from .tokens import SEPARATOR, Token

_TRIVIA = re.compile(r"#[^\n]*|\n|;")
_TIGHT_AFTER = frozenset({"LPAR", "LSQB", "POWER"})
_TIGHT_BEFORE = frozenset({"RPAR", "RSQB", "COMMA", "POWER"})


class Comment(NamedTuple):
    """A comment; `own_line` when nothing stands before it on its line, `blank` when an empty line does."""

    text: str
    own_line: bool
    blank: bool


class Item(NamedTuple):
    """A token with what stands between it and the one before it in the text.

    `first` begins a statement, `joined` one that a `;` puts on the line of the statement before; `broken` follows a line break and `blank`
    an empty line; `space` is where the formatter puts a blank when both stand on one line.
    """

    token: Token
    comments: tuple[Comment, ...]
    first: bool
    joined: bool
    broken: bool
    blank: bool
    space: bool

    @property
    def type(self) -> str:
        """The terminal."""
        return self.token.type

    @property
    def text(self) -> str:
        """The characters."""
        return self.token.text


def items(tokens: list[Token]) -> list[Item]:
    """The tokens of a sound file as the formatter sees them: separators and needless commas left out, comments put before what follows."""
    found: list[Item] = []
    spacing = _Spacing()
    first, offset = True, 0
    moved: tuple[Comment, ...] = ()
    for token, following in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type == SEPARATOR:
            first = True
            continue
        space = spacing.before(token, first)
        item = _item(token, offset, first, space)
        item = item._replace(comments=moved + item.comments)
        offset, moved = token.end, ()
        if _passes_comments_on(token, following):
            moved, item = item.comments, item._replace(comments=())
        if not (token.type == "COMMA" and following.type in ("RPAR", "RSQB")):
            found.append(item)
            first = token.type == "LBRACE"
    return found


def _passes_comments_on(token: Token, following: Token) -> bool:
    """A comment before a comma goes after it."""
    return token.type == "COMMA" and following.type != SEPARATOR


def _item(token: Token, offset: int, first: bool, space: bool) -> Item:
    comments: list[Comment] = []
    breaks, joined, own_line = 0, False, offset == 0
    for mark in _TRIVIA.findall(token.source.text[offset : token.start]):
        if mark == "\n":
            breaks, own_line, joined = breaks + 1, True, False
        elif mark == ";":
            joined = not own_line
        else:
            comments.append(Comment(mark.rstrip(), own_line, breaks > 1))
            breaks = 0
    return Item(token, tuple(comments), first, first and joined, own_line and offset > 0, breaks > 1, space)


class _Spacing:
    """Decides blanks from left to right, knowing the innermost bracket and the statement."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.previous = SEPARATOR
        self.previous_unary = False
        self.requires = False

    def before(self, token: Token, first: bool) -> bool:
        """Whether a blank stands before this token when it follows the last one on its line."""
        if first:
            self.requires = token.type == "REQUIRE"
        space = self._space(token.type)
        self.previous_unary = token.type == "MINUS" and self.previous not in ENDS_VALUE
        self.previous = token.type
        if token.type in ("LPAR", "LSQB", "LBRACE"):
            self.open.append(token.type)
        elif token.type in ("RPAR", "RSQB", "RBRACE"):
            self.open.pop()
        return space

    def _space(self, terminal: str) -> bool:
        slicing = bool(self.open) and self.open[-1] == "LSQB"
        if self.previous in _TIGHT_AFTER or terminal in _TIGHT_BEFORE or self.previous_unary:
            return False
        if terminal in ("LPAR", "LSQB"):
            return self.previous not in ENDS_VALUE and not (slicing and self.previous == "COLON")
        if self.previous == "COMMA":
            return True
        if terminal == "COLON":
            return self.requires and self.open[-1:] not in (["LPAR"], ["LSQB"])
        return not (self.previous == "COLON" and slicing) and not (self.previous == "LBRACE" and terminal == "RBRACE")
