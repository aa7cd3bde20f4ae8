"""Convolutions of rank 2 and their adjoints as one operation: a sum over taps of shifted products.

    y[n,i,j,k] = sum over t, c of x[n, step_r i + row_t, step_c j + column_t, c] weight[t,c,k]

A convolution with stride s, dilation d and low padding p has the taps d t - p and the step s. Its adjoint at the input
positions i = s j + f (a phase f, one number per axis) gathers from the outputs o with s o + d t - p = i: those of the
taps for which s divides f + p - d t, at o = j + (f + p - d t) / s.
"""

from collections.abc import Iterator

import numpy as np

from minicam.windows import Window

Taps = tuple[tuple[int, int], ...]
"""(row, column) offsets."""


def forward_taps(window: Window) -> Taps:
    """The taps of a convolution, in row-major order."""
    return tuple(_offsets(window))


def forward_weight(weight: np.ndarray) -> np.ndarray:
    """weight (K, C, rows, columns) -> (T, C, K)."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[1], weight.shape[0])


def phases(window: Window) -> Iterator[tuple[int, int]]:
    """One for each way that an input position can lie between the strides."""
    yield from np.ndindex(*window.stride)


def adjoint_taps(window: Window, phase: tuple[int, int]) -> tuple[Taps, list[int]]:
    """The taps of the adjoint at a phase, and which taps of the convolution they are. There may be none."""
    found, chosen = [], []
    for i, offset in enumerate(_offsets(window)):
        distances = [f - shift for f, shift in zip(phase, offset, strict=True)]
        if all(distance % s == 0 for distance, s in zip(distances, window.stride, strict=True)):
            row, column = (distance // s for distance, s in zip(distances, window.stride, strict=True))
            found.append((row, column))
            chosen.append(i)
    return tuple(found), chosen


def row_taps(window: Window, pixels: int, weight: np.ndarray) -> tuple[Taps, np.ndarray]:
    """A convolution without padding and dilation whose taps are whole kernel rows: the channels of neighbouring pixels
    lie next to each other, so that a row of the window is one run of numbers. pixels: numbers from pixel to pixel.

    weight (K, C, rows, columns) -> (rows, columns * pixels, K), zero for what lies between.
    """
    filters, channels, rows, columns = weight.shape
    spread = np.zeros((rows, columns, pixels, filters), weight.dtype)
    spread[:, :, :channels] = weight.transpose(2, 3, 1, 0)
    return tuple((row, 0) for row in range(rows)), spread.reshape(rows, columns * pixels, filters)


def covered(window: Window, rectangle: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """For each tap the rectangle (row0, row1, column0, column1) of outputs at which it looks inside the input.

    rectangle: rows and columns of the output; size: of the input.
    """
    found = []
    for offset in _offsets(window):
        bounds: list[int] = []
        for shift, s, outputs, inputs in zip(offset, window.stride, rectangle, size, strict=True):
            first = max(0, -(shift // s))
            last = min(outputs, (inputs - 1 - shift) // s + 1)
            bounds += [min(first, outputs), max(last, first)] if first < outputs else [0, 0]
        found.append((bounds[0], bounds[1], bounds[2], bounds[3]))
    return found


def _offsets(window: Window) -> Iterator[tuple[int, int]]:
    """d t - p for each tap t."""
    for tap in np.ndindex(*window.kernel):
        row, column = (d * t - low for d, t, (low, _) in zip(window.dilation, tap, window.padding, strict=True))
        yield row, column
