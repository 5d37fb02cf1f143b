"""Text becomes machine code that can be called; if this fails, nothing runs."""

import ctypes

import pytest
from ranvier.compiler.backend import jit, target

DOUBLE = f"define i64 @double(i64 %x) #0 {{\n  %y = shl i64 %x, 1\n  ret i64 %y\n}}\n{jit.ATTRIBUTES}"
QUADRUPLE = f"""
declare i64 @double(i64)
define i64 @quadruple(i64 %x) #0 {{
  %y = call i64 @double(i64 %x)
  %z = call i64 @double(i64 %y)
  ret i64 %z
}}
{jit.ATTRIBUTES}"""
FILL = f"""
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memmove.p0.p0.i64(ptr, ptr, i64, i1)
define void @fill(ptr %to, ptr %from, i64 %bytes) #0 {{
  call void @llvm.memset.p0.i64(ptr %to, i8 7, i64 %bytes, i1 false)
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 4, i1 false)
  %next = getelementptr i8, ptr %to, i64 1
  call void @llvm.memmove.p0.p0.i64(ptr %next, ptr %to, i64 %bytes, i1 false)
  ret void
}}
{jit.ATTRIBUTES}"""
ADD = f"""
define <8 x float> @add(<8 x float> %x) #0 {{
  %y = fadd <8 x float> %x, <float 1.0, float 2.0, float 3.0, float 4.0, float 5.0, float 6.0, float 7.0, float 8.0>
  ret <8 x float> %y
}}
{jit.ATTRIBUTES}"""


def call(address: int, *args: int) -> int:
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * len(args))(address)(*args)


def link(*texts: str, symbols: dict[str, int] | None = None, exports: tuple[str, ...]) -> jit.Linked:
    return jit.link([jit.compile_object(t, target.host()) for t in texts], symbols or {}, exports)


def test_objects_call_each_other() -> None:
    code = link(QUADRUPLE, DOUBLE, exports=("quadruple", "double"))
    assert call(code["quadruple"], 21) == 84
    assert call(code["double"], 21) == 42


def test_symbols_are_imported_by_address() -> None:
    host = link(DOUBLE, exports=("double",))
    code = link(QUADRUPLE, symbols={"double": host["double"]}, exports=("quadruple",))
    assert call(code["quadruple"], -5) == -20


def test_equal_symbols_of_two_programs_do_not_collide() -> None:
    first, second = link(DOUBLE, exports=("double",)), link(DOUBLE.replace("shl", "add"), exports=("double",))
    assert (call(first["double"], 5), call(second["double"], 5)) == (10, 6)


def test_what_llvm_calls_of_its_own_accord_is_there() -> None:
    code = link(FILL, exports=("fill",))
    data = ctypes.create_string_buffer(1001)
    source = ctypes.create_string_buffer(b"abcd")
    call(code["fill"], ctypes.addressof(data), ctypes.addressof(source), 1000)
    assert data.raw == b"aabcd" + b"\x07" * 996


def test_a_symbol_that_nothing_defines_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="quadruple"):
        link(QUADRUPLE, exports=("quadruple",))
    assert "double" in capfd.readouterr().err


def test_a_symbol_defined_twice_is_refused() -> None:
    with pytest.raises(RuntimeError, match="double"):
        link(DOUBLE, DOUBLE, exports=("double",))


@pytest.mark.parametrize(
    "text", ["define i64 @f() {", "define i64 @f() {\n  br label %b\na:\n  %x = add i64 1, 1\n  br label %b\nb:\n  ret i64 %x\n}"]
)
def test_invalid_text_is_refused_before_code_generation(text: str) -> None:
    with pytest.raises(RuntimeError):
        jit.compile_object(text, target.host())


@pytest.mark.parametrize(("name", "instruction"), [("x86-64", "addps"), ("x86-64-v3", "vaddps"), ("aarch64", "fadd")])
def test_assembly_is_for_the_target(name: str, instruction: str) -> None:
    assert instruction in jit.assembly(ADD, target.preset(name))


def test_constants_are_one_instruction_away() -> None:
    """The large code model would spend a 64-bit move on every constant."""
    assert "movabs" not in jit.assembly(ADD, target.preset("x86-64-v3"))
    assert "(%rip)" in jit.assembly(ADD, target.preset("x86-64-v3"))
