"""Everything that follows from the parameters alone and is worth keeping: folded weights."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import numpy as np

from minicam.fast.banded import outer_factors, upsampling_matrix
from minicam.fast.convolution import turned
from minicam.fast.products import weight_matrices
from minicam.fast.rewrite import Upsampled, convolution_of
from minicam.fast.shapes import Shapes
from minicam.fast.upsampling import UpsampledConvolution, Upsampling
from minicam.graph import Node, Parameters
from minicam.ops import BatchNorm
from minicam.windows import Window

Channels = tuple[tuple[int, int], ...]
"""Ranges of input channels, as (first, number)."""


class Float32(Mapping[str, Mapping[str, np.ndarray]]):
    """layer -> parameter -> array, cast when it is read. The large ones are read once, to be folded."""

    def __init__(self, stored: Parameters):
        self.stored = stored

    def __getitem__(self, layer: str) -> dict[str, np.ndarray]:
        return {name: np.asarray(array, np.float32) for name, array in self.stored[layer].items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


class Prepared:
    """Weights in the forms that the fast ways take, made at their first use.

    Batch normalisation with frozen statistics is y = slope x + (offset - slope mean) for each channel, slope =
    scale / sqrt(variance + epsilon), so that a convolution followed by it is a convolution with weight slope w and bias
    slope (bias - mean) + offset. The vectors are computed in float64 and rounded once.
    """

    def __init__(self, parameters: Parameters):
        self.parameters = Float32(parameters)
        self._kept: dict[Hashable, Any] = {}

    def plain(self, layer: str) -> Mapping[str, np.ndarray]:
        """The parameters of a layer that takes the plain definition, cast once."""
        return self._once(("plain", layer), lambda: self.parameters.get(layer, {}))

    def matrices(self, conv: Node, norms: tuple[Node, ...], channels: Channels) -> np.ndarray:
        """For `convolve`: the weight of those input channels, times the slopes of the norms that follow."""

        def make() -> np.ndarray:
            matrices = weight_matrices(_chosen(self.weight(conv), channels))
            return np.multiply(matrices, self.slopes(conv, norms), out=matrices)

        return self._once(("forward", conv.name, names(norms), channels), make)

    def adjoint_matrices(self, conv: Node, norms: tuple[Node, ...], channels: tuple[int, int]) -> np.ndarray:
        """For `adjoint`: the same of one range of input channels, turned."""

        def make() -> np.ndarray:
            matrices = weight_matrices(turned(_chosen(self.weight(conv), (channels,)), plane_window(conv)))
            return np.multiply(matrices, self.slopes(conv, norms)[:, None], out=matrices)

        return self._once(("adjoint", conv.name, names(norms), channels), make)

    def bias(self, conv: Node, norm: Node | None) -> np.ndarray:
        """(K,), folded."""
        return self._once(("bias", conv.name, norm and norm.name), lambda: self._folded_bias(conv, norm))

    def slope(self, norm: Node) -> np.ndarray:
        """(K,) float64: what the normalisation multiplies each channel by."""
        p = self.parameters[norm.name]
        assert isinstance(norm.op, BatchNorm)
        return p["scale"].astype(np.float64) / np.sqrt(p["variance"].astype(np.float64) + norm.op.epsilon)

    def upsampling(self, source: Upsampled, shapes: Shapes) -> Upsampling:
        """The banded matrices from the small layer to the (cropped) upsampled one, for these shapes."""
        small, large = shapes[source.small][1:], shapes[source.name][1:]
        return self._once(("upsampling", source.name, small, large), lambda: self._upsampling(source, shapes))

    def upsampled_convolution(
        self, conv: Node, norms: tuple[Node, ...], part: Upsampled, first: int, shapes: Shapes
    ) -> UpsampledConvolution:
        """The convolution's part that reads the channels of an upsampled layer, which begin at `first`."""
        channels, *space = shapes[part.name]
        return self._once(
            ("upsampled", conv.name, names(norms), part.name, shapes[part.small], tuple(space)),
            lambda: UpsampledConvolution(
                _chosen(self.weight(conv), ((first, channels),)) * self.slopes(conv, norms)[:, None, None, None],
                plane_window(conv),
                self.upsampling(part, shapes),
            ),
        )

    def weight(self, conv: Node) -> np.ndarray:
        """(K, C, kernel rows, kernel columns) of the type in which it is stored."""
        return np.asarray(self.parameters.stored[conv.name]["weight"])

    def slopes(self, conv: Node, norms: tuple[Node, ...]) -> np.ndarray:
        """(K,) float32: the product of the slopes of the norms that follow the convolution."""
        slopes = np.ones(convolution_of(conv).filters)
        for norm in norms:
            slopes = slopes * self.slope(norm)
        return slopes.astype(np.float32)

    def _folded_bias(self, conv: Node, norm: Node | None) -> np.ndarray:
        bias = self.parameters[conv.name]["bias"].astype(np.float64)
        if norm:
            p = self.parameters[norm.name]
            bias = self.slope(norm) * (bias - p["mean"]) + p["offset"]
        return bias.astype(np.float32)

    def _upsampling(self, source: Upsampled, shapes: Shapes) -> Upsampling:
        op = source.op
        factors = outer_factors(self.parameters[source.up.name]["weight"][0, 0])
        assert factors is not None, "the rewriting takes separable kernels only"
        matrices = []
        for axis, taps in enumerate(factors):
            before, after = (shapes[name][axis + 1] for name in (source.up.name, source.name))
            cropped = op.cropping[axis][0] + (before - after) // 2  # Crop takes the centre
            sizes = (after, shapes[source.small][axis + 1])
            matrices.append(upsampling_matrix(taps, op.stride[axis], op.dilation[axis], cropped, sizes))
        return Upsampling(*matrices)

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def plane_window(conv: Node) -> Window:
    """The window of a convolution of rank 2."""
    op = convolution_of(conv)
    return Window(op.kernel, op.stride, op.dilation, op.padding)


def names(nodes: tuple[Node, ...]) -> tuple[str, ...]:
    return tuple(node.name for node in nodes)


def _chosen(weight: np.ndarray, channels: Channels) -> np.ndarray:
    """weight (K, C, ...) of some ranges of its input channels."""
    if channels == ((0, weight.shape[1]),):
        return weight
    return np.concatenate([weight[:, first : first + count] for first, count in channels], axis=1)
