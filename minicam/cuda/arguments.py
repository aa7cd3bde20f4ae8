"""What the planners of launches share: feature maps as arguments of a kernel (see vectors.cu), and grids over them."""

import math
from dataclasses import replace

import numpy as np

from minicam.cuda.buffers import HALF, Buffer, FeatureMaps, Place, blocks_of, structure
from minicam.errors import LayerError

TYPES = ("float", "half_bits")
"""Of the elements of feature maps, as the kernels call them."""
BLOCK = 256
LIMITS = 2**31 - 1, 65535
"""What a 32-bit index reaches, and the number of blocks along the second and third axis of a grid."""


def type_name(dtype: np.dtype) -> str:
    """float32 and float16 in the kernels' words."""
    return TYPES[dtype == HALF]


def sizes_of(maps: FeatureMaps) -> np.ndarray:
    """struct Sizes."""
    return structure(samples=maps.samples, rows=maps.rows, columns=maps.columns, channels=maps.channels)


def pitches_of(maps: FeatureMaps) -> np.ndarray:
    """struct Pitches. Raises LayerError if 32-bit indices do not reach the last element."""
    check_elements(_last_pixel(maps) + max(maps.channels, maps.pixel_pitch))
    return structure(sample=maps.sample_pitch, row=maps.row_pitch, pixel=maps.pixel_pitch)


def _last_pixel(maps: FeatureMaps) -> int:
    """From the first element of the first pixel to that of the last."""
    sizes = maps.samples, maps.rows, maps.columns
    return sum((size - 1) * pitch for size, pitch in zip(sizes, maps.pitches, strict=True))


def check_elements(count: int) -> None:
    if count > LIMITS[0]:
        raise LayerError(
            f"{count} numbers in one array are too many for the GPU's kernels; expected at most {LIMITS[0]}. "
            "Use fewer images at a time, or smaller ones"
        )


def place_of(buffer: Buffer | None, *shape: int) -> Place | None:
    """The buffer as an argument, a null pointer if there is none. Raises LayerError unless it has that shape."""
    if buffer is None:
        return None
    if buffer.shape != shape:
        raise LayerError(f"found {buffer} for a kernel; expected the shape {shape}")
    check_elements(math.prod(shape))
    return Place(buffer)


def check_alike(first: FeatureMaps, *others: FeatureMaps) -> None:
    """Raises LayerError unless all have the first one's sizes."""
    for maps in others:
        if sizes_text(maps) != sizes_text(first):
            raise LayerError(f"feature maps of {sizes_text(maps)} do not fit others of {sizes_text(first)}")


def vector_of(*maps: FeatureMaps) -> int:
    """Channels that a thread takes at once: 4 where groups of four are aligned in all maps, and do not end behind their
    buffers, else 1. The last group may reach behind the last channel: what is there is read, but not used."""
    return 4 if all(_in_fours(m) for m in maps) else 1


def _in_fours(maps: FeatureMaps) -> bool:
    end = maps.place.offset + _last_pixel(maps) + blocks_of(maps.channels, 4) * 4
    aligned = not any(number % 4 for number in (maps.place.offset, *maps.pitches))
    return aligned and end <= math.prod(maps.place.buffer.shape)


def repeated(maps: FeatureMaps, samples: int) -> FeatureMaps:
    """The same sample for all of `samples`, if there is only one."""
    return replace(maps, samples=samples, sample_pitch=0) if maps.samples == 1 else maps


def item_grid(maps: FeatureMaps, vector: int = 1) -> tuple[tuple[int, int, int], int]:
    """Grid and block for one thread per position and `vector` channels; see item_of in vectors.cu."""
    items = maps.columns * blocks_of(maps.channels, vector)
    block = min(BLOCK, blocks_of(items, 32) * 32)
    return grid_of(maps.samples * maps.rows, blocks_of(items, block)), block


def grid_of(*blocks: int) -> tuple[int, int, int]:
    """Blocks along each axis. Raises LayerError where CUDA cannot start that many."""
    if blocks[0] > LIMITS[0] or max(blocks[1:], default=1) > LIMITS[1]:
        raise LayerError(
            f"a grid of {blocks} blocks is more than CUDA starts; use fewer images at a time, or smaller ones"
        )
    first, second, third = (*blocks, 1, 1)[:3]
    return first, second, third


def sizes_text(maps: FeatureMaps) -> str:
    """The sizes in words, for errors."""
    return f"{maps.samples} x {maps.rows} x {maps.columns} x {maps.channels}"
