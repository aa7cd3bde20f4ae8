"""What one sample's gradients at one layer come to: channel weights, signed maps, and maps at the size of the input."""

import numpy as np

from minicam.backend import Array, array_module
from minicam.errors import LayerError
from minicam.explanation.methods import LOCAL, WEIGHTED, channel_sums, channel_weights, support
from minicam.explanation.options import Options
from minicam.network import Network
from minicam.patches import Patch
from minicam.resizing import imresize


class Maps:
    """What is kept of the gradients of a number of targets, for one sample. activations: (K, *space)."""

    def __init__(self, activations: Array, count: int, options: Options):
        xp, (channels, *space) = array_module(activations), activations.shape
        self.activations, self._options = activations, options
        self._alpha = xp.zeros((count, channels), activations.dtype)
        self._raw = xp.zeros((count, *space), activations.dtype)
        self._supports: list[Array | None] = [None] * count  # bool (*space); None for every position
        self.gradients = xp.zeros((count, channels, *space), activations.dtype) if options.keep_gradients else None

    def add(self, i: int, gradient: Patch | Array) -> None:
        """The i-th target's gradient (K, *space) at the layer; or, of a target over all positions, its sums (K,)."""
        sums = channel_sums(gradient) if isinstance(gradient, Patch) else gradient
        self._alpha[i] = channel_weights(sums, self._raw.shape[1:], self._options.alpha)
        if isinstance(gradient, Patch):
            self._supports[i] = support(gradient)
            if self._options.method in LOCAL:
                self._raw[i] = LOCAL[self._options.method](self.activations, gradient)
            if self.gradients is not None:
                self.gradients[i] = gradient.full()

    def finished(self, net: Network, space: tuple[int, ...]) -> dict[str, Array]:
        """The arrays of a `CAM` of that name, once all targets are in, where they were computed."""
        if self._options.method in WEIGHTED:
            self._raw = net.weighted_sum(self._alpha, self.activations)
        arrays = {"outside": self._outside()}
        if self._options.truncate:
            self._raw = self._raw * self._support()
        return arrays | {"maps": self._upsampled(net, space), "raw": self._raw, "alpha": self._alpha}

    def _support(self) -> Array:
        """Of all targets, (T, *space)."""
        xp = array_module(self._raw)
        everywhere = xp.ones(self._raw.shape[1:], bool)
        return xp.stack([everywhere if found is None else found for found in self._supports])

    def _outside(self) -> Array:
        """The fraction of each map's mass outside its support, (T,) float64."""
        xp = array_module(self._raw)
        if all(found is None for found in self._supports):
            return xp.zeros(len(self._raw))
        mass = self._raw.clip(min=0).reshape(len(self._raw), -1)
        outside = (mass * ~self._support().reshape(mass.shape)).sum(axis=1, dtype=np.float64)
        return outside / xp.maximum(mass.sum(axis=1, dtype=np.float64), np.finfo(np.float64).tiny)

    def _upsampled(self, net: Network, space: tuple[int, ...]) -> Array:
        """max(raw, 0) at the size of the input: (T, *feature space) -> (T, *space)."""
        options, rectified = self._options, self._raw.clip(min=0)
        if options.upsampling == "none":
            return rectified
        rank = self._raw.ndim - 1
        methods = [options.upsampling] * rank if isinstance(options.upsampling, str) else list(options.upsampling)
        if len(methods) != rank:
            raise LayerError(f"upsampling names {len(methods)} axes; the maps have {rank}")
        if len(set(methods)) == 1 and options.edges == "mirror":
            return net.resize(rectified, space, methods[0])
        for axis, (size, method) in enumerate(zip(space, methods, strict=True), start=1):
            rectified = imresize(rectified, (size,), method, options.edges, axes=(axis,))
        return rectified
