"""Convolutions as ordinary matrix products in blocks: by columns, and tap by tap on clipped rectangles.

Both take any kernel, stride, dilation and padding. With w the weight as (kernel rows, kernel columns, C, K) and
e = d t - p the offset of tap t (equation (1) of windows.py), output o reads input s o + e:

    y[o] = sum over t of x[s o + e] w[t]             dx[s o + e] += dy[o] w[t]^T         rows of pixels times matrices

By columns, the inputs of all taps are copied side by side and one product sums over taps and channels. Tap by tap, each
product covers only the rectangle of outputs whose input lies inside the image, so that no zeros are multiplied.
"""

from collections.abc import Sequence

import numpy as np

from minicam.fast.epilogue import Epilogue
from minicam.fast.threads import Workers
from minicam.fast.windows2d import Source, Span, read_window
from minicam.windows import Window

BLOCK_POSITIONS = 1920
"""Rows of the matrices in a block at most."""
BLOCK_COLUMNS = 1 << 21
"""Numbers in a block of columns at most: 8 MB."""


def weight_matrices(weight: np.ndarray) -> np.ndarray:
    """weight (K, C, kernel rows, kernel columns) of any type -> (kernel rows, kernel columns, C, K) float32."""
    filters, channels, *kernel = weight.shape
    matrices = np.empty((*kernel, channels, filters), np.float32)
    for t, r in np.ndindex(*kernel):
        matrices[t, r] = weight[:, :, t, r].T
    return matrices


def convolve_by_columns(
    sources: Sequence[Source],
    weight: np.ndarray,
    window: Window,
    out: np.ndarray,
    epilogue: Epilogue,
    workers: Workers,
) -> None:
    """out (N, Ho, Wo, K) = epilogue of the convolution; weight from `weight_matrices`."""
    samples, height, width, filters = out.shape
    taps_down, taps_across, channels, _ = weight.shape
    matrix = weight.reshape(-1, filters)
    (down, across), (step_down, step_across) = window.dilation, window.stride
    rows = _rows_per_block(height, width, len(matrix), workers.threads)

    def work(block: tuple[int, int]) -> None:
        sample, top = block
        count = min(rows, height - top)
        row_span = Span(top * step_down - window.padding[0][0], (count - 1) * step_down + (taps_down - 1) * down + 1)
        column_span = Span(-window.padding[1][0], (width - 1) * step_across + (taps_across - 1) * across + 1)
        y = workers.scratch("y", count, width, filters)
        pixels = workers.scratch("window", row_span.number, column_span.number, channels)
        read_window(sources, sample, row_span, column_span, pixels)
        if len(matrix) == channels and step_down == step_across == 1:
            np.matmul(pixels.reshape(-1, channels), matrix, out=y.reshape(-1, filters))
        else:
            row, column, _ = pixels.strides
            columns = workers.scratch("u", count, width, *weight.shape[:3])
            seen = np.lib.stride_tricks.as_strided(
                pixels, columns.shape, (step_down * row, step_across * column, down * row, across * column, 4)
            )
            np.copyto(columns, seen)
            np.matmul(columns.reshape(-1, len(matrix)), matrix, out=y.reshape(-1, filters))
        epilogue.finish(y, out, sample, (slice(top, top + count), slice(0, width)))

    workers.run(work, [(sample, top) for sample in range(samples) for top in range(0, height, rows)])


def convolve_by_taps(
    sources: Sequence[Source],
    weight: np.ndarray,
    window: Window,
    out: np.ndarray,
    epilogue: Epilogue,
    workers: Workers,
) -> None:
    """out (N, Ho, Wo, K) = epilogue of the convolution; weight from `weight_matrices`."""
    samples, height, width, filters = out.shape
    in_height, in_width = sources[0].space
    rows = _rows_per_block(height, width, weight.shape[2], workers.threads)
    (step_down, step_across), ((above, _), (left, _)) = window.stride, window.padding

    def work(block: tuple[int, int]) -> None:
        sample, top = block
        count = min(rows, height - top)
        y = workers.scratch("y", count, width, filters)
        y.fill(0)
        for t, r in np.ndindex(*window.kernel):
            first = top * step_down + window.dilation[0] * t - above
            to_rows, from_rows = Span(first, count, step_down).inside(in_height)
            to_columns, from_columns = Span(window.dilation[1] * r - left, width, step_across).inside(in_width)
            part = y[to_rows, to_columns]
            if part.size:
                _add_product(sources, sample, from_rows, from_columns, weight[t, r], part, workers)
        epilogue.finish(y, out, sample, (slice(top, top + count), slice(0, width)))

    workers.run(work, [(sample, top) for sample in range(samples) for top in range(0, height, rows)])


def adjoint_by_taps(dy: Source, weight: np.ndarray, window: Window, out: np.ndarray, workers: Workers) -> None:
    """out (N, H, W, C) = the adjoint of the convolution at dy (N, Ho, Wo, K).

    weight: (kernel rows, kernel columns, K, C), each tap's matrix transposed. A block is some rows of out; of each tap
    it takes the rows s o + e that fall into it.
    """
    samples, height, width, channels = out.shape
    out_height, out_width = dy.space
    rows = _rows_per_block(height, width, weight.shape[2], workers.threads)
    (step_down, step_across), ((above, _), (left, _)) = window.stride, window.padding
    nothing = Epilogue()

    def work(block: tuple[int, int]) -> None:
        sample, top = block
        count = min(rows, height - top)
        dx = workers.scratch("y", count, width, channels)
        dx.fill(0)
        for t, r in np.ndindex(*window.kernel):
            offset = window.dilation[0] * t - above - top
            to_rows, from_rows = reached(offset, step_down, out_height, count)
            to_columns, from_columns = reached(window.dilation[1] * r - left, step_across, out_width, width)
            part = dx[to_rows, to_columns]
            if part.size:
                _add_product([dy], sample, from_rows, from_columns, weight[t, r], part, workers)
        nothing.finish(dx, out, sample, (slice(top, top + count), slice(0, width)))

    workers.run(work, [(sample, top) for sample in range(samples) for top in range(0, height, rows)])


def reached(offset: int, step: int, positions: int, size: int) -> tuple[slice, slice]:
    """The o in 0 .. positions - 1 with step o + offset in 0 .. size - 1: (slice of where they lead, slice of o)."""
    low = max(-(offset // step), 0)
    high = max(min((size - 1 - offset) // step + 1, positions), low)
    first = step * low + offset
    return slice(first, first + step * (high - low), step), slice(low, high)


def _add_product(
    sources: Sequence[Source],
    sample: int,
    rows: slice,
    columns: slice,
    matrix: np.ndarray,
    out: np.ndarray,
    workers: Workers,
) -> None:
    """out (rows, columns, K) += the sources' pixels there (rows, columns, C) @ matrix (C, K)."""
    pixels = workers.scratch("window", *out.shape[:2], len(matrix))
    first = 0
    for source in sources:
        last = first + source.channels
        source.read(sample, rows, columns, pixels[:, :, first:last])
        first = last
    product = workers.scratch("m", *out.shape)
    np.matmul(pixels.reshape(-1, len(matrix)), matrix, out=product.reshape(-1, out.shape[2]))
    np.add(out, product, out=out)


def _rows_per_block(height: int, width: int, numbers: int, threads: int) -> int:
    """Rows of `width` positions with `numbers` each in one block: below the limits, the same for each thread."""
    largest = max(1, min(BLOCK_POSITIONS, BLOCK_COLUMNS // numbers) // width)
    blocks = -(height // -largest)
    blocks = -(blocks // -threads) * threads
    return max(1, -(height // -blocks))
