"""The LALR machine: runs the parser's tables over tokens, builds the tree as it reduces, and can go back to where a statement began.

Lark ships such a machine; this one reads the stored tables without importing Lark, and skips the reductions that only hand a node up the
ladder of precedences, which makes parsing several times faster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .parse_table import parse_table
from .tokens import SEPARATOR, Token
from .tree_builder import builders


class Mark(NamedTuple):
    """A statement's beginning: the stacks as they were, and the index of its first token."""

    states: list[int]
    values: list[Any]
    first: int


class Machine:
    """The two stacks of an LALR parser, with a mark for every brace that is open."""

    def __init__(self) -> None:
        table = parse_table()
        self.actions, self.gotos, self.rules, self.build = table.actions, table.gotos, table.rules, builders()
        self.states: list[int] = [0]
        self.values: list[Any] = []
        self.marks = [Mark([0], [], 0)]

    def run(self, tokens: list[Token], index: int) -> int:
        """Feed tokens from `index` on; the index of the first that does not fit, or their number when all were taken."""
        while index < len(tokens):
            token = tokens[index]
            if not self.feed(token):
                return index
            index += 1
            if token.type == SEPARATOR:
                self.marks[-1] = Mark(self.states.copy(), self.values.copy(), index)
            elif token.type == "LBRACE":
                self.marks.append(Mark(self.states.copy(), self.values.copy(), index))
            elif token.type == "RBRACE":
                self.marks.pop()
        return index

    def feed(self, token: Token) -> bool:
        """Take one token, reducing first as the tables say; False, with the token not taken, where it does not fit."""
        states, values, rules, build = self.states, self.values, self.rules, self.build
        terminal = token.type
        while True:
            action = self.actions[states[-1]].get(terminal)
            if action is None:
                return False
            if action >= 0:
                states.append(action)
                values.append(token)
                return True
            rule = rules[-1 - action]
            make = build[-1 - action]
            if make is not None:
                size = rule.size
                children = values[len(values) - size :]
                del values[len(values) - size :], states[len(states) - size :]
                values.append(make(children))
            else:
                states.pop()
            states.append(self._after(states[-1], rule.origin, terminal))

    def _after(self, state: int, origin: str, terminal: str) -> int:
        """The state after a reduction to `origin`, past all reductions that would only hand the node on."""
        while True:
            target = self.gotos[state][origin]
            action = self.actions[target].get(terminal, 0)
            if action >= 0 or self.build[-1 - action] is not None:
                return target
            origin = self.rules[-1 - action].origin

    def accepted(self) -> set[str]:
        """The terminals that would fit next."""
        return {terminal for terminal in self.actions[self.states[-1]] if self._fits(terminal)}

    def _fits(self, terminal: str) -> bool:
        states = self.states.copy()
        while True:
            action = self.actions[states[-1]].get(terminal)
            if action is None or action >= 0:
                return action is not None
            rule = self.rules[-1 - action]
            del states[len(states) - rule.size :]
            states.append(self.gotos[states[-1]][rule.origin])

    def go_back(self) -> None:
        """Forget the innermost statement that has begun."""
        mark = self.marks[-1]
        self.states, self.values = mark.states.copy(), mark.values.copy()
