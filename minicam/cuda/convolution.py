"""Launches of correlations: convolutions of any stride, dilation and padding, and their adjoints (see taps.py).

    y[n,i,j,k] = epilogue(sum over taps t, channels c of x[n, step_r i + row_t, step_c j + column_t, c] weight[t,c,k])

with zeros around x. The epilogue adds a bias[k] and other feature maps, then rectifies, or keeps what lies where a mask
is above 0.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from minicam.cuda import tiles
from minicam.cuda.arguments import check_alike, check_elements, place_of
from minicam.cuda.buffers import (
    FLOAT,
    HALF,
    Buffer,
    FeatureMaps,
    Kernel,
    Launch,
    Place,
    blocks_of,
    constant,
    feature_maps,
    structure,
)
from minicam.cuda.layout import copy
from minicam.cuda.packing import Packed, element_type, padded
from minicam.errors import LayerError

MOST_BRANCHES = 3
"""In one launch."""
FINISHING_BLOCK = 256

KERNELS: tuple[tuple[Kernel, int], ...] = tuple(
    (tiles.kernel(name, tile, arithmetic), 75 if arithmetic == "float32" else 80)
    for arithmetic, shapes in tiles.TILES.items()
    for tile in shapes
    for name in ("correlate", "add_parts")
)
"""All there are, with the least compute capability each needs. Kernels of the same source and definitions are compiled
together."""


@dataclass(frozen=True)
class Branch:
    """One correlation. taps: (row, column) offsets; bias: (K,) float32."""

    taps: tuple[tuple[int, int], ...]
    weight: Packed
    bias: Buffer | None
    y: FeatureMaps
    added: FeatureMaps | None = None
    mask: FeatureMaps | None = None


def correlate(
    x: FeatureMaps,
    branches: Sequence[Branch],
    step: tuple[int, int],
    rectify: bool,
    arithmetic: str,
    processors: tiles.Processors,
) -> list[Launch]:
    """The launches that compute all branches from x. Branches of equal shapes share a launch.

    x: float16 for the arithmetic "float16", else float32; y, added and mask may be of either type. processors: of the
    device. Raises LayerError where the arguments do not fit each other, or are too large for 32-bit indices.
    """
    for branch in branches:
        _check(x, branch, arithmetic)
    launches = []
    if not _begins_at_vectors(x, branches, step):
        aligned = feature_maps(x.samples, x.rows, x.columns, x.channels, x.dtype)
        launches += copy(x, aligned)
        x = aligned
    for group in _groups(branches):
        launches += _correlation(x, group, step, rectify, arithmetic, processors)
    return launches


def _correlation(
    x: FeatureMaps,
    group: Sequence[Branch],
    step: tuple[int, int],
    rectify: bool,
    arithmetic: str,
    processors: tiles.Processors,
) -> list[Launch]:
    first, y, count = group[0].weight, group[0].y, len(group)
    products = first.taps * padded(first.channels, x.dtype)
    tiling = tiles.choose(y.positions, first.filters, products, count, arithmetic, processors)
    parts = Buffer((count * tiling.splits, y.positions, padded(first.filters, FLOAT)))
    if tiling.splits > 1:
        check_elements(math.prod(parts.shape))
    arguments = (
        _structure(x, group, step, rectify, tiling),
        x.place,
        Place(_tap_table(x, group)),
        Place(parts) if tiling.splits > 1 else None,
        *(argument for i in range(MOST_BRANCHES) for argument in _places(group[i] if i < count else None)),
    )
    tile = tiling.tile
    blocks = blocks_of(y.positions, tile.rows) * blocks_of(first.filters, tile.columns)
    correlation = Launch(
        tiles.kernel("correlate", tile, arithmetic),
        (blocks, 1, count * tiling.splits),
        tile.warps * 32,
        arguments,
        tiles.shared_bytes(tile, arithmetic),
        y.positions * first.taps * first.channels * first.filters * count,
    )
    if tiling.splits == 1:
        return [correlation]
    grid = blocks_of(math.prod(parts.shape[1:]) // 4, FINISHING_BLOCK), 1, count
    return [correlation, Launch(tiles.kernel("add_parts", tile, arithmetic), grid, FINISHING_BLOCK, arguments)]


def _structure(
    x: FeatureMaps, group: Sequence[Branch], step: tuple[int, int], rectify: bool, tiling: tiles.Tiling
) -> np.ndarray:
    """struct Correlation of correlation.cu."""
    weight, y = group[0].weight, group[0].y
    written = [maps for branch in group for maps in (branch.y, branch.added, branch.mask) if maps is not None]
    vectors = not any(number % 4 for maps in written for number in (maps.place.offset, *maps.pitches))
    return structure(
        rows=x.rows,
        columns=x.columns,
        channels=weight.channels,
        padded=padded(weight.channels, x.dtype),
        **dict(zip(("x_sample", "x_row", "x_pixel"), x.pitches, strict=True)),
        step_rows=step[0],
        step_columns=step[1],
        taps=weight.taps,
        filters=weight.filters,
        y_rows=y.rows,
        y_columns=y.columns,
        positions=y.positions,
        **_maps("y", y),
        **_maps("added", group[0].added),
        **_maps("mask", group[0].mask),
        rectify=int(rectify),
        vectors=int(vectors),
        splits=tiling.splits,
        chunks=tiling.chunks,
    )


def _maps(name: str, maps: FeatureMaps | None) -> dict[str, int]:
    """struct Maps."""
    sample, row, pixel = maps.pitches if maps else (0, 0, 0)
    half = maps is not None and maps.dtype == HALF
    return {f"{name}_sample": sample, f"{name}_row": row, f"{name}_pixel": pixel, f"{name}_half": int(half)}


def _places(branch: Branch | None) -> tuple[Place | None, ...]:
    """struct Branch."""
    if branch is None:
        return (None,) * 5
    added, mask = (maps.place if maps else None for maps in (branch.added, branch.mask))
    bias = place_of(branch.bias, branch.weight.filters)
    return Place(branch.weight.buffer), bias, branch.y.place, added, mask


def _tap_table(x: FeatureMaps, group: Sequence[Branch]) -> Buffer:
    """(branches * taps, 4) int32: row, column, where they lead in x, 0."""
    offsets = np.array([tap for branch in group for tap in branch.taps], np.int64).reshape(-1, 2)
    where = offsets @ np.array([x.row_pitch, x.pixel_pitch])
    check_elements(int(np.abs(where).max()))
    return constant(np.column_stack([offsets, where, np.zeros_like(where)]).astype(np.int32))


def _groups(branches: Sequence[Branch]) -> Iterator[list[Branch]]:
    """Branches that one launch can compute."""
    alike: dict[tuple[object, ...], list[Branch]] = {}
    for branch in branches:
        maps = [(m.pitches, m.dtype) if m else None for m in (branch.y, branch.added, branch.mask)]
        sizes = (branch.y.samples, branch.y.rows, branch.y.columns, branch.weight.filters)
        alike.setdefault((len(branch.taps), *sizes, *maps), []).append(branch)
    for group in alike.values():
        for i in range(0, len(group), MOST_BRANCHES):
            yield group[i : i + MOST_BRANCHES]


def _begins_at_vectors(x: FeatureMaps, branches: Sequence[Branch], step: tuple[int, int]) -> bool:
    """Whether all pixels of x that are read begin at multiples of 16 bytes."""
    taps = (row * x.row_pitch + column * x.pixel_pitch for branch in branches for row, column in branch.taps)
    numbers = (x.place.offset, x.sample_pitch, step[0] * x.row_pitch, step[1] * x.pixel_pitch, *taps)
    return not any(number % (16 // x.dtype.itemsize) for number in numbers)


def _check(x: FeatureMaps, branch: Branch, arithmetic: str) -> None:
    """Raises LayerError unless the branch can be computed from x."""
    weight, y = branch.weight, branch.y
    expected = (len(branch.taps), x.channels, y.channels, arithmetic)
    found = (weight.taps, weight.channels, weight.filters, weight.arithmetic)
    if found != expected or not branch.taps:
        raise LayerError(
            f"weights of {found} (taps, channels, filters, arithmetic) do not fit a convolution of {expected}"
        )
    if x.dtype != element_type(arithmetic):
        raise LayerError(f"a convolution in {arithmetic} reads {element_type(arithmetic)}, found {x.dtype}")
    if x.samples != y.samples:
        raise LayerError(f"a convolution of {x.samples} samples into {y.samples}; expected the same number")
    check_alike(y, *(maps for maps in (branch.added, branch.mask) if maps is not None))
    for maps in (x, y, branch.added, branch.mask):
        if maps is not None:
            check_elements(math.prod(maps.place.buffer.shape))
