"""The parser's tables: made from `nn.lark` by Lark once, kept beside it as JSON, and loaded without Lark from then on.

Making them takes Lark about 0.2 s, loading them a few milliseconds, and every start of the command line parses the standard library. The
JSON carries a digest of the grammar; tables that are missing or older than the grammar are made anew in memory, so that an edit of the
grammar always counts. `python -m ranvier.compiler.frontend.parse_table` writes the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ... import grammar
from ...grammar import TABLES, grammar_text, tables_text

END = "$END"


@dataclass(frozen=True)
class Rule:
    """One production: what it makes, how many symbols it takes, and which of them reach the tree.

    `keep` lists (position, spliced) of the symbols that reach the tree; a spliced one is itself a list of nodes. `build` names the method
    that makes the node, `""` makes a plain list, and None hands the only child on.
    """

    origin: str
    size: int
    keep: list[tuple[int, bool]]
    build: str | None


@dataclass(frozen=True)
class ParseTable:
    """LALR(1) tables. In `actions` a number n >= 0 shifts to state n, n < 0 reduces by rule -1 - n; the parser
    starts in state 0 and accepts by shifting `$END`.
    """

    digest: str
    terminals: list[tuple[str, str, bool]]
    ignored: list[str]
    rules: list[Rule]
    actions: list[dict[str, int]]
    gotos: list[dict[str, int]]


@cache
def parse_table() -> ParseTable:
    """The tables of the grammar as it stands: loaded when fresh, made when not."""
    text = grammar_text()
    stored = tables_text()
    if stored is not None:
        data = json.loads(stored)
        if data["digest"] == _digest(text):
            return ParseTable(**{**data, "rules": [Rule(**rule) for rule in data["rules"]]})
    return make_table(text)


def make_table(text: str) -> ParseTable:
    """Compile a grammar to tables with Lark; raises Lark's GrammarError when it is not LALR(1)."""
    from lark import Lark
    from lark.lexer import Lexer

    class NoLexer(Lexer):
        """Lark need not build a lexer: `tokens.py` makes the tokens from the same terminals."""

        def __init__(self, configuration: object) -> None:
            pass

        def lex(self, lexer_state: object, parser_state: object) -> Iterator[Any]:
            raise NotImplementedError

    lark = Lark(text, parser="lalr", lexer=NoLexer, maybe_placeholders=False)
    table = lark.parse_interactive().parser_state.parse_conf.parse_table
    numbers = _number_states(table.states, table.start_states["start"])
    rules = {rule: number for number, rule in enumerate(lark.rules)}
    rows = [_row(table.states[state], numbers, rules) for state in numbers]
    end = numbers[table.end_states["start"]]
    rows[end] = {END: end}
    return ParseTable(
        digest=_digest(text),
        terminals=[(t.name, t.pattern.value, t.pattern.type == "str") for t in sorted(lark.terminals, key=lambda t: -t.priority)],
        ignored=sorted(lark.ignore_tokens),
        rules=[_rule(rule) for rule in rules],
        actions=[{name: to for name, to in row.items() if _is_terminal(name)} for row in rows],
        gotos=[{name: to for name, to in row.items() if not _is_terminal(name)} for row in rows],
    )


def write_table(path: Path) -> None:
    """Write the tables of the grammar beside it, one state a line so that a change of the grammar reads as a change."""
    data = asdict(make_table(grammar_text()))
    fields = [f"{json.dumps(name)}: {_lines(value)}" for name, value in sorted(data.items())]
    path.write_text("{\n" + ",\n".join(fields) + "\n}\n", encoding="utf-8")


def _lines(value: Any) -> str:
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(item, sort_keys=True, separators=(",", ":")) for item in value) + "\n]"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _is_terminal(name: str) -> bool:
    return name == END or name.upper() == name


def _number_states(states: dict[Any, dict[str, tuple[Any, Any]]], start: Any) -> dict[Any, int]:
    """States in the order they are reached from the start; Lark's own numbers change from run to run."""
    numbers = {start: 0}
    reached = [start]
    for state in reached:
        for name in sorted(states[state]):
            target = states[state][name][1]
            if target in states and target not in numbers:
                numbers[target] = len(reached)
                reached.append(target)
    return numbers


def _row(row: dict[str, tuple[Any, Any]], numbers: dict[Any, int], rules: dict[Any, int]) -> dict[str, int]:
    return {name: -1 - rules[target] if target in rules else numbers[target] for name, (_, target) in sorted(row.items())}


def _rule(rule: Any) -> Rule:
    """How Lark would build this rule's node: signs given as text are dropped, `_` and `*` rules splice, `?` rules hand on an only child."""
    origin = str(rule.origin.name)
    keep = [
        (position, not symbol.is_term and symbol.name.startswith("_"))
        for position, symbol in enumerate(rule.expansion)
        if not (symbol.is_term and symbol.filter_out)
    ]
    hands_on = rule.options.expand1 and not rule.alias and len(keep) == 1
    build = None if hands_on else "" if origin.startswith("_") else rule.alias or origin
    return Rule(origin, len(rule.expansion), keep, build)


@cache
def token_pattern() -> re.Pattern[str]:
    """One pattern for all terminals of the grammar but its words and signs, which are the groups `NAME` and `sign`."""
    terminals = parse_table().terminals
    signs = sorted((text for _, text, literal in terminals if literal and not text.isidentifier()), key=len, reverse=True)
    named = [f"(?P<{name}>{pattern})" for name, pattern, literal in terminals if not literal]
    return re.compile("|".join([*named, f"(?P<sign>{'|'.join(map(re.escape, signs))})"]))


@cache
def literals() -> dict[str, str]:
    """The terminal of every word and sign, by its text."""
    return {text: name for name, text, literal in parse_table().terminals if literal}


if __name__ == "__main__":
    write_table(Path(str(grammar.__file__)).with_name(TABLES))
