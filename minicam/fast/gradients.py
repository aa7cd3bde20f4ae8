"""Gradients on their way back through the graph, with what is still to be done to them."""

from dataclasses import dataclass, replace

import numpy as np

from minicam.backend import Array
from minicam.fast.prepared import Prepared
from minicam.fast.windows2d import Source, channels_first, channels_last
from minicam.graph import Node


@dataclass(frozen=True)
class Gradient:
    """`array` where `mask` is above 0 and zero elsewhere, times the slopes of `norms`, which are batch normalisations.

    Backward through a ReLU is a mask and through a frozen batch normalisation a factor for each channel. Neither is
    written to memory where a convolution comes next: it reads through the mask, and its weight takes the factors.
    """

    array: Array
    mask: Array | None = None
    norms: tuple[Node, ...] = ()

    def masked(self, mask: Array, prepared: Prepared) -> "Gradient":
        """Backward through a ReLU whose output is `mask`."""
        if self.mask is None:
            return replace(self, mask=mask)
        return Gradient(self.whole(prepared), mask)

    def scaled(self, norm: Node) -> "Gradient":
        """Backward through a batch normalisation."""
        return replace(self, norms=(*self.norms, norm))

    def channels(self, first: int, count: int, prepared: Prepared) -> "Gradient":
        """Some of the channels."""
        last = first + count
        gradient = Gradient(self.whole(prepared)) if self.norms else self
        mask = None if gradient.mask is None else gradient.mask[:, first:last]
        return Gradient(gradient.array[:, first:last], mask)

    def source(self) -> Source:
        """The array (N, H, W, C) and its mask, without the norms."""
        return Source(channels_last(self.array), None if self.mask is None else channels_last(self.mask))

    def whole(self, prepared: Prepared) -> Array:
        """The gradient as an array, everything done."""
        array = self.array
        if self.mask is not None:
            planes = array.ndim == 4
            array = channels_first(self.source().whole()) if planes else array * (self.mask > 0)
        for norm in self.norms:
            slope = prepared.slope(norm).astype(np.float32)
            array = array * slope.reshape(1, -1, *(1,) * (array.ndim - 2))
        return array
