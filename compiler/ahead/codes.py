"""What a library's functions return: codes, their names in C and their texts."""

from __future__ import annotations

from .library import Face, Tensor

CODES = (
    ("OK", "no error"),
    ("NULL", "a pointer is null"),
    ("CONTEXT", "this is no context of this library, or it was not initialised"),
    ("ROWS", "the number of rows is 0, or more than the library was made for"),
    ("SIZE", "a buffer has not the size that its contents need"),
    ("WORKSPACE", "the workspace is too small"),
    ("CPU", "this processor lacks instructions that the library was made with"),
    ("THREADS", "there is no such number of threads, or no such thread"),
    ("WEIGHTS", "these weights are damaged, or not those of this library"),
    ("INDEX", "there is nothing with this number"),
    ("STATE", "this saved state is damaged, or of another model"),
    ("VALUE", "a number that is to be set is not a number"),
    ("CLASS", "no class has this name"),
    ("ROW_WEIGHT", "the weight of a row is negative, or no finite number"),
    ("UNKNOWN", "there is no such code"),
)
OK, NULL, CONTEXT, ROWS, SIZE, WORKSPACE, CPU, THREADS, WEIGHTS, INDEX, STATE, VALUE, CLASS, ROW_WEIGHT, UNKNOWN = range(len(CODES))

RANGE = 64
"""A number of field number n (from 1) outside its range is code RANGE + n."""


def ranged(face: Face) -> list[tuple[int, Tensor]]:
    """The fields whose numbers have a range, with the code that says that one lies outside."""
    return [(RANGE + n, each) for n, each in enumerate(face.fields, 1) if each.high is not None]


def range_text(field: Tensor) -> str:
    """What the code of a field says."""
    return f"`{field.name}` holds a number outside {field.low} to {field.high}"
