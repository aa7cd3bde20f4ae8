"""What a plan is made of: arrays that will be on the GPU, and launches of kernels that read and write them.

Nothing here touches a device. A plan is data: it can be listed, checked, and given its memory later.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

FLOAT, HALF = np.dtype(np.float32), np.dtype(np.float16)


class Buffer:
    """An array of `shape` and `dtype`, contiguous. value: for a constant, its contents; else None.

    Buffers are equal only to themselves.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype | type = FLOAT, value: np.ndarray | None = None):
        self.shape, self.dtype, self.value = shape, np.dtype(dtype), value

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"Buffer({self.shape}, {self.dtype}{', constant' if self.value is not None else ''})"


def constant(value: np.ndarray) -> Buffer:
    """A buffer with that content, the same for every image."""
    value = np.ascontiguousarray(value)
    return Buffer(value.shape, value.dtype, value)


@dataclass(frozen=True)
class Place:
    """An argument of a kernel: the address of element `offset` of a buffer."""

    buffer: Buffer
    offset: int = 0


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps (samples, rows, columns, channels) inside a buffer. The channels of a pixel lie next to each other;
    the pitches are the numbers of elements from one pixel, row and sample to the next. A pitch of 0 repeats."""

    place: Place
    samples: int
    rows: int
    columns: int
    channels: int
    pixel_pitch: int
    row_pitch: int
    sample_pitch: int

    @property
    def dtype(self) -> np.dtype:
        return self.place.buffer.dtype

    @property
    def positions(self) -> int:
        """Of all samples together."""
        return self.samples * self.rows * self.columns

    @property
    def pitches(self) -> tuple[int, int, int]:
        return self.sample_pitch, self.row_pitch, self.pixel_pitch

    def only(self, first: int, count: int) -> "FeatureMaps":
        """Some of the channels: a part of a concatenation."""
        return replace(self, place=Place(self.place.buffer, self.place.offset + first), channels=count)

    def every(self, steps: tuple[int, int], first: tuple[int, int]) -> "FeatureMaps":
        """Each steps[0]-th row from row first[0] on, and the columns likewise."""
        offset = self.place.offset + first[0] * self.row_pitch + first[1] * self.pixel_pitch
        return replace(
            self,
            place=Place(self.place.buffer, offset),
            rows=-((first[0] - self.rows) // steps[0]),
            columns=-((first[1] - self.columns) // steps[1]),
            row_pitch=self.row_pitch * steps[0],
            pixel_pitch=self.pixel_pitch * steps[1],
        )


def feature_maps(samples: int, rows: int, columns: int, channels: int, dtype: np.dtype | type = FLOAT) -> FeatureMaps:
    """Feature maps in a buffer of their own. Pixels begin at multiples of 16 bytes, as vector loads need."""
    dtype = np.dtype(dtype)
    vector = 16 // dtype.itemsize
    pitch = -(channels // -vector) * vector
    buffer = Buffer((samples, rows, columns, pitch), dtype)
    return FeatureMaps(Place(buffer), samples, rows, columns, channels, pitch, columns * pitch, rows * columns * pitch)


@dataclass(frozen=True)
class Kernel:
    """A function of a source file in this folder (`source` without its ending), compiled with these definitions."""

    source: str
    name: str
    defines: tuple[tuple[str, int | str], ...] = ()


@dataclass(frozen=True)
class Launch:
    """One start of a kernel: `grid` blocks of `block` threads, with `shared` bytes of shared memory each.

    arguments: Places, None for a null pointer, NumPy scalars of 4 bytes, and arrays (1,) of a structured dtype, which
    are passed by value.
    """

    kernel: Kernel
    grid: tuple[int, int, int]
    block: int
    arguments: tuple[Any, ...]
    shared: int = 0
    multiplications: int = 0  # of floating-point numbers, for tables

    def buffers(self) -> Iterator[Buffer]:
        """What it reads and writes."""
        return (argument.buffer for argument in self.arguments if isinstance(argument, Place))


def structure(**fields: int | float) -> np.ndarray:
    """A C structure of 32-bit integers and floats, passed by value: an array (1,)."""
    types = [(key, np.float32 if isinstance(value, float) else np.int32) for key, value in fields.items()]
    return np.array([tuple(fields.values())], types)


def blocks_of(size: int, each: int) -> int:
    """How many blocks cover `size` items."""
    return -(size // -each)
