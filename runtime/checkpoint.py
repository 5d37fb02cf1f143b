"""A saved model is one safetensors file: source, settings, tensors, class names and progress, with a digest of every part.

All but the tensors is one JSON text under the metadata key `ranvier`: two keys would be written in random order, and the same
model must give the same bytes. It carries the SHA-256 of its own content and of each tensor, so that any flipped bit is found.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from ..compiler.errors import CheckpointError, ResourceError
from .atomic import write_atomic
from .limits import LIMITS, Limits
from .regular_file import read_regular, reason
from .tensor_file import HEADER_LIMIT, ITEM_BYTES, REMEDY, TENSOR_LIMIT, check_tensor_file, strict_json

Array = np.ndarray[Any, Any]

FORMAT = 1
KEY = "ranvier"
GROUPS = {"params": "param/", "state": "state/", "fit": "fit/", "optimizer": "optimizer/"}
TEXTS = ("sources", "settings", "vocabularies", "progress")
DTYPE_NAMES = {np.dtype(n): n.replace("float", "F").replace("uint", "U").replace("int", "I").upper() for n in ("float64", "float32", "int64", "int32")} | {
    np.dtype(np.uint64): "U64",
    np.dtype(np.uint32): "U32",
    np.dtype(np.uint8): "U8",
    np.dtype(np.bool_): "BOOL",
}
