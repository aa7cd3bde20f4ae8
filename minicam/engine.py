"""A graph with its parameters, computed by the plain definitions. `fast.FastGraph` has the same methods."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minicam.backend import Array, array_module
from minicam.graph import Graph, Parameters, Values
from minicam.resizing import imresize


class PlainGraph:
    """A graph with parameters of one floating type on one device."""

    def __init__(self, graph: Graph, parameters: Parameters):
        self.graph, self._parameters = graph, parameters

    def forward(self, feeds: Mapping[str, Array], keep: Iterable[str]) -> Values:
        """See `Graph.forward`."""
        return self.graph.forward(self._parameters, feeds, keep)

    def backward(self, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str]) -> dict[str, Array]:
        """See `Graph.backward`."""
        return self.graph.backward(self._parameters, values, seeds, wrt)

    def channel_sums(self, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str]) -> dict[str, Array]:
        """What `backward` gives, summed over the positions: name -> (N, C)."""
        gradients = self.backward(values, seeds, wrt)
        return {name: gradient.reshape(*gradient.shape[:2], -1).sum(axis=2) for name, gradient in gradients.items()}

    def each(self, work: Callable[[Any], None], items: Sequence[Any]) -> None:
        """work(item) for every item."""
        for item in items:
            work(item)

    def weighted_sum(self, weights: Array, activations: Array) -> Array:
        """raw[t,i] = sum over k of weights[t,k] * activations[k,i]: (T, K), (K, *space) -> (T, *space)."""
        return array_module(activations).tensordot(weights, activations, axes=1)

    def resize(self, x: Array, size: Sequence[int], method: str = "bicubic") -> Array:
        """x (T, *space) -> (T, *size), see `imresize`."""
        return imresize(x, size, method, axes=tuple(range(1, x.ndim)))

    def labels(self, scores: Array) -> Array:
        """scores (N, C, *space), C at most 256 -> (N, *space) uint8: the channel with the largest score."""
        return scores.argmax(axis=1).astype(np.uint8)
