"""What is bound and never read, found by walking a body backwards with the names that are read later.

A name that begins with `_` may stay unread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from ..diagnostics import Diagnostic, Note
from ..source import Span
from .references import bindings, evaluated, every, reads
from .syntax import Assign, Definition, Fit, If, Input, Name, NextState, Param, Parameter, Repeat, Return, State, Statement, Syntax, Target

READ = "read"
_SAID: dict[type[Statement], str] = {Input: "input", Target: "target", Param: "parameter", State: "state", Fit: "statistic"}
_MEND = "use it or remove it; a name that begins with `_` may stay unused"


def unused(definition: Definition, spared: Collection[str] = ()) -> list[Diagnostic]:
    """Bindings of a definition that nothing reads, but for `spared` ones: a misspelt name means them, which is one mistake, not two."""
    walk, later = _Backwards(spared), Later()
    walk.run(definition.body, later)
    parameters = [*(definition.settings or ()), *(definition.inputs or ())]
    later.read(part for p in parameters for part in (p.type, p.default) if part is not None)
    for parameter in parameters:
        walk.parameter(definition, parameter, later)
    return walk.found


@dataclass
class Later:
    """What happens next to each name: it is read, it is bound anew at a place, or (None) nothing.

    A branch is a layer over what follows it, so that a fork costs what the branch changes and not what it knows; `closed` when the
    branch returns, so that nothing follows.
    """

    below: Later | None = None
    closed: bool = False
    fates: dict[str, str | Span] = field(default_factory=dict)

    def fate(self, name: str) -> str | Span | None:
        """What happens next to a name."""
        layer: Later | None = self
        while layer is not None:
            if name in layer.fates or layer.closed:
                return layer.fates.get(name)
            layer = layer.below
        return None

    def read(self, parts: Iterable[Syntax]) -> None:
        """Expressions read their names."""
        self.fates |= {(r.id if isinstance(r, Name) else r.name): READ for r in reads(parts)}

    def close(self) -> None:
        """Nothing follows here."""
        self.fates, self.closed = {}, True

    def join(self, first: Later, second: Later) -> None:
        """Either of two branches over this one is taken."""
        fates: dict[str, str | Span] = {}
        for name in (*first.fates, *second.fates):
            either = first.fate(name), second.fate(name)
            found = READ if READ in either else either[0] or either[1]
            if found is not None:
                fates[name] = found
        if first.closed and second.closed:
            self.close()
        self.fates |= fates


class _Backwards:
    """Walks statements from the last to the first."""

    def __init__(self, spared: Collection[str]) -> None:
        self.spared = spared
        self.found: list[Diagnostic] = []

    def report(self, name: Name, message: str, later: Later) -> None:
        if name.id.startswith("_") or name.id in self.spared:
            return
        anew = later.fate(name.id)
        notes = (Note(f"`{name.id}` is bound anew here", anew),) if isinstance(anew, Span) else ()
        self.found.append(Diagnostic("unused-name", message, name.span, notes, help=_MEND))

    def run(self, statements: Sequence[Statement], later: Later) -> None:
        """Turn what happens after the statements into what happens from before them on."""
        for statement in reversed(statements):
            self.statement(statement, later)

    def statement(self, statement: Statement, later: Later) -> None:
        if isinstance(statement, If):
            branches = Later(later), Later(later)
            self.run(statement.then, branches[0])
            self.run(statement.otherwise, branches[1])
            later.join(*branches)
        elif isinstance(statement, Repeat):
            self.repeat(statement, later)
        elif isinstance(statement, Return):
            later.close()
        else:
            self.bind(statement, later)
        later.read(evaluated(statement))

    def repeat(self, statement: Repeat, later: Later) -> None:
        """One turn may read what the turn before bound; there may be no turn."""
        turn = Later(later)
        turn.read(part for s in every(statement.body) for part in evaluated(s))
        self.run(statement.body, turn)
        variable = statement.variable
        if variable is not None:
            if turn.fate(variable.id) != READ:
                self.report(variable, f"`{variable.id}` is never used", turn)
            turn.fates.pop(variable.id, None)
        later.join(turn, Later(later))

    def bind(self, statement: Statement, later: Later) -> None:
        if isinstance(statement, NextState):
            later.fates[statement.name.id] = READ
        for name in reversed(bindings(statement)):
            fate = later.fate(name.id)
            if fate != READ:
                self.report(name, _unread(statement, name, anew=fate is not None), later)
            later.fates[name.id] = name.span

    def parameter(self, definition: Definition, parameter: Parameter, later: Later) -> None:
        """A setting or input of a definition."""
        if later.fate(parameter.name.id) != READ:
            self.report(parameter.name, f"`{parameter.name.id}` of `{definition.name.id}` is never used", later)


def _unread(statement: Statement, name: Name, *, anew: bool) -> str:
    if isinstance(statement, Assign):
        return f"this value of `{name.id}` is never used" if anew else f"`{name.id}` is assigned and never used"
    return f"the {_SAID[type(statement)]} `{name.id}` is never used"
