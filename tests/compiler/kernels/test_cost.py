"""Costs are what a person counts by hand, at any number of rows."""

from __future__ import annotations

from ranvier.compiler.ir.types import BATCH, F32
from ranvier.compiler.kernels.cost import Cost, cost, launch_cost
from ranvier.compiler.kernels.model import Access, Accumulator, Apply, Axis, Constant, Contract, Fold, Load, Nest, Store
from ranvier.compiler.kernels.printer import loops, print_kernel
from ranvier.compiler.kernels.program import Launch, Loop, Program

M, N, K = Axis("m", BATCH), Axis("n", 10, 32), Axis("k", 7)
A = Access("a", F32, (("m", 7), ("k", 1)))
B = Access("b", F32, (("k", 32), ("n", 1), ("n/", 224)))
BIAS = Load(Access("bias", F32, (("n", 1),)))
OUT = Access("out", F32, (("m", 10), ("n", 1)))
PRODUCT = Contract((), (M,), N, (K,), A, B, (Accumulator(F32), BIAS, Apply("add", (0, 1), F32)), (Store(OUT, 2),), F32)

X = Load(Access("x", F32, (("m", 7), ("k", 1))))
MEAN = Nest(
    (M,), (K,), (X, Apply("mul", (0, 0), F32), Fold("sum", 1, F32), Constant(7.0, F32), Apply("div", (2, 3), F32)),
    (Store(Access("y", F32, (("m", 1),)), 4),),
)  # fmt: skip


def test_a_product_counts_multiply_adds_and_its_epilogue() -> None:
    assert cost(PRODUCT, 3) == Cost(2 * 3 * 10 * 7 + 3 * 10, 4 * (3 * 7 + 7 * 10 + 10 + 3 * 10))


def test_a_reduction_counts_inner_work_at_every_point_and_outer_work_once() -> None:
    assert cost(MEAN, 5) == Cost(5 * 7 * 2 + 5 * 4, 4 * (5 * 7 + 5))


def test_no_rows_cost_nothing_but_what_they_would_share() -> None:
    assert cost(PRODUCT, 0).flops == 0
    assert cost(MEAN, 0) == Cost(0, 0)


def test_the_text_of_a_kernel() -> None:
    assert loops(PRODUCT) == "batch x 10 over 7"
    assert print_kernel(PRODUCT).splitlines() == [
        "for m < batch, n < 10 in panels of 32",
        "  acc = sum over k < 7 of a[7*m + k] * b[32*k + n + 224*n/] : f32",
        "  %0 = acc : f32",
        "  %1 = bias[n] : f32",
        "  %2 = add(%0, %1) : f32",
        "  out[10*m + n] = %2",
    ]
    assert print_kernel(MEAN).splitlines()[0] == "for m < batch over k < 7"


def test_what_a_loop_runs_costs_as_often() -> None:
    launches = (Launch(MEAN, "once"), Launch(MEAN, "looped", loop=1))
    program = Program("p", 5, {}, {}, launches, loops={1: Loop(7, reverse=False)})
    once, looped = (launch_cost(program, launch) for launch in launches)
    assert once == cost(MEAN, 5)
    assert looped == Cost(7 * once.flops, 7 * once.bytes)
