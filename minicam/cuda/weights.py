"""Weights as the kernels read them: folded, packed once, and shared by all plans."""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from minicam.backend import Array, array_module
from minicam.cuda.buffers import Buffer, constant
from minicam.cuda.packing import Packed, pack
from minicam.cuda.taps import Taps, adjoint_taps, forward_taps, forward_weight, row_taps
from minicam.fast.prepared import Prepared, names, plane_window
from minicam.fast.rewrite import Upsampled
from minicam.graph import Node, Parameters


class Weights:
    """The parameters of a graph, which lie in main memory, folded by `fast.prepared` and packed for one arithmetic
    forward and one backward."""

    def __init__(self, parameters: Parameters, forward: str, backward: str):
        self.prepared = Prepared(parameters)
        self._forward, self._backward = forward, backward
        self._kept: dict[Hashable, Any] = {}

    def convolution(self, conv: Node, norm: Node | None) -> tuple[Taps, Packed]:
        """Of a convolution with the normalisation that follows it."""

        def make() -> tuple[Taps, Packed]:
            weight = forward_weight(self._folded(conv, (norm,) if norm else ()))
            return forward_taps(plane_window(conv)), pack(weight, self._forward)

        return self._once(("convolution", conv.name, norm and norm.name), make)

    def row_convolution(self, conv: Node, norm: Node | None, pixels: int) -> tuple[Taps, Packed]:
        """The same with whole kernel rows as taps, see `row_taps`."""

        def make() -> tuple[Taps, Packed]:
            taps, weight = row_taps(plane_window(conv), pixels, self._folded(conv, (norm,) if norm else ()))
            return taps, pack(weight, self._forward)

        return self._once(("rows", conv.name, norm and norm.name, pixels), make)

    def adjoint(
        self, conv: Node, norms: tuple[Node, ...], channels: tuple[int, int], phase: tuple[int, int]
    ) -> tuple[Taps, Packed] | None:
        """Of the gradient at some input channels (first, number); None where no tap falls on the phase."""

        def make() -> tuple[Taps, Packed] | None:
            taps, chosen = adjoint_taps(plane_window(conv), phase)
            weight = self._part(conv, norms, channels)[chosen].transpose(0, 2, 1)
            return (taps, pack(np.ascontiguousarray(weight), self._backward)) if taps else None

        return self._once(("adjoint", conv.name, names(norms), channels, phase), make)

    def sums(self, conv: Node, norms: tuple[Node, ...], channels: tuple[int, int]) -> Buffer:
        """(T, K, C) float32: what turns the sums of dy over each tap's rectangle into those of dx."""

        def make() -> Buffer:
            return constant(np.ascontiguousarray(self._part(conv, norms, channels).transpose(0, 2, 1)))

        return self._once(("sums", conv.name, names(norms), channels), make)

    def bias(self, conv: Node, norm: Node | None) -> Buffer:
        """(K,) float32, folded."""
        return self._once(("bias", conv.name, norm and norm.name), lambda: constant(self.prepared.bias(conv, norm)))

    def upsampling(self, source: Upsampled) -> tuple[Buffer, Buffer | None]:
        """The kernel (1, rows, columns), the same for all channels, and the bias (C,), if there is any."""
        parameters = self.prepared.plain(source.up.name)
        bias = parameters["bias"]
        return (
            self._once(("kernel", source.up.name), lambda: constant(parameters["weight"][:1, 0])),
            self._once(("bias", source.up.name), lambda: constant(bias)) if bias.any() else None,
        )

    def affine(self, node: Node) -> tuple[Buffer, Buffer]:
        """scale (C,) and offset (C,) of the z-score or the batch normalisation y = scale x + offset."""

        def make() -> tuple[Buffer, Buffer]:
            p = {name: array.astype(np.float64) for name, array in self.prepared.plain(node.name).items()}
            if "std" in p:
                scale, offset = 1 / p["std"], -p["mean"] / p["std"]
            else:
                scale = self.prepared.slope(node)
                offset = p["offset"] - scale * p["mean"]
            return constant(scale.astype(np.float32)), constant(offset.astype(np.float32))

        return self._once(("affine", node.name), make)

    def slopes(self, norms: tuple[Node, ...]) -> Buffer:
        """(C,): the product of the slopes of some batch normalisations."""

        def make() -> Buffer:
            product = np.prod([self.prepared.slope(norm) for norm in norms], axis=0)
            return constant(product.astype(np.float32))

        return self._once(("slopes", names(norms)), make)

    def zeros(self, channels: int) -> Buffer:
        """(C,)"""
        return self._once(("zeros", channels), lambda: constant(np.zeros(channels, np.float32)))

    def like(self, layer: str, array: Array) -> dict[str, Array]:
        """The layer's parameters in the module and the type of an array."""
        module = array_module(array)

        def make() -> dict[str, Array]:
            plain = self.prepared.plain(layer)
            return {name: module.asarray(parameter, array.dtype) for name, parameter in plain.items()}

        return self._once(("plain", layer), make)

    def _folded(self, conv: Node, norms: tuple[Node, ...]) -> np.ndarray:
        """(K, C, rows, columns) float32, times the slopes of the norms."""
        weight = self.prepared.weight(conv) * self.prepared.slopes(conv, norms)[:, None, None, None]
        return weight.astype(np.float32, copy=False)

    def _part(self, conv: Node, norms: tuple[Node, ...], channels: tuple[int, int]) -> np.ndarray:
        """(T, C, K) of some input channels."""
        first, count = channels
        return forward_weight(self._folded(conv, norms)[:, first : first + count])

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]
