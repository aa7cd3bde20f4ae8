"""Launches that make Grad-CAM's maps from the activations of a layer, and that resize maps."""

from itertools import product

import numpy as np

from minicam.cuda.arguments import (
    BLOCK,
    TYPES,
    grid_of,
    pitches_of,
    place_of,
    repeated,
    sizes_of,
    type_name,
    vector_of,
)
from minicam.cuda.buffers import Buffer, FeatureMaps, Kernel, Launch, Place, blocks_of, constant, structure
from minicam.errors import LayerError

LANES = 8
"""Threads that share a position of the maps."""
SHARING = 4
"""Targets for which activations that they have in common are read once."""

Table = tuple[np.ndarray, np.ndarray]
"""How an axis is resized: indices and weights (size_out, taps) of `resize_weights`."""


def _weighted_sum(vector: int, inputs: str, targets: int) -> Kernel:
    return Kernel("maps", "weighted_sum", (("VECTOR", vector), ("INPUT", inputs), ("TARGETS", targets)))


_RESIZE = Kernel("maps", "resize")
KERNELS: tuple[tuple[Kernel, int], ...] = (
    *((_weighted_sum(*variant), 75) for variant in product((1, 4), TYPES, (1, SHARING))),
    (_RESIZE, 75),
)


def weighted_sum(weights: Buffer, x: FeatureMaps, y: Buffer) -> list[Launch]:
    """y[t, r, c] = sum over k of weights[t, k] x[t, r, c, k]: the maps of T targets, not rectified.

    weights (T, C), y (T, H, W): float32. x: T samples, or one for all targets.
    """
    targets = weights.shape[0]
    together = SHARING if targets > 1 and (x.samples == 1 or x.sample_pitch == 0) else 1
    x = repeated(x, targets)
    if x.samples != targets:
        raise LayerError(f"found the activations of {x.samples} samples for {targets} targets; expected 1 or {targets}")
    arguments = (
        *(place_of(weights, targets, x.channels), x.place, sizes_of(x), pitches_of(x)),
        place_of(y, targets, x.rows, x.columns),
    )
    vector = vector_of(x) if x.channels % 4 == 0 else 1  # the weights are not padded
    kernel = _weighted_sum(vector, type_name(x.dtype), together)
    grid = grid_of(blocks_of(x.rows * x.columns, BLOCK // LANES), blocks_of(targets, together))
    return [Launch(kernel, grid, BLOCK, arguments, multiplications=x.positions * x.channels)]


def resize(x: Buffer, y: Buffer, rows: Table, columns: Table, rectify: bool) -> list[Launch]:
    """y = x (T, h, w) resized to (T, H, W) float32; with `rectify`, max(x, 0) is resized.

    rows, columns: see `minicam.resizing.resize_weights`.
    """
    targets, *size = x.shape
    new = [_checked(table, n) for table, n in zip((rows, columns), size, strict=True)]
    sizes = structure(
        rows=size[0],
        columns=size[1],
        new_rows=new[0],
        new_columns=new[1],
        row_taps=rows[0].shape[1],
        column_taps=columns[0].shape[1],
    )
    tables = [
        Place(constant(array.T.astype(dtype)))
        for table in (rows, columns)
        for array, dtype in zip(table, (np.int32, np.float32), strict=True)
    ]
    arguments = (place_of(x, targets, *size), sizes, *tables, np.int32(rectify), place_of(y, targets, *new))
    return [Launch(_RESIZE, grid_of(targets * new[0], blocks_of(new[1], BLOCK)), BLOCK, arguments)]


def _checked(table: Table, size: int) -> int:
    """The size to which a table resizes. Raises LayerError if it looks at an input outside of `size`."""
    indices, weights = table
    if indices.shape != weights.shape or indices.min() < 0 or indices.max() >= size:
        raise LayerError(
            f"a table with indices {indices.min()} to {indices.max()} and weights {weights.shape} cannot resize an "
            f"axis of {size}"
        )
    return len(indices)
