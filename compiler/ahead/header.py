"""The header of a library: C99 that is C++ too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..ir.types import DTYPES, DType
from . import codes
from .library import Face, Tensor
from .make import SHARED_MANIFEST, Library

TYPES = {"f32": "float", "f64": "double", "i32": "int32_t", "i64": "int64_t", "u8": "uint8_t", "u32": "uint32_t", "bool": "uint8_t"}

TEXT = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class compl concept const
consteval constexpr constinit const_cast continue co_await co_return co_yield decltype default delete do double dynamic_cast
else enum explicit export extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
nullptr operator or or_eq private protected public register reinterpret_cast requires restrict return short signed sizeof static
static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename typeof typeof_unqual
union unsigned using virtual void volatile wchar_t while xor xor_eq NULL linux unix context rows prediction loss
"""
WORDS = frozenset(TEXT.split())
"""Words of C and C++, some macros of compilers, and names that the functions have for their own parameters."""


def identifier(name: str) -> str:
    """A name that may stand in C and C++ as a parameter."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return plain + "_" if plain in WORDS or plain[0].isdigit() or plain.startswith("_") else plain


def names(fields: Sequence[Tensor]) -> list[str]:
    """Names in C for fields, all different, in capitals too and with what is put behind them."""
    found: list[str] = []
    taken: set[str] = set()
    for each in fields:
        name = identifier(each.name)
        while {name.upper(), f"{name}_bytes".upper()} & taken:
            name += "_"
        taken |= {name.upper(), f"{name}_bytes".upper()}
        found.append(name)
    return found


def header(library: Library) -> str:
    """The text of the header."""
    face = library.face
    own, big = face.name, face.name.upper()
    fixed, scratch = library.workspace
    lines = [
        f"/* {own}: a neural network compiled by Ranvier. How to call it: see the guide beside this file. */",
        f"#ifndef RANVIER_{big}_H",
        f"#define RANVIER_{big}_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        f"#define {big}_CAPACITY {face.capacity} /* the most rows of one call */",
        f"#define {big}_WORKSPACE_BYTES(threads) ((size_t){fixed} + (size_t){scratch} * (size_t)((threads) > 1 ? (threads) : 1))",
        *([f"#define {big}_WEIGHTS_BYTES ((size_t){len(library.weights)})"] if face.outside else []),
        *([f"#define {big}_STATE_BYTES ((size_t){library.state_bytes})"] if face.train else []),
        *_sizes(face),
        "",
        *_codes(face),
        "",
        *_kinds(face),
        "",
        *_functions(face),
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _sizes(face: Face) -> Iterator[str]:
    """Elements of a row of what goes in and out."""
    named = list(zip(names(face.trained), face.trained, strict=True))
    for name, each in [*named, *([("prediction", face.output)] if face.output is not None else [])]:
        yield f"#define {face.name.upper()}_{name.upper()}_ELEMENTS {each.bytes // each.dtype.bytes} /* of one row */"


def _codes(face: Face) -> Iterator[str]:
    big = face.name.upper()
    yield f"/* What functions return; {face.name}_error_text says it in words. */"
    yield "enum {"
    found = [(f"{big}_{'OK' if n == 0 else 'ERROR_' + name}", n, text) for n, (name, text) in enumerate(codes.CODES)]
    spelled = dict(zip(face.fields, names(face.fields), strict=True))
    found += [(f"{big}_ERROR_RANGE_{spelled[e].upper()}", code, codes.range_text(e)) for code, e in codes.ranged(face)]
    for n, (name, code, text) in enumerate(found):
        yield f"    {name} = {code}{',' if n + 1 < len(found) else ''} /* {_comment(text)} */"
    yield "};"


def _kinds(face: Face) -> Iterator[str]:
    own, big = face.name, face.name.upper()
    yield "/* Types of elements; BOOL is a byte that is 0 or 1. */"
    yield f"enum {{ {', '.join(f'{big}_{name.upper()} = {n}' for n, name in enumerate(DTYPES))} }};"
    yield ""
    if face.scalars:
        yield f"/* Numbers of the training, for {own}_get_scalar and {own}_set_scalar. */"
        yield f"enum {{ {', '.join(f'{big}_{name.upper()} = {n}' for n, name in enumerate(face.scalars))} }};"
        yield ""
    yield f"typedef struct {own}_context {own}_context;"
    yield ""
    yield "/* What goes in or comes out, or a parameter. All arrays are row-major. */"
    yield f"typedef struct {own}_tensor {{"
    yield "    const char *name;"
    yield f"    int32_t type;               /* {big}_F32, ... */"
    yield "    int32_t rank;               /* axes of one row; of a parameter, all its axes */"
    yield "    const int64_t *shape;"
    yield "    size_t bytes;               /* of one row, or of the parameter */"
    yield "    int64_t low, high;          /* whole numbers lie within; low > high: any may come */"
    yield "    const char *const *classes; /* names of the classes, UTF-8, by number */"
    yield "    size_t class_count;         /* of these names; 0: the classes have none, or it is no class */"
    yield "    const char *length;         /* the input that says how much of the first axis each row has; NULL: all of it */"
    yield f"}} {own}_tensor;"


def _functions(face: Face) -> Iterator[str]:
    own = face.name
    weights = "const void *weights, size_t weights_bytes, " if face.outside else ""
    yield f"const char *{own}_error_text(int32_t code);"
    yield ""
    yield "/* The bytes of a workspace for so many threads; 0 and 1 are the caller's own alone. */"
    yield f"int32_t {own}_workspace_bytes(int32_t threads, size_t *bytes);"
    yield "/* Makes a context in a workspace, at whatever address. It lives there until the workspace goes; nothing is to be freed. */"
    if face.outside:
        yield "/* The weights are used where they are, at a multiple of 64, and stay as long as the context. */"
    yield f"int32_t {own}_init(void *workspace, size_t bytes, int32_t threads, {weights}{own}_context **context);"
    yield "/* The CPU level that was chosen. */"
    yield f"int32_t {own}_level(const {own}_context *context, const char **name);"
    yield ""
    yield "/* The manifest, JSON in UTF-8: what goes in and comes out, memory, arithmetic, CPU levels, versions. */"
    yield f"int32_t {own}_manifest(const char **text, size_t *bytes);"
    yield "/* The same, with a zero byte at its end, by one name in every library: for programs that load one not knowing its name. */"
    yield f"extern const char {SHARED_MANIFEST}[];"
    yield ""
    for name in "inputs", "targets", "outputs", "parameters":
        yield f"int32_t {own}_{name}(const {own}_tensor **list, size_t *count);"
    yield "/* The number of a class by its name, which need not end with a zero byte. */"
    yield f"int32_t {own}_find_class(const {own}_tensor *tensor, const char *name, size_t bytes, int64_t *number);"
    yield ""
    if face.output is not None:
        yield "/* The prediction for each of the rows, 1 to the capacity. Sizes are in bytes, and exact. */"
        yield _predict(face, face.output)
        yield ""
    yield f"int32_t {own}_get_parameter(const {own}_context *context, size_t index, void *values, size_t bytes);"
    if face.train:
        yield from _training(face)
    yield ""
    yield "/* In a context for several threads, each but the caller's own calls work with its number, from 1 on, and comes back when */"
    yield "/* stop is called. The first call, be it stop, waits until all are there. After stop, the caller's thread does everything; */"
    yield "/* the workspace stays until they have all come back. */"
    yield f"int32_t {own}_work({own}_context *context, int32_t thread);"
    yield f"int32_t {own}_stop({own}_context *context);"


def _predict(face: Face, output: Tensor) -> str:
    result = f"{TYPES[output.dtype.name]} *prediction, size_t prediction_bytes"
    return _call(f"int32_t {face.name}_predict({face.name}_context *context, size_t rows", face.inputs, result)


def _call(head: str, fields: Sequence[Tensor], result: str) -> str:
    """A prototype with two parameters a field, a line each where there are many."""
    pairs = [f"const {_c(each.dtype)} *{name}, size_t {name}_bytes" for each, name in zip(fields, names(fields), strict=True)]
    whole = ", ".join([head, *pairs, result]) + ");"
    return whole if len(whole) <= 120 else ",\n    ".join([head, *pairs, result]) + ");"


def _training(face: Face) -> Iterator[str]:
    own = face.name
    yield f"int32_t {own}_set_parameter({own}_context *context, size_t index, const void *values, size_t bytes);"
    yield ""
    yield "/* One step of the optimizer on a batch; loss is that of the batch before the step, without penalties. */"
    if face.row_weight is not None:
        yield "/* Every row counts as much as its weight says, a finite number of at least 0. */"
    yield _call(f"int32_t {own}_train_step({own}_context *context, size_t rows", face.trained, "double *loss")
    yield ""
    yield f"int32_t {own}_get_scalar(const {own}_context *context, int32_t scalar, double *value);"
    yield f"int32_t {own}_set_scalar({own}_context *context, int32_t scalar, double value);"
    yield ""
    yield "/* All that training goes on from, as bytes that can be loaded on any machine by a library of the same model. */"
    yield f"int32_t {own}_state_bytes(size_t *bytes);"
    yield f"int32_t {own}_save_state(const {own}_context *context, void *state, size_t bytes);"
    yield f"int32_t {own}_load_state({own}_context *context, const void *state, size_t bytes);"


def _c(dtype: DType) -> str:
    return TYPES[dtype.name]


def _comment(text: str) -> str:
    """A text as it may stand in a comment."""
    return text.replace("*/", "* /").replace("/*", "/ *")
