"""The label of every pixel."""

from typing import Any

import numpy as np

from minicam.backend import Array
from minicam.errors import LayerError
from minicam.explanation.defaults import has_extent
from minicam.explanation.inputs import is_batch, samples
from minicam.network import Network
from minicam.resizing import imresize


def segment(net: Network, image: Any) -> np.ndarray:
    """The label of every pixel: the class with the largest score.

    image: see `inputs.samples`; a path, an array (H, W, 3) or a batch (N, H, W, 3). Returns (H, W) or (N, H, W) uint8
    at the size of the image given (nearest). Raises ImageError, or LayerError if the network labels no positions.
    """
    output = label_layer(net)
    if output is None:
        raise LayerError(f"{net.graph.outputs[0]!r} gives one answer for the whole input, no labels to segment with")
    found = []
    for sample in samples(net, image):
        scores = net.forward(sample.x, keep=[output])[output]
        found.append(labels(net, scores[0], sample.space))
    return np.stack(found) if is_batch(net, image) else found[0]


def label_layer(net: Network) -> str | None:
    """The output whose largest channel labels every position; None if the network has no such output."""
    output = net.graph.outputs[0]
    shape = net.graph.shapes(net.graph.inputs)[output]
    return output if len(shape) == len(net.input_shape) and has_extent(shape) and shape[0] != 1 else None


def labels(net: Network, scores: Array, space: tuple[int, ...]) -> np.ndarray:
    """scores (C, *cells) -> (*space) uint8."""
    return imresize(net.largest_channel(scores), space, method="nearest")
