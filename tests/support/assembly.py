"""One kernel as a module of its own, and the loops of its assembly."""

from __future__ import annotations

import re

from ranvier.compiler.backend import jit
from ranvier.compiler.backend.text import Emitted


def module(emitted: Emitted) -> str:
    """A module with the kernel and an exported door to it: an array of pointers, then rows, lo, hi and scratch."""
    lines = [emitted.text.replace("@KERNEL", "@kernel"), *(text for _, text in emitted.needs), jit.ATTRIBUTES]
    lines.append("define void @door(ptr %table, i64 %rows, i64 %lo, i64 %hi, ptr %scratch) #0 {")
    for n in range(len(emitted.buffers)):
        lines.append(f"  %a{n} = getelementptr ptr, ptr %table, i64 {n}\n  %p{n} = load ptr, ptr %a{n}")
    args = [f"ptr %p{n}" for n in range(len(emitted.buffers))] + ["i64 %rows", "i64 %lo", "i64 %hi", "ptr %scratch"]
    lines.append(f"  call void @kernel({', '.join(args)})\n  ret void\n}}")
    return "\n".join(lines)


def innermost(assembly: str) -> list[list[str]]:
    """The instructions of every loop without a loop inside."""
    lines, labels, found = assembly.splitlines(), {}, []
    for at, line in enumerate(lines):
        if label := re.match(r"(\.L\w+):", line):
            labels[label[1]] = at
        jump = re.match(r"\s+(?:j\w+|b|b\.\w+|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.L\w+)\s*$", line)
        if jump and jump[1] in labels:
            body = lines[labels[jump[1]] + 1 : at]
            if not any(re.match(r"\.L\w+:", inside) for inside in body):
                found.append(body)
    return found
