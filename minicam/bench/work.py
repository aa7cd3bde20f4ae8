"""How much a forward pass multiplies."""

import math

from minicam.graph import Graph
from minicam.ops import Conv, ConvTranspose, Dense


def multiplications(graph: Graph, space: tuple[int, ...] | None = None) -> int:
    """Multiplications in the convolutions and dense layers of one forward pass, for one sample of the size `space`
    (default: the graph's)."""
    return sum(layer_multiplications(graph, space).values())


def layer_multiplications(graph: Graph, space: tuple[int, ...] | None = None) -> dict[str, int]:
    """The same for each of these layers."""
    fed = {name: shape if space is None else (shape[0], *space) for name, shape in graph.inputs.items()}
    shapes = graph.shapes(fed)
    found = {}
    for node in graph.nodes:
        if isinstance(node.op, Conv | ConvTranspose | Dense):
            weight = math.prod(graph.parameter_shapes[node.name]["weight"])
            positions = shapes[node.inputs[0] if isinstance(node.op, ConvTranspose) else node.name][1:]
            found[node.name] = weight * math.prod(size or 1 for size in positions)
    return found
