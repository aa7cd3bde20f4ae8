"""Sliding windows of any rank: unfold and its adjoint fold.

Convolution, transposed convolution and pooling are written with these two. With stride s, dilation d, low padding p
(one number per axis) and a tap t of the kernel, output position o looks at input position

    i = s o + d t - p                                                                                   (1)

N samples, C channels, `space` the input's sizes, `out` the output's. Source: Dumoulin and Visin, "A guide to
convolution arithmetic for deep learning", arXiv:1603.07285, relationships 5 to 15. A negative high padding leaves
the last elements unread.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minicam.backend import Array, array_module
from minicam.errors import LayerError

Pairs = tuple[tuple[int, int], ...]
PerAxis = Any
"""An option given as one number for all axes or as one entry per axis; ops store the latter."""


class Window(NamedTuple):
    """The geometry of a sliding window, one entry per spatial axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: Pairs

    def extent(self) -> tuple[int, ...]:
        """From the first tap to the last, both included."""
        return tuple(dilation * (size - 1) + 1 for size, dilation in zip(self.kernel, self.dilation, strict=True))

    def output_space(self, space: tuple[Any, ...]) -> tuple[Any, ...]:
        """Number of positions per axis: floor((size + padding - extent) / stride) + 1; below 1 where none fits.
        None (any size) stays None."""
        return tuple(
            size and (size + sum(padding) - (dilation * (kernel - 1) + 1)) // stride + 1
            for size, kernel, stride, dilation, padding in zip(space, *self, strict=True)
        )

    def input_space(self, out: tuple[Any, ...]) -> tuple[Any, ...]:
        """The smallest input that gives `out` positions, which is the output of a transposed convolution:
        (out - 1) stride + extent - padding."""
        return tuple(
            size and (size - 1) * stride + dilation * (kernel - 1) + 1 - sum(padding)
            for size, kernel, stride, dilation, padding in zip(out, *self, strict=True)
        )

    def taps(self, out: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Each tap t with the slices of the *padded* input that it sees from all output positions, equation (1)."""
        for tap in np.ndindex(self.kernel):
            starts = [dilation * t for dilation, t in zip(self.dilation, tap, strict=True)]
            yield (
                tap,
                tuple(
                    slice(start, start + stride * (size - 1) + 1, stride)
                    for start, stride, size in zip(starts, self.stride, out, strict=True)
                ),
            )


def unfold(x: Array, window: Window, fill: float = 0.0) -> Array:
    """x (N, C, *space) -> columns (N, C, *kernel, *out): columns[n, c, t, o] = x[n, c, s o + d t - p].

    Positions outside x read `fill`.

    >>> x = np.array([[[1, 2, 3]]])
    >>> unfold(x, Window((2,), (1,), (1,), ((0, 0),)))
    array([[[[1, 2],
             [2, 3]]]])
    """
    xp = array_module(x)
    out = window.output_space(x.shape[2:])
    padded = xp.pad(x, ((0, 0), (0, 0), *_pairs(window)), constant_values=fill) if _pads(window) else x
    columns = xp.empty((*x.shape[:2], *window.kernel, *out), x.dtype)
    for tap, seen in window.taps(out):
        columns[:, :, *tap] = padded[:, :, *seen]
    return columns


def fold(columns: Array, window: Window, space: tuple[int, ...]) -> Array:
    """The adjoint of unfold: columns (N, C, *kernel, *out) -> dx (N, C, *space),
    dx[n, c, i] = sum of columns[n, c, t, o] over all (t, o) with s o + d t - p = i.

    >>> fold(np.array([[[[1, 2], [2, 3]]]]), Window((2,), (1,), (1,), ((0, 0),)), (3,))
    array([[[1, 4, 3]]])
    """
    xp = array_module(columns)
    rank = len(space)
    padded_space = tuple(size + sum(pair) for size, pair in zip(space, _pairs(window), strict=True))
    padded = xp.zeros((*columns.shape[:2], *padded_space), columns.dtype)
    for tap, seen in window.taps(columns.shape[2 + rank :]):
        padded[:, :, *seen] += columns[:, :, *tap]
    if not _pads(window):
        return padded
    inner = tuple(slice(low, low + size) for size, (low, _) in zip(space, window.padding, strict=True))
    return xp.ascontiguousarray(padded[:, :, *inner])


def per_axis(name: str, value: PerAxis, rank: int) -> tuple[int, ...]:
    """3 -> (3, 3) for rank 2; a sequence must have one whole number per axis. Raises LayerError naming the option."""
    values = (value,) * rank if isinstance(value, int) else value
    if not _is_sequence(values, rank) or not all(type(v) is int for v in values):
        raise LayerError(f"{name} is {value!r}; expected a whole number, or one for each of {rank} axes")
    return tuple(values)


def pairs_per_axis(name: str, value: PerAxis, rank: int) -> Pairs:
    """Padding as ((low, high), ...): 1 -> ((1, 1), (1, 1)) for rank 2, (1, 2) -> ((1, 1), (2, 2)); else LayerError."""
    values = (value,) * rank if isinstance(value, int) else value
    pairs = [(v, v) if isinstance(v, int) else v for v in values] if _is_sequence(values, rank) else None
    if pairs is None or not all(_is_sequence(pair, 2) and all(type(v) is int for v in pair) for pair in pairs):
        raise LayerError(f"{name} is {value!r}; expected a whole number, or one or a pair for each of {rank} axes")
    return tuple((low, high) for low, high in pairs)


def _is_sequence(value: object, length: int) -> bool:
    return isinstance(value, list | tuple) and len(value) == length


def _pairs(window: Window) -> Pairs:
    """The padding as far as it adds anything."""
    return tuple((low, max(high, 0)) for low, high in window.padding)


def _pads(window: Window) -> bool:
    return any(any(pair) for pair in window.padding)
