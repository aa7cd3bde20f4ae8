"""A graph with its parameters, computed fast: up to rounding, the results of `Graph.forward` and `Graph.backward`."""

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minicam.backend import Array
from minicam.fast import maps
from minicam.fast.backward import Backward
from minicam.fast.forward import Forward
from minicam.fast.prepared import Prepared
from minicam.fast.shapes import shapes_from
from minicam.fast.threads import Workers
from minicam.graph import Graph, Parameters, Values, check_seeds, read_by, value_or_nans
from minicam.resizing import imresize

LARGEST_GRADIENT = 1 << 24
"""Numbers in one gradient of a batch of targets: 64 MB. Larger batches gain nothing, as the work is done in blocks."""


class FastGraph:
    """A graph with parameters of any floating type in main memory, computed in float32. threads: None:
    `default_threads()`.

    What follows from the parameters (weights with the batch normalisation folded in) is made at its first use and kept:
    the parameters must not be changed afterwards. Passes asked for by several threads take turns.
    """

    def __init__(self, graph: Graph, parameters: Parameters, threads: int | None = None):
        self.graph = graph
        self._workers = Workers(threads)
        self._prepared = Prepared(parameters)
        self._forward = Forward(graph, self._prepared, self._workers)
        self._turn = threading.RLock()

    @property
    def threads(self) -> int:
        return self._workers.threads

    def forward(self, feeds: Mapping[str, Array], keep: Iterable[str]) -> Values:
        """The layers in `keep`; see `Graph.forward`. feeds: float32 NumPy arrays."""
        with self._turn:
            self._workers.trim()
            return self._forward(feeds, keep)

    def backward(self, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str]) -> dict[str, Array]:
        """Gradients at the layers in `wrt`: see `Graph.backward`."""
        return self._backward(values, seeds, wrt, means_only=False)

    def channel_sums(self, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str]) -> dict[str, Array]:
        """What `backward` gives, summed over the positions: name -> (N, C).

        The last step, at a layer with nothing asked for before it, takes a few sums instead of a convolution's adjoint.
        Targets go backward in batches of bounded size. A seed may be a broadcast view: it is only read.
        """
        wrt = list(wrt)
        samples = max(len(seed) for seed in seeds.values())
        if len(next(iter(values.feeds.values()))) > 1 or any(len(seed) != samples for seed in seeds.values()):
            return self._backward(values, seeds, wrt, means_only=True)
        together = self._targets_together(values, seeds, wrt)
        sums = [
            self._backward(values, {name: seed[first : first + together] for name, seed in seeds.items()}, wrt, True)
            for first in range(0, samples, together)
        ]
        return {name: np.concatenate([part[name] for part in sums]) for name in wrt}

    def each(self, work: Callable[[Any], None], items: Sequence[Any]) -> None:
        """work(item) for every item, each by whichever thread is free."""
        self._workers.run(work, items)

    def weighted_sum(self, weights: np.ndarray, activations: np.ndarray) -> np.ndarray:
        """weights (T, K), activations (K, *space) -> (T, *space): the sum over the channels k."""
        rows = activations.reshape(len(activations), activations.shape[1], -1)
        return maps.weighted_sums(weights, rows).reshape(len(weights), *activations.shape[1:])

    def resize(self, x: np.ndarray, size: Sequence[int], method: str = "bicubic") -> np.ndarray:
        """x (T, *space) -> (T, *size), see `imresize`; images by `maps.resize`."""
        if x.ndim != 3 or method == "nearest":
            return imresize(x, size, method, axes=tuple(range(1, x.ndim)))
        height, width = size
        return maps.resize(x, (height, width), method, self._workers)

    def labels(self, scores: np.ndarray) -> np.ndarray:
        """scores (N, C, *space), C at most 256 -> (N, *space) uint8: the channel with the largest score."""
        rows = scores.reshape(*scores.shape[:3], -1)
        found = [maps.largest_channel(one, self._workers) for one in rows]
        return np.stack(found).reshape(len(scores), *scores.shape[2:])

    def _targets_together(self, values: Values, seeds: Mapping[str, Array], wrt: list[str]) -> int:
        """How many targets go backward as one batch: as many as keep the largest gradient below LARGEST_GRADIENT."""
        path, _ = self.graph.between(seeds, wrt, values.feeds)
        shapes = shapes_from(self.graph, values.feeds)
        largest = max((math.prod(shapes[node.name]) for node in path), default=1)
        return max(1, LARGEST_GRADIENT // largest)

    def _backward(
        self, values: Values, seeds: Mapping[str, Array], wrt: Iterable[str], means_only: bool
    ) -> dict[str, Array]:
        wrt = list(wrt)
        path, depends = self.graph.between(seeds, wrt, values.feeds)
        missing = read_by(path) - values.keys()
        if missing:
            values = Values({**values, **self.forward(values.feeds, missing)}, values.feeds)
        shapes = shapes_from(self.graph, values.feeds)
        check_seeds(seeds, values, shapes)
        needed = {name for node in path for name in (node.name, *node.inputs)}
        arrays = {name: value_or_nans(name, values, shapes) for name in needed}
        run = Backward(path, depends, arrays, shapes, wrt, self._prepared, self._workers, means_only)
        with self._turn:
            return run.run(seeds)
