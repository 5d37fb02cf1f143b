"""Tokens to the parser's tokens: which line breaks separate statements, which words are keywords, and every bracket with its partner.

These are the three rules that `nn.lark` names and cannot say. Brackets are paired here, so that the parser always sees them balanced and
one that is missing is reported where its absence shows, with the place it was opened.
"""

from __future__ import annotations

from ..diagnostics import Diagnostic, Note
from ..source import Span
from .limits import MAX_DEPTH, MAX_ERRORS
from .parse_table import END, literals
from .tokens import SEPARATOR, Token

DEFINITIONS = frozenset({"model", "layer", "cell", "fn", "optimizer", "schedule"})
BLOCKS = frozenset({"train", "data", "tune"})
STATEMENTS = frozenset({"input", "target", "param", "state", "fit", "predict", "loss", "metric", "require", "repeat"})
RESERVED = frozenset({"if", "else", "and", "or", "not", "in", "as", "with", "true", "false", "return"})
_TOP = DEFINITIONS | BLOCKS | {"import"}

# What follows a word that is a name after all, although it stands where a statement begins.
_AFTER_NAME = frozenset({"EQUAL", "COMMA", "ARROW"})
ARITHMETIC = frozenset({"PLUS", "MINUS", "TIMES", "DIVIDE", "FLOOR_DIVIDE", "CONTRACT", "POWER"})
COMPARISONS = frozenset({"EQUALS", "DIFFERS", "LESS", "AT_MOST", "GREATER", "AT_LEAST"})
OPERATORS = ARITHMETIC | COMPARISONS | {"AND", "OR", "NOT"}
_GOES_ON_AFTER = OPERATORS | {"COMMA", "COLON", "ARROW", "WITH", "ELSE"}
_GOES_ON_BEFORE = frozenset({"ARROW", "LBRACE"})
ENDS_VALUE = frozenset({"NAME", "PATH", "NUMBER", "STRING", "TRUE", "FALSE", "RPAR", "RSQB", "ELLIPSIS"})
_CLOSERS = {"LPAR": ("RPAR", ")"), "LSQB": ("RSQB", "]"), "LBRACE": ("RBRACE", "}")}
_OPENERS = {closer: opener for opener, (closer, _) in _CLOSERS.items()}


def arrange(tokens: list[Token], end: Token) -> tuple[list[Token], list[Diagnostic]]:
    """The tokens as `nn.lark` wants them, closed by `end` (of type `$END`), and the bracket, depth and dotted-name mistakes among them."""
    arranger = _Arranger(tokens, end)
    arranger.run()
    return arranger.out, arranger.diagnostics


