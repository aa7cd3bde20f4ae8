"""The table of a graph's layers: shapes, parameter counts, receptive fields."""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from minicam.graph import Graph, Node
from minicam.ops.base import Footprint


class ReceptiveField(NamedTuple):
    """Along one axis: output position o depends on the input positions stride o + low ... stride o + high.

    Exact down to the coarsest layer; behind an upsampling, where phases differ, to within one of its input's steps.

    Source: Araujo, Norris and Sim, "Computing receptive fields of convolutional neural networks", Distill 2019.
    """

    stride: Fraction
    low: Fraction
    high: Fraction

    @property
    def size(self) -> int:
        """Input positions, rounded up where branches are centred half a position apart."""
        return math.ceil(self.high - self.low) + 1

    def through(self, footprint: Footprint) -> "ReceptiveField":
        """The receptive field after an op with this footprint."""
        return ReceptiveField(
            self.stride * footprint.step,
            self.stride * footprint.low + self.low,
            self.stride * footprint.high + self.high,
        )


Fields = tuple[ReceptiveField, ...] | None
"""One receptive field per axis; None where it is the whole input or has no fixed stride."""


def receptive_fields(graph: Graph) -> dict[str, Fields]:
    """Layer -> its receptive field on the graph's input. A join takes the hull of its inputs' fields."""
    whole = ReceptiveField(Fraction(1), Fraction(0), Fraction(0))
    fields: dict[str, Fields] = {name: (whole,) * (len(shape) - 1) for name, shape in graph.inputs.items()}
    for node in graph.nodes:
        fields[node.name] = _field_after(node, fields)
    return fields


def _field_after(node: Node, fields: Mapping[str, Fields]) -> Fields:
    inputs = [fields[name] for i, name in enumerate(node.inputs) if i not in node.op.shape_only]
    ranks = {len(field) for field in inputs if field is not None}
    footprint = node.op.footprint(ranks.pop()) if ranks else None
    if footprint is None or None in inputs:
        return None
    through = [tuple(f.through(p) for f, p in zip(field or (), footprint, strict=True)) for field in inputs]
    merged = []
    for axis in zip(*through, strict=True):
        if len({field.stride for field in axis}) > 1:
            return None
        merged.append(ReceptiveField(axis[0].stride, min(f.low for f in axis), max(f.high for f in axis)))
    return tuple(merged)


def rows(graph: Graph) -> list[dict[str, Any]]:
    """For each layer: its name, op, output shape (C, *space), number of parameters, receptive field and stride (one
    number per axis; None where they are not defined)."""
    shapes = graph.shapes(graph.inputs)
    fields = receptive_fields(graph)
    return [
        {
            "layer": node.name,
            "op": type(node.op).__name__,
            "output": shapes[node.name],
            "parameters": sum(math.prod(shape) for shape in graph.parameter_shapes.get(node.name, {}).values()),
            "receptive_field": _map(lambda field: field.size, fields[node.name]),
            "stride": _map(lambda field: float(field.stride), fields[node.name]),
        }
        for node in graph.nodes
    ]


def table(graph: Graph) -> str:
    """One line per layer and one for the total."""
    lines = [("layer", "op", "output", "parameters", "receptive field", "stride")]
    total = 0
    for row in rows(graph):
        total += row["parameters"]
        count = f"{row['parameters']:,}" if row["parameters"] else ""
        field, stride = _sizes(row["receptive_field"], "whole input"), _sizes(row["stride"], "")
        lines.append((row["layer"], row["op"], _sizes(row["output"], ""), count, field, stride))
    lines.append(("total", f"{len(graph.nodes)} layers", "", f"{total:,}", "", ""))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    align = (str.ljust, str.ljust, str.ljust, str.rjust, str.ljust, str.ljust)
    return "\n".join(
        "  ".join(a(cell, width) for a, cell, width in zip(align, line, widths, strict=True)).rstrip() for line in lines
    )


def _map(function: Callable[[ReceptiveField], Any], fields: Fields) -> list | None:
    return None if fields is None else [function(field) for field in fields]


def _sizes(sizes: Sequence | None, undefined: str) -> str:
    """(3, None) -> "3 x any"."""
    if sizes is None:
        return undefined
    return " x ".join(
        "any" if size is None else f"{size:g}" if isinstance(size, float) else str(size) for size in sizes
    )
