"""Sums over the positions of a convolution's input gradient, without the gradient.

Tap t sends dy[o] to dx[s o + e_t]. So the sum of dx over all positions is

    sum over t of (sum of dy over the o whose s o + e_t lies in the image) w[t]

a rectangle sum of dy for each tap and a product with a vector, instead of a convolution.
"""

import numpy as np

from minicam.fast.products import reached
from minicam.windows import Window


def convolution_sums(dy: np.ndarray, weight: np.ndarray, window: Window, space: tuple[int, int]) -> np.ndarray:
    """dy (N, Ho, Wo, K), weight (kernel rows, kernel columns, C, K), space (H, W) of the input -> (N, C) float64."""
    out_height, out_width = dy.shape[1:3]
    total = np.zeros((len(dy), weight.shape[2]))
    rows, columns = (
        [reached(d * t - low, s, out, size)[1] for t in range(kernel)]
        for kernel, s, d, (low, _), out, size in zip(*window, (out_height, out_width), space, strict=True)
    )
    for t, seen_rows in enumerate(rows):
        by_column = dy[:, seen_rows].sum(axis=1)  # (N, Wo, K)
        for r, seen_columns in enumerate(columns):
            total += by_column[:, seen_columns].sum(axis=1) @ weight[t, r].T
    return total


def position_sums(x: np.ndarray) -> np.ndarray:
    """x (N, C, *space) -> (N, C) float64: along one axis after the other, which keeps the rounding small."""
    for _ in range(x.ndim - 3):
        x = x.sum(axis=2)
    return x.sum(axis=2, dtype=np.float64) if x.ndim == 3 else x.astype(np.float64)
