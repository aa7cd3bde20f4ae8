"""Resampling along one axis as products with the dense pieces of a banded matrix.

A transposed convolution of each channel alone, with one kernel for all channels that is an outer product a b^T, is
y = A x B^T for each channel, with A (H, h) and B (W, w) zero except near the diagonal (Long et al., arXiv:1411.4038,
section 3.3, for the bilinear one). Its adjoint is A^T dy B.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """The rows of a banded matrix from `first` to `last`, and the columns low .. high between which they are not 0."""

    first: int
    last: int
    low: int
    high: int
    values: np.ndarray


def pieces(matrix: np.ndarray, rows: int) -> list[Piece]:
    """A matrix in pieces of `rows` rows each, of the columns between the first and the last number that is not 0."""
    return list(_pieces(matrix, rows))


def _pieces(matrix: np.ndarray, rows: int) -> Iterator[Piece]:
    for first in range(0, len(matrix), rows):
        part = matrix[first : first + rows]
        used = np.flatnonzero(part.any(axis=0))
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        yield Piece(first, first + len(part), low, high, np.ascontiguousarray(part[:, low:high], np.float32))


def outer_factors(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """kernel (rows, columns) -> vectors a, b in float64 with kernel = a b^T to float32's precision; None if there are
    none."""
    exact = kernel.astype(np.float64)
    u, singular, v = np.linalg.svd(exact)
    a, b = u[:, 0] * singular[0], v[0]
    close = np.abs(np.outer(a, b) - exact).max() <= 1e-7 * np.abs(exact).max()
    return (a, b) if close else None


def upsampling_matrix(taps: np.ndarray, stride: int, dilation: int, cropped: int, sizes: tuple[int, int]) -> np.ndarray:
    """(outputs, inputs) = sizes, float64: output i takes taps[t] of the o with stride o + dilation t - cropped = i."""
    out, size = sizes
    matrix = np.zeros(sizes)
    for o in range(size):
        for t, value in enumerate(taps):
            i = stride * o + dilation * t - cropped
            if 0 <= i < out:
                matrix[i, o] += value
    return matrix


def shifted(matrix: np.ndarray, shifts: list[int]) -> np.ndarray:
    """(out, size) -> (out, size, shifts): row i of shift e is row i + e of the matrix, zero where there is none."""
    out, size = matrix.shape
    result = np.zeros((out, size, len(shifts)))
    for k, e in enumerate(shifts):
        low, high = max(0, -e), min(out, out - e)
        if high > low:
            result[low:high, :, k] = matrix[low + e : high + e]
    return result
