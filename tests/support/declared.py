"""What a file of the standard library declares, so that a test can tell what it has not been told of."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ranvier.compiler.frontend.library import standard_sources
from ranvier.compiler.frontend.parser import parse


def declared(file: str, *, with_settings: bool = True) -> set[str]:
    """The names of the definitions in a file such as `optimizers.nn`; helpers, which have no list of settings, only if they are wanted."""
    return {each.name.id for each in parse(standard_sources()[file]).definitions if each.settings is not None or not with_settings}


def named(cases: Iterable[str]) -> set[str]:
    """The names at the beginning of cases such as `adam(lr = 1e-3)`, or `[l1(0.1), l2(0.1)]`."""
    return {name for case in cases for name in re.findall(r"(?:^\[?|\), )(\w+)(?:\(|$)", case)}
