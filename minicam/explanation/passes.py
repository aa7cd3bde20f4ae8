"""The backward passes that many targets take: single ones inside their box, or as many together as fit in memory."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from minicam.backend import array_module
from minicam.explanation.targets import Seed
from minicam.graph import Graph, Values
from minicam.network import Network
from minicam.patches import Patch, whole

CHUNK_BYTES = 2**30
"""What the arrays of the largest step of one pass may take together, by estimate."""
SMALL = 1 / 8
"""A target whose box is at most this part of the output goes backward alone, inside its box."""


class Pass(NamedTuple):
    """The indices of the targets that go backward together, and whether only their boxes are computed."""

    targets: list[int]
    boxed: bool


def planned(graph: Graph, values: Values, seeds: Sequence[Seed], reduction_layer: str, layers: list[str]) -> list[Pass]:
    """The passes for these seeds; targets that sum no position need none."""
    living = [i for i, seed in enumerate(seeds) if seed.positions]
    boxed = [i for i in living if seeds[i].gradient.values[0].size <= SMALL * math.prod(seeds[i].gradient.space)]
    dense = [i for i in living if i not in set(boxed)]
    chunk = max(1, CHUNK_BYTES // _bytes_per_target(graph, values, reduction_layer, layers))
    return [Pass([i], True) for i in boxed] + [
        Pass(dense[start : start + chunk], False) for start in range(0, len(dense), chunk)
    ]


def gradients(
    net: Network, values: Values, seeds: Sequence[Seed], one: Pass, reduction_layer: str, layers: list[str]
) -> Iterator[tuple[int, dict[str, Patch]]]:
    """For each target of a pass: its index, and the gradient (K, *space) of its score at each layer."""
    patches = [seeds[i].gradient for i in one.targets]
    if one.boxed:
        (patch,) = patches
        seed: Any = Patch(patch.values[None], patch.corner, patch.space)
    else:
        seed = array_module(patches[0].values).stack([patch.full() for patch in patches])
    found = net.backward(values, {reduction_layer: seed}, layers)
    for n, i in enumerate(one.targets):
        yield i, {layer: _sample(found[layer], n) for layer in layers}


def _sample(gradient: Any, n: int) -> Patch:
    """The n-th sample of a gradient (N, K, *space), an array or a patch."""
    if isinstance(gradient, Patch):
        return Patch(gradient.values[n], gradient.corner, gradient.space)
    return whole(gradient[n], gradient.ndim - 2)


def _bytes_per_target(graph: Graph, values: Values, reduction_layer: str, layers: list[str]) -> int:
    """Of the step on the way back with the largest arrays: dy, dx, and the windows that lie between them."""
    shapes = graph.shapes({name: array.shape[1:] for name, array in values.feeds.items()})
    largest = 0
    for node in graph.path([reduction_layer], layers):
        taps = math.prod(getattr(node.op, "kernel", ()))
        elements = [math.prod(size or 1 for size in shapes[name]) for name in (node.name, *node.inputs)]
        largest = max(largest, elements[0] + sum(elements[1:]) * (1 + taps))
    return largest * next(iter(values.feeds.values())).dtype.itemsize
