"""3 x 3 convolutions of stride 1 with a quarter of the multiplications.

Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray, arXiv:1509.09308, section 4): a tile of 4 x 4 outputs is a
polynomial product evaluated at six points per axis. With d the 6 x 6 inputs of a tile and g the 3 x 3 weight,

    y = A^T [ (G g G^T) * (B^T d B) ] A        * multiplies the 36 numbers one by one

so that, over all tiles and channels, the middle is 36 matrix products (tiles, C) (C, K) instead of 16 * 9.

The points are 0, +-1/sqrt(2), +-sqrt(2) and infinity. Lavin and Gray take 0, +-1, +-2; these cost a fifth more
additions and lose five times less precision (largest error over peak 2e-6 instead of 1e-5 for 256 channels): their
magnitudes are balanced around 1, and their product is 1, which saves a multiplication.

A dilated convolution, dilation d, is d x d ordinary ones on every d-th pixel; each of these images is one or more of
the `Strip`s.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minicam.fast.epilogue import Epilogue
from minicam.fast.threads import Workers
from minicam.fast.windows2d import Source, Span, read_window

TILE = 4
POINTS = TILE + 2
ROOT = math.sqrt(2)
G = np.array(
    [  # row i, column k: point_i^k over the product of its distances to the other points
        [1, 0, 0],
        [-2 / 3, -ROOT / 3, -1 / 3],
        [-2 / 3, ROOT / 3, -1 / 3],
        [1 / 6, ROOT / 6, 1 / 3],
        [1 / 6, -ROOT / 6, 1 / 3],
        [0, 0, 1],
    ]
)
BLOCK_TILES = 240
"""Tiles in a block at most: enough rows for the matrix product to run at full speed, few enough for the caches."""
BLOCK_NUMBERS = 96 * 1024
"""Tiles times channels, in and out, in a block at most: it bounds the scratch memory, about 20 MB per thread."""


class Strip(NamedTuple):
    """Some rows of tiles of one sample and one phase (row, column) of the dilation."""

    sample: int
    phase: tuple[int, int]
    first: int


def transformed_weight(weight: np.ndarray, workers: Workers) -> np.ndarray:
    """weight (3, 3, C, K) -> G g G^T as (6, 6, C, K), column points first, in memory that the next call uses again.

    Being four times the weight and a thirtieth of the work, it is not worth keeping.
    """
    channels, filters = weight.shape[2:]
    numbers = channels * filters
    both = np.einsum("ia,jb->jiab", G, G).reshape(POINTS * POINTS, 9).astype(np.float32)
    result = workers.shared("weight", POINTS * POINTS, numbers)
    step = -(-numbers // (4 * workers.threads))

    def work(first: int) -> None:
        part = slice(first, first + step)
        np.matmul(both, weight.reshape(9, numbers)[:, part], out=result[:, part])

    workers.run(work, range(0, numbers, step))
    return result.reshape(POINTS, POINTS, channels, filters)


def convolve(
    sources: Sequence[Source],
    weight: np.ndarray,
    padding: tuple[int, int],
    dilation: int,
    out: np.ndarray,
    epilogue: Epilogue,
    workers: Workers,
) -> None:
    """out (N, Ho, Wo, K) = epilogue of the convolution of the sources' channels (N, H, W, C).

    weight: (3, 3, C, K). padding: zeros above and on the left; below and on the right as `out` needs.
    """
    samples, height, width, filters = out.shape
    rows, columns = tiles_per_axis((height, width), dilation)
    images = samples * min(dilation, height) * min(dilation, width)
    channels = sum(source.channels for source in sources)
    wanted = _tiles_per_block(images * rows * columns, channels + filters, workers.threads)
    per_strip = max(1, min(rows, round(wanted / columns)))
    strips = [
        Strip(sample, (a, b), first)
        for sample in range(samples)
        for a in range(min(dilation, height))
        for b in range(min(dilation, width))
        for first in range(0, rows, per_strip)
    ]
    per_block = max(1, round(wanted / (per_strip * columns)))
    transformed = transformed_weight(weight, workers)

    def work(block: Sequence[Strip]) -> None:
        window = _read(sources, block, per_strip, columns, padding, dilation, workers)
        y = _tiles(window, transformed, workers)
        for strip, tiles in zip(block, y, strict=True):
            _, (a, b), first = strip
            top = a + dilation * TILE * first
            target = (slice(top, min(top + dilation * TILE * per_strip, height), dilation), slice(b, width, dilation))
            epilogue.finish(tiles, out, strip.sample, target)

    workers.run(work, [strips[i : i + per_block] for i in range(0, len(strips), per_block)])


def tiles_per_axis(space: tuple[int, int], dilation: int) -> tuple[int, int]:
    """Tiles along each axis of the largest of the images, on every `dilation`-th pixel, of an output of that size."""
    height, width = (-(size // -dilation) for size in space)
    return -(height // -TILE), -(width // -TILE)


def _tiles_per_block(tiles: int, channels: int, threads: int) -> int:
    """Below the limits, and so that each thread has as many blocks as the others."""
    largest = min(BLOCK_TILES, max(1, BLOCK_NUMBERS // channels))
    blocks = -(tiles // -largest)
    blocks = -(blocks // -threads) * threads
    return max(1, -(tiles // -blocks))


def _read(
    sources: Sequence[Source],
    block: Sequence[Strip],
    rows: int,
    columns: int,
    padding: tuple[int, int],
    dilation: int,
    workers: Workers,
) -> np.ndarray:
    """The padded inputs of a block, (strips, 4 rows + 2, 4 columns + 2, C)."""
    channels = sum(source.channels for source in sources)
    window = workers.scratch("window", len(block), TILE * rows + 2, TILE * columns + 2, channels)
    for strip, part in zip(block, window, strict=True):
        top = strip.phase[0] + dilation * TILE * strip.first - padding[0]
        left = strip.phase[1] - padding[1]
        spans = (Span(top, part.shape[0], dilation), Span(left, part.shape[1], dilation))
        read_window(sources, strip.sample, *spans, part)
    return window


def _tiles(window: np.ndarray, weight: np.ndarray, workers: Workers) -> np.ndarray:
    """window (S, 4R + 2, 4Q + 2, C), weight (6, 6, C, K) -> outputs (S, 4R, 4Q, K).

    Columns first, for the whole block; then, for one column point after the other, rows, product and rows back, whose
    memory is used again for the next point and so is still in cache; last, columns back.
    """
    strips, rows, columns = len(window), window.shape[1] // TILE, window.shape[2] // TILE
    channels, filters = weight.shape[2:]
    tall = TILE * rows + 2
    u = workers.scratch("u", POINTS, strips, tall, columns, channels)
    v = workers.scratch("v", POINTS, strips, rows, columns, channels)
    m = workers.scratch("m", POINTS, strips, rows, columns, filters)
    s = workers.scratch("s", POINTS, strips, rows, TILE, columns, filters)
    tiles = strips * rows * columns
    wide = [window[:, :, j : j + TILE * (columns - 1) + 1 : TILE] for j in range(POINTS)]
    _transform(wide, u, workers)
    for j in range(POINTS):
        tall_views = [u[j, :, i : i + TILE * (rows - 1) + 1 : TILE] for i in range(POINTS)]
        _transform(tall_views, v, workers)
        np.matmul(v.reshape(POINTS, tiles, channels), weight[j], out=m.reshape(POINTS, tiles, filters))
        _transform_back(m, [s[j, :, :, i] for i in range(TILE)], workers)
    y = workers.scratch("window", strips, rows, TILE, columns, TILE, filters)  # the window has been read
    _transform_back(s, [y[:, :, :, :, j] for j in range(TILE)], workers)
    return y.reshape(strips, TILE * rows, TILE * columns, filters)


def _transform(d: Sequence[np.ndarray], out: np.ndarray, workers: Workers) -> None:
    """out = B^T d for six arrays d of one shape: 20 operations for six results.

    out0 = d0 + d4 - 5/2 d2        out1, out2 = (d4 - 2 d2) +- (d3 - 2 d1) / sqrt(2)
    out5 = d1 + d5 - 5/2 d3        out3, out4 = (d4 - d2 / 2) +- (d3 - d1 / 2) sqrt(2)
    """
    p, q = workers.scratch("p", 2, *d[0].shape)
    np.multiply(d[2], 2, out=p)
    np.subtract(d[4], p, out=p)
    np.multiply(d[1], 2, out=q)
    np.subtract(d[3], q, out=q)
    np.multiply(q, 1 / ROOT, out=q)
    np.add(p, q, out=out[1])
    np.subtract(p, q, out=out[2])
    np.multiply(d[2], 0.5, out=p)
    np.subtract(d[4], p, out=p)
    np.multiply(d[1], 0.5, out=q)
    np.subtract(d[3], q, out=q)
    np.multiply(q, ROOT, out=q)
    np.add(p, q, out=out[3])
    np.subtract(p, q, out=out[4])
    for i, result in ((0, out[0]), (1, out[5])):
        np.add(d[i], d[i + 4], out=result)
        np.multiply(d[i + 2], 2.5, out=p)
        np.subtract(result, p, out=result)


def _transform_back(m: np.ndarray, out: Sequence[np.ndarray], workers: Workers) -> None:
    """out = A^T m for six arrays m: 16 operations for four results. Overwrites m.

    With s, d = m1 +- m2 and t, e = m3 +- m4:
    out0 = m0 + s + t        out1 = d / sqrt(2) + e sqrt(2)
    out2 = s / 2 + 2 t       out3 = (d / sqrt(2)) / 2 + 2 (e sqrt(2)) + m5
    """
    s, t = workers.scratch("p", 2, *m[0].shape)
    np.add(m[1], m[2], out=s)
    np.add(m[3], m[4], out=t)
    d, e = m[1], m[3]
    np.subtract(m[1], m[2], out=d)
    np.subtract(m[3], m[4], out=e)
    np.add(m[0], s, out=m[0])
    np.add(m[0], t, out=out[0])
    np.multiply(s, 0.5, out=s)
    np.multiply(t, 2, out=t)
    np.add(s, t, out=out[2])
    np.multiply(d, 1 / ROOT, out=d)
    np.multiply(e, ROOT, out=e)
    np.add(d, e, out=out[1])
    np.multiply(d, 0.5, out=d)
    np.multiply(e, 2, out=e)
    np.add(d, e, out=d)
    np.add(d, m[5], out=out[3])
