"""From sums to maps and from scores to labels: the ends of an explanation, fast."""

import numpy as np

from minicam.fast.threads import Workers
from minicam.fast.upsampling import Upsampling
from minicam.fast.windows2d import channels_last
from minicam.resizing import resize_weights

BLOCK_ROWS = 32


def resize(x: np.ndarray, size: tuple[int, int], method: str, workers: Workers) -> np.ndarray:
    """x (T, h, w) float32 -> (T, *size): what `imresize` gives along the last two axes for "bicubic" and "bilinear"."""
    down, across = (_resizing_matrix(*sizes, method) for sizes in zip(x.shape[1:], size, strict=True))
    return Upsampling(down, across).forward(x[None], workers)[0]


def _resizing_matrix(size_in: int, size_out: int, method: str) -> np.ndarray:
    """(size_out, size_in) float64."""
    indices, weights = resize_weights(size_in, size_out, method)
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (np.arange(size_out)[:, None], indices), weights)
    return matrix


def weighted_sums(weights: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """weights (T, K), activations (K, H, W) -> (T, H, W): sum over k of weights[t, k] activations[k], read in the order
    in which the activations lie in memory."""
    pixels = channels_last(activations[None])[0]
    return np.ascontiguousarray((pixels @ weights.T).transpose(2, 0, 1))


def largest_channel(scores: np.ndarray, workers: Workers) -> np.ndarray:
    """scores (C, H, W), C at most 256 -> (H, W) uint8: the channel with the largest score, the first of equal ones."""
    labels = np.zeros(scores.shape[1:], np.uint8)

    def work(top: int) -> None:
        rows = slice(top, top + BLOCK_ROWS)
        block, found = scores[:, rows], labels[rows]
        best = workers.scratch("p", *found.shape)
        np.copyto(best, block[0])
        for channel in range(1, len(block)):
            better = np.greater(block[channel], best)
            np.copyto(found, np.uint8(channel), where=better)
            np.maximum(best, block[channel], out=best)

    workers.run(work, range(0, scores.shape[1], BLOCK_ROWS))
    return labels
