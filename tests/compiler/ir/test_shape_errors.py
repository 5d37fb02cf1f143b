"""What each operation says to operands that do not fit, and which of them it blames."""

import pytest
from ranvier.compiler.ir.build import Build
from ranvier.compiler.ir.elementwise import Elementwise, Select
from ranvier.compiler.ir.graph import Graph
from ranvier.compiler.ir.op import Op, ShapeError
from ranvier.compiler.ir.ops import Concat, Contract, Position, Reduce, Source
from ranvier.compiler.ir.types import BATCH, BOOL, F32, F64, I32, DType, Shape, TensorType
from ranvier.compiler.ir.views import Broadcast, Reshape, Slice, Transpose


def f32(*shape: object) -> TensorType:
    return TensorType(F32, shape)  # type: ignore[arg-type]


ONE_SIDED = "the result of `{}` needs each axis that one operand alone has, once"


def of(dtype: DType, *shape: int) -> TensorType:
    return TensorType(dtype, shape)


TABLE: list[tuple[Op, tuple[TensorType, ...], str, tuple[int, ...]]] = [
    (Elementwise("add"), (f32(2),), "`add` takes 2 operands, not 1", ()),
    (Elementwise("exp"), (f32(2), f32(2)), "`exp` takes 1 operands, not 2", ()),
    (Elementwise("add"), (f32(2), f32(3)), "shapes f32[2] and f32[3] differ", (0, 1)),
    (Elementwise("add"), (f32(BATCH, 3), f32(4, 3)), "shapes f32[batch, 3] and f32[4, 3] differ", (0, 1)),
    (Elementwise("mul"), (f32(2), of(F64, 2)), "element types f32 and f64 differ", (0, 1)),
    (Elementwise("exp"), (of(I32, 2),), "`exp` is not defined on i32", (0,)),
    (Elementwise("not"), (f32(2),), "`not` is not defined on f32", (0,)),
    (Elementwise("add"), (of(BOOL, 2), of(BOOL, 2)), "`add` is not defined on bool", (0,)),
    (Select(), (of(BOOL, 2), f32(2)), "`select` takes 3 operands, not 2", ()),
    (Select(), (f32(2), f32(2), f32(2)), "the condition is f32[2], not bool", (0,)),
    (Select(), (of(BOOL, 2), f32(2), of(I32, 2)), "bool[2], f32[2] and i32[2] do not fit together", (0, 1, 2)),
    (Select(), (of(BOOL, 3), f32(2), f32(2)), "bool[3], f32[2] and f32[2] do not fit together", (0, 1, 2)),
    (Position((2, 3), (1,)), (), "1 strides do not fit the shape [2, 3]", ()),
    (Broadcast((2, 3), (0,)), (f32(3),), "f32[3] does not broadcast to [2, 3]", (0,)),
    (Broadcast((3, 3), (1, 0)), (f32(3, 3),), "f32[3, 3] does not broadcast to [3, 3]", (0,)),
    (Broadcast((3, 3), (2,)), (f32(3),), "f32[3] does not broadcast to [3, 3]", (0,)),
    (Broadcast((3, 3), (-1,)), (f32(3),), "f32[3] does not broadcast to [3, 3]", (0,)),
    (Reshape((5,)), (f32(2, 3),), "f32[2, 3] cannot be reshaped to [5]", (0,)),
    (Reshape((6,)), (f32(BATCH, 6),), "f32[batch, 6] cannot be reshaped to [6]", (0,)),
    (Reshape((BATCH, 6)), (f32(6),), "f32[6] cannot be reshaped to [batch, 6]", (0,)),
    (Transpose((0, 0)), (f32(2, 3),), "[0, 0] is no order of the axes of f32[2, 3]", (0,)),
    (Transpose((1,)), (f32(2, 3),), "[1] is no order of the axes of f32[2, 3]", (0,)),
    (Transpose((1, 0)), (f32(BATCH, 3),), "the batch axis stays in front", (0,)),
    (Slice((0,), (4,), (1,)), (f32(3),), "0:4:1 is outside an axis of 3 in f32[3]", (0,)),
    (Slice((2,), (2,), (1,)), (f32(3),), "2:2:1 is outside an axis of 3 in f32[3]", (0,)),
    (Slice((-1,), (2,), (1,)), (f32(3),), "-1:2:1 is outside an axis of 3 in f32[3]", (0,)),
    (Slice((0,), (3,), (0,)), (f32(3),), "0:3:0 is outside an axis of 3 in f32[3]", (0,)),
    (Slice((0,), (3,), (1,)), (f32(3, 3),), "a slice of 1 axes does not fit f32[3, 3]", (0,)),
    (Slice((1,), (-1,), (1,)), (f32(BATCH),), "the axis batch of f32[batch] is taken whole", (0,)),
    (Concat(0), (), "nothing to join", ()),
    (Concat(1), (f32(2), f32(2)), "f32[2] has no axis 1", (0,)),
    (Concat(1), (f32(2, 3), f32(4, 3)), "f32[2, 3] and f32[4, 3] cannot be joined along axis 1", (0, 1)),
    (Concat(0), (f32(2), f32(3), of(I32, 2)), "f32[2] and i32[2] cannot be joined along axis 0", (0, 2)),
    (Concat(0), (f32(2), f32(2, 1)), "f32[2] and f32[2, 1] cannot be joined along axis 0", (0, 1)),
    (Concat(0), (f32(BATCH), f32(BATCH)), "the batch axis cannot be joined", (0,)),
    (Reduce("sum", (2,)), (f32(2, 3),), "axes [2] are outside f32[2, 3]", (0,)),
    (Reduce("max", (-1,)), (f32(2, 3),), "axes [-1] are outside f32[2, 3]", (0,)),
    (Reduce("sum", (1, 0)), (f32(2, 3),), "axes [1, 0] are not in order, each once", (0,)),
    (Reduce("sum", (1, 1)), (f32(2, 3),), "axes [1, 1] are not in order, each once", (0,)),
    (Contract((0, 1), (1, 2), (0, 2)), (f32(2, 3), f32(4, 5)), "f32[2, 3] and f32[4, 5] disagree: 3 and 4", (0, 1)),
    (Contract((0, 1), (1, 2), (0, 2)), (f32(2, 3), of(F64, 3, 5)), "element types f32 and f64 cannot be multiplied", (0, 1)),
    (Contract((0,), (0,), ()), (of(I32, 2), of(I32, 2)), "element types i32 and i32 cannot be multiplied", (0, 1)),
    (Contract((0, 1), (1, 2), (0, 2)), (f32(2), f32(2, 3)), "f32[2] does not fit `ab,bc->ac`, which names every axis once", (0,)),
    (Contract((0,), (1, 1), (0, 1)), (f32(2), f32(3, 3)), "f32[3, 3] does not fit `a,bb->ab`, which names every axis once", (1,)),
    (Contract((0, 1), (1, 2), (2,)), (f32(2, 3), f32(3, 4)), ONE_SIDED.format("ab,bc->c"), (0, 1)),
    (Contract((0,), (0,), (1,)), (f32(2), f32(2)), ONE_SIDED.format("a,a->b"), (0, 1)),
    (Contract((0,), (0,), (0, 0)), (f32(2), f32(2)), ONE_SIDED.format("a,a->aa"), (0, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("op", "types", "message", "guilty"), TABLE, ids=[f"{n}-{row[0].name}" for n, row in enumerate(TABLE)])
def test_message_and_guilty_operands(op: Op, types: tuple[TensorType, ...], message: str, guilty: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        op.infer(*types)
    assert str(caught.value) == message
    assert caught.value.operands == guilty


@pytest.mark.parametrize(("left", "right", "message"), [
    ((2, 3), (4, 5), "f32[2, 3] @ f32[4, 5]: the last axis of the left is 3, of the right 4"),
    ((), (2,), "`@` needs values with axes"),
])  # fmt: skip
def test_matmul(left: Shape, right: Shape, message: str) -> None:
    build = Build(Graph(), F32)
    operands = [build.add_op(Source("input", k, TensorType(F32, s))) for k, s in (("x", left), ("y", right))]
    with pytest.raises(ShapeError) as caught:
        build.matmul(*operands)
    assert str(caught.value) == message


def test_a_refused_operation_leaves_the_graph_as_it_was() -> None:
    graph = Graph()
    x = graph.add(Source("input", "x", f32(2)))
    with pytest.raises(ShapeError):
        graph.add(Reshape((3,)), [x])
    assert len(graph) == 1
    assert graph.users(x) == ()
