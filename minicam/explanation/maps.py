"""What the gradients of N samples at one layer come to: channel weights, signed maps, and maps at the input's size."""

import numpy as np

from minicam.backend import Array, array_module
from minicam.errors import LayerError
from minicam.explanation.methods import LOCAL, WEIGHTED, channel_sums, channel_weights, support
from minicam.explanation.options import Options
from minicam.network import Network
from minicam.patches import Patch
from minicam.resizing import imresize


class Maps:
    """What is kept of the gradients of T targets for each of N samples. activations: (N, K, *space)."""

    def __init__(self, activations: Array, count: int, options: Options):
        xp, (samples, channels, *space) = array_module(activations), activations.shape
        self.activations, self._options = activations, options
        self._alpha = xp.zeros((samples, count, channels), activations.dtype)
        self._raw = xp.zeros((samples, count, *space), activations.dtype)
        self._supports: dict[tuple[int, int], Array] = {}  # bool (*space); every position where there is none
        self.gradients: Array | None = None
        if options.keep_gradients:
            self.gradients = xp.zeros((samples, count, channels, *space), activations.dtype)

    def add(self, n: int, i: int, gradient: Patch | Array) -> None:
        """The gradient of the n-th sample's i-th target (K, *space) at the layer; or, of a target over all positions,
        its sums (K,)."""
        sums = channel_sums(gradient) if isinstance(gradient, Patch) else gradient
        self._alpha[n, i] = channel_weights(sums, self._raw.shape[2:], self._options.alpha)
        if isinstance(gradient, Patch):
            self._supports[n, i] = support(gradient)
            if self._options.method in LOCAL:
                self._raw[n, i] = LOCAL[self._options.method](self.activations[n], gradient)
            if self.gradients is not None:
                self.gradients[n, i] = gradient.full()

    def finished(self, net: Network, space: tuple[int, ...]) -> dict[str, Array]:
        """Once all targets are in: the arrays that a `CAM` has under these names, of all samples, (N, T, ...)."""
        if self._options.method in WEIGHTED:
            samples = zip(self._alpha, self.activations, strict=True)
            self._raw = array_module(self._raw).stack([net.weighted_sum(*sample) for sample in samples])
        arrays = {"outside": self._outside()}
        if self._options.truncate:
            self._raw = self._raw * self._support()
        return arrays | {"maps": self._upsampled(net, space), "raw": self._raw, "alpha": self._alpha}

    def _support(self) -> Array:
        """Of all targets, (N, T, *space)."""
        xp = array_module(self._raw)
        support = xp.ones(self._raw.shape, bool)
        for place, found in self._supports.items():
            support[place] = found
        return support

    def _outside(self) -> Array:
        """The fraction of each map's mass outside its support, (N, T) float64."""
        xp, targets = array_module(self._raw), self._raw.shape[:2]
        if not self._supports:
            return xp.zeros(targets)
        mass = self._raw.clip(min=0).reshape(*targets, -1)
        outside = (mass * ~self._support().reshape(mass.shape)).sum(axis=2, dtype=np.float64)
        return outside / xp.maximum(mass.sum(axis=2, dtype=np.float64), np.finfo(np.float64).tiny)

    def _upsampled(self, net: Network, space: tuple[int, ...]) -> Array:
        """max(raw, 0) at the size of the input: (N, T, *feature space) -> (N, T, *space)."""
        options, rectified, targets = self._options, self._raw.clip(min=0), self._raw.shape[:2]
        if options.upsampling == "none":
            return rectified
        rectified = rectified.reshape(-1, *rectified.shape[2:])
        rank = rectified.ndim - 1
        methods = [options.upsampling] * rank if isinstance(options.upsampling, str) else list(options.upsampling)
        if len(methods) != rank:
            raise LayerError(f"upsampling names {len(methods)} axes; the maps have {rank}")
        if len(set(methods)) == 1 and options.edges == "mirror":
            rectified = net.resize(rectified, space, methods[0])
        else:
            for axis, (size, method) in enumerate(zip(space, methods, strict=True), start=1):
                rectified = imresize(rectified, (size,), method, options.edges, axes=(axis,))
        return rectified.reshape(*targets, *rectified.shape[1:])
