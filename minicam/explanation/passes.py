"""The backward passes that many targets take: single ones inside their box, or as many together as fit in memory."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from minicam.backend import Array, array_module
from minicam.explanation.targets import Seed
from minicam.graph import Graph, Values
from minicam.network import Network
from minicam.patches import Patch, whole

CHUNK_BYTES = 2**30
"""What the arrays of the largest step of one pass may take together, by estimate."""
SMALL = 1 / 8
"""A target whose box is at most this part of the output goes backward alone, inside its box."""
BOXES = 16
"""How many of these make a pass: one after the other, or one for each thread at a time."""
BOX, WHOLE, SUMS = "box", "whole", "sums"


class Pass(NamedTuple):
    """The indices of the targets that go backward together, and what of their gradients is computed: what lies inside a
    target's box, the whole, or only the channels' sums over the positions."""

    targets: list[int]
    kind: str


def planned(
    graph: Graph,
    values: Values,
    seeds: Sequence[Seed],
    reduction_layer: str,
    layers: list[str],
    sums_will_do: bool,
) -> list[Pass]:
    """The passes for these seeds; targets that sum no position need none. sums_will_do: for targets that weigh all
    positions alike, the sums over the positions are all that the maps need."""
    kinds: dict[str, list[int]] = {BOX: [], WHOLE: [], SUMS: []}
    for i, seed in enumerate(seeds):
        if seed.everywhere and sums_will_do:
            kinds[SUMS].append(i)
        elif seed.positions:
            small = math.prod(seed.gradient.values.shape[1:]) <= SMALL * math.prod(seed.gradient.space)
            kinds[BOX if small else WHOLE].append(i)
    together = max(1, CHUNK_BYTES // _bytes_per_target(graph, values, reduction_layer, layers))
    return [
        Pass(targets[start : start + size], kind)
        for kind, targets in kinds.items()
        for size in [BOXES if kind == BOX else together]
        for start in range(0, len(targets), size)
    ]


def run(
    net: Network,
    values: Values,
    seeds: Sequence[Seed],
    one: Pass,
    reduction_layer: str,
    layers: list[str],
    add: Callable[[int, str, Patch | Array], None],
) -> None:
    """Do one pass: add(i, layer, gradient) for each of its targets and layers, from any thread. gradient: of the score,
    a patch of (K, *space), or its sums over the positions, an array (K,)."""
    patches = {i: seeds[i].gradient for i in one.targets}

    def backward_in_box(i: int) -> None:
        patch = patches[i]
        seed = Patch(patch.values[None], patch.corner, patch.space)
        for layer, found in net.backward(values, {reduction_layer: seed}, layers).items():
            add(i, layer, Patch(found.values[0], found.corner, found.space))

    if one.kind == BOX:
        net.each(backward_in_box, one.targets)
        return
    space = seeds[one.targets[0]].gradient.space
    xp = array_module(seeds[one.targets[0]].gradient.values)
    if one.kind == SUMS:
        first = (..., *(slice(1),) * len(space))
        vectors = xp.stack([patch.values[first] for patch in patches.values()])
        seed = xp.broadcast_to(vectors, (*vectors.shape[:2], *space))
        found = net.channel_sums(values, {reduction_layer: seed}, layers)
    else:
        seed = xp.stack([patch.full() for patch in patches.values()])
        found = net.backward(values, {reduction_layer: seed}, layers)
    for layer in layers:
        for n, i in enumerate(patches):
            add(i, layer, found[layer][n] if one.kind == SUMS else whole(found[layer][n], len(space)))


def _bytes_per_target(graph: Graph, values: Values, reduction_layer: str, layers: list[str]) -> int:
    """Of the step on the way back with the largest arrays: dy, dx, and the windows that lie between them."""
    shapes = graph.shapes_of(values.feeds)
    largest = 1
    for node in graph.path([reduction_layer], layers):
        taps = math.prod(getattr(node.op, "kernel", ()))
        elements = [math.prod(size or 1 for size in shapes[name]) for name in (node.name, *node.inputs)]
        largest = max(largest, elements[0] + sum(elements[1:]) * (1 + taps))
    return largest * next(iter(values.feeds.values())).dtype.itemsize
