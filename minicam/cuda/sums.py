"""Launches that sum feature maps over rectangles of positions, and the product that makes of such sums those of a
convolution's input gradient (see minicam/fast/sums.py)."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from minicam.cuda.arguments import TYPES, grid_of, pitches_of, place_of, sizes_of, type_name, vector_of
from minicam.cuda.buffers import Buffer, FeatureMaps, Kernel, Launch, Place, blocks_of, constant
from minicam.errors import LayerError

LANES, SLOTS = 32, 8
"""A block of the sums: threads along the channels and along the positions."""
PRODUCT_LANES, PRODUCT_SLOTS = 8, 64


def _partial(vector: int, inputs: str) -> Kernel:
    return Kernel("sums", "partial_sums", (("VECTOR", vector), ("INPUT", inputs)))


_TOTAL, _PRODUCT = Kernel("sums", "rectangle_sums"), Kernel("sums", "product")
KERNELS: tuple[tuple[Kernel, int], ...] = (
    *((_partial(*variant), 75) for variant in itertools.product((1, 4), TYPES)),
    *((_TOTAL, 75), (_PRODUCT, 75)),
)


def rectangle_sums(x: FeatureMaps, rectangles: Sequence[tuple[int, int, int, int]], sums: Buffer) -> list[Launch]:
    """sums[n, i, k] = sum of x[n, r, c, k] over the positions of rectangle i = (row0, row1, column0, column1), which is
    rows row0 to row1 - 1 and columns column0 to column1 - 1.

    sums (N, R, C) float32. x is read once: the columns are cut where any rectangle begins or ends, the pieces of each
    row are summed, and each rectangle adds its pieces. The error is at most 4 2^-24 sum |x|, for any number of
    positions (up to terms of the order of 2^-48 times that number).
    """
    for rectangle in rectangles:
        row0, row1, column0, column1 = rectangle
        if not (0 <= row0 <= row1 <= x.rows and 0 <= column0 <= column1 <= x.columns):
            raise LayerError(f"the rectangle {rectangle} does not lie in {x.rows} rows and {x.columns} columns")
    cuts = sorted({cut for rectangle in rectangles for cut in rectangle[2:]})
    bounds = constant(np.array(cuts if len(cuts) > 1 else [0, 0], np.int32))
    intervals = bounds.shape[0] - 1
    table = [(row0, row1, cuts.index(first), cuts.index(end)) for row0, row1, first, end in rectangles]
    partial = Buffer((x.samples, x.rows, intervals, x.channels))
    vector = vector_of(x)
    pieces = Launch(
        _partial(vector, type_name(x.dtype)),
        grid_of(x.samples * x.rows, blocks_of(x.channels, LANES * vector)),
        LANES * SLOTS,
        (x.place, sizes_of(x), pitches_of(x), Place(bounds), np.int32(intervals), place_of(partial, *partial.shape)),
        LANES * SLOTS * vector * 4,
    )
    total = Launch(
        _TOTAL,
        grid_of(len(rectangles), blocks_of(x.channels, LANES), x.samples),
        LANES * SLOTS,
        (
            *(Place(partial), *map(np.int32, partial.shape[1:])),
            Place(constant(np.array(table, np.int32))),
            place_of(sums, x.samples, len(rectangles), x.channels),
        ),
        LANES * SLOTS * 4,
    )
    return [pieces, total]


def product(sums: Buffer, weight: Buffer, out: Buffer) -> list[Launch]:
    """out[n, k] = sum over r and c of sums[n, r, c] weight[r, c, k]; all float32.

    The error is at most 3 2^-24 sum |sums weight|, as that of `rectangle_sums`.
    """
    samples, *inner = sums.shape
    filters = out.shape[-1]
    length = math.prod(inner)
    arguments = (
        *(place_of(sums, samples, *inner), place_of(weight, *inner, filters)),
        *(np.int32(length), np.int32(filters), place_of(out, samples, filters)),
    )
    grid = grid_of(blocks_of(filters, PRODUCT_LANES), samples)
    block = PRODUCT_LANES * PRODUCT_SLOTS
    return [Launch(_PRODUCT, grid, block, arguments, block * 4, samples * length * filters)]
