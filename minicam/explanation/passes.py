"""The backward passes that many targets take: single ones inside their box, or as many together as fit in memory."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    """What goes backward together, and what of these gradients is computed: what lies inside a target's box, the whole,
    or only the channels' sums over the positions.

    sample: whose targets, by index, these are; None: one target of every sample, or None where a sample has no more.
    """

    sample: int | None
    targets: list[Any]
    kind: str


def planned(
    graph: Graph,
    values: Values,
    seeds: Sequence[Sequence[Seed]],
    reduction_layer: str,
    layers: list[str],
    sums_will_do: bool,
) -> list[Pass]:
    """The passes for the seeds of each sample; targets that sum no position need none. sums_will_do: for targets that
    weigh all positions alike, the sums over the positions are all that the maps need."""
    together = max(1, CHUNK_BYTES // _bytes_per_target(graph, values, reduction_layer, layers))
    plan, summed = [], []
    for n, own in enumerate(seeds):
        kinds: dict[str, list[int]] = {BOX: [], WHOLE: [], SUMS: []}
        for i, seed in enumerate(own):
            if seed.everywhere and sums_will_do:
                kinds[SUMS].append(i)
            elif seed.positions:
                small = math.prod(seed.gradient.values.shape[1:]) <= SMALL * math.prod(seed.gradient.space)
                kinds[BOX if small else WHOLE].append(i)
        summed.append(kinds.pop(SUMS) if len(seeds) > 1 else [])
        plan += [
            Pass(n, targets[start : start + size], kind)
            for kind, targets in kinds.items()
            for size in [BOXES if kind == BOX else together]
            for start in range(0, len(targets), size)
        ]
    return plan + [Pass(None, list(targets), SUMS) for targets in itertools.zip_longest(*summed)]


def run(
    net: Network,
    values: Values,
    seeds: Sequence[Sequence[Seed]],
    one: Pass,
    reduction_layer: str,
    layers: list[str],
    add: Callable[[int, int, str, Patch | Array], None],
) -> None:
    """Do one pass: add(n, i, layer, gradient) for each sample n, its targets i and each layer, from any thread.
    gradient: of the score, a patch of (K, *space), or its sums over the positions, an array (K,)."""
    if one.sample is None:
        pairs = list(enumerate(one.targets))
    else:
        pairs = [(one.sample, i) for i in one.targets]
        values = of_sample(values, one.sample)
    patches: list[Any] = [None if i is None else seeds[n][i].gradient for n, i in pairs]

    def backward_in_box(place: int) -> None:
        patch = patches[place]
        seed = Patch(patch.values[None], patch.corner, patch.space)
        for layer, found in net.backward(values, {reduction_layer: seed}, layers).items():
            add(*pairs[place], layer, Patch(found.values[0], found.corner, found.space))

    if one.kind == BOX:
        net.each(backward_in_box, range(len(patches)))
        return
    space = next(patch.space for patch in patches if patch is not None)
    if one.kind == SUMS:
        found = net.channel_sums(values, {reduction_layer: _same_everywhere(patches)}, layers)
    else:
        xp = array_module(patches[0].values)
        found = net.backward(values, {reduction_layer: xp.stack([patch.full() for patch in patches])}, layers)
    for layer in layers:
        for place, (n, i) in enumerate(pairs):
            if i is not None:
                gradient = found[layer][place]
                add(n, i, layer, gradient if one.kind == SUMS else whole(gradient, len(space)))


def of_sample(values: Values, n: int) -> Values:
    """The values of the n-th sample, as views (1, C, *space)."""
    if len(next(iter(values.feeds.values()))) == 1:
        return values
    feeds = {name: array[n : n + 1] for name, array in values.feeds.items()}
    return Values({name: array[n : n + 1] for name, array in values.items()}, feeds)


def _same_everywhere(patches: Sequence[Patch | None]) -> Array:
    """Gradients that are the same at every position, as views without memory: (N, C, *space); 0 in place of None."""
    like = next(patch for patch in patches if patch is not None)
    xp, first = array_module(like.values), (..., *(slice(1),) * len(like.space))
    zero = xp.zeros_like(like.values[first])
    vectors = xp.stack([zero if patch is None else patch.values[first] for patch in patches])
    return xp.broadcast_to(vectors, (*vectors.shape[:2], *like.space))


def _bytes_per_target(graph: Graph, values: Values, reduction_layer: str, layers: list[str]) -> int:
    """Of the step on the way back with the largest arrays: dy, dx, and the windows that lie between them."""
    shapes = graph.shapes_of(values.feeds)
    largest = 1
    for node in graph.path([reduction_layer], layers):
        taps = math.prod(getattr(node.op, "kernel", ()))
        elements = [math.prod(size or 1 for size in shapes[name]) for name in (node.name, *node.inputs)]
        largest = max(largest, elements[0] + sum(elements[1:]) * (1 + taps))
    return largest * next(iter(values.feeds.values())).dtype.itemsize
