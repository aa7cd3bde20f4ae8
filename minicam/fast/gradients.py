"""Gradients on their way back through the graph, with what is still to be done to them."""

from dataclasses import dataclass, replace

import numpy as np

from minicam.backend import Array
from minicam.fast.prepared import Prepared
from minicam.fast.windows2d import Source, channels_first, channels_last
from minicam.graph import Node


@dataclass(frozen=True)
class Gradient:
    """`array`, its channels mixed by `mixing` (K, C), where `mask` is above 0 and zero elsewhere, times the slopes of
    `norms`, which are batch normalisations.

    Backward through a convolution 1 x 1 with few filters is such a mixing, through a ReLU a mask, and through a frozen
    batch normalisation a factor for each channel. None is written to memory where a convolution comes next: it reads
    through the first two, and its weight takes the factors.
    """

    array: Array
    mask: Array | None = None
    norms: tuple[Node, ...] = ()
    mixing: Array | None = None

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
        simple = not self.norms and self.mixing is None
        gradient = self if simple else Gradient(self.whole(prepared))
        mask = None if gradient.mask is None else gradient.mask[:, first:last]
        return Gradient(gradient.array[:, first:last], mask)

    def source(self) -> Source:
        """The gradient (N, H, W, C) without the norms."""
        mask = None if self.mask is None else channels_last(self.mask)
        return Source(channels_last(self.array), mask, self.mixing)

    def whole(self, prepared: Prepared) -> Array:
        """The gradient as an array, everything done."""
        array = self.array
        if array.ndim == 4:
            array = channels_first(self.source().whole())
        elif self.mask is not None:
            array = array * (self.mask > 0)
        for norm in self.norms:
            slope = prepared.slope(norm).astype(np.float32)
            array = array * slope.reshape(1, -1, *(1,) * (array.ndim - 2))
        return array