class _Arranger:
    """Walks the tokens once, knowing what is open."""

    def __init__(self, tokens: list[Token], end: Token) -> None:
        self.tokens = [*tokens, end, end, end]
        self.out: list[Token] = []
        self.open: list[Token] = []
        self.diagnostics: list[Diagnostic] = []
        self.forgiven: list[str] = []
        self.header = ""
        self.keywords = literals()

    def run(self) -> None:
        index = 0
        while self.tokens[index].type != END and len(self.open) <= MAX_DEPTH and len(self.diagnostics) <= MAX_ERRORS:
            self._take(self.tokens[index], index)
            index += 1
        self._end(self.tokens[index])

    def _take(self, token: Token, index: int) -> None:
        if token.type == "NAME":
            self._word(token, index)
        elif token.type == SEPARATOR:
            self._separator(token, index)
        elif token.type in _CLOSERS:
            self._opening(token)
        elif token.type in _OPENERS:
            self._closing(token)
        else:
            if token.type == "PATH" and self.header in DEFINITIONS:
                self._dotted(token)
            self.out.append(token)

    def _end(self, token: Token) -> None:
        """Close what is open: left open at the end of the file, or given up because it is too deep."""
        end = self.tokens[-1]
        if token.type == END:
            self._close(len(self.open), end, "end of file")
        else:
            self._pop(len(self.open), token.start)
        self.out.append(end)

    # --- words ---

    def _starts_statement(self) -> bool:
        return not self.out or self.out[-1].type in (SEPARATOR, "LBRACE")

    def _word(self, token: Token, index: int) -> None:
        if not self.open and self._starts_statement():
            self.header = token.text
        if token.text not in self.keywords:
            self.out.append(token)
            return
        if self._is_stray_definition(token, index):
            self._close(len(self.open), token, f"`{token.text}`")
            self.header = token.text
            self.out.append(Token(SEPARATOR, "\n", token.start, token.start, token.source))
        self.out.append(token._replace(type=self.keywords[token.text]) if self._is_keyword(token, index) else token)

    def _is_keyword(self, token: Token, index: int) -> bool:
        following = self.tokens[index + 1]
        if token.text in RESERVED:
            return True
        if token.text == "next":
            return following.type == "NAME" and following.text not in RESERVED
        if not self._starts_statement():
            return False
        if not self.open:
            return token.text in _TOP
        return token.text in STATEMENTS and following.type not in _AFTER_NAME and following.text != "in"

    def _is_stray_definition(self, token: Token, index: int) -> bool:
        """Whether a definition or block starts although the braces before it are not closed."""
        if not (self.open and token.text in _TOP and self._starts_statement()):
            return False
        following, after = self.tokens[index + 1], self.tokens[index + 2]
        if token.text in DEFINITIONS:
            return following.is_word and after.type == "LPAR"
        return following.type == ("LBRACE" if token.text in BLOCKS else "STRING")

    def _dotted(self, token: Token) -> None:
        message = f"the dotted name `{token.text}` has no meaning here"
        mend = "dotted names stand in `train`, `data` and `tune` blocks; values have no attributes"
        self.diagnostics.append(Diagnostic("dotted-name", message, token.span, help=mend))

    # --- lines ---

    def _separator(self, token: Token, index: int) -> None:
        following = self.tokens[index + 1]
        inside = bool(self.open) and self.open[-1].type != "LBRACE"
        if inside and (token.text == ";" or self._is_left_open(index)):
            self._close(self._bracket_depth(), token, "`;`" if token.text == ";" else "end of line")
        elif inside:
            return
        if token.text == ";" or not self._goes_on(following):
            self.out.append(token)

    def _goes_on(self, following: Token) -> bool:
        """Whether a statement goes on over a line break."""
        if not self.out or self.out[-1].type in _GOES_ON_AFTER or self.out[-1].type in (SEPARATOR, "LBRACE"):
            return True
        return following.type in _GOES_ON_BEFORE or following.text in ("else", "with")

    def _is_left_open(self, index: int) -> bool:
        """Whether the line ends a statement although a bracket is open: a value stands before the break and a new statement after it."""
        following, after = self.tokens[index + 1], self.tokens[index + 2]
        if not self.out or self.out[-1].type not in ENDS_VALUE:
            return False
        if following.type in ("RBRACE", END) or following.text == "return":
            return True
        starts = following.text in STATEMENTS or following.text in _TOP or following.text == "next"
        return following.type == "NAME" and (after.type == "EQUAL" or (starts and after.is_word and after.text not in RESERVED))

    # --- brackets ---

    def _bracket_depth(self) -> int:
        """How many round and square brackets are open inside the innermost brace."""
        depth = 0
        while depth < len(self.open) and self.open[-1 - depth].type != "LBRACE":
            depth += 1
        return depth

    def _opening(self, token: Token) -> None:
        if token.type == "LBRACE":
            self.forgiven.clear()
            self._close(self._bracket_depth(), token, "`{`")
        self.open.append(token)
        self.out.append(token)
        if len(self.open) == MAX_DEPTH + 1:
            message = f"brackets nest more than {MAX_DEPTH} levels deep"
            self.diagnostics.append(Diagnostic("too-deep", message, token.span, help="give parts of the expression names of their own"))

    def _closing(self, token: Token) -> None:
        opener = _OPENERS[token.type]
        if token.type == "RBRACE":
            self._close(self._bracket_depth(), token, "`}`")
        depth = self._bracket_depth()
        matching = next((n for n in range(1, depth + 1) if self.open[-n].type == opener), None)
        if matching is not None:
            self._close(matching - 1, token, f"`{token.text}`")
        elif token.type != "RBRACE" and depth:
            self._close(1, token, f"`{token.text}`")
            return
        if self.open and self.open[-1].type == opener:
            self.open.pop()
            self.out.append(token)
        elif token.type in self.forgiven:
            self.forgiven.remove(token.type)
        else:
            self.diagnostics.append(Diagnostic("unopened-bracket", f"`{token.text}` closes nothing", token.span, help="remove it"))

    def _close(self, count: int, found: Token, found_name: str) -> None:
        """Close the innermost `count` brackets where `found` shows that they were left open."""
        if not count:
            return
        opened = self.open[-1]
        last = next(token for token in reversed(self.out) if token.type != SEPARATOR)
        at_end = found.type == END or found.text == "\n"
        place = Span(found.source, last.end, last.end) if at_end else found.span
        self.diagnostics.append(
            Diagnostic("unclosed-bracket", f"expected {_wanted(opened)} but found {found_name}", place, self._opened_notes(count))
        )
        self._pop(count, place.start)

    def _pop(self, count: int, place: int) -> None:
        """Put in the closing brackets that are missing."""
        for _ in range(count):
            opened = self.open.pop()
            closer, text = _CLOSERS[opened.type]
            self.forgiven.append(closer)
            self.out.append(Token(closer, text, place, place, opened.source))

    def _opened_notes(self, count: int) -> tuple[Note, ...]:
        """Where the brackets that are left open were opened, the innermost three."""
        return tuple(Note(f"`{token.text}` opened here", token.span) for token in reversed(self.open[-min(count, 3) :]))


def _wanted(opened: Token) -> str:
    closer = _CLOSERS[opened.type][1]
    return f"`{closer}`" if opened.type == "LBRACE" else f"`{closer}` or `,`"
