"""LLVM text to machine code: text -> object bytes, text -> assembly, objects -> linked and callable. Met nowhere else but in `target`.

No mid-level passes run: the generators write what is to be selected. The code model is `small`: JITLink places all sections of an object
together, so that constants are one instruction away.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..deadline import check
from .target import Target

OPTIONS: dict[str, Any] = {"opt": 2, "reloc": "pic", "codemodel": "small"}
"""Code generation options; part of the key of cached objects."""

ATTRIBUTES = 'attributes #0 = { nounwind "denormal-fp-math"="preserve-sign,preserve-sign" }\n'
"""Attributes of every function.

`nounwind` spares the unwind tables. The denormal mode tells constant folding what the hardware will do inside the team. CPU and features
are those of the target machine, the same for every function, so they are not repeated here.
"""

QUICK = "; no optimisation\n"
"""Begins the text of a module that makes calls and hardly anything else: its code is generated fast rather than to be fast."""

C_LIBRARY = ("memcpy", "memmove", "memset")
"""What LLVM may call of its own accord, for copies and fills."""

_library_names = itertools.count()
_emitting = threading.Lock()


@dataclass(frozen=True)
class Linked:
    """Machine code in memory and the addresses of its exports; alive as long as this object is.

    Code that is running must be held: dropping the last reference frees it.
    """

    addresses: Mapping[str, int]
    _engine: Any
    _tracker: Any

    def __getitem__(self, name: str) -> int:
        return self.addresses[name]


def compile_object(text: str, target: Target) -> bytes:
    """The object file of a module. Raises RuntimeError where the text is not valid IR, which is a mistake of a generator."""
    check("making machine code")
    module = _module(text, target)
    with _addresses_as_written():
        result: bytes = _machine(target, quick=text.startswith(QUICK)).emit_object(module)
    return result


def compile_library(texts: Sequence[str], exports: Collection[str], target: Target) -> bytes:
    """One object file of several modules, from which nothing is visible but `exports`. Raises RuntimeError as `compile_object` does."""
    check("making machine code")
    whole = _module(texts[0], target)
    for text in texts[1:]:
        whole.link_in(_module(text, target))
    for each in (*whole.functions, *whole.global_variables):
        if not each.is_declaration and each.name not in exports:
            each.linkage = "internal"
    with _addresses_as_written():
        result: bytes = _machine(target).emit_object(whole)
    return result


def assembly(text: str, target: Target) -> str:
    """The assembly of a module, for people."""
    module = _module(text, target)
    with _addresses_as_written():
        result: str = _machine(target, quick=text.startswith(QUICK)).emit_assembly(module)
    return result


@contextmanager
def _addresses_as_written() -> Iterator[None]:
    """Within, LLVM does not look for other induction variables of loops: the generators write addresses strength-reduced already.

    It would take a sixth of the time of code generation, to no effect that can be measured. The option is one of the whole process,
    where others may compile, too.
    """
    import llvmlite.binding as llvm

    with _emitting:
        llvm.set_option("ranvier", "-disable-lsr=true")
        try:
            yield
        finally:
            llvm.set_option("ranvier", "-disable-lsr=false")


def link(objects: Sequence[bytes], symbols: Mapping[str, int], exports: Sequence[str]) -> Linked:
    """Link objects of this process's target into memory.

    `symbols` gives addresses of what the objects import; the functions of C that LLVM may call are added. Raises RuntimeError where
    one is missing (LLVM names it on standard error) or defined twice: a mistake of a generator.
    """
    import llvmlite.binding as llvm

    builder = llvm.JITLibraryBuilder()
    for image in objects:
        builder.add_object_img(image)
    for name, address in {**_c_library(), **symbols}.items():
        builder.import_symbol(name, address)
    for name in exports:
        builder.export_symbol(name)
    engine = _engine()
    tracker = builder.link(engine, f"ranvier{next(_library_names)}")
    return Linked({name: tracker[name] for name in exports}, engine, tracker)


def _module(text: str, target: Target) -> Any:
    """Parse and verify; the data layout comes from the target, so texts carry neither layout nor triple."""
    import llvmlite.binding as llvm

    module = llvm.parse_assembly(text)
    module.triple = target.triple
    module.data_layout = str(_machine(target).target_data)
    module.verify()
    return module


@functools.cache
def _machine(target: Target, *, quick: bool = False) -> Any:
    import llvmlite.binding as llvm

    if target.triple.split("-")[0] == llvm.get_process_triple().split("-")[0]:
        _initialize_native()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    options = {**OPTIONS, "opt": 0} if quick else OPTIONS
    return llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, features=target.features, **options)


def _initialize_native() -> None:
    """Make this machine's code generator known; its dozen siblings would take some milliseconds."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@functools.cache
def _engine() -> Any:
    """The one linker of this process."""
    import llvmlite.binding as llvm

    _initialize_native()
    return llvm.create_lljit_compiler(use_jit_link=True)


@functools.cache
def _c_library() -> dict[str, int]:
    library = ctypes.CDLL(None)
    return {name: process_symbol(library, name) for name in C_LIBRARY}


def process_symbol(library: ctypes.CDLL, name: str) -> int:
    """The address of a function of a loaded library. Raises AttributeError when it has none of that name."""
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
