"""Launches of the transposed convolution of each channel alone (ConvTranspose with groups = channels), and of its
adjoint."""

from itertools import product

import numpy as np

from minicam.cuda.arguments import TYPES, item_grid, pitches_of, place_of, sizes_of, type_name, vector_of
from minicam.cuda.buffers import Buffer, FeatureMaps, Kernel, Launch, Place, constant, structure
from minicam.errors import LayerError

KERNELS: tuple[tuple[Kernel, int], ...] = tuple(
    (Kernel("upsampling", name, (("VECTOR", vector), ("INPUT", inputs), ("OUTPUT", output))), 75)
    for name, vector, inputs, output in product(("upsample", "upsample_adjoint"), (1, 4), TYPES, TYPES)
)


def upsample(
    x: FeatureMaps,
    kernel: Buffer,
    y: FeatureMaps,
    stride: tuple[int, int],
    cropping_low: tuple[int, int],
    bias: Buffer | None,
) -> list[Launch]:
    """y[i] = bias + sum over the inputs o and taps t with stride o + t - cropping_low = i of kernel[t] x[o].

    kernel (C or 1, rows, columns), bias (C,): float32. y may have any rows and columns; where no input reaches, it is
    the bias.
    """
    check_channels(x, y)
    arguments = (
        *(x.place, sizes_of(x), pitches_of(x)),
        *weights(kernel, x.channels, stride, cropping_low),
        place_of(bias, y.channels),
        *(y.place, sizes_of(y), pitches_of(y)),
    )
    return [_launch("upsample", x, y, arguments)]


def upsample_adjoint(
    dy: FeatureMaps, kernel: Buffer, dx: FeatureMaps, stride: tuple[int, int], cropping_low: tuple[int, int]
) -> list[Launch]:
    """dx[o] = sum over the taps t of kernel[t] dy[stride o + t - cropping_low]; dy is 0 outside.

    kernel (C or 1, rows, columns) float32, as in `upsample`.
    """
    check_channels(dy, dx)
    arguments = (
        *(dy.place, sizes_of(dy), pitches_of(dy)),
        *weights(kernel, dx.channels, stride, cropping_low),
        *(dx.place, sizes_of(dx), pitches_of(dx)),
    )
    return [_launch("upsample_adjoint", dy, dx, arguments)]


def weights(
    kernel: Buffer, channels: int, stride: tuple[int, int], cropping_low: tuple[int, int]
) -> tuple[Place, np.ndarray]:
    """The kernel (C or 1, rows, columns) and struct Upsampling, which says how it is laid out.

    A constant kernel is kept once where its channels are all equal, as in bilinear upsampling. Else the channels of a
    tap lie next to each other, so that neighbouring threads read neighbouring weights.
    """
    count, rows, columns = kernel.shape
    if count not in (1, channels):
        raise LayerError(f"found {kernel} for the upsampling of {channels} channels; expected 1 or {channels} first")
    pitches = (0 if count == 1 else rows * columns, 1)
    if kernel.value is not None and (kernel.value == kernel.value[:1]).all():
        kernel, pitches = constant(kernel.value[:1]), (0, 1)
    elif kernel.value is not None:
        kernel, pitches = constant(np.moveaxis(kernel.value, 0, 2)), (1, count)
    fields = structure(
        tap_rows=rows,
        tap_columns=columns,
        row_stride=stride[0],
        column_stride=stride[1],
        row_cropping=cropping_low[0],
        column_cropping=cropping_low[1],
        channel_pitch=pitches[0],
        tap_pitch=pitches[1],
    )
    return Place(kernel), fields


def check_channels(x: FeatureMaps, y: FeatureMaps) -> None:
    """Raises LayerError unless both have the same samples and channels."""
    if (x.samples, x.channels) != (y.samples, y.channels):
        raise LayerError(
            f"an upsampling of {x.samples} samples of {x.channels} channels cannot give {y.samples} of {y.channels}"
        )


def _launch(name: str, x: FeatureMaps, y: FeatureMaps, arguments: tuple) -> Launch:
    vector = vector_of(x, y)
    defines = (("VECTOR", vector), ("INPUT", type_name(x.dtype)), ("OUTPUT", type_name(y.dtype)))
    return Launch(Kernel("upsampling", name, defines), *item_grid(y, vector), arguments)
