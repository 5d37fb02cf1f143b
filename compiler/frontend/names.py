"""Names in bodies, checked without running anything, so that all mistakes show at once, in definitions never applied too.

Found are names that nothing defines, bindings that nothing reads, statements where they do not belong, calls with wrong arguments, and
bodies without `return`. What needs shapes or values is the elaborator's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ..diagnostics import Diagnostic, Note, close_names, did_you_mean
from ..source import Span
from . import primitives
from .calls import check_call, piped_into
from .expressions import CONSTANTS
from .lengths import is_length
from .library import LAYER_SETTINGS, Library, layer_settings
from .limits import MAX_ERRORS
from .patterns import ELEMENT_TYPES
from .references import bindings, evaluated, every, nodes
from .returns import check_returns
from .syntax import (
    Assign,
    Call,
    Definition,
    ExpressionStatement,
    Fit,
    If,
    Input,
    Listing,
    Loss,
    Metric,
    Name,
    Next,
    NextState,
    Param,
    Parameter,
    Pipe,
    Predict,
    Repeat,
    Return,
    State,
    Statement,
    Syntax,
    Target,
    TypeExpression,
    With,
)
from .unused import unused
from .values import describe, with_article

RUNTIME_NAMES: dict[str, tuple[str, ...]] = {"optimizer": ("step", "steps", "epoch"), "schedule": ("step", "steps", "epoch", "watched")}

_PLACES: dict[type[Statement], tuple[str, tuple[str, ...]]] = {
    Input: ("input", ("model",)),
    Target: ("target", ("model",)),
    Predict: ("predict", ("model",)),
    Loss: ("loss", ("model",)),
    Metric: ("metric", ("model",)),
    Param: ("param", ("model", "layer", "cell")),
    Fit: ("fit", ("model", "layer")),
    State: ("state", ("model", "layer", "cell", "optimizer", "schedule")),
    NextState: ("next", ("model", "layer", "cell", "optimizer", "schedule")),
    Return: ("return", ("layer", "cell", "fn", "optimizer", "schedule")),
}


def check_definition(library: Library, definition: Definition) -> list[Diagnostic]:
    """What is wrong with the names of one definition."""
    body = Body(library, definition)
    body.parameters()
    body.run(definition.body)
    return [*body.found, *unused(definition, body.misspelt), *check_returns(definition)]


def check_expression(library: Library, expression: Syntax) -> list[Diagnostic]:
    """What is wrong with the names of an expression outside all bodies."""
    body = Body(library, None)
    body.uses(expression)
    return body.found


@dataclass
class Body:
    """One walk through a body, in the order in which it runs; names bound in either branch of an `if` count as bound after it."""

    library: Library
    definition: Definition | None
    found: list[Diagnostic] = field(default_factory=list)
    bound: dict[str, Span] = field(default_factory=dict)
    states: set[str] = field(default_factory=set)
    renewed: set[str] = field(default_factory=set)
    misspelt: set[str] = field(default_factory=set)
    _turns: set[str] = field(default_factory=set)
    _checked: set[int] = field(default_factory=set)

    @cached_property
    def known(self) -> frozenset[str]:
        """Names that need no binding here; optimizers and schedules are known in blocks alone."""
        kind = self.definition.kind if self.definition else ""
        runtime = RUNTIME_NAMES.get(kind, ())
        defined = self.library.names() if self.definition is None else self.library.names_in("")
        return frozenset({"training", *defined, *primitives.TABLE, *CONSTANTS, *runtime})

    @cached_property
    def later_bindings(self) -> dict[str, Span]:
        """Every name that the body binds anywhere, and where first."""
        statements = list(every(self.definition.body)) if self.definition else []
        return {n.id: n.span for s in reversed(statements) for n in bindings(s)}

    def report(self, code: str, message: str, span: Span, notes: Sequence[Note] = (), help: str | None = None) -> None:
        """Record a mistake."""
        self.found.append(Diagnostic(code, message, span, tuple(notes), help=help))

    # --- argument lists

    def parameters(self) -> None:
        """Settings and inputs: defaults are read, patterns name axes, names are bound, each once."""
        assert self.definition is not None
        for parameter in (*(self.definition.settings or ()), *(self.definition.inputs or ())):
            self.parameter(parameter)

    def parameter(self, parameter: Parameter) -> None:
        """One entry of an argument list."""
        if parameter.default is not None and not (parameter.name.id == "over" and isinstance(parameter.default, Listing)):
            self.uses(parameter.default)
        if parameter.type is not None:
            self.pattern(parameter.type)
        self.declare(parameter.name)

    def pattern(self, pattern: TypeExpression) -> None:
        """Names of axes that are new are bound by the pattern; the others are read."""
        if pattern.dtype not in (None, *ELEMENT_TYPES):
            self.unknown_type(pattern)
        for dim in pattern.dims or ():
            if isinstance(dim, Name) and dim.id not in self.bound:
                self.bound[dim.id] = dim.span
            else:
                self.uses(dim)

    def unknown_type(self, type_: TypeExpression) -> None:
        """A type of elements that does not exist."""
        mend = did_you_mean(type_.dtype or "", ELEMENT_TYPES) or f"the types are {', '.join(ELEMENT_TYPES)}"
        self.report("unknown-type", f"`{type_.dtype}` is no type of elements", type_.span, help=mend)

    def declare(self, name: Name) -> None:
        """A name that may not be bound already."""
        if name.id in self.bound:
            self.misspelt.add(name.id)
            self.report("duplicate-name", f"`{name.id}` is declared twice", name.span, [Note("first here", self.bound[name.id])])
        self.bound.setdefault(name.id, name.span)

    # --- statements

    def run(self, statements: Sequence[Statement]) -> None:
        """Statements in order."""
        for statement in statements:
            self.misplaced(statement)
            if isinstance(statement, Input | Target):
                self.lengths(statement.type)
            for part in evaluated(statement):
                self.uses(part)
            self.bind(statement)
            self.enter(statement)

    def lengths(self, type_: TypeExpression) -> None:
        """Names of lengths are bound by the input that has them first."""
        for dim in type_.axes:
            if is_length(dim, self.bound, self.library):
                self.bound[dim.id] = dim.span

    def misplaced(self, statement: Statement) -> None:
        """A statement that this kind of definition has no use for."""
        assert self.definition is not None
        word, kinds = _PLACES.get(type(statement), ("", ()))
        if word and self.definition.kind not in kinds:
            places = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"
            message = f"`{word}` stands in a {places}, not in {with_article(self.definition.kind)}"
            self.report("misplaced-statement", message, statement.span)
            self.misspelt |= {name.id for name in bindings(statement)}
        if isinstance(statement, ExpressionStatement):
            self.report("unused-value", "the value of this line goes nowhere", statement.span, help="assign it, return it or remove it")

    def bind(self, statement: Statement) -> None:
        """The names that a statement binds; the type of a parameter or state is the model's float type and is not written."""
        if isinstance(statement, Assign):
            self.bound |= {name.id: name.span for name in statement.names}
            return
        for name in bindings(statement):
            self.declare(name)
        if isinstance(statement, Param | State) and statement.type and statement.type.dtype in ("u8", "i32", "bool", "class"):
            message = f"a `{_PLACES[type(statement)][0]}` holds floats, not {statement.type.dtype}"
            self.report("type-mismatch", message, statement.type.span, help="write its shape alone, such as `[units]`")
        if isinstance(statement, State):
            self.states |= {name.id for name in statement.names}
        if isinstance(statement, NextState):
            self.next_state(statement)

    def next_state(self, statement: NextState) -> None:
        """`next x = …` needs a `state x`."""
        name = statement.name
        if name.id not in self.states:
            mend = did_you_mean(name.id, self.states) or f"declare it: `state {name.id} = 0`"
            self.report("unknown-name", f"`{name.id}` is no state of this body", name.span, help=mend)
        self.renewed.add(name.id)

    def enter(self, statement: Statement) -> None:
        """The statements inside a statement."""
        if isinstance(statement, If):
            count = len(self.bound)
            self.run(statement.then)
            branch = dict(self.bound.popitem() for _ in range(len(self.bound) - count))
            self.run(statement.otherwise)
            self.bound |= branch
        elif isinstance(statement, Repeat):
            if statement.variable is not None:
                self.bound[statement.variable.id] = statement.variable.span
            self._turns |= {name.id for s in every(statement.body) for name in bindings(s)}
            self.run(statement.body)

    # --- expressions

    def uses(self, part: Syntax) -> None:
        """The names that an expression or a type reads, and the calls in it."""
        for node in nodes(part):
            match node:
                case Name():
                    self.read(node)
                case Next():
                    self.read_next(node)
                case With():
                    self.options(node)
                case TypeExpression():
                    if node.dtype not in (None, *ELEMENT_TYPES):
                        self.unknown_type(node)
                case Call() | Pipe():
                    self.call(node)

    def call(self, node: Call | Pipe) -> None:
        """A call, once: the stage of a pipe belongs to the pipe."""
        if id(node) in self._checked:
            return
        if isinstance(node, Pipe):
            self._checked.add(id(piped_into(node)))
        self.found += check_call(self.library, node, lambda name: name in self.bound or name not in self.known)

    def read(self, name: Name) -> None:
        """A name that something must have defined."""
        if name.id in self.bound or name.id in self.known or name.id in self._turns:
            return
        if name.id in self.later_bindings:
            notes = [Note("assigned here", self.later_bindings[name.id])]
            self.report("unknown-name", f"`{name.id}` is used before it is assigned", name.span, notes)
            return
        elsewhere = self.known_elsewhere(name.id)
        known = {*self.bound, *self.known} if len(self.found) < MAX_ERRORS and elsewhere is None else set()
        self.misspelt |= set(close_names(name.id, known))
        mend = elsewhere or did_you_mean(name.id, known)
        self.report("unknown-name", f"`{name.id}` is not defined{' here' if elsewhere else ''}", name.span, help=mend)

    def known_elsewhere(self, name: str) -> str | None:
        """Why a name that exists elsewhere does not exist here."""
        if name in RUNTIME_NAMES["optimizer"]:
            return f"`{name}` is known in the bodies of optimizers and schedules, which may hand it on as an argument"
        found = self.library.lookup(name)
        return f"{describe(found)} stands in a `train` block" if found else None

    def read_next(self, node: Next) -> None:
        """`next x` as a value needs a state that was given its new value before."""
        if node.name not in self.states:
            message = f"`{node.name}` is no state of this body"
            self.report("unknown-name", message, node.span, help=did_you_mean(node.name, self.states))
        elif node.name not in self.renewed:
            message = f"`next {node.name}` is used before it is assigned"
            self.report(
                "unassigned-next", message, node.span, help=f"write `next {node.name} = …` above; `{node.name}` alone is the old value"
            )

    def options(self, node: With) -> None:
        """`with` takes `name`, `rate`, regularisers of the library by name, and `regularize`."""
        for option in node.settings:
            found = self.library.lookup(option.name or "")
            penalty = found is not None and found.definition.kind == "fn" and bool(found.definition.settings)
            if option.name not in LAYER_SETTINGS and not penalty:
                known = layer_settings()
                mend = did_you_mean(option.name or "", known) or f"the settings are {', '.join(f'`{k}`' for k in known)}"
                self.report("unknown-setting", f"`{option.name}` is no setting of a layer", option.span, help=mend)
