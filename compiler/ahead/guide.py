"""A short guide to a library: what each file is, and a program in C that calls it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from .header import TYPES, names
from .library import Face, Tensor
from .make import Library

TEXT = """# {name}

A neural network, compiled by Ranvier for {levels}. It needs the C library and nothing else; it keeps no state of its own and allocates no
memory.

| File | What it is |
| --- | --- |
| `lib{name}{suffix}` | the library, for linking, or to be loaded at run time |
| `{name}.o` | the same as an object file, to be linked into a program |
| `{name}.h` | what can be called, for C99 and C++ |
| `{name}.json` | what goes in and comes out, memory, arithmetic, versions; the library carries it, too |

{facts}

```c
{program}```

    cc -O2 example.c {name}.o -o example
{training}
In Python, with NumPy and `ranvier` but without a compiler:

```python
import ranvier as rv

model = rv.load("lib{name}{suffix}")
```

Loading a library runs code that is in it: load only what you trust.
"""


TRAINING = """
A step of training on one row, in a context that was made as above; `loss` is that of the row before the step:

```c
{step}
```

`{name}_save_state` writes {state:,} bytes from which `{name}_load_state` goes on, `{name}_set_scalar` sets the learning rate.
"""


def guide(library: Library, suffix: str) -> str:
    """The text of the guide."""
    levels = " and ".join(part.level.name for part in library.parts)
    face, program = library.face, "\n".join(_program(library)) + "\n"
    step = "\n".join(_step(face)) if face.train else ""
    training = TRAINING.format(name=face.name, step=step, state=library.state_bytes) if face.train else ""
    return TEXT.format(name=face.name, levels=levels, suffix=suffix, facts=_facts(library), program=program, training=training)


def _facts(library: Library) -> str:
    """Sizes, in a sentence each."""
    face, (fixed, scratch) = library.face, library.workspace
    facts = [
        f"At most {face.capacity:,} rows go into one call. A workspace takes {fixed + scratch:,} bytes for the caller's thread alone,",
        f"and {scratch:,} more for every further thread. Weights are {len(library.weights):,} bytes",
        "in a file of their own, which is given to `init`." if face.outside else "within the library, used where they are.",
    ]
    return "\n".join(facts)


def _program(library: Library) -> Iterator[str]:
    """A program that makes one prediction, or where the model gives none, a step of training."""
    face = library.face
    own, big = face.name, face.name.upper()
    yield "#include <stdio.h>"
    yield "#include <stdlib.h>"
    yield f'#include "{own}.h"'
    yield ""
    yield "int main(void) {"
    yield f"    size_t bytes = {big}_WORKSPACE_BYTES(0);"
    yield "    void *workspace = malloc(bytes);"
    yield f"    {own}_context *context;"
    weights = "weights, weights_bytes, " if face.outside else ""
    if face.outside:
        yield f"    size_t weights_bytes = {big}_WEIGHTS_BYTES;"
        yield "    void *weights = aligned_alloc(4096, (weights_bytes + 4095) / 4096 * 4096);"
        yield f'    FILE *file = fopen({json.dumps(face.weights)}, "rb");'
        yield "    if (weights == NULL || file == NULL || fread(weights, 1, weights_bytes, file) != weights_bytes) return 1;"
    yield f"    int32_t code = {own}_init(workspace, bytes, 0, {weights}&context);"
    yield from _prediction(face)
    yield f'    if (code != {big}_OK) fprintf(stderr, "%s\\n", {own}_error_text(code));'
    yield "    free(workspace);"
    yield f"    return code != {big}_OK;"
    yield "}"


def _prediction(face: Face) -> Iterator[str]:
    """One row in, one prediction out."""
    assert face.output is not None
    own, big = face.name, face.name.upper()
    yield from _arrays(face, face.inputs)
    given = [f"{name}, sizeof {name}" for name in names(face.inputs)]
    yield f"    {TYPES[face.output.dtype.name]} prediction[{big}_PREDICTION_ELEMENTS];"
    call = f"{own}_predict(context, 1, {', '.join(given)}, prediction, sizeof prediction)"
    yield f"    if (code == {big}_OK) code = {call};"
    yield f'    for (int i = 0; code == {big}_OK && i < {big}_PREDICTION_ELEMENTS; i++) printf("%g\\n", (double)prediction[i]);'


def _arrays(face: Face, fields: Sequence[Tensor]) -> Iterator[str]:
    """One row of each field."""
    for name, each in zip(names(fields), fields, strict=True):
        first = 1 if each is face.row_weight else max(each.low or 0, 0)
        yield f"    {TYPES[each.dtype.name]} {name}[{face.name.upper()}_{name.upper()}_ELEMENTS] = {{{first}}};"


def _step(face: Face) -> Iterator[str]:
    """A function that makes one step."""
    yield f"static int32_t one_step({face.name}_context *context, double *loss) {{"
    yield from _arrays(face, face.trained)
    given = ", ".join(f"{name}, sizeof {name}" for name in names(face.trained))
    yield f"    return {face.name}_train_step(context, 1, {given}, loss);"
    yield "}"
