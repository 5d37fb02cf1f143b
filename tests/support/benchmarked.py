"""The package `benchmarks`, which is not installed, loaded from its folder; `ranvier` stays the installed one."""

from __future__ import annotations

import importlib
import sys
from importlib.util import module_from_spec, spec_from_file_location

from repository import ROOT

FOLDER = ROOT / "benchmarks"

if "benchmarks" not in sys.modules:
    spec = spec_from_file_location("benchmarks", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)])
    assert spec
    sys.modules["benchmarks"] = module_from_spec(spec)

command, cells, embedded, first, layers, peers, reference, report, steady, work = (
    importlib.import_module(f"benchmarks.{name}")
    for name in ("__main__", "cells", "embedded", "first", "layers", "peers", "reference", "report", "steady", "work")
)
with_ranvier = importlib.import_module("benchmarks.peers.with_ranvier")
