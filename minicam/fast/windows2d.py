"""Reading zero-padded windows of channels-last images.

Inside `fast` an image is (N, H, W, C): all channels of a pixel lie together, so that a row of pixels is a matrix ready
for the product with a weight (C, K). Outside, the same memory is seen as an array (N, C, H, W).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Span(NamedTuple):
    """`number` positions along one axis, `start + step * i`; they may lie outside the image, where it is zero."""

    start: int
    number: int
    step: int = 1

    def inside(self, size: int) -> tuple[slice, slice]:
        """Which of the positions lie in 0 .. size - 1, and where: (slice of i, slice of positions)."""
        low = min(max(-(self.start // self.step), 0), self.number)
        high = max(min((size - 1 - self.start) // self.step + 1, self.number), low)
        first = self.start + self.step * low
        return slice(low, high), slice(first, first + self.step * (high - low), self.step)


class Source(NamedTuple):
    """An image (N, H, W, C) that may never have been written to memory: `image` (N, H, W, C), or, with `mixing` (K, C),
    the product of `image` (N, H, W, K) and `mixing`; and, with `mask` (N or 1, H, W, C), zero where the mask is not
    above 0.

    This is how the gradients of a ReLU and of a convolution 1 x 1 with few filters are read."""

    image: np.ndarray
    mask: np.ndarray | None = None
    mixing: np.ndarray | None = None

    def read(self, sample: int, rows: slice, columns: slice, out: np.ndarray) -> None:
        """out (rows, columns, C) = that rectangle of the sample."""
        part = self.image[sample % len(self.image), rows, columns]
        if self.mixing is not None:
            part = np.matmul(part, self.mixing, out=out)
        if self.mask is not None:
            np.multiply(part, np.greater(self.mask[sample % len(self.mask), rows, columns], 0), out=out)
        elif part is not out:
            np.copyto(out, part)

    @property
    def samples(self) -> int:
        return max(len(self.image), 1 if self.mask is None else len(self.mask))

    @property
    def space(self) -> tuple[int, int]:
        _, height, width, _ = self.image.shape
        return height, width

    @property
    def channels(self) -> int:
        return self.image.shape[3] if self.mixing is None else self.mixing.shape[1]

    def whole(self) -> np.ndarray:
        """The image (N, H, W, C) in memory."""
        if self.mask is None and self.mixing is None:
            return self.image
        out = np.empty((self.samples, *self.space, self.channels), np.float32)
        for sample, image in enumerate(out):
            self.read(sample, slice(None), slice(None), image)
        return out


def read_window(sources: Sequence[Source], sample: int, rows: Span, columns: Span, out: np.ndarray) -> None:
    """out (rows, columns, C of all sources) = the sources' channels one after the other, zero outside the images."""
    height, width = sources[0].space
    to_rows, from_rows = rows.inside(height)
    to_columns, from_columns = columns.inside(width)
    out[: to_rows.start] = 0
    out[to_rows.stop :] = 0
    out[to_rows, : to_columns.start] = 0
    out[to_rows, to_columns.stop :] = 0
    first = 0
    for source in sources:
        last = first + source.channels
        source.read(sample, from_rows, from_columns, out[to_rows, to_columns, first:last])
        first = last


def channels_last(x: np.ndarray) -> np.ndarray:
    """x (N, C, H, W) as (N, H, W, C) with the channels next to each other in memory; a view where they already are."""
    view = x.transpose(0, 2, 3, 1)
    step = x.itemsize
    if x.shape[1] > 1 and view.strides[3] != step:
        return np.ascontiguousarray(view)
    return view


def channels_first(x: np.ndarray) -> np.ndarray:
    """(N, H, W, C) seen as (N, C, H, W)."""
    return x.transpose(0, 3, 1, 2)
