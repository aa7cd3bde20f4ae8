"""Maximum pooling of channels-last images, in blocks of rows."""

import numpy as np

from minicam.fast.threads import Workers
from minicam.fast.windows2d import Span
from minicam.ops import MaxPool
from minicam.windows import Window

BLOCK_ROWS = 8


def largest(x: np.ndarray, op: MaxPool, workers: Workers) -> np.ndarray:
    """x (N, H, W, C) -> (N, Ho, Wo, C): the largest over the kernel's rows first, then over its columns."""
    samples, height, width, channels = x.shape
    out_height, out_width = Window(op.kernel, op.stride, op.dilation, op.padding).output_space((height, width))
    out = workers.empty(samples, out_height, out_width, channels)
    (step_down, step_across), ((above, _), (left, _)), (down, across) = op.stride, op.padding, op.dilation

    def work(block: tuple[int, int]) -> None:
        sample, top = block
        count = min(BLOCK_ROWS, out_height - top)
        rows = workers.scratch("p", count, width, channels)
        rows.fill(-np.inf)
        for t in range(op.kernel[0]):
            target, seen = Span(top * step_down - above + down * t, count, step_down).inside(height)
            np.maximum(rows[target], x[sample, seen], out=rows[target])
        result = out[sample, top : top + count]
        result.fill(-np.inf)
        for t in range(op.kernel[1]):
            target, seen = Span(across * t - left, out_width, step_across).inside(width)
            np.maximum(result[:, target], rows[:, seen], out=result[:, target])

    workers.run(work, [(n, top) for n in range(samples) for top in range(0, out_height, BLOCK_ROWS)])
    return out
