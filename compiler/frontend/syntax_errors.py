"""Syntax errors in words a person says: what was expected, what stands there instead, and what was probably meant."""

from __future__ import annotations

from ..diagnostics import Diagnostic
from ..source import Span
from .arrange import ARITHMETIC, BLOCKS, COMPARISONS, DEFINITIONS, RESERVED
from .parse_table import END
from .tokens import SEPARATOR, Token

_SIGNS = {
    "RPAR": "`)`",
    "RSQB": "`]`",
    "COMMA": "`,`",
    "LBRACE": "`{`",
    "RBRACE": "`}`",
    "EQUAL": "`=`",
    "IN": "`in`",
    "COLON": "`:`",
    "TILDE": "`~`",
    "ELSE": "`else`",
    "STRING": "a text in double quotes",
    SEPARATOR: "end of line",
    END: "end of file",
}
_STARTERS = {
    "def": "a function is written `fn name(arguments) { … }`, a layer `layer name(settings)(x: [...]) { … }`",
    "class": "a layer is written `layer name(settings)(x: [...]) { … }`",
    "function": "a function is written `fn name(arguments) { … }`",
    "elif": "write `else if condition { … }`",
    "for": "write `repeat n as i { … }`; it is unrolled when the model is compiled",
    "while": "write `repeat n as i { … }`; it is unrolled when the model is compiled",
    "let": "a name is bound by `name = value`",
    "var": "a name is bound by `name = value`",
    "const": "a name is bound by `name = value`",
    "from": 'write `import "blocks.nn"`',
}


def unexpected(tokens: list[Token], first: int, index: int, accepted: set[str]) -> Diagnostic:
    """The error that the token at `index` does not fit its statement, which began at `first`; `accepted` are the terminals that would."""
    found = tokens[index]
    message = f"expected {_expected(accepted)} but found {_found(found)}"
    if found.text in RESERVED - {"else"} and "NAME" in accepted:
        message = f"`{found.text}` is a word of the language and cannot be a name"
    return Diagnostic("syntax", message, _place(tokens, index), help=_mend(tokens, first, index, accepted))


def _place(tokens: list[Token], index: int) -> Span:
    """The token itself; what is found missing at the end of a line or the file is missing after the last word."""
    found = tokens[index]
    if found.text in ("\n", "") and index:
        return Span(found.source, tokens[index - 1].end, tokens[index - 1].end)
    return found.span


def _found(token: Token) -> str:
    if token.type == END:
        return "end of file"
    if token.text == "\n":
        return "end of line"
    return f"`{token.text}`" if len(token.text) <= 40 else f"`{token.text[:37]}...`"


def _expected(accepted: set[str]) -> str:
    names = _kind_expected(accepted) + [said for terminal, said in _SIGNS.items() if _is_worth_saying(terminal, accepted)]
    if not names:
        return "something else"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _kind_expected(accepted: set[str]) -> list[str]:
    """One word for a whole group of terminals that may come next."""
    if "MODEL" in accepted:
        return ["a definition (`model`, `layer`, `cell`, `fn`, `optimizer`, `schedule`)", "a block (`train`, `data`, `tune`)", "`import`"]
    if "PARAM" in accepted:
        return ["a statement"]
    if "NUMBER" in accepted:
        return ["an expression"]
    if "NAME" in accepted:
        return ["a type" if "LSQB" in accepted else "a name"]
    return ["`(`"] if "LPAR" in accepted and "PLUS" not in accepted else []


def _is_worth_saying(terminal: str, accepted: set[str]) -> bool:
    if terminal not in accepted:
        return False
    if terminal == "STRING":
        return "NUMBER" not in accepted
    if terminal in (SEPARATOR, END):
        return "MODEL" not in accepted and "PARAM" not in accepted and not (terminal == END and SEPARATOR in accepted)
    return not (terminal == "RBRACE" and SEPARATOR in accepted and "PARAM" not in accepted)


def _mend(tokens: list[Token], first: int, index: int, accepted: set[str]) -> str | None:
    """The likely mend, from how other languages would say it."""
    found, opening, before = tokens[index], tokens[first], tokens[max(index - 1, 0)]
    statement = [token.text for token in tokens[first : index + 1]]
    if opening.text in _STARTERS and opening.type == "NAME":
        return _STARTERS[opening.text]
    if "lambda" in statement:
        return "there are no unnamed functions; define one with `fn name(x) { … }` and use its name"
    if found.type == "COLON" and (opening.text in DEFINITIONS | BLOCKS or {"if", "else", "repeat"} & set(statement)):
        return "a block stands in braces: `{ … }`"
    if found.type == "COLON" and "EQUAL" in accepted:
        return "a value is given by `=`: `name = value`"
    if found.type == "EQUAL":
        return _mend_equal(opening, before, statement)
    if found.type in COMPARISONS and "NUMBER" not in accepted:
        return "comparisons do not chain: write `a < b and b < c`"
    return _mend_operator(found, opening, before, accepted)


def _mend_equal(opening: Token, before: Token, statement: list[str]) -> str | None:
    if before.type in ARITHMETIC:
        return f"write `x = x {before.text} …`; there is no `{before.text}=`"
    if before.type in COMPARISONS or before.type == "EQUAL" or "if" in statement or opening.text == "require":
        return "compare with `==`"
    if "=" in statement[:-1]:
        return "one statement binds one value: begin a new line, or compare with `==`"
    return None


def _mend_operator(found: Token, opening: Token, before: Token, accepted: set[str]) -> str | None:
    if found.type == "PLUS" and "MINUS" in accepted:
        return "a value takes no `+` sign"
    if found.type in ARITHMETIC and "PARAM" in accepted:
        return "an expression goes on over a line break only inside brackets, after an operator, or before `->`"
    if before.text == "import":
        return 'a file stands in double quotes: `import "blocks.nn"`'
    if opening.text in DEFINITIONS and found.type == "LBRACE" and before.type == "NAME":
        return f"write the arguments, even when there are none: `{opening.text} {before.text}() {{ … }}`"
    if found.type == "WITH" or before.type == "WITH":
        return "settings of a layer are written `layer with name = value`"
    if found.type == "ELSE" and "PARAM" in accepted:
        return "an `else` follows the `}` of its `if`"
    return None
