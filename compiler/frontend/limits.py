"""What the front end refuses before it costs anything: files that are no text, too long, too deep, or full of invisible characters."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ..diagnostics import Diagnostic, Note
from ..errors import SourceError
from ..source import Source, Span
from .syntax import Argument, Call, Pipe, Setting, Syntax, With

MAX_BYTES = 4 * 2**20
MAX_LINES = 100_000
MAX_TOKENS = 500_000
MAX_DEPTH = 200
MAX_ERRORS = 100
MAX_NAME = 255
MAX_DIGITS = 64
MAX_INTEGER = 2**63 - 1

# Control characters, lone surrogates, and the characters that reorder or hide text on a screen (Unicode Cc, Zl, Zp and the troublesome Cf).
INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]|\r(?!\n)"
)


def read_source(path: str | os.PathLike[str], name: str | None = None) -> Source:
    """Read a `.nn` file as UTF-8; a byte order mark is dropped and CRLF becomes LF.

    `name` is what diagnostics call it, by default the path. Raises SourceError when it is not a regular file, cannot be read, is longer
    than 4 MiB or 100,000 lines, is not UTF-8, or holds NUL, control or text-reordering characters.
    """
    known = name if name is not None else os.fspath(path)
    text = _decode(_read_regular_file(Path(path), known), known)
    source = Source(known, text.removeprefix("\ufeff").replace("\r\n", "\n"))
    check_text(source)
    return source


def _read_regular_file(path: Path, name: str) -> bytes:
    """The bytes of a file, never waiting on a pipe or reading a device without end."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise _refusal("not-a-file", f"{name!r} is not a regular file")
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _refusal("cannot-read", f"cannot read {name!r}: {reason}") from None
    if len(data) > MAX_BYTES:
        raise _refusal("too-long", f"{name!r} is longer than {MAX_BYTES // 2**20} MiB, the limit for a source file")
    return data


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting: a FIFO that nobody writes to would wait for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = len(data[: error.start].decode("utf-8"))
        source = _visible(Source(name, data.decode("utf-8", errors="replace")))
        message = f"byte 0x{data[error.start]:02x} at offset {error.start} is not UTF-8"
        raise SourceError(
            [Diagnostic("not-utf-8", message, Span(source, before, before + 1), help="save the file as UTF-8 text")]
        ) from None


def _refusal(code: str, message: str) -> SourceError:
    return SourceError([Diagnostic(code, message, None)])


def check_text(source: Source) -> None:
    """Refuse text that is too long or holds invisible characters, which could make it read otherwise than it looks; raises SourceError."""
    if len(source.text) > MAX_BYTES:
        raise _refusal("too-long", f"{source.name!r} is longer than {MAX_BYTES // 2**20} Mi characters, the limit for a source file")
    if source.text.count("\n") > MAX_LINES:
        raise _refusal("too-long", f"{source.name!r} has more than {MAX_LINES} lines, the limit for a source file")
    found = INVISIBLE.search(source.text)
    if found is not None:
        raise SourceError([_invisible(source, found.start())])


def _invisible(source: Source, offset: int) -> Diagnostic:
    message = f"the invisible character U+{ord(source.text[offset]):04X} may not stand in a source file"
    return Diagnostic("invisible-character", message, Span(_visible(source), offset, offset + 1), help="remove it")


def _visible(source: Source) -> Source:
    """The same text with every invisible character replaced, so that an excerpt of it is safe to print."""
    return Source(source.name, INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", source.text))


def read_number(text: str) -> tuple[int | float, bool]:
    """The value of a number literal and whether it is a percentage; raises ValueError with the reason when it is out of range."""
    digits = text.removesuffix("%")
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has at most {MAX_DIGITS} characters, this one has {len(text)}")
    if digits.isdigit() and digits is text:
        value = int(digits)
        if value > MAX_INTEGER:
            raise ValueError(f"the integer {text} is larger than 2^63 - 1 = {MAX_INTEGER}")
        return value, False
    real = float(digits)
    if not math.isfinite(real):
        raise ValueError(f"the number {text} is larger than the largest 64-bit float")
    if real == 0.0 and re.search("[1-9]", re.split("[eE]", digits)[0]):
        raise ValueError(f"the number {text} is smaller than the smallest 64-bit float")
    return (real, False) if digits is text else (real / 100, True)


def check_tree(root: Syntax) -> list[Diagnostic]:
    """What the grammar cannot refuse: expressions nested deeper than 200 levels, and a `with` that might take the next argument."""
    found: list[Diagnostic] = []
    for node, depth in _nodes(root):
        if depth > MAX_DEPTH:
            message = f"this nests more than {MAX_DEPTH} levels deep"
            return [*found, Diagnostic("too-deep", message, node.span, help="give parts of the expression names of their own")]
        if isinstance(node, Call):
            found += _greedy_with(node)
    return found


def _nodes(root: Syntax) -> Iterator[tuple[Syntax, int]]:
    """Every node below `root` with its depth in expressions and statements, without recursion: the depth is what is in doubt."""
    pending = [(root, -1)]  # the definition itself is no level
    while pending:
        node, depth = pending.pop()
        yield node, depth
        for value in vars(node).values():
            for child in value if isinstance(value, tuple) else (value,):
                if isinstance(child, Syntax):
                    pending.append((child, depth if isinstance(child, (Argument, Setting)) else depth + 1))


def _greedy_with(call: Call) -> Iterator[Diagnostic]:
    for argument, following in zip(call.arguments, call.arguments[1:], strict=False):
        last = argument.value
        while isinstance(last, Pipe) and last.span.end == last.right.span.end:
            last = last.right
        bare = isinstance(last, With) and last.span.end == last.settings[-1].span.end
        if bare and last.span.end == argument.value.span.end and following.name is not None:
            message = f"it is unclear whether `{following.name}` belongs to the `with` before it or to the call"
            yield Diagnostic(
                "ambiguous-with",
                message,
                following.span,
                (Note("the `with`", last.span),),
                help="put the layer and its settings in parentheses: `(layer with a = 1, b = 2)`",
            )
