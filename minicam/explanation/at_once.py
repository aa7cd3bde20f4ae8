"""Targets over all positions, explained by one pass where the network has one that does everything: on a GPU."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from minicam.backend import Array
from minicam.explanation.options import Options
from minicam.explanation.scores import Scores
from minicam.explanation.targets import Everywhere
from minicam.network import Network

MOST_TARGETS = 16
"""Each target that goes backward takes memory, so many of one 720 x 960 image 1.5 GB. More go in parts, as many at a
time as fit."""


class Found(NamedTuple):
    """Of one sample. labels: (cells) uint8 or None; arrays: layer -> what a `CAM` has of "maps", "raw", "alpha",
    "outside" and "scores"; activations: layer -> (K, *space), on the device."""

    labels: np.ndarray | None
    arrays: dict[str, dict[str, np.ndarray]]
    activations: dict[str, Array]


def over_all_positions(targets: Sequence[Any] | None, scores: Scores) -> list[Everywhere] | None:
    """The targets, if all are sums over all positions; else None. Of the scores no values are looked at."""
    found = [target.everywhere(scores) if hasattr(target, "everywhere") else None for target in targets or ()]
    every = [one for one in found if one is not None]
    return every if every and len(every) == len(found) else None


def explained(
    net: Network,
    x: Array,
    fetch: Callable[[Array], Callable[[int], np.ndarray]],
    targets: Sequence[Everywhere],
    layers: Sequence[str],
    reduction_layer: str,
    labelled: str | None,
    size: tuple[int, ...],
    options: Options,
) -> list[Callable[[], Found]] | None:
    """For each sample what gives its `Found`; None where the options, which may want to show the progress of the parts,
    the number of targets or the network ask for the way in parts."""
    if not options.sums_will_do or options.progress or len(targets) > MOST_TARGETS:
        return None
    if not isinstance(options.upsampling, str) or options.edges != "mirror":
        return None
    channels = net.graph.shapes(net.graph.inputs)[reduction_layer][0]
    signs = np.zeros((len(targets), channels or 0), np.float32)
    for i, target in enumerate(targets):
        signs[i, list(target.signs)] = list(target.signs.values())
    whole = net.explained(
        x, signs, reduction_layer, tuple(layers), labelled, size, options.upsampling, options.alpha == "mean"
    )
    if whole is None:
        return None
    block = cache(partial(fetch(whole.block), 0))

    def found(n: int) -> Found:
        labels, totals, maps = whole.sample(block(), n)
        others = {"outside": np.zeros(len(targets)), "scores": signs @ totals.astype(np.float64)}
        arrays = {layer: found | others for layer, found in maps.items()}
        return Found(labels, arrays, {layer: array[n] for layer, array in whole.activations.items()})

    return [partial(found, n) for n in range(len(x))]
