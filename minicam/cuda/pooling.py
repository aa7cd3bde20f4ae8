"""Launches of max pooling over windows of rows and columns, and of its adjoint."""

from itertools import product

import numpy as np

from minicam.cuda.arguments import (
    TYPES,
    check_alike,
    item_grid,
    pitches_of,
    repeated,
    sizes_of,
    sizes_text,
    type_name,
    vector_of,
)
from minicam.cuda.buffers import FeatureMaps, Kernel, Launch, structure
from minicam.errors import LayerError
from minicam.ops import MaxPool


def _forward(vector: int, inputs: str) -> Kernel:
    return Kernel("pooling", "max_pool", (("VECTOR", vector), ("INPUT", inputs)))


def _adjoint(vector: int, inputs: str, gradient: str) -> Kernel:
    return Kernel("pooling", "max_pool_adjoint", (("VECTOR", vector), ("INPUT", inputs), ("GRADIENT", gradient)))


KERNELS: tuple[tuple[Kernel, int], ...] = (
    *((_forward(*variant), 75) for variant in product((1, 4), TYPES)),
    *((_adjoint(*variant), 75) for variant in product((1, 4), TYPES, TYPES)),
)


def max_pool(x: FeatureMaps, y: FeatureMaps, op: MaxPool) -> list[Launch]:
    """y = op of x, of x's type."""
    _check(x, y, op)
    vector = vector_of(x, y)
    arguments = (x.place, sizes_of(x), pitches_of(x), _pooling(op), y.place, sizes_of(y), pitches_of(y))
    return [Launch(_forward(vector, type_name(x.dtype)), *item_grid(y, vector), arguments)]


def max_pool_adjoint(x: FeatureMaps, y: FeatureMaps, dy: FeatureMaps, dx: FeatureMaps, op: MaxPool) -> list[Launch]:
    """dx = the adjoint of op at x, whose result was y. dy and dx are of one type.

    Each element of dx collects from the windows in which it was the first of the largest, so that nothing is written
    twice. x and y may have one sample for all of dy's and dx's.
    """
    _check(x, y, op)
    x, y = repeated(x, dx.samples), repeated(y, dx.samples)
    check_alike(x, dx)
    check_alike(y, dy)
    if dy.dtype != dx.dtype:
        raise LayerError(f"a gradient of {dy.dtype} cannot become one of {dx.dtype}; expected one type")
    vector = vector_of(x, y, dy, dx)
    kernel = _adjoint(vector, type_name(x.dtype), type_name(dx.dtype))
    arguments = (
        *(x.place, sizes_of(x), pitches_of(x), _pooling(op)),
        *(y.place, sizes_of(y), pitches_of(y)),
        *(dy.place, pitches_of(dy), dx.place, pitches_of(dx)),
    )
    return [Launch(kernel, *item_grid(dx, vector), arguments)]


def _pooling(op: MaxPool) -> np.ndarray:
    """struct Pooling."""
    return structure(
        tap_rows=op.kernel[0],
        tap_columns=op.kernel[1],
        row_stride=op.stride[0],
        column_stride=op.stride[1],
        row_dilation=op.dilation[0],
        column_dilation=op.dilation[1],
        row_padding=op.padding[0][0],
        column_padding=op.padding[1][0],
    )


def _check(x: FeatureMaps, y: FeatureMaps, op: MaxPool) -> None:
    """Raises LayerError unless y has the sizes and the type that op gives for x."""
    channels, rows, columns = op.output_shape((x.channels, x.rows, x.columns))
    if (y.samples, y.rows, y.columns, y.channels) != (x.samples, rows, columns, channels) or y.dtype != x.dtype:
        raise LayerError(
            f"found feature maps of {sizes_text(y)}, {y.dtype}, as the result of {op} for {sizes_text(x)}; "
            f"expected {x.samples} x {rows} x {columns} x {channels}, {x.dtype}"
        )
