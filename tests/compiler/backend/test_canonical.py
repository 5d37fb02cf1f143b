"""Equal work is compiled once, wherever its buffers lie; memory that is shared is seen to be shared."""

from ranvier.compiler.backend.canonical import Place, canonical
from ranvier.compiler.ir.types import BATCH, F32, I32, U8, DType
from ranvier.compiler.kernels.model import Access, Apply, Axis, Constant, Contract, Index, Load, Nest, Store
from ranvier.compiler.kernels.program import Buffer


def buffers(*entries: tuple[str, int, str, int], dtype: DType = F32) -> dict[str, Buffer]:
    return {name: Buffer(name, dtype, elements, space, offset) for name, elements, space, offset in entries}


def scale(source: Access, target: Access, row: str = "batch", column: str = "unit") -> Nest:
    axes = (Axis(row, BATCH), Axis(column, 8))
    return Nest(axes, (), (Load(source), Constant(2.0, F32), Apply("mul", (0, 1), F32)), (Store(target, 2),))


def test_names_of_buffers_and_axes_do_not_matter() -> None:
    here = buffers(("x", 64, "arena", 0), ("y", 64, "arena", 256), ("hidden", 64, "arena", 1024), ("out", 64, "results", 64))
    one = scale(Access("x", F32, (("batch", 8), ("unit", 1))), Access("y", F32, (("batch", 8), ("unit", 1))))
    two = scale(Access("hidden", F32, (("c", 1), ("r", 8))), Access("out", F32, (("r", 8), ("c", 1))), "r", "c")
    first, second = canonical(one, here), canonical(two, here)
    assert first.kernel == second.kernel
    assert first.places == {"b0": Place("arena", 0), "b1": Place("arena", 256)}
    assert second.places == {"b0": Place("arena", 1024), "b1": Place("results", 64)}


def test_offsets_move_into_the_place() -> None:
    here = buffers(("states", 640, "arena", 128), ("y", 64, "arena", 4096))
    steps = [
        scale(Access("states", F32, (("batch", 80), ("unit", 1)), 5 * t), Access("y", F32, (("batch", 8), ("unit", 1)))) for t in range(4)
    ]
    found = [canonical(step, here) for step in steps]
    assert {f.kernel for f in found} == {found[0].kernel}
    assert [f.places["b0"].offset for f in found] == [128, 148, 168, 188]


def test_two_offsets_in_one_buffer_keep_their_distance() -> None:
    here = buffers(("x", 640, "arena", 64))
    kernel = scale(Access("x", F32, (("batch", 16), ("unit", 1)), 20), Access("x", F32, (("batch", 16), ("unit", 1)), 12))
    found = canonical(kernel, here)
    assert found.places == {"b0": Place("arena", 64 + 48)}
    assert found.kernel.body[0] == Load(Access("b0", F32, (("i0", 16), ("i1", 1)), 8))
    assert found.kernel.stores[0].access == Access("b0", F32, (("i0", 16), ("i1", 1)), 0)


def test_buffers_in_the_same_memory_become_one() -> None:
    here = buffers(("x", 64, "arena", 256), ("y", 64, "arena", 256), ("z", 64, "other", 256))
    strides = (("batch", 8), ("unit", 1))
    in_place = canonical(scale(Access("x", F32, strides), Access("y", F32, strides)), here)
    assert in_place.places == {"b0": Place("arena", 256)}
    assert in_place.kernel.stores[0].access.buffer == "b0"
    assert set(canonical(scale(Access("x", F32, strides), Access("z", F32, strides)), here).places) == {"b0", "b1"}


def test_elements_of_different_size_in_the_same_memory_stay_whole() -> None:
    here = {**buffers(("x", 64, "arena", 0), dtype=U8), **buffers(("y", 64, "arena", 0))}
    found = canonical(scale(Access("x", U8, (("batch", 8), ("unit", 1)), 7), Access("y", F32, (("batch", 8), ("unit", 1)), 3)), here)
    assert found.places == {"b0": Place("arena", 4)}
    assert found.kernel.body[0] == Load(Access("b0", U8, (("i0", 8), ("i1", 1)), 3))
    assert found.kernel.stores[0].access.offset == 2


def test_panels_and_indices_are_renamed_too() -> None:
    here = buffers(("a", 64, "arena", 0), ("w", 256, "arena", 256), ("o", 64, "arena", 2048))
    kernel = Contract(
        (),
        (Axis("rows", BATCH),),
        Axis("out", 20, 16),
        (Axis("in", 8),),
        Access("a", F32, (("rows", 8), ("in", 1))),
        Access("w", F32, (("out/", 128), ("out", 1), ("in", 16))),
        (Index((("out", 1),), 3, I32),),
        (Store(Access("o", F32, (("rows", 20), ("out", 1))), 0),),
        F32,
    )
    found = canonical(kernel, here).kernel
    assert isinstance(found, Contract)
    assert found.n == Axis("i1", 20, 16)
    assert dict(found.b.strides) == {"i1/": 128, "i1": 1, "i2": 16}
    assert found.body == (Index((("i1", 1),), 3, I32),)
