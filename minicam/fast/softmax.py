"""Softmax over the channels of planes, in blocks of rows that stay in cache.

The channels are the outermost axis, so that each step is one long addition: over 11 channels that is several times as
fast as with the channels innermost.
"""

import numpy as np

from minicam.fast.threads import Workers

BLOCK_ROWS = 32


def softmax_in_place(x: np.ndarray, workers: Workers) -> None:
    """x (C, rows, W) -> exp(x) / sum over the channels of exp(x)."""
    extreme = workers.scratch("p", *x.shape[1:])
    np.max(x, axis=0, out=extreme)  # shifted by the largest, so that nothing overflows
    np.subtract(x, extreme, out=x)
    np.exp(x, out=x)
    np.sum(x, axis=0, out=extreme)
    np.divide(x, extreme, out=x)


def softmax_adjoint(dy: np.ndarray, y: np.ndarray, workers: Workers) -> np.ndarray:
    """dy (T, C, H, W), y (T or 1, C, H, W) -> dx = y (dy - sum over channels of dy y)."""
    dx = workers.empty(*dy.shape)

    def work(block: tuple[int, int]) -> None:
        sample, top = block
        rows = slice(top, top + BLOCK_ROWS)
        mine, seed, out = y[sample % len(y), :, rows], dy[sample, :, rows], dx[sample, :, rows]
        np.multiply(seed, mine, out=out)
        total = workers.scratch("p", *out.shape[1:])
        np.sum(out, axis=0, out=total)
        product = workers.scratch("q", *out.shape)
        np.multiply(mine, total, out=product)
        np.subtract(out, product, out=out)

    workers.run(work, [(n, top) for n in range(len(dy)) for top in range(0, dy.shape[2], BLOCK_ROWS)])
    return dx
