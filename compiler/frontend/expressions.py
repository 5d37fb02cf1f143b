"""Expressions: numbers are computed while compiling, tensors become nodes, calls find what they call."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from ..diagnostics import Note, did_you_mean
from ..ir.op import ShapeError
from ..ir.types import BOOL, F64, TensorType
from ..source import Span
from . import primitives
from .context import Context, Refused, labels
from .lengths import masked, sliced
from .library import Library, layer_settings
from .limits import MAX_DEPTH
from .syntax import (
    Argument,
    Binary,
    Boolean,
    Call,
    Conditional,
    Ellipsis,
    Expression,
    Index,
    Listing,
    Name,
    Next,
    Number,
    Pipe,
    Slice,
    String,
    Unary,
    With,
)
from .values import POISON, Axes, Function, Instance, Label, Poison, Primitive, Scope, Tensor, Value, describe

ROWS = {"+": "add", "-": "sub", "*": "mul", "/": "div", "^": "pow", "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
ROWS |= {"and": "and", "or": "or"}
NUMBERS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
CONSTANTS: dict[str, Value] = {"pi": math.pi, "e": math.e, "inf": math.inf}
LARGEST_INTEGER = 2**63 - 1
LONGEST_LIST = 100_000
ENTRIES_A_STATEMENT = 100

Arguments = tuple[list[tuple[Value, Span]], dict[str, tuple[Value, Span]]]


@dataclass
class Expressions:
    """The part of the elaborator that evaluates expressions."""

    context: Context
    library: Library
    instances: list[Instance] = field(default_factory=list)
    occurrences: list[dict[int, int]] = field(default_factory=lambda: [{}])

    def evaluate(self, expression: Expression, scope: Scope) -> Value:
        """The value of an expression; raises `Refused` after reporting, and passes poison on."""
        match expression:
            case Number() | String() | Boolean():
                return expression.value
            case Name():
                return self.name(expression, scope)
            case Next():
                return self.next_value(expression, scope)
            case Unary():
                return self.unary(expression, scope)
            case Binary():
                return self.binary(expression, scope)
            case Conditional():
                return self.conditional(expression, scope)
            case Listing():
                return self.listed(tuple(self.evaluate(item, scope) for item in expression.items), expression.span)
            case Index():
                return self.index(expression, scope)
            case With():
                return self.with_settings(expression, scope)
            case Pipe():
                return self.pipe(expression, scope)
            case Call():
                return self.call(expression, scope)
            case Ellipsis():
                self.context.refuse("misplaced-ellipsis", "`...` stands only in shapes and lists of axes", expression.span)

    # names

    def name(self, expression: Name, scope: Scope) -> Value:
        """A local name, a definition, a primitive or a constant."""
        if expression.id in scope.values:
            return scope.values[expression.id]
        if expression.id == "training":
            return self.context.training
        found = self.library.lookup(expression.id, expression.span.source)
        if found is not None:
            return found
        if expression.id in primitives.TABLE:
            return Primitive(expression.id)
        if expression.id in CONSTANTS:
            return CONSTANTS[expression.id]
        known = {"training", *scope.values, *self.library.names(), *primitives.TABLE, *CONSTANTS}
        self.context.refuse("unknown-name", f"`{expression.id}` is not defined", expression.span, help=did_you_mean(expression.id, known))

    def next_value(self, expression: Next, scope: Scope) -> Value:
        """The new value of a state variable, once assigned."""
        if expression.name not in scope.next_values:
            self.context.refuse("unassigned-next", f"`next {expression.name}` is used before it is assigned", expression.span)
        return scope.next_values[expression.name]

    def callee(self, expression: Expression, scope: Scope) -> Value:
        """What a call calls: a local name only if it can be called, so that a value may share a function's name."""
        if isinstance(expression, Name) and self.is_function(expression) and not callable_value(scope.values.get(expression.id)):
            return self.name(expression, Scope({k: v for k, v in scope.values.items() if k != expression.id}))
        return self.evaluate(expression, scope)

    def is_function(self, name: Name) -> bool:
        """True when the library or the compiler defines a name."""
        return name.id in primitives.TABLE or self.library.lookup(name.id, name.span.source) is not None

    # operators

    def unary(self, expression: Unary, scope: Scope) -> Value:
        """`-x` and `not x`."""
        value = self.evaluate(expression.operand, scope)
        if isinstance(value, Poison):
            return POISON
        if isinstance(value, Tensor):
            row = "neg" if expression.op == "-" else "not"
            with self.context.shapes(expression.span, [(value, expression.operand.span)]), self.at(expression.span):
                return Tensor(self.context.build.apply(row, value.node), value.axes)
        if expression.op == "not" and isinstance(value, bool):
            return not value
        if expression.op == "-" and isinstance(value, int | float) and not isinstance(value, bool):
            return -value
        self.context.refuse("type-mismatch", f"`{expression.op}` does not apply to {describe(value)}", expression.span)

    def binary(self, expression: Binary, scope: Scope) -> Value:
        """Arithmetic, comparison, logic and `@`."""
        left, right = self.evaluate(expression.left, scope), self.evaluate(expression.right, scope)
        if isinstance(left, Poison) or isinstance(right, Poison):
            return POISON
        if isinstance(left, Tensor) or isinstance(right, Tensor):
            return self.tensor_binary(expression, left, right)
        if expression.op in ("and", "or") and isinstance(left, bool) and isinstance(right, bool):
            return left and right if expression.op == "and" else left or right
        if isinstance(left, int | float) and isinstance(right, int | float):
            return self.number_binary(expression, left, right)
        if expression.op in ("==", "!="):
            return (left == right) == (expression.op == "==")
        if expression.op == "+" and isinstance(left, tuple) and isinstance(right, tuple):
            return self.listed(left + right, expression.span)
        self.context.refuse("type-mismatch", f"`{expression.op}` does not apply to {describe(left)} and {describe(right)}", expression.span)

    def listed(self, value: tuple[Value, ...], span: Span) -> tuple[Value, ...]:
        """A new list, with the work of making it counted; refuses one that is too long or, as lists in lists, too deep."""
        pending, entries = [(value, 1)], 0
        while pending:
            entry, depth = pending.pop()
            entries += len(entry)
            if entries > LONGEST_LIST:
                self.context.refuse("too-large", f"a list has at most {LONGEST_LIST} entries", span)
            if depth > MAX_DEPTH:
                self.context.refuse("too-deep", f"lists nest more than {MAX_DEPTH} levels deep", span)
            pending += [(inner, depth + 1) for inner in entry if isinstance(inner, tuple)]
        self.context.spend(span, entries // ENTRIES_A_STATEMENT)
        return value

    def number_binary(self, expression: Binary, left: float, right: float) -> Value:
        """Arithmetic on compile-time numbers; an int divided evenly stays an int."""
        op = expression.op
        if op in ("/", "//") and right == 0:
            self.context.refuse("division-by-zero", f"`{expression.span.text}` divides by zero", expression.span)
        try:
            if op == "/":
                value: float = left // right if isinstance(left, int) and isinstance(right, int) and left % right == 0 else left / right
            elif op == "^":
                value = _power(left, right)
            elif op in NUMBERS:
                value = NUMBERS[op](left, right)
            else:
                self.context.refuse("type-mismatch", f"`{op}` does not apply to {describe(left)} and {describe(right)}", expression.span)
        except (OverflowError, ValueError):
            value = math.inf
        out_of_range = not math.isfinite(value) if isinstance(value, float) else abs(value) > LARGEST_INTEGER
        if out_of_range:
            self.context.refuse("number-out-of-range", f"`{expression.span.text}` is out of range", expression.span)
        return value

    def tensor_binary(self, expression: Binary, left: Value, right: Value) -> Value:
        """An operator with at least one tensor."""
        places = [(left, expression.left.span), (right, expression.right.span)]
        a, b = (self.tensor(value, place) for value, place in places)
        with self.context.shapes(expression.span, places), self.at(expression.span):
            if expression.op == "@":
                return self.matmul(a, b)
            if expression.op not in ROWS:
                self.context.refuse("type-mismatch", f"`{expression.op}` does not apply to tensors", expression.span)
            squared = self.square(expression, a, right)
            if squared is not None:
                return squared
            if expression.op == "/" and self.is_number(b) and not self.is_number(a):
                return self.elementwise("mul", a, self.reciprocal(b))
            return self.elementwise(ROWS[expression.op], a, b)

    def is_number(self, tensor: Tensor) -> bool:
        """True for a scalar of settings, steps and extents, which is computed in f64."""
        return self.context.build.type(tensor.node) == TensorType(F64)

    def reciprocal(self, number: Tensor) -> Tensor:
        """1 / number in f64: a tensor divided by a number is one product an element, right to one unit in the last place."""
        build = self.context.build
        return Tensor(build.div(build.constant(1.0), number.node))

    def square(self, expression: Binary, base: Tensor, exponent: Value) -> Tensor | None:
        """`x ^ n` for a small whole n as a product, which is exact and has a gradient at 0."""
        if expression.op != "^" or not isinstance(exponent, int) or isinstance(exponent, bool) or not 1 <= exponent <= 8:
            return None
        build, result = self.context.build, base.node
        for digit in bin(exponent)[3:]:
            result = build.mul(result, result)
            if digit == "1":
                result = build.mul(result, base.node)
        return Tensor(result, base.axes)

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """`a @ b`."""
        build = self.context.build
        left, right = self.context.body(a), self.context.body(b)
        if not left or not right:
            raise ShapeError(f"`@` multiplies over an axis, and {self.context.spell(b if left else a)} has none", (0, 1), "use `*`")
        if len(right) == 1 and self.context.batched(b):
            raise ShapeError("the right side of `@` is a vector that differs from sample to sample", (0, 1), "write `sum(a * b)`")
        rows = right[max(0, len(right) - 2)]
        a = masked(self.context, a, [len(left) - 1 + int(self.context.batched(a))], 0.0)
        b = masked(self.context, b, [max(0, len(right) - 2) + int(self.context.batched(b))], 0.0)
        if left[-1] != rows:
            which = "axis" if len(right) == 1 else "last axis but one"
            raise ShapeError(f"`@` needs the last axis of the left, {left[-1]}, to be the {which} of the right, {rows}", (0, 1))
        node = build.matmul(a.node, b.node)
        return Tensor(node, a.axes[:-1] + (b.axes[-1:] if len(b.axes) > 1 else ()))

    def elementwise(self, row: str, *operands: Tensor) -> Tensor:
        """A row of the table on tensors aligned by the labels of their axes."""
        nodes, axes = self.aligned(operands)
        return Tensor(self.context.build.apply(row, *nodes), axes)

    def aligned(self, operands: Sequence[Tensor]) -> tuple[list[int], tuple[Label, ...]]:
        """Operands with fewer axes spread by label where their labels are among the widest's, else by NumPy's trailing rule."""
        widest = max(operands, key=lambda t: (len(t.axes), sum(a.text != "..." for a in t.axes)))
        body, build = self.context.body(widest), self.context.build
        nodes = []
        for operand in operands:
            node = operand.node
            inside = [widest.axes.index(a) for a in operand.axes if a in widest.axes]
            trailing = list(range(len(body) - len(operand.axes), len(body)))
            if len(inside) == len(operand.axes) < len(body) and inside != trailing and inside == sorted(inside) and inside:
                batch = build.type(node).shape[:1] if self.context.batched(operand) else ()
                lead = len(batch)
                node = build.broadcast(node, (*batch, *body), [*range(lead), *(a + lead for a in inside)])
            nodes.append(node)
        self.check_fit(operands, nodes)
        return nodes, widest.axes

    def check_fit(self, operands: Sequence[Tensor], nodes: Sequence[int]) -> None:
        """Axes that meet have one size, or one of them is 1."""
        bodies = [self.context.body(Tensor(node)) for node in nodes]
        for axis in range(1, max(map(len, bodies)) + 1):
            sizes = [(body[-axis], n) for n, body in enumerate(bodies) if len(body) >= axis and body[-axis] != 1]
            other = next((n for size, n in sizes if size != sizes[0][0]), None)
            if other is not None:
                one, two = operands[sizes[0][1]], operands[other]
                sizes_met = f"{bodies[sizes[0][1]][-axis]} meets {bodies[other][-axis]}"
                mend = "axes meet from the last one backwards; an axis of 1 is repeated"
                raise ShapeError(f"{self.context.spell(one)} and {self.context.spell(two)} do not fit: {sizes_met}", (0, 1), mend)

    def tensor(self, value: Value, place: Span) -> Tensor:
        """A number as a scalar tensor, a tensor as it is; everything else is refused."""
        if isinstance(value, Tensor):
            return value
        if isinstance(value, bool):
            return Tensor(self.context.build.constant(value, BOOL))
        if isinstance(value, int | float):
            return Tensor(self.context.build.constant(float(value)))
        if isinstance(value, Poison):
            raise Refused
        self.context.refuse("type-mismatch", f"a tensor is wanted here, not {describe(value)}", place)

    def conditional(self, expression: Conditional, scope: Scope) -> Value:
        """`a if c else b`: one branch when c is known, both and a select when c is a tensor."""
        condition = self.evaluate(expression.condition, scope)
        if isinstance(condition, Poison):
            return POISON
        if isinstance(condition, bool):
            return self.evaluate(expression.then if condition else expression.otherwise, scope)
        if not isinstance(condition, Tensor):
            self.context.refuse("type-mismatch", f"a condition is wanted, not {describe(condition)}", expression.condition.span)
        branches = [(self.evaluate(b, scope), b.span) for b in (expression.then, expression.otherwise)]
        tensors = [condition, *(self.tensor(v, p) for v, p in branches)]
        with self.context.shapes(expression.span, [(condition, expression.condition.span), *branches]), self.at(expression.span):
            nodes, axes = self.aligned(tensors)
            return Tensor(self.context.build.select(*nodes), axes)

    # indexing

    def index(self, expression: Index, scope: Scope) -> Value:
        """`list[i]`, `list[a:b]`, `x[i, a:b, ...]`."""
        value = self.evaluate(expression.value, scope)
        if isinstance(value, Poison):
            return POISON
        if isinstance(value, Tensor):
            with self.context.shapes(expression.span, [(value, expression.value.span)]), self.at(expression.span):
                return self.index_tensor(expression, value, scope)
        if not isinstance(value, tuple) or len(expression.items) != 1:
            self.context.refuse("type-mismatch", f"{describe(value)} cannot be indexed so", expression.span)
        item = expression.items[0]
        if isinstance(item, Slice):
            start, stop, step = self.slice_bounds(item, scope)
            return value[slice(start, stop, step)]
        position = self.integer(item, scope)
        if not -len(value) <= position < len(value):
            self.context.refuse("index-out-of-range", f"index {position} is outside a list of {len(value)}", item.span)
        return value[position]

    def slice_bounds(self, item: Slice, scope: Scope) -> tuple[int | None, int | None, int | None]:
        """The three numbers of a slice."""
        bounds = tuple(None if part is None else self.integer(part, scope) for part in (item.start, item.stop, item.step))
        if bounds[2] is not None and bounds[2] < 1:
            self.context.refuse("index-out-of-range", "a slice's step is at least 1", item.span)
        return bounds  # type: ignore[return-value]

    def known(self, expression: Expression, scope: Scope) -> Value:
        """A value that is known before the model runs: a first value, the strength of a penalty."""
        value = self.evaluate(expression, scope)
        if isinstance(value, Poison):
            raise Refused
        if _holds_tensor(value):
            message = f"`{expression.span.text}` depends on what the model computes, and must be known before it runs"
            self.context.refuse("type-mismatch", message, expression.span, help="write a number, or an initialiser such as `zeros`")
        return value

    def integer(self, expression: Expression, scope: Scope) -> int:
        """A whole number known at compile time."""
        value = self.evaluate(expression, scope)
        if isinstance(value, Poison):
            raise Refused
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            self.context.refuse("type-mismatch", f"a whole number is wanted here, not {describe(value)}", expression.span)
        return value

    def index_tensor(self, expression: Index, value: Tensor, scope: Scope) -> Tensor:
        """Slices keep an axis, whole numbers drop it, `...` skips axes."""
        body, build = self.context.body(value), self.context.build
        items: list[Expression | Slice | None] = []
        for given in expression.items:
            items += [None] * (len(body) - len(expression.items) + 1) if isinstance(given, Ellipsis) else [given]
        items += [None] * (len(body) - len(items))
        if len(items) > len(body):
            self.context.refuse("shape-mismatch", f"{self.context.spell(value)} has {len(body)} axes, not {len(items)}", expression.span)
        lead, node, dropped, axes = int(self.context.batched(value)), value.node, [], list(value.axes)
        for axis, (item, size) in enumerate(zip(items, body, strict=True)):
            if item is None:
                continue
            if isinstance(item, Slice):
                bounds = self.slice_bounds(item, scope)
                start, stop, step = slice(*bounds).indices(size)
            else:
                bounds = (self.integer(item, scope), None, None)
                start, stop, step = (bounds[0] + size if bounds[0] < 0 else bounds[0]), 0, 1
                stop = start + 1
                dropped.append(axis)
            if not 0 <= start < stop <= size:
                fault = "takes nothing of" if isinstance(item, Slice) else "is outside"
                self.context.refuse("index-out-of-range", f"`{item.span.text}` {fault} an axis of {size}", item.span)
            if (start, stop, step) != (0, size, 1):
                self.check_cut(value.axes[axis], bounds, item.span)
                axes[axis] = sliced(self.context, value.axes[axis], start, stop, size, from_end=(bounds[1] or 0) < 0)
                node = build.slice_axis(node, axis + lead, start, stop, step)
        shape = build.type(node).shape
        node = build.reshape(node, tuple(d for a, d in enumerate(shape) if a - lead not in dropped))
        return Tensor(node, tuple(a for n, a in enumerate(axes) if n not in dropped), value.classes)

    def check_cut(self, axis: Label, bounds: tuple[int | None, int | None, int | None], place: Span) -> None:
        """An axis as long as each sample says is cut in steps of 1, and begins at its beginning: samples end at different places."""
        if axis not in self.context.lengths:
            return
        if (bounds[2] or 1) != 1:
            self.context.refuse("unsupported", f"the axis `{axis}` is as long as each sample says; it is cut in steps of 1", place)
        if (bounds[0] or 0) < 0:
            message = f"the axis `{axis}` is as long as each sample says, and `{bounds[0]}` would begin at another place in each"
            mend = "`last(x)` is the value at each sample's own end, and `x[:-1]` all but that" if bounds[0] == -1 else None
            self.context.refuse("unsupported", message, place, help=mend)

    # calls

    def arguments(self, given: Sequence[Argument], scope: Scope) -> Arguments:
        """Evaluated arguments: positional ones, then named ones."""
        positional: list[tuple[Value, Span]] = []
        named: dict[str, tuple[Value, Span]] = {}
        for argument in given:
            value = self.argument(argument.name, argument.value, scope)
            if argument.name is None:
                if named:
                    self.context.refuse("bad-argument", "an argument without a name stands after named ones", argument.span)
                positional.append((value, argument.value.span))
            elif argument.name in named:
                self.context.refuse("bad-argument", f"`{argument.name}` is given twice", argument.span)
            else:
                named[argument.name] = (value, argument.value.span)
        return positional, named

    def argument(self, name: str | None, expression: Expression, scope: Scope) -> Value:
        """One argument; a list given for `over` names axes and is not evaluated."""
        if name != "over" or not isinstance(expression, Listing):
            return self.evaluate(expression, scope)
        items: list[str | int] = []
        for item in expression.items:
            if isinstance(item, Name):
                items.append(item.id)
            elif isinstance(item, Ellipsis):
                items.append("...")
            else:
                items.append(self.integer(item, scope))
        return Axes(tuple(items), scope.rest)

    def pipe(self, expression: Pipe, scope: Scope) -> Value:
        """`x -> f`, `x -> f(settings)`: the left side becomes the first input of the right."""
        left = self.evaluate(expression.left, scope)
        right = expression.right
        first = (left, _last_stage(expression.left).span)
        if isinstance(right, Call):
            target = self.callee(right.callee, scope)
            if isinstance(left, Poison) or isinstance(target, Poison):
                return POISON
            if isinstance(target, Primitive | Instance) or (isinstance(target, Function) and target.definition.settings is None):
                positional, named = self.arguments(right.arguments, scope)
                if isinstance(target, Primitive) and positional and isinstance(positional[0][0], Instance):
                    made = self.invoke(target, (positional, named), right, scope)  # another direction of a cell, say: it is applied
                    return self.invoke(made, ([first], {}), right, scope)
                return self.invoke(target, ([first, *positional], named), right, scope)
        target = self.evaluate(right, scope) if not isinstance(right, Name) else self.callee(right, scope)
        if isinstance(left, Poison) or isinstance(target, Poison):
            return POISON
        if isinstance(target, Function) and target.definition.settings is not None:
            target = self.make(target, ([], {}), right, scope)
        return self.invoke(target, ([first], {}), right, scope)

    def call(self, expression: Call, scope: Scope) -> Value:
        """`f(…)`."""
        target = self.callee(expression.callee, scope)
        if isinstance(target, Poison):
            return POISON
        return self.invoke(target, self.arguments(expression.arguments, scope), expression, scope)

    def invoke(self, target: Value, arguments: Arguments, site: Expression, scope: Scope) -> Value:
        """Call a primitive, call a function, make a layer, or apply one."""
        if any(isinstance(v, Poison) for v, _ in (*arguments[0], *arguments[1].values())):
            return POISON
        match target:
            case Primitive():
                return primitives.call(self, target.name, arguments, site)
            case Function() if target.definition.kind == "model":
                self.context.refuse("type-mismatch", f"`{target.name}` is a model and cannot be called", site.span)
            case Function() if target.definition.settings is not None:
                return self.make(target, arguments, site, scope)
            case Function():
                return self.run_function(target, arguments, site)
            case Instance():
                return self.apply(target, arguments, site)
            case _:
                self.context.refuse("not-callable", f"{describe(target)} cannot be called", site.span)

    def with_settings(self, expression: With, scope: Scope) -> Value:
        """A layer with options of its own: `name`, and regularisers of its parameters."""
        layer = self.evaluate(expression.layer, scope)
        if isinstance(layer, Function) and layer.definition.settings is not None:
            layer = self.make(layer, ([], {}), expression.layer, scope)
        if isinstance(layer, Poison):
            return POISON
        if not isinstance(layer, Instance):
            self.context.refuse("type-mismatch", f"`with` follows a layer, not {describe(layer)}", expression.span)
        for argument in expression.settings:
            assert argument.name is not None
            option = self.library.lookup(argument.name)
            if argument.name == "name":
                self.rename(layer, self.evaluate(argument.value, scope), argument.span)
            elif argument.name == "rate":
                layer.options[argument.name] = self.factor(argument.value, scope)
            elif argument.name == "regularize":
                layer.options[argument.name] = self.regularisers(argument.value, scope)
            elif option is None or option.definition.kind != "fn" or not option.definition.settings:
                hint = did_you_mean(argument.name, layer_settings())
                self.context.refuse("unknown-setting", f"`{argument.name}` is no setting of a layer", argument.span, help=hint)
            else:
                layer.options[argument.name] = self.strength(argument.value, scope)
        return layer

    def strength(self, expression: Expression, scope: Scope) -> Value:
        """The strength of a penalty: a value known before the model runs, or a number of the run time as it was given."""
        value = self.evaluate(expression, scope)
        given = self.context.given.get(value.node) if isinstance(value, Tensor) else None
        return given or self.known(expression, scope)

    def factor(self, expression: Expression, scope: Scope) -> float:
        """What the learning rate of a layer is multiplied by: a number of at least 0."""
        value = self.known(expression, scope)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            shown = value if isinstance(value, int | float) else describe(value)
            self.context.refuse("type-mismatch", f"`rate` is a factor of the learning rate, at least 0, not {shown}", expression.span)
        return value

    def regularisers(self, expression: Expression, scope: Scope) -> tuple[Instance, ...]:
        """One call such as `l2(1e-4)`, or a list of them."""
        value = self.known(expression, scope)
        several = value if isinstance(value, tuple) else (value,)
        made = tuple(each for each in several if isinstance(each, Instance) and each.function.definition.kind == "fn")
        if len(made) < len(several):
            message = f"`regularize` is a call such as `l2(1e-4)`, or a list of them, not {describe(value)}"
            self.context.refuse("type-mismatch", message, expression.span)
        return made

    def rename(self, layer: Instance, value: Value, place: Span) -> None:
        """Give a layer the name a person chose."""
        if not isinstance(value, str) or not value.replace("_", "a").isalnum():
            self.context.refuse("bad-argument", "a name is a text of letters, digits and underscores", place)
        parent = layer.path.rpartition(".")[0]
        path = f"{parent}.{value}" if parent else value
        if any(child.path == path and child is not layer for child in self.instances[-1].children.values()):
            self.context.refuse("duplicate-name", f"another layer is called `{value}`", place)
        layer.path = path

    def at(self, span: Span) -> AbstractContextManager[None]:
        """Provenance of the nodes made inside."""
        return self.context.at(span, self.instances[-1].path if self.instances else "")

    # what the elaborator adds

    def make(self, function: Function, arguments: Arguments, site: Expression, scope: Scope) -> Instance:
        """Bind the settings of a two-list definition."""
        raise NotImplementedError

    def apply(self, instance: Instance, arguments: Arguments, site: Expression) -> Value:
        """Apply a made layer to its inputs."""
        raise NotImplementedError

    def run_function(self, function: Function, arguments: Arguments, site: Expression) -> Value:
        """Call a one-list function."""
        raise NotImplementedError

    def unnamed(self, node: int) -> Tensor:
        """A tensor whose axes have fresh labels."""
        count = len([d for d in self.context.build.type(node).shape if isinstance(d, int)])
        return Tensor(node, labels(count))

    def axes_of(self, value: Axes | tuple[Value, ...], tensor: Tensor, place: Span) -> list[int]:
        """Positions in the graph of the axes that `over` names; the batch is axis 0 where there is one."""
        items = value.items if isinstance(value, Axes) else tuple(v for v in value if isinstance(v, int | str))
        named = {label.text: n for n, label in enumerate(tensor.axes) if label.text != "..."}
        rest = tensor.axes if not isinstance(value, Axes) or value.rest is None else value.rest
        lead = int(self.context.batched(tensor))
        found: set[int] = set()
        for item in items:
            if item == "batch":
                found.add(self.batch_axis(tensor, place))
            elif item == "...":
                mentioned = {named[i] for i in items if isinstance(i, str) and i in named}
                found |= {n + lead for n, label in enumerate(tensor.axes) if label in rest and n not in mentioned}
            else:
                found.add(self.axis_of(item, named, tensor, place) + lead)
        return sorted(found)

    def batch_axis(self, tensor: Tensor, place: Span) -> int:
        """The position of the batch."""
        if not self.context.batched(tensor):
            message = f"{self.context.spell(tensor)} is the same for every sample: it has no batch axis"
            self.context.refuse("unknown-axis", message, place)
        return 0

    def axis_of(self, item: str | int, named: Mapping[str, int], tensor: Tensor, place: Span) -> int:
        """The position in a sample of an axis given by name or number."""
        if isinstance(item, int) and -len(tensor.axes) <= item < len(tensor.axes):
            return item % len(tensor.axes)
        if isinstance(item, str) and item in named:
            return named[item]
        notes = [Note(f"its axes are [{', '.join(map(str, tensor.axes))}]")]
        self.context.refuse("unknown-axis", f"{self.context.spell(tensor)} has no axis `{item}`", place, notes)


def _last_stage(expression: Expression) -> Expression:
    """What a pipeline's value comes from, the place to show for it."""
    return expression.right if isinstance(expression, Pipe) else expression


def _holds_tensor(value: Value) -> bool:
    match value:
        case Tensor():
            return True
        case Instance():
            return any(map(_holds_tensor, value.settings.values()))
        case tuple():
            return any(map(_holds_tensor, value))
        case _:
            return False


def callable_value(value: Value) -> bool:
    """True for what a call may call."""
    return isinstance(value, Function | Instance | Primitive | Poison)


def _power(base: float, exponent: float) -> float:
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if abs(base) > 1 and exponent * math.log2(abs(base)) > 63:
            raise OverflowError
        return float(base**exponent) if abs(base) > LARGEST_INTEGER else int(base**exponent)
    return math.pow(base, exponent)
