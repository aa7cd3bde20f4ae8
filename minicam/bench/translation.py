"""What the translations into other libraries share. They follow the graph; nothing about DeepLab is written down."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np

from minicam.backend import to_numpy
from minicam.errors import MinicamError
from minicam.graph import Graph, Node
from minicam.network import Network
from minicam.ops import BatchNorm, Conv, ConvTranspose, Dropout


class TranslationError(MinicamError):
    """The network has something that the translation into another library does not know."""


def untranslatable(node: Node, library: str) -> TranslationError:
    return TranslationError(
        f"layer {node.name!r}: minicam bench has no translation of {type(node.op).__name__} {library}"
    )


NEW_MEMORY = (Conv, ConvTranspose, BatchNorm)
"""Ops whose output is nobody else's memory, and whose gradient does not read it."""


class Step(NamedTuple):
    """A node to run; whether it may overwrite its first input; and the names that nobody reads after it."""

    node: Node
    in_place: bool
    last: tuple[str, ...]


def steps(graph: Graph, keep: Collection[str]) -> list[Step]:
    """The nodes that `keep` needs, in running order."""
    wanted = set(keep)
    nodes = []
    for node in reversed(graph.nodes):
        if node.name in wanted:
            nodes.append(node)
            wanted.update(node.inputs)
    nodes.reverse()
    readers = Counter(name for node in nodes for name in node.inputs)
    left = readers.copy()
    found = []
    for node in nodes:
        left.subtract(node.inputs)
        source = node.inputs[0]
        fresh = source in graph.by_name and isinstance(graph.by_name[source].op, NEW_MEMORY)
        in_place = fresh and readers[source] == 1 and source not in keep
        last = tuple(name for name in dict.fromkeys(node.inputs) if not left[name] and name not in keep)
        found.append(Step(node, in_place, last))
    return found


def folded(network: Network, keep: Iterable[str]) -> Network:
    """The network with every batch normalisation folded into the convolution before it, unless that is in `keep` or
    read by others; dropout, which does nothing here, is taken out. The folded layer has the normalisation's name.

    Anyone can do this before handing a network to a library, and some libraries do it themselves.
    """
    graph, keep = network.graph, {*keep, *network.graph.outputs}
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    parameters = {layer: {k: to_numpy(a) for k, a in arrays.items()} for layer, arrays in network.parameters().items()}
    nodes: dict[str, Node] = {}
    replaced: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(replaced.get(name, name) for name in node.inputs)
        before = nodes.get(inputs[0])
        if isinstance(node.op, Dropout) and node.name not in keep:
            replaced[node.name] = inputs[0]
        elif (
            isinstance(node.op, BatchNorm)
            and before is not None
            and isinstance(before.op, Conv)
            and readers[before.name] == 1
            and before.name not in keep
        ):
            del nodes[before.name]
            nodes[node.name] = Node(node.name, before.op, before.inputs)
            parameters[node.name] = _folded(parameters.pop(before.name), parameters[node.name], node.op.epsilon)
        else:
            nodes[node.name] = Node(node.name, node.op, inputs)
    return Network(Graph(graph.inputs, tuple(nodes.values()), graph.outputs), parameters, network.classes)


def _folded(conv: dict[str, np.ndarray], norm: dict[str, np.ndarray], epsilon: float) -> dict[str, np.ndarray]:
    """scale (w x + b - mean) / sqrt(variance + epsilon) + offset as another w x + b, worked out in float64."""
    exact = {name: array.astype(np.float64) for name, array in norm.items()}
    slope = exact["scale"] / np.sqrt(exact["variance"] + epsilon)
    weight = conv["weight"] * slope.reshape(-1, *(1,) * (conv["weight"].ndim - 1))
    bias = (conv["bias"] - exact["mean"]) * slope + exact["offset"]
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
