"""The layers of a model as a table: what each is, the shapes it takes and gives, how many parameters it has, where it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...compiler.driver import Blueprint
from ...compiler.frontend.context import Layer


@dataclass(frozen=True)
class Row:
    """One application of a layer. `parameters` counts those of its own, at its first application only."""

    path: str
    kind: str
    shapes: str
    parameters: int
    place: str
    depth: int


@dataclass(frozen=True)
class Summary:
    """The layers in the order of the file, and the sums."""

    model: str
    rows: tuple[Row, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: int
    bytes: int


def summarise(blueprint: Blueprint) -> Summary:
    """The summary of a model."""
    model = blueprint.inference
    sizes = parameter_sizes(blueprint)
    rows: list[Row] = []
    counted: set[str] = set()
    for layer in model.layers:
        rows.append(_row(layer, 0 if layer.path in counted else _own(layer, model.layers, sizes)))
        counted.add(layer.path)
    graph = model.graph
    fields = tuple(
        f"{'target' if f.name in model.targets else 'input'} {f.name}: {declared(blueprint, f.name)}" for f in model.fields.values()
    )
    outputs = tuple(f"{name.removeprefix('metric:')}: {graph.type(node)}" for name, node in graph.outputs.items() if not _internal(name))
    total = sum(sizes.values())
    return Summary(blueprint.unit.model.name.id, tuple(rows), fields, outputs, total, total * blueprint.real.bytes)


def parameter_sizes(blueprint: Blueprint) -> dict[str, int]:
    """Elements of every parameter."""
    found = blueprint.inference.parameters.items()
    return {label: math.prod(d for d in parameter.type.shape if isinstance(d, int)) for label, parameter in found}


def count_parameters(blueprint: Blueprint) -> int:
    """Trained numbers of the whole model."""
    return sum(parameter_sizes(blueprint).values())


def declared(blueprint: Blueprint, name: str) -> str:
    """The type of an input or target as its file declares it."""
    field = blueprint.inference.fields[name]
    body = ", ".join(str(d) for d in field.type.shape if isinstance(d, int))
    return f"class[{field.classes}]" if field.classes else f"{field.type.dtype}[{body}]"


def _row(layer: Layer, parameters: int) -> Row:
    kind = f"{layer.kind}({layer.settings})"
    return Row(layer.path, kind, f"{', '.join(layer.inputs)} -> {layer.output}", parameters, str(layer.span), layer.depth)


def _own(layer: Layer, layers: tuple[Layer, ...], sizes: dict[str, int]) -> int:
    """Elements of the parameters that belong to this layer and to no layer inside it."""
    inner = {other.path for other in layers if other.path.startswith(layer.path + ".")}
    return sum(size for label, size in sizes.items() if label.rpartition(".")[0] == layer.path and label.rpartition(".")[0] not in inner)


def _internal(name: str) -> bool:
    return name.startswith(("next:", "fit:"))
