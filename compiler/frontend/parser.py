"""Text to syntax tree: every syntax error of a file in one go, or the whole tree."""

from __future__ import annotations

from ..diagnostics import Diagnostic
from ..errors import SourceError
from ..source import Source
from . import syntax
from .arrange import BLOCKS, arrange
from .lalr import Machine
from .limits import MAX_ERRORS, check_text, check_tree, read_source
from .parse_table import END
from .syntax_errors import unexpected
from .tokens import SEPARATOR, Token, scan

__all__ = ["parse", "read_source", "tokenize"]


def parse(source: Source, start: int = 0, end: int | None = None) -> syntax.File:
    """The tree of a `.nn` text, or of whole definitions in it; raises SourceError with every syntax error, at most one for a statement."""
    check_text(source)
    tokens, diagnostics = tokenize(source, start, end)
    reader = _Reader(tokens, diagnostics)
    items = reader.read() if len(diagnostics) <= MAX_ERRORS else ()
    if not reader.diagnostics:
        reader.diagnostics = [found for item in items for found in check_tree(item)]
    if reader.diagnostics:
        raise SourceError(_in_order(reader.diagnostics))
    return syntax.File(
        source,
        imports=tuple(item for item in items if isinstance(item, syntax.Import)),
        definitions=tuple(item for item in items if isinstance(item, syntax.Definition)),
        blocks=tuple(item for item in items if isinstance(item, syntax.Block)),
    )


def tokenize(source: Source, start: int = 0, end: int | None = None) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens of a text as the grammar wants them, the last of type `$END`, and what is wrong with them."""
    end = len(source.text) if end is None else end
    tokens, bad_words = scan(source, start, end)
    arranged, bad_brackets = arrange(tokens, Token(END, "", end, end, source))
    return arranged, bad_words + bad_brackets


def _in_order(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    ordered = sorted(diagnostics, key=lambda d: d.span.start if d.span else 0)
    if len(ordered) <= MAX_ERRORS:
        return ordered
    rest = Diagnostic("too-many-errors", f"{len(ordered) - MAX_ERRORS} or more further errors are not shown", None)
    return [*ordered[:MAX_ERRORS], rest]


class _Reader:
    """Reads tokens to the end whatever is wrong with them: after an error it goes back to the start of the statement and leaves it out."""

    def __init__(self, tokens: list[Token], diagnostics: list[Diagnostic]) -> None:
        self.tokens = tokens
        self.diagnostics = diagnostics
        self.machine = Machine()
        self.lost_at = -1

    def read(self) -> tuple[syntax.Syntax, ...]:
        """The items of the file; meaningless when there are diagnostics."""
        index = self.machine.run(self.tokens, 0)
        while index < len(self.tokens) and len(self.diagnostics) <= MAX_ERRORS:
            index = self.machine.run(self.tokens, self._recover(index))
        return self.machine.values[0] if index == len(self.tokens) else ()

    def _recover(self, index: int) -> int:
        """Report the token at `index` unless its statement is known to be wrong, drop the statement, and return where to go on."""
        first = self.machine.marks[-1].first
        end = self._statement_end(index)
        if not (self._is_follow_up(first) or self._is_reported(first, end)):
            self.diagnostics.append(unexpected(self.tokens, first, index, self.machine.accepted()))
        self.machine.go_back()
        while self.tokens[end].type == "LBRACE" and not self._pretend_header(self.tokens[first]):
            end = self._statement_end(self._closing_brace(end) + 1)
        if self.tokens[end].type != SEPARATOR:
            return end
        self.machine.marks[-1] = self.machine.marks[-1]._replace(first=end + 1)
        self.lost_at = end + 1
        return end + 1

    def _is_follow_up(self, first: int) -> bool:
        """Whether this is a line of a body whose header was wrong: right after an error, outside braces, and no beginning of anything."""
        token = self.tokens[first]
        return first == self.lost_at and len(self.machine.marks) == 1 and token.type in ("NAME", "PATH", "RETURN", "IF", "ELSE", "NEXT")

    def _is_reported(self, first: int, end: int) -> bool:
        start, stop = self.tokens[first].start, self.tokens[end].end
        return any(d.span is not None and start <= d.span.start <= stop for d in self.diagnostics)

    def _statement_end(self, index: int) -> int:
        """The first token from `index` on that ends the statement, or opens its braces; brackets are balanced, so none hides one."""
        while self.tokens[index].type not in (SEPARATOR, "LBRACE", "RBRACE", END):
            index += 1
        return index

    def _closing_brace(self, index: int) -> int:
        depth = 0
        while True:
            depth += {"LBRACE": 1, "RBRACE": -1}.get(self.tokens[index].type, 0)
            if depth == 0:
                return index
            index += 1

    def _pretend_header(self, first: Token) -> bool:
        """Put a sound header before braces whose own header is wrong, so that the statements between them are read; False if none fits."""
        if len(self.machine.marks) > 1:
            header = [("IF", "if"), ("TRUE", "true")]
        elif first.text in BLOCKS:
            header = [(first.text.upper(), first.text)]
        else:
            header = [("FN", "fn"), ("NAME", "f"), ("LPAR", "("), ("RPAR", ")")]
        return all(self.machine.feed(first._replace(type=kind, text=text)) for kind, text in header)
