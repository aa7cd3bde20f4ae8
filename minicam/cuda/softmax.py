"""Launches of softmax over the channels of each position, the labels that go with it, and its adjoint."""

from dataclasses import replace
from itertools import product

import numpy as np

from minicam.cuda.arguments import (
    TYPES,
    check_alike,
    grid_of,
    item_grid,
    pitches_of,
    place_of,
    repeated,
    sizes_of,
    type_name,
    vector_of,
)
from minicam.cuda.buffers import HALF, Buffer, FeatureMaps, Kernel, Launch, Place, blocks_of, feature_maps, structure
from minicam.cuda.layout import copy
from minicam.cuda.upsampling import check_channels, weights
from minicam.errors import LayerError

GROUPS = (3, 8)
"""Groups of four channels that one thread holds in registers, at most: the kernel is compiled for either."""
MOST_CHANNELS = 4 * GROUPS[-1]
"""Of `upsample_softmax`, and of what one thread works out. With more channels a warp shares a position."""
MOST_LABELS = 256
WARPS = 4
"""In a block, with many channels."""


def _few(name: str, groups: int, vector: int, inputs: str, output: str) -> Kernel:
    return Kernel("softmax", name, (("GROUPS", groups), ("VECTOR", vector), ("INPUT", inputs), ("OUTPUT", output)))


def _many(name: str, inputs: str, output: str) -> Kernel:
    return Kernel("softmax", name + "_many", (("INPUT", inputs), ("OUTPUT", output)))


KERNELS: tuple[tuple[Kernel, int], ...] = (
    *(
        (_few(name, *variant), 75)
        for variant in product(GROUPS, (1, 4), TYPES, TYPES)
        for name in ("softmax", "upsample_softmax", "softmax_adjoint")
    ),
    *((_many(name, *types), 75) for types in product(TYPES, TYPES) for name in ("softmax", "softmax_adjoint")),
)


def softmax(x: FeatureMaps, y: FeatureMaps, labels: Buffer | None = None) -> list[Launch]:
    """y = softmax of x over the channels of each position; labels (N, H, W) uint8: the first of the largest channels.

    NaN makes y NaN at its position, and counts as the largest.
    """
    check_alike(x, y)
    return _softmax(x, y, labels)


def largest_channel(x: FeatureMaps, labels: Buffer) -> list[Launch]:
    """labels (N, H, W) uint8 = the first of the largest channels of each position; NaN counts as the largest."""
    return _softmax(x, None, labels)


def softmax_adjoint(y: FeatureMaps, seed: FeatureMaps, dx: FeatureMaps) -> list[Launch]:
    """dx[k] = y[k] (seed[k] - sum over j of seed[j] y[j]) in each position.

    y and seed may have one sample for all of dx's, and any pitches of 0: a seed that is the same at all positions.
    """
    y, seed = repeated(y, dx.samples), repeated(seed, dx.samples)
    check_alike(dx, y, seed)
    if seed.dtype == HALF:
        exact = feature_maps(seed.samples, seed.rows, seed.columns, seed.channels)
        return [*copy(seed, exact), *softmax_adjoint(y, exact, dx)]
    arguments = (y.place, pitches_of(y), seed.place, pitches_of(seed), dx.place, sizes_of(dx), pitches_of(dx))
    return [_launch("softmax_adjoint", y, dx, dx, arguments)]


def upsample_softmax(
    x: FeatureMaps,
    kernel: Buffer,
    y: FeatureMaps,
    stride: tuple[int, int],
    cropping_low: tuple[int, int],
    bias: Buffer | None,
    labels: Buffer | None = None,
) -> list[Launch]:
    """y = softmax of `upsample` (see upsampling.py), whose result is not kept. At most MOST_CHANNELS channels."""
    check_channels(x, y)
    if y.channels > MOST_CHANNELS:
        raise LayerError(f"{y.channels} channels are too many for upsample_softmax; expected at most {MOST_CHANNELS}")
    arguments = (
        *(x.place, sizes_of(x), pitches_of(x)),
        *weights(kernel, y.channels, stride, cropping_low),
        place_of(bias, y.channels),
        *(y.place, sizes_of(y), pitches_of(y)),
        _labels(y, labels),
    )
    return [_launch("upsample_softmax", x, y, y, arguments)]


def _softmax(x: FeatureMaps, y: FeatureMaps | None, labels: Buffer | None) -> list[Launch]:
    output = (None, structure(sample=0, row=0, pixel=0)) if y is None else (y.place, pitches_of(y))
    arguments = (x.place, pitches_of(x), output[0], sizes_of(x), output[1], _labels(x, labels))
    return [_launch("softmax", x, y, x, arguments)]


def _labels(maps: FeatureMaps, labels: Buffer | None) -> Place | None:
    if labels is not None and (maps.channels > MOST_LABELS or labels.dtype != np.uint8):
        raise LayerError(
            f"labels of {maps.channels} channels cannot be kept as {labels.dtype}; expected uint8 and at most "
            f"{MOST_LABELS} channels"
        )
    return place_of(labels, maps.samples, maps.rows, maps.columns)


def _launch(name: str, x: FeatureMaps, y: FeatureMaps | None, maps: FeatureMaps, arguments: tuple) -> Launch:
    """maps: whose positions the grid covers."""
    types = type_name(x.dtype), type_name((y or x).dtype)
    if maps.channels > MOST_CHANNELS:
        return Launch(_many(name, *types), grid_of(blocks_of(maps.positions, WARPS)), WARPS * 32, arguments)
    groups = next(groups for groups in GROUPS if maps.channels <= 4 * groups)
    kernel = _few(name, groups, vector_of(x, y or x), *types)
    return Launch(kernel, *item_grid(replace(maps, channels=1)), arguments)
