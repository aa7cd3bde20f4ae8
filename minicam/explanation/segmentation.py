"""The label of every pixel."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minicam.backend import Array
from minicam.errors import LayerError
from minicam.explanation.batches import Batches, Fetch
from minicam.explanation.defaults import has_extent
from minicam.explanation.inputs import Sample, is_batch, samples
from minicam.network import Network
from minicam.resizing import imresize


def segment(net: Network, image: Any, batch: int | None = None) -> np.ndarray:
    """The label of every pixel: the class with the largest score.

    image: see `inputs.samples`; a path, an array (H, W, 3) or a batch (N, H, W, 3). batch: see `explain`. Returns
    (H, W) or (N, H, W) uint8 at the size of the image given (nearest). Raises ImageError, or LayerError if the network
    labels no positions.
    """
    found = [outcome.result() for outcome in Batches(net, Segmenting(net), batch).outcomes(samples(net, image))]
    return np.stack(found) if is_batch(net, image) else found[0]


class Segmenting:
    """The work of `segment`, for `Batches`. Raises LayerError if the network labels no positions."""

    def __init__(self, net: Network):
        output = label_layer(net)
        if output is None:
            name = net.graph.outputs[0]
            raise LayerError(f"{name!r} gives one answer for the whole input, no labels to segment with")
        self._output = output

    def __call__(self, net: Network, group: Sequence[Sample], x: Array, fetch: Fetch) -> list[Callable[[], np.ndarray]]:
        """For each sample what gives its labels, (*space of the input) uint8."""
        found = fetch(labels(net, net.forward(x, keep=[self._output])[self._output], group[0].space))
        return [partial(found, n) for n in range(len(group))]


def label_layer(net: Network) -> str | None:
    """The output whose largest channel labels every position; None if the network has no such output."""
    output = net.graph.outputs[0]
    shape = net.graph.shapes(net.graph.inputs)[output]
    return output if len(shape) == len(net.input_shape) and has_extent(shape) and shape[0] != 1 else None


def labels(net: Network, scores: Array, space: tuple[int, ...]) -> Array:
    """scores (N, C, *cells) -> (N, *space) uint8."""
    found = net.largest_channel(scores)
    return imresize(found, space, method="nearest", axes=tuple(range(1, found.ndim)))
