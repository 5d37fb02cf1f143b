"""Sources, views, reductions and contractions: meaning, type and gradient of each class of operation. A class without a case fails."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from gradients import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from ranvier.compiler.ir import elementwise, ops, views
from ranvier.compiler.ir.evaluate import evaluate
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Array, Op
from ranvier.compiler.ir.ops import ARGUMENTS, REDUCTIONS, Concat, Constant, Contract, Extent, Position, Reduce, Source
from ranvier.compiler.ir.types import BATCH, F32, F64, I32, U32, TensorType
from ranvier.compiler.ir.verifier import verify
from ranvier.compiler.ir.views import Broadcast, Reshape, Slice, Transpose

SHAPE = arrays.array_shapes(min_dims=1, max_dims=4, max_side=4)


@dataclass(frozen=True)
class Case:
    """An operation, arrays for its operands, and what it should give. A batched one has the batch as the first axis of all of them."""

    op: Op
    inputs: tuple[Array, ...]
    expected: Array
    batched: bool = False
    smooth: bool = True
    sizes: Mapping[str, int] = field(default_factory=dict)


def distinct(shape: tuple[int, ...]) -> Array:
    """Numbers in no order, no two alike, none near another: safe for max and its derivative."""
    count = int(np.prod(shape))
    return (np.random.default_rng(count).permutation(count).reshape(shape) + 0.25) / 3 - 1


@st.composite
def broadcasts(draw: st.DrawFn) -> Case:
    shape = draw(SHAPE)
    axes = sorted(draw(st.sets(st.integers(0, len(shape) - 1))))
    x = distinct(tuple(shape[a] for a in axes))
    full = np.zeros(shape) + x[tuple(slice(None) if a in axes else None for a in range(len(shape)))]
    return Case(Broadcast(shape, tuple(axes)), (x,), full)


@st.composite
def reshapes(draw: st.DrawFn) -> Case:
    shape = draw(SHAPE)
    x = distinct(shape)
    batched = draw(st.booleans())
    inner = list(shape[1:]) if batched else list(shape)
    order = tuple(draw(st.permutations(inner)))
    if not batched:
        return Case(Reshape(order), (x,), np.array(x.ravel().tolist()).reshape(order))
    return Case(Reshape((BATCH, *order)), (x,), x.reshape(shape[0], *order), batched=True)


@st.composite
def transposes(draw: st.DrawFn) -> Case:
    x = distinct(draw(SHAPE))
    order = tuple(draw(st.permutations(range(x.ndim))))
    return Case(Transpose(order), (x,), np.einsum(x, list(range(x.ndim)), list(order)))


@st.composite
def slices(draw: st.DrawFn) -> Case:
    x = distinct(draw(SHAPE))
    batched, stepped = draw(st.booleans()), draw(st.booleans())
    start, stop, step, chosen = [], [], [], []
    for axis, size in enumerate(x.shape):
        if axis == 0 and batched:
            first, last, by = 0, -1, 1
        else:
            first = draw(st.integers(0, size - 1))
            last = draw(st.integers(first + 1, size))
            by = draw(st.integers(1, 3)) if stepped else 1
        start.append(first)
        stop.append(last)
        step.append(by)
        chosen.append(list(range(first, size if last < 0 else last, by)))
    expected = x[np.ix_(*chosen)]
    return Case(Slice(tuple(start), tuple(stop), tuple(step)), (x,), expected, batched, smooth=all(s == 1 for s in step))


@st.composite
def concats(draw: st.DrawFn) -> Case:
    shape = draw(SHAPE)
    axis = draw(st.integers(0, len(shape) - 1))
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    whole = distinct((*shape[:axis], sum(sizes), *shape[axis + 1 :]))
    ends = list(itertools.accumulate(sizes, initial=0))
    parts = tuple(whole.take(range(a, b), axis) for a, b in itertools.pairwise(ends))
    return Case(Concat(axis), parts, whole)


@st.composite
def reductions(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from([*REDUCTIONS, *ARGUMENTS]))
    x = distinct(draw(SHAPE))
    axes = tuple(sorted(draw(st.sets(st.integers(0, x.ndim - 1)))))
    if kind in ("any", "all"):
        x = x > 0
    kept = [a for a in range(x.ndim) if a not in axes]
    shape = tuple(x.shape[a] for a in kept)
    expected = np.array([_reduce(kind, [x[p] for p in _points(x.shape, kept, index)]) for index in np.ndindex(*shape)]).reshape(shape)
    return Case(Reduce(kind, axes), (x,), expected, draw(st.booleans()), smooth=kind in ("sum", "max", "min"))


def _points(shape: tuple[int, ...], kept: list[int], index: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [p for p in np.ndindex(*shape) if tuple(p[a] for a in kept) == index]


def _reduce(kind: str, numbers: list[float]) -> float:
    functions: dict[str, Callable[[list[float]], float]] = {
        "sum": sum, "max": max, "min": min, "any": any, "all": all,
        "argmax": lambda n: n.index(max(n)), "argmin": lambda n: n.index(min(n)),
    }  # fmt: skip
    return functions[kind](numbers)


FORMS = (
    "ab,bc->ac",
    "ab,cb->ac",
    "ba,bc->ca",
    "ab,b->a",
    "a,b->ab",
    "a,a->",
    "abc,bcd->ad",
    "abc,acd->abd",
    "ab,ab->ab",
    "ab,ab->a",
    ",a->a",
)


@st.composite
def contractions(draw: st.DrawFn) -> Case:
    form = draw(st.sampled_from(FORMS))
    left, right, out = form.replace("->", ",").split(",")
    size = {c: draw(st.integers(1, 3)) for c in "abcd"}
    x, y = (distinct(tuple(size[c] for c in part)) for part in (left, right))
    labels = sorted(set(left + right))
    expected = np.zeros(tuple(size[c] for c in out))
    for point in np.ndindex(*(size[c] for c in labels)):
        at = dict(zip(labels, point, strict=True))
        expected[tuple(at[c] for c in out)] += x[tuple(at[c] for c in left)] * y[tuple(at[c] for c in right)]
    return Case(Contract(*(tuple(ord(c) - ord("a") for c in part) for part in (left, right, out))), (x, y), expected)


@st.composite
def positions(draw: st.DrawFn) -> Case:
    shape = draw(SHAPE)
    strides = tuple(draw(st.integers(0, 20)) for _ in shape)
    dtype = draw(st.sampled_from((I32, U32)))
    grid = np.array([sum(s * i for s, i in zip(strides, p, strict=True)) for p in np.ndindex(*shape)]).reshape(shape)
    return Case(Position(shape, strides, dtype), (), grid)


@st.composite
def sources(draw: st.DrawFn) -> Case:
    x = distinct(draw(SHAPE))
    return Case(Source("state", "s", TensorType(F32, (BATCH, *x.shape[1:]))), (), x.astype(np.float32), sizes={"batch": x.shape[0]})


CASES: dict[type[Op], st.SearchStrategy[Case]] = {
    Source: sources(),
    Constant: st.floats(width=32, allow_nan=False).map(lambda v: Case(Constant(v, F32), (), np.array(v))),
    Extent: st.integers(0, 99).map(lambda n: Case(Extent(BATCH), (), np.array(float(n)), sizes={"batch": n})),
    Position: positions(),
    Broadcast: broadcasts(),
    Reshape: reshapes(),
    Transpose: transposes(),
    Slice: slices(),
    Concat: concats(),
    Reduce: reductions(),
    Contract: contractions(),
}


def test_every_class_has_a_case() -> None:
    """Elementwise classes are tested in test_elementwise.py."""
    known = [*vars(ops).values(), *vars(views).values()]
    classes = {c for c in known if isinstance(c, type) and issubclass(c, Op) and c not in (Op, views.View)}
    assert classes == set(CASES)
    others = {c for c in vars(elementwise).values() if isinstance(c, type) and issubclass(c, Op) and c is not Op}
    assert others == {elementwise.Elementwise, elementwise.Select, elementwise.Cast, elementwise.StopGradient}


def shape_of(array: Array, case: Case) -> tuple[object, ...]:
    return (BATCH, *array.shape[1:]) if case.batched else array.shape


@pytest.mark.parametrize("kind", CASES, ids=lambda c: c.__name__)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_meaning_and_type(kind: type[Op], data: st.DataObject) -> None:
    case = data.draw(CASES[kind])
    graph = Graph()
    dtypes = {"b": elementwise.BOOL, "f": F64}
    kinds = [TensorType(dtypes[a.dtype.kind], shape_of(a, case)) for a in case.inputs]  # type: ignore[arg-type]
    inputs = [graph.add(Source("input", f"x{n}", k)) for n, k in enumerate(kinds)]
    graph.outputs = {"y": graph.add(case.op, inputs)}
    verify(graph, "test")
    rows = case.sizes.get("batch", case.inputs[0].shape[0] if case.batched else 1)
    bound = {f"x{n}": a for n, a in enumerate(case.inputs)} | {"s": case.expected}
    found = evaluate(graph, bound, rows=rows)["y"]
    inferred = graph.type(graph.outputs["y"])
    assert found.shape == tuple(d if isinstance(d, int) else rows for d in inferred.shape)
    assert found.dtype == inferred.dtype.numpy
    np.testing.assert_allclose(found, case.expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", [c for c in CASES if c not in (Source, Constant, Extent, Position)], ids=lambda c: c.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_gradient(kind: type[Op], data: st.DataObject) -> None:
    case = data.draw(CASES[kind].filter(lambda c: c.smooth))
    rows = case.inputs[0].shape[0] if case.batched else 1
    named = {f"x{n}": a for n, a in enumerate(case.inputs)}
    check_gradients(lambda build, *values: build.add_op(case.op, *values), named, rows=rows, batched=case.batched)


def test_the_first_of_equal_numbers_is_the_place() -> None:
    graph = Graph()
    x = graph.add(Source("input", "x", TensorType(F32, (2, 3))))
    graph.outputs = {"row": graph.add(Reduce("argmax", (1,)), [x]), "all": graph.add(Reduce("argmin", (0, 1)), [x])}
    found = evaluate(graph, {"x": [[1, 5, 5], [0, 0, -0.0]]})
    assert found["row"].tolist() == [1, 0]
    assert found["all"].tolist() == 3


def test_sources_are_found_by_key_before_label() -> None:
    graph = Graph()
    kind = TensorType(F32, (1,))
    graph.outputs = {"i": graph.add(Source("input", "w", kind)), "p": graph.add(Source("parameter", "w", kind))}
    found = evaluate(graph, {"w": [1.0], "parameter:w": [2.0]})
    assert (found["i"][0], found["p"][0]) == (1.0, 2.0)


@pytest.mark.parametrize(("op", "types", "figure"), [
    (Contract((0, 1), (1, 2), (0, 2)), (TensorType(F32, (8, 5)), TensorType(F32, (5, 7))), 10),
    (Reduce("sum", (1,)), (TensorType(F32, (8, 5)),), 5),
    (Reshape((40,)), (TensorType(F32, (8, 5)),), 0),
    (elementwise.Select(), (TensorType(elementwise.BOOL, (8,)), TensorType(F32, (8,)), TensorType(F32, (8,))), 1),
])  # fmt: skip
def test_flops_a_point(op: Op, types: tuple[TensorType, ...], figure: int) -> None:
    assert op.flops(op.infer(*types), *types) == figure
