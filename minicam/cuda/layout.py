"""Launches that reorder, copy and add feature maps: what could not be fused into another layer."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from minicam.cuda.arguments import (
    BLOCK,
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
from minicam.cuda.buffers import Buffer, FeatureMaps, Kernel, Launch, Place, blocks_of, structure
from minicam.errors import LayerError

TILE = 1024
"""Numbers that a block of to_channels_last turns around."""
TILE_CHANNELS = (4, 8, 16, 32)
TERMS = 3
"""Feature maps that `combine` adds at once."""


def _reordering(channels: int, output: str) -> Kernel:
    return Kernel("layout", "to_channels_last", (("CHANNELS", channels), ("OUTPUT", output)))


def _combination(vector: int, inputs: str, mask: str, output: str) -> Kernel:
    return Kernel("layout", "combine", (("VECTOR", vector), ("INPUT", inputs), ("MASK", mask), ("OUTPUT", output)))


KERNELS: tuple[tuple[Kernel, int], ...] = (
    *((_reordering(*variant), 75) for variant in product(TILE_CHANNELS, TYPES)),
    *((_combination(*variant), 75) for variant in product((1, 4), TYPES, TYPES, TYPES)),
)


def to_channels_last(
    x: Buffer, y: FeatureMaps, scale: Buffer | None, offset: Buffer | None, corner: tuple[int, int] = (0, 0)
) -> list[Launch]:
    """y[n, r, c, k] = scale[k] x[n, k, r - corner[0], c - corner[1]] + offset[k] inside x, and 0 elsewhere.

    x (N, C, H, W) float32, contiguous. y may be larger than x, which then has a border of zeros. All y.pixel_pitch
    elements of y's pixels are written, the padding with 0, so y must not be a part of a concatenation.
    """
    samples, channels, rows, columns = x.shape
    whole = replace(y, channels=y.pixel_pitch)
    tile = next((size for size in TILE_CHANNELS if whole.channels <= size), TILE_CHANNELS[-1])
    arguments = (
        place_of(x, y.samples, y.channels, rows, columns),
        structure(samples=samples, rows=rows, columns=columns, channels=channels),
        *(y.place, sizes_of(whole), pitches_of(y)),
        *(place_of(scale, channels), place_of(offset, channels)),
        *map(np.int32, corner),
    )
    grid = grid_of(y.samples * y.rows, blocks_of(y.columns, TILE // tile), blocks_of(whole.channels, tile))
    return [Launch(_reordering(tile, type_name(y.dtype)), grid, BLOCK, arguments, TILE // tile * (tile + 1) * 4)]


def copy(x: FeatureMaps, y: FeatureMaps) -> list[Launch]:
    """y = x, of any pitches and of either type each. They may not overlap."""
    return combine([x], y)


def combine(
    xs: Sequence[FeatureMaps],
    y: FeatureMaps,
    mask: FeatureMaps | None = None,
    rectify: bool = False,
    scale: Buffer | None = None,
    offset: Buffer | None = None,
) -> list[Launch]:
    """y = scale[k] (sum of xs) + offset[k] in channel k, then max(y, 0) if `rectify`, and 0 where not mask > 0.

    xs: one to three, of one type. xs and mask may have one sample for all of y's. y may overlap none of the others.
    """
    if not 1 <= len(xs) <= TERMS or len({x.dtype for x in xs}) > 1:
        raise LayerError(f"cannot add {[str(x.dtype) for x in xs]}; expected 1 to {TERMS} feature maps of one type")
    xs = [repeated(x, y.samples) for x in xs]
    mask = None if mask is None else repeated(mask, y.samples)
    others = xs if mask is None else [*xs, mask]
    check_alike(y, *others)
    vector = vector_of(y, *others)
    kernel = _combination(vector, type_name(xs[0].dtype), type_name((mask or xs[0]).dtype), type_name(y.dtype))
    terms = [*xs, *[None] * (TERMS - len(xs))]
    arguments = (
        *(argument for maps in (*terms, mask) for argument in _place_and_pitches(maps)),
        *(place_of(scale, y.channels), place_of(offset, y.channels), np.int32(rectify)),
        *(y.place, sizes_of(y), pitches_of(y)),
    )
    return [Launch(kernel, *item_grid(y, vector), arguments)]


def _place_and_pitches(maps: FeatureMaps | None) -> tuple[Place | None, np.ndarray]:
    return (None, structure(sample=0, row=0, pixel=0)) if maps is None else (maps.place, pitches_of(maps))
