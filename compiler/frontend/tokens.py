"""Text to tokens: the words, numbers and signs of `nn.lark`, with what slips of the pen in their place were meant to be."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..diagnostics import Diagnostic
from ..errors import SourceError
from ..source import Source, Span
from .limits import MAX_ERRORS, MAX_NAME, MAX_TOKENS, read_number
from .parse_table import literals, parse_table, token_pattern

SEPARATOR = "_SEPARATOR"


class Token(NamedTuple):
    """A terminal of the grammar in its place; `start` and `end` count characters."""

    type: str
    text: str
    start: int
    end: int
    source: Source

    @property
    def span(self) -> Span:
        """Where it stands."""
        return Span(self.source, self.start, self.end)

    @property
    def is_word(self) -> bool:
        """Whether it looks like a name, keyword or not."""
        return self.text[:1].isalpha() or self.text[:1] == "_"


# Where no terminal matches: an unclosed or single-quoted text, a malformed number, a word with foreign letters, other languages' operators.
_SLIP = re.compile(
    r"""(?P<text>"[^"\n]*|'[^'\n]*'?)|(?P<number>\.?[0-9][\w.]*%?)|(?P<word>[^\W\d][\w.]*)|(?P<sign>&&|\|\||!)|(?P<other>.)"""
)
_LOOKALIKES = {
    **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
    **dict.fromkeys("\N{MINUS SIGN}\N{EN DASH}\N{EM DASH}", "-"),
    "\N{MULTIPLICATION SIGN}": "*",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{NO-BREAK SPACE}": " ",
}
_SIGNS = {"&&": ("AND", "and"), "||": ("OR", "or"), "!": ("NOT", "not")}
_WORDS = {"True": ("TRUE", "true"), "False": ("FALSE", "false")}


def scan(source: Source, start: int, end: int) -> tuple[list[Token], list[Diagnostic]]:
    """All tokens in a part of a text that `check_text` passed, every word still a NAME or a PATH; blanks and comments are left out.

    Raises SourceError alone for more than 500,000 tokens, since going on would cost memory without bound.
    """
    scanner = _Scanner(source)
    scanner.run(start, end)
    return scanner.tokens, scanner.diagnostics


class _Scanner:
    """Collects the tokens and diagnostics of one text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.tokens: list[Token] = []
        self.diagnostics: list[Diagnostic] = []

    def run(self, offset: int, end: int) -> None:
        match, text = token_pattern().match, self.source.text
        signs, ignored = literals(), frozenset(parse_table().ignored)
        while offset < end and len(self.diagnostics) <= MAX_ERRORS:
            found = match(text, offset, end)
            if found is None:
                offset = self._mend(offset)
                continue
            kind, start, offset = str(found.lastgroup), offset, found.end()
            if kind not in ignored:
                token_text = found.group()
                self._add(signs[token_text] if kind == "sign" else kind, token_text, start)

    def _add(self, kind: str, text: str, start: int) -> None:
        tokens = self.tokens
        if kind == SEPARATOR and tokens and tokens[-1].text == text:
            return
        if kind == "NAME" or kind == "PATH":
            kind = self._check_name(kind, text, start)
        elif kind == "NUMBER":
            self._check_number(text, start)
        elif text == "*" and tokens and tokens[-1].text == "*" and tokens[-1].end == start:
            self._report(start - 1, start + 1, "`**` is no operator", "write `^` for a power")
            tokens[-1] = Token("POWER", "^", start - 1, start + 1, self.source)
            return
        tokens.append(Token(kind, text, start, start + len(text), self.source))
        if len(tokens) > MAX_TOKENS:
            raise SourceError([Diagnostic("too-long", f"the file has more than {MAX_TOKENS} words and signs", tokens[-1].span)])

    def _report(self, start: int, end: int, message: str, mend: str | None = None, code: str = "syntax") -> None:
        self.diagnostics.append(Diagnostic(code, message, Span(self.source, start, end), help=mend))

    def _check_name(self, kind: str, text: str, start: int) -> str:
        if len(text) > MAX_NAME:
            self._report(
                start, start + len(text), f"a name has at most {MAX_NAME} characters, this one has {len(text)}", code="name-too-long"
            )
        if text == "None":
            self._report(start, start + 4, "there is no `None`", "leave the argument out, or use `false`")
        if text in _WORDS:
            kind, right = _WORDS[text]
            self._report(start, start + len(text), f"`{text}` is written `{right}`")
        return kind

    def _check_number(self, text: str, start: int) -> None:
        try:
            read_number(text)
        except ValueError as error:
            self._report(start, start + len(text), str(error), code="number-out-of-range")

    def _mend(self, offset: int) -> int:
        """Report what no terminal matches, put in the token that was meant, and return where to go on."""
        found = _SLIP.match(self.source.text, offset)
        assert found is not None
        kind, text, end = str(found.lastgroup), found.group(), found.end()
        if kind == "sign":
            terminal, word = _SIGNS[text]
            self._report(offset, end, f"`{text}` is no operator", f"write `{word}`")
            self.tokens.append(Token(terminal, text, offset, end, self.source))
        elif kind == "other":
            self._bad_character(offset, text)
        else:
            self._bad_word(kind, text, offset, end)
            self.tokens.append(Token({"text": "STRING", "number": "NUMBER", "word": "NAME"}[kind], text, offset, end, self.source))
        return end

    def _bad_character(self, offset: int, text: str) -> None:
        mend = f"write `{_LOOKALIKES[text]}`" if text in _LOOKALIKES else None
        if text == "%":
            mend = "`%` makes a percentage right after a number, as in `10%`; there is no remainder operator"
        self._report(offset, offset + 1, f"the character `{text}` has no meaning here", mend, code="bad-character")

    def _bad_word(self, kind: str, text: str, start: int, end: int) -> None:
        if kind == "number":
            self._report(
                start,
                end,
                f"`{_short(text)}` is not a number",
                "a name starts with a letter; a number is written `3`, `0.5`, `1e-4` or `10%`",
            )
        elif kind == "word":
            odd = next(character for character in text if not character.isascii())
            message = f"the letter `{odd}` may not stand in a name"
            self._report(start, end, message, "names are made of the letters a-z and A-Z, digits and `_`", code="bad-character")
        elif text.startswith('"'):
            self._report(start, end, 'this text has no closing `"`', "a text ends on the line it begins on", code="unclosed-text")
        else:
            self._report(start, end, "a text stands in double quotes", f'write "{_short(text.strip(chr(39)))}"')


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
